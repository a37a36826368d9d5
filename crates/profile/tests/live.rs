//! Profiles of real processes: the program of `examples/target.rs`, started and ended by each test.

use profile::summary::{Summary, summarize};
use profile::{Options, Progress, Session, Stacks, State, Target};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A started program; ended when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, which is what we want.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn target_path() -> PathBuf {
    // target/debug/deps/live-... -> target/debug/examples/target
    let own = std::env::current_exe().expect("the test's own path");
    own.ancestors().nth(2).expect("a folder of builds").join("examples/target")
}

#[expect(clippy::disallowed_methods, reason = "the program ends with its guard")]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Starts a program and waits for its first line.
fn started(mut command: Command) -> Program {
    let mut program = Program(command.spawn().expect("the program starts"));
    let mut line = String::new();
    let stdout = program.0.stdout.as_mut().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("its first line");
    program
}

fn target(arguments: &[&str]) -> Program {
    let mut command = command(target_path());
    command.args(arguments);
    started(command)
}

fn run(mut session: Session, duration: Duration) -> Stacks {
    session.run(Some(duration), &|| false, &mut |_: Progress| {});
    session.finish(1)
}

fn profile_of(program: &Program, milliseconds: u64) -> Stacks {
    let session = Session::attach(Target::Process(program.0.id()), Options::default());
    run(session.expect("it may be profiled"), Duration::from_millis(milliseconds))
}

fn total(summary: &Summary, function: &str, state: State) -> u64 {
    let named = summary.functions.iter().filter(|f| f.name.contains(function));
    named.map(|f| f.total_ns[state.index()]).max().unwrap_or(0)
}

fn folded(stacks: &Stacks) -> String {
    const SHOWN: usize = 2000;
    profile::formats::write_folded(stacks).chars().take(SHOWN).collect()
}

fn adds_up(stacks: &Stacks) {
    assert_eq!(stacks.weight_ns(), stacks.ledger().wall_ns, "widths sum to threads x wall time");
}

/// Whether this machine lets us see stacks; where it does not, the gap must say so.
fn sees_stacks(stacks: &Stacks) -> bool {
    let forbidden = stacks.gaps.iter().any(|gap| gap.reason.contains("on-CPU stacks"));
    assert!(forbidden || stacks.quality.native_stacks > 0);
    !forbidden
}

#[test]
fn the_hot_function_takes_the_time_on_cpu() {
    let program = target(&["hot"]);
    let stacks = profile_of(&program, 1500);
    adds_up(&stacks);
    if !sees_stacks(&stacks) {
        return;
    }
    let summary = summarize(&stacks);
    let running = summary.ledger.running_ns;
    assert!(
        total(&summary, "hot_outer", State::Running) > running * 9 / 10,
        "{:?}",
        summary.functions.first()
    );
    assert!(total(&summary, "target::main", State::Blocked) > 1_000_000_000, "{}", folded(&stacks));
    assert!(summary.complete_share.unwrap() > 0.95, "{:?}", stacks.quality);
    let hot = summary.functions.iter().find(|f| f.name.contains("hot_outer")).unwrap();
    assert!(hot.file.ends_with("target.rs"), "{hot:?}");
}

#[test]
fn waits_are_named_and_belong_to_the_function_that_waits() {
    let cases = [
        ("mutex", "wait_for_mutex", "[waits: lock (futex)]"),
        ("sleep", "sleep_for_long", "[waits: sleep]"),
        ("socket", "read_socket", "[waits: socket read]"),
        ("parked", "park", "[waits: lock (futex)]"),
    ];
    for (kind, function, wait) in cases {
        let program = target(&[kind]);
        let stacks = profile_of(&program, 700);
        adds_up(&stacks);
        let summary = summarize(&stacks);
        let blocked = total(&summary, function, State::Blocked);
        assert!(blocked > 500_000_000, "{kind}: {blocked} in {}", folded(&stacks));
        assert!(
            summary.waits.iter().any(|one| {
                let named = one.within.as_ref().is_some_and(|(name, ns)| name.contains(function) && *ns > 0);
                one.name == wait && one.ns > 500_000_000 && named
            }),
            "{function}: {:?}",
            summary.waits
        );
    }
}

