# Makes a database cluster, runs its server, and removes both when standard input ends: that is when the owner closes
# it or dies, by whatever signal. Arguments: programs, directory, server options ...
programs=$1 home=$2
shift 2
trap : INT TERM HUP
exec 3<&0

step() {
    "$@" </dev/null >>"$home/log" 2>&1 3<&- &
    echo $! >"$home/step"
    if [ -e "$home/ended" ]; then kill -QUIT $!; fi
    until wait $!; status=$?; ! kill -0 $! 2>/dev/null; do :; done
    return $status
}

{
    read -r _ <&3
    : >"$home/ended"
    if [ -s "$home/step" ]; then kill -QUIT "$(cat "$home/step")"; fi
} 2>/dev/null &
watcher=$!

step "$programs/initdb" --pgdata "$home/data" --username postgres --auth scram-sha-256 --pwfile "$home/password" \
    --encoding UTF8 --locale C --no-sync &&
    step "$programs/postgres" -D "$home/data" "$@"
kill -KILL "$watcher" 2>/dev/null
if [ -e "$home/ended" ]; then
    rm -rf "$home"
fi