#[test]
fn a_process_that_switches_all_the_time_is_sampled_without_records_of_its_switches() {
    let program = target(&["ball"]);
    let stacks = profile_of(&program, 3000);
    adds_up(&stacks);
    if !sees_stacks(&stacks) {
        return;
    }
    let given_up = |gap: &model::Gap| gap.reason.contains("context switches a second");
    assert!(stacks.gaps.iter().any(given_up), "{:?}", stacks.gaps);
    let summary = summarize(&stacks);
    let hot = stacks.threads.iter().find(|thread| thread.name.starts_with("work")).unwrap();
    let computed = total(&summary, "hot_outer", State::Running);
    assert!(computed > hot.ledger.running_ns * 9 / 10, "{computed} of {hot:?}: {}", folded(&stacks));
    assert!(total(&summary, "hit", State::Blocked) > 100_000_000, "{}", folded(&stacks));
    assert!(summary.waits.iter().any(|wait| wait.name == "[waits: lock (futex)]"), "{:?}", summary.waits);
}

#[test]
fn a_stack_with_a_large_frame_is_whole() {
    let program = target(&["deep"]);
    let stacks = profile_of(&program, 2000);
    adds_up(&stacks);
    if sees_stacks(&stacks) {
        let summary = summarize(&stacks);
        let share = summary.complete_share.unwrap();
        // A few samples tell that more is to be copied; some more come until it is.
        assert!(share > 0.9, "{share} of {:?} {}", stacks.quality, folded(&stacks));
        let (deep, hot) =
            (total(&summary, "deep_outer", State::Running), total(&summary, "hot_outer", State::Running));
        assert!(deep >= hot * 9 / 10 && hot > 0, "{deep} {hot}");
    }
}

#[test]
fn threads_that_live_shorter_than_a_sample_are_sampled() {
    let program = target(&["requests"]);
    let stacks = profile_of(&program, 3000);
    adds_up(&stacks);
    if !sees_stacks(&stacks) || stacks.gaps.iter().any(|gap| gap.reason.contains("too shortly")) {
        return;
    }
    let summary = summarize(&stacks);
    let sampled = stacks.quality.unscaled_ns[State::Running.index()];
    let running = summary.ledger.running_ns;
    assert!(sampled > running / 2, "{sampled} of {running}");
    // Most threads have no sample each: what they did is known of those that have.
    assert!(total(&summary, "hot_outer", State::Running) > running / 2, "{}", folded(&stacks));
}

#[test]
fn two_thousand_threads_are_all_in_the_ledger() {
    let program = target(&["parked", "2000"]);
    let stacks = profile_of(&program, 2500);
    adds_up(&stacks);
    assert_eq!(stacks.threads.len(), 2001);
    let summary = summarize(&stacks);
    assert!(
        total(&summary, "park", State::Blocked) > stacks.ledger().blocked_ns * 9 / 10,
        "{}",
        folded(&stacks)
    );
}

#[test]
fn a_process_that_ends_ends_the_profile_and_keeps_what_was_seen() {
    let mut command = command("/bin/sh");
    command.args(["-c", "echo ready; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
    let program = started(command);
    let stacks = profile_of(&program, 60_000);
    adds_up(&stacks);
    assert!(stacks.wall_ns < 50_000_000_000);
    assert!(stacks.ledger().running_ns > 0);
}

#[test]
fn a_command_is_followed_into_what_it_starts() {
    let prepared = Session::prepare("sh", Options::default());
    let mut command = command("/bin/sh");
    let script = format!("sleep 0.1; {} hot; :", target_path().display());
    command.args(["-c", &script]);
    let program = Program(command.spawn().unwrap());
    let mut session = prepared.started(program.0.id());
    session.run(Some(Duration::from_millis(1500)), &|| false, &mut |_: Progress| {});
    let stacks = session.finish(1);
    adds_up(&stacks);
    if !sees_stacks(&stacks) {
        return;
    }
    let summary = summarize(&stacks);
    assert!(
        total(&summary, "hot_outer", State::Running) > summary.ledger.running_ns / 2,
        "{}",
        folded(&stacks)
    );
    drop(program);
    let pids: std::collections::BTreeSet<u32> = stacks.threads.iter().map(|t| t.pid).collect();
    assert!(pids.len() >= 3, "sh, sleep and target: {:?}", stacks.threads);
}

#[test]
fn a_stripped_and_deleted_binary_still_has_complete_stacks() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("stripped");
    let mut strip = command("strip");
    strip.arg("-o").arg(&copy).arg(target_path());
    assert!(strip.status().unwrap().success(), "binutils' strip is needed");
    let mut hot = command(&copy);
    hot.arg("hot");
    let program = started(hot);
    std::fs::remove_file(&copy).unwrap();
    let stacks = profile_of(&program, 1000);
    adds_up(&stacks);
    if sees_stacks(&stacks) {
        let summary = summarize(&stacks);
        assert!(summary.complete_share.unwrap() > 0.95, "{:?}", stacks.quality);
        assert!(total(&summary, "[stripped]", State::Running) > 0, "{}", folded(&stacks));
    }
}

#[test]
fn the_ledger_is_the_kernels_count() {
    let program = target(&["io", "4"]);
    let stacks = profile_of(&program, 2000);
    adds_up(&stacks);
    let pid = program.0.id();
    for thread in stacks.threads.iter().filter(|t| t.name.starts_with("work")) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{}/schedstat", thread.tid)).unwrap();
        let counted: u64 = text.split(' ').next().unwrap().parse().unwrap();
        assert!(thread.ledger.running_ns > 0 && thread.ledger.running_ns <= counted);
    }
}

#[test]
fn without_perf_the_ledger_and_the_waits_remain() {
    let without = Options { perf: false, ..Options::default() };
    let profile = |program: &Program| {
        let session = Session::attach(Target::Process(program.0.id()), without).expect("it may be looked at");
        run(session, Duration::from_millis(1500))
    };
    let hot = profile(&target(&["hot"]));
    adds_up(&hot);
    assert!(
        hot.ledger().running_ns > 0 && hot.gaps.iter().any(|gap| gap.reason.contains("no on-CPU stacks"))
    );
    let sleeping = profile(&target(&["sleep"]));
    adds_up(&sleeping);
    assert!(
        total(&summarize(&sleeping), "sleep_for_long", State::Blocked) > 1_000_000_000,
        "{}",
        folded(&sleeping)
    );
}

#[test]
fn what_is_not_there_is_an_error_that_says_so() {
    let nobody = Session::attach(Target::Process(u32::MAX / 2), Options::default()).err().unwrap();
    assert!(nobody.to_string().contains("no process"), "{nobody}");
    let port = Session::attach(Target::Port(1), Options::default()).err().unwrap();
    assert!(port.to_string().contains("port 1"), "{port}");
}

/// A Python program that burns in two threads, waits for a lock and reads a socket.
const PYTHON: &str = r#"
import socket, sys, threading
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
def burn():
    while True:
        fib(16)
def wait_for_lock(lock):
    with lock:
        pass
def read_socket(end):
    end.recv(16)
ends = socket.socketpair()
lock = threading.Lock()
lock.acquire()
for work, given in ((burn, ()), (burn, ()), (wait_for_lock, (lock,)), (read_socket, (ends[0],))):
    threading.Thread(target=work, args=given, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"#;

/// Every Python that this machine has, one of each version that we read.
fn pythons() -> Vec<(u32, PathBuf)> {
    let has = |minor: &u32| {
        let mut asked = command(format!("python3.{minor}"));
        let answer =
            asked.args(["-c", "import sys; print(sys.executable)"]).stderr(Stdio::null()).output().ok()?;
        let path = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim());
        (answer.status.success() && path.is_file()).then_some((*minor, path))
    };
    (8..=13).filter_map(|minor| has(&minor)).collect()
}

#[test]
fn python_functions_are_named_with_lines_and_the_global_lock_is_a_state() {
    let pythons = pythons();
    assert!(!pythons.is_empty(), "a Python of 3.8 to 3.13 is needed");
    for (minor, path) in pythons {
        let mut python = command(path);
        python.args(["-c", PYTHON]);
        let program = started(python);
        let stacks = profile_of(&program, 1500);
        adds_up(&stacks);
        let summary = summarize(&stacks);
        let running = summary.ledger.running_ns;
        assert!(total(&summary, "fib", State::Running) > running * 3 / 4, "3.{minor}: {}", folded(&stacks));
        assert!(total(&summary, "burn", State::GilWait) > 100_000_000, "3.{minor}: {}", folded(&stacks));
        assert!(
            total(&summary, "wait_for_lock", State::Blocked) > 1_000_000_000,
            "3.{minor}: {}",
            folded(&stacks)
        );
        assert!(
            total(&summary, "read_socket", State::Blocked) > 1_000_000_000,
            "3.{minor}: {}",
            folded(&stacks)
        );
        let fib = summary.functions.iter().find(|f| f.name == "fib").unwrap();
        assert!(fib.file == "<string>" && (3..=4).contains(&fib.line), "3.{minor}: {fib:?}");
    }
}

/// A Node program that burns and waits.
const NODE: &str = "
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }
setInterval(function tick() { fib(25) }, 5)
console.log('ready')
";

#[test]
fn a_python_command_is_named_from_its_first_tenths_of_a_second() {
    let burn = "def burn():\n  return sum(i * i for i in range(10**7))\nburn()";
    let prepared = Session::prepare("python3", Options::default());
    let mut python = command("python3");
    python.args(["-c", burn]);
    let program = Program(python.spawn().unwrap());
    let mut session = prepared.started(program.0.id());
    session.run(Some(Duration::from_secs(20)), &|| false, &mut |_: Progress| {});
    let stacks = session.finish(1);
    adds_up(&stacks);
    if !sees_stacks(&stacks) {
        return;
    }
    let (named, running) = (total(&summarize(&stacks), "burn", State::Running), stacks.ledger().running_ns);
    assert!(named * 10 > running * 7, "{named} of {running}: {}", folded(&stacks));
}

/// A Node program whose workers burn, each in a function of its own, and whose main thread waits.
const NODE_WORKERS: &str = "
const { Worker } = require('worker_threads')
const burn = (name) => `function ${name}(n) { return n < 2 ? n : ${name}(n - 1) + ${name}(n - 2) }; setInterval(() => ${name}(25), 5)`
let ready = 0
for (const name of ['one', 'two']) new Worker(burn(name), { eval: true }).on('online', () => { if (++ready === 2) console.log('ready') })
";

#[test]
fn worker_threads_are_named_each_by_what_it_runs() {
    let mut node = command("node");
    node.args(["-e", NODE_WORKERS]);
    let program = started(node);
    let mut session = Session::attach(Target::Process(program.0.id()), Options::default()).unwrap();
    session.open_inspectors();
    let stacks = run(session, Duration::from_millis(1500));
    adds_up(&stacks);
    let summary = summarize(&stacks);
    let running = stacks.ledger().running_ns;
    let named = ["one", "two"].map(|name| total(&summary, name, State::Running));
    assert!(named.iter().all(|ns| *ns > 0), "{:?} {}", stacks.gaps, folded(&stacks));
    assert!(named.iter().sum::<u64>() * 10 > running * 6, "{named:?} of {running}: {}", folded(&stacks));
}

#[test]
fn javascript_is_named_through_the_inspector_which_is_closed_again() {
    let mut node = command("node");
    node.args(["-e", NODE]);
    let program = started(node);
    let mut session = Session::attach(Target::Process(program.0.id()), Options::default()).unwrap();
    session.open_inspectors();
    let stacks = run(session, Duration::from_millis(1500));
    adds_up(&stacks);
    let summary = summarize(&stacks);
    assert!(total(&summary, "fib", State::Running) > 0, "{:?} {}", stacks.gaps, folded(&stacks));
    let closed = std::net::TcpStream::connect("127.0.0.1:9229").is_err();
    assert!(closed, "the inspector's port is closed again");
}
