//! `trimtab tap`: stands between an application and its Postgres server, passes every byte on, and records the statements
//! as spans: for services without traces. Ends by Ctrl-C or after `--duration`, with a recording and a table.

use super::{Answer, Setting, tap_told};
use crate::args::{LoadOverrides, seconds};
use crate::{clock, session};
use anyhow::{Context, Result, ensure};
use clap::Args;
use model::{Gap, Recording, Run};
use net::Shutdown;
use recording::{SpanSink, Writer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tap::{Address, Counts, Event, Ledger, Listener, StatementFigures};

/// How often what was seen is written, and the line of progress.
const TICK: Duration = Duration::from_millis(250);
/// How often what was seen goes to the disk, however little it is: so much is lost where the tap is killed.
const FLUSH_INTERVAL: Duration = Duration::from_secs(30);
/// The same of how much it is: with statements whose long texts all differ, what waits is large, and larger while it is
/// written.
const FLUSH_BYTES: usize = 64 << 20;
/// Events of one kind that are told one by one.
const TOLD_EVENTS: usize = 5;
/// Open files beside the connections' and those of clients that are refused.
const SPARE_DESCRIPTORS: u64 = 64 + tap::MAX_REFUSALS as u64;
/// A recording has cells, also without load.
const CELL_MS: u32 = 500;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab tap --to postgres://db.internal:5432            then let the application connect to 127.0.0.1:6432
  trimtab tap --listen 7000 --to 127.0.0.1 --duration 60  for a minute, on another port
  trimtab tap --listen /tmp/.s.PGSQL.6432 --to /var/run/postgresql
  trimtab tap --to postgres://db:5432 --format json --output tapped

Every byte goes on unchanged. Recorded are statements without their values, a hash of the values under a key that is
thrown away, times, rows and errors. Encrypted connections pass unseen: use sslmode=disable between the application and
the tap. Afterwards `trimtab localize` says what is slow and why.")]
pub struct TapArgs {
    /// Where the application shall connect: HOST:PORT, PORT (this machine only), or the path of a Unix socket
    #[arg(long, default_value = "127.0.0.1:6432", value_name = "ADDRESS")]
    listen: String,
    /// The server: postgres://HOST:PORT (user, password and database are not read), HOST:PORT, or a Unix socket or its
    /// folder; without it TRIMTAB_DATABASE_URL or trimtab.toml
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// End after this time; without, at Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    duration: Option<f64>,
    /// Where to save the recording
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// A pause between statements that parts one piece of work from the next, outside of transactions
    #[arg(long, default_value = "5ms", value_name = "DURATION", value_parser = seconds)]
    gap: f64,
    /// Connections at the same time; more are refused, as a full server does
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    max_connections: usize,
    /// Let every user of this machine in to a server that is reached by a Unix socket, which sees them as the tap's user
    #[arg(long)]
    allow_local_users: bool,
    /// Statements and transactions that are recorded one by one; the table counts further ones too
    #[arg(long, default_value_t = 2_000_000, value_name = "N")]
    max_spans: u64,
}

/// What a run came to.
pub(super) struct Tapped {
    pub(super) listen: Address,
    pub(super) to: Address,
    pub(super) seconds: f64,
    pub(super) counts: Counts,
    /// Most total time first.
    pub(super) statements: Vec<StatementFigures>,
    pub(super) gaps: Vec<Gap>,
    pub(super) folder: Option<PathBuf>,
}

pub(super) async fn run(setting: &Setting, args: &TapArgs) -> Result<Answer> {
    ensure!(args.max_connections > 0, "--max-connections 0 would let nobody through");
    let to = server(setting, args)?;
    let wanted = Address::to_listen(&args.listen)?;
    let by_user = matches!(to, Address::Unix(_)) && matches!(wanted, Address::Tcp { .. });
    ensure!(
        !by_user || args.allow_local_users,
        "the server is reached by a Unix socket, where `peer` in its pg_hba.conf asks who connects, and that would be \
         the tap's user for whoever reaches {wanted}; listen on a Unix socket too (--listen /tmp/.s.PGSQL.6432), name the \
         server by host and port, or give --allow-local-users"
    );
    let listener = Listener::bind(&wanted).await?;
    let listen = listener.address().clone();
    let start_ns = clock::now_ns();
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => setting.journal().new_recording(&clock::stamp(start_ns))?,
    };
    super::load_record::check(&folder)?;
    let writer = Writer::create(&folder)?;
    let began = Instant::now();
    let options = tap::Options {
        to: to.clone(),
        max_connections: allow_descriptors(setting, args.max_connections),
        gap: Duration::from_secs_f64(args.gap.clamp(0.0, 3600.0)),
        clock: (start_ns, began),
    };
    welcome(setting, &listener, &to);
    let (host, port) = to.parts();
    let ledger = Ledger::new(&host, port);
    let stop = Shutdown::new();
    let serving = tokio::spawn(tap::run(listener, options, Arc::clone(&ledger), stop.clone()));
    let mut book = Book { sink: Some(writer.span_sink()), ..Book::new(Arc::clone(&ledger), args.max_spans) };
    let length = args.duration.map(|s| Duration::from_secs_f64(s.clamp(0.0, 1e9)));
    let early = watch(setting, &mut book, length, began).await;
    stop.trigger();
    serving.await.context("the tap ended by a fault of its own; please report it")?;
    book.write(setting).await;
    setting.output.clear_line();
    let mut tapped = Tapped {
        listen,
        to,
        seconds: began.elapsed().as_secs_f64(),
        counts: ledger.counts(),
        statements: ledger.statements(),
        gaps: gaps(&ledger.counts(), book.dropped, args),
        folder: None,
    };
    let complete = length.is_none() || !early;
    match save(writer, book, &tapped, (start_ns, clock::now_ns()), complete, &folder) {
        Ok(()) => tapped.folder = Some(folder),
        Err(error) => setting.output.warn(&format!("the recording is not whole: {error:#}")),
    }
    let told =
        if setting.output.json() { tap_told::json(&tapped) } else { tap_told::text(setting, &tapped)? };
    setting.output.result(&told);
    Ok(if tapped.counts.statements > 0 { Answer::Yes } else { Answer::Unknown })
}

fn server(setting: &Setting, args: &TapArgs) -> Result<Address> {
    let url = match args.to.as_ref().or(setting.environment.database_url.as_ref()) {
        Some(url) => url.clone(),
        None => {
            let settings = setting.settings(&LoadOverrides::default());
            settings.ok().and_then(|settings| settings.database.url).context(
                "no server is named; give --to postgres://host:port, or set [database] url in trimtab.toml",
            )?
        }
    };
    Address::of_server(&url)
}

fn welcome(setting: &Setting, listener: &Listener, to: &Address) {
    let listen = listener.address();
    let how = match listen {
        Address::Tcp { host, port } => format!("postgres://USER@{host}:{port}/DATABASE?sslmode=disable"),
        Address::Unix(path) => {
            let folder = path.parent().unwrap_or(Path::new("/")).display();
            format!("postgresql:///DATABASE?host={folder}&user=USER&sslmode=disable")
        }
    };
    let output = &setting.output;
    output.note(&format!("Listening on {listen}, passing on to {to}. Let the application connect to"));
    output.note(&format!("  {how}"));
    output.note("Ctrl-C ends it and saves the recording.");
    if listener.is_open_to_others() {
        output.warn(&format!(
            "other machines can reach {listen}, and the server sees their connections come from this one: what its \
             pg_hba.conf allows here, it allows them"
        ));
    }
}

/// Each connection takes two descriptors; the usual limit is 1,024. How many connections there are descriptors for.
fn allow_descriptors(setting: &Setting, connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = (connections as u64).saturating_mul(2).saturating_add(SPARE_DESCRIPTORS);
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return connections };
    let granted = limit.maximum.map_or(wanted, |most| most.min(wanted)).max(current);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), maximum: limit.maximum });
    let granted = if raised.is_ok() { granted } else { current };
    if granted >= wanted {
        return connections;
    }
    let fit = usize::try_from(granted.saturating_sub(SPARE_DESCRIPTORS) / 2).unwrap_or(connections).max(1);
    setting.output.warn(&format!(
        "the limit of open files ({granted}) lets {fit} connections through at the same time, not {connections}; \
         raise it with ulimit -n {wanted}"
    ));
    fit
}

/// Waits for the end, and writes what was seen all along. Whether it was ended before its time.
async fn watch(setting: &Setting, book: &mut Book, length: Option<Duration>, began: Instant) -> bool {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = (0, Instant::now());
    loop {
        let left = length.map(|length| length.saturating_sub(began.elapsed()));
        tokio::select! {
            _ = tick.tick() => {}
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => return false,
            () = setting.shutdown.wait() => return true,
        }
        book.write(setting).await;
        let (counts, now) = (book.ledger.counts(), Instant::now());
        let rate = (counts.statements - before.0) as f64 / (now - before.1).as_secs_f64().max(1e-3);
        before = (counts.statements, now);
        setting.output.progress(&tap_told::progress(&counts, rate));
    }
}

/// Where spans go from the ledger: to the disk, off the threads that serve.
struct Book {
    ledger: Arc<Ledger>,
    sink: Option<SpanSink>,
    room: u64,
    /// Spans beyond the bound, or that the disk did not take.
    dropped: u64,
    told: [usize; 5],
    flushed: Instant,
    /// Of spans since then.
    waiting_bytes: usize,
}

impl Book {
    fn new(ledger: Arc<Ledger>, room: u64) -> Self {
        Self { ledger, sink: None, room, dropped: 0, told: [0; 5], flushed: Instant::now(), waiting_bytes: 0 }
    }

    async fn write(&mut self, setting: &Setting) {
        for event in self.ledger.events() {
            self.tell(setting, &event);
        }
        let (ledger, sink, room) = (Arc::clone(&self.ledger), self.sink.take(), self.room);
        let (late, waiting_bytes) = (self.flushed.elapsed() >= FLUSH_INTERVAL, self.waiting_bytes);
        let written = tokio::task::spawn_blocking(move || {
            let spans = ledger.take();
            let count = spans.len() as u64;
            let waiting_bytes = waiting_bytes + spans.resident_bytes();
            let flush = late || waiting_bytes >= FLUSH_BYTES;
            let waiting_bytes = (!flush).then_some(waiting_bytes);
            match sink {
                Some(mut sink) if count <= room => {
                    let result = sink.write(spans).and_then(|()| if flush { sink.flush() } else { Ok(()) });
                    (Some(sink), count, Some(result), waiting_bytes)
                }
                // What it holds already is written at the end.
                sink => (sink, count, None, waiting_bytes),
            }
        });
        let Ok((sink, count, result, waiting_bytes)) = written.await else { return };
        if waiting_bytes.is_none() {
            self.flushed = Instant::now();
        }
        self.waiting_bytes = waiting_bytes.unwrap_or(0);
        match result {
            Some(Ok(())) => self.room -= count,
            Some(Err(error)) => {
                setting.output.warn(&format!("no more spans are recorded: {error:#}"));
                (self.room, self.dropped) = (0, self.dropped + count);
            }
            None => (self.room, self.dropped) = (0, self.dropped + count),
        }
        self.sink = sink;
    }

    fn tell(&mut self, setting: &Setting, event: &Event) {
        let kind = match event {
            Event::Encrypted { .. } => 0,
            Event::NotUnderstood { .. } => 1,
            Event::NoServer { .. } => 2,
            Event::TooMany { .. } => 3,
            Event::NotAccepted { .. } => 4,
        };
        self.told[kind] += 1;
        match self.told[kind] {
            n if n < TOLD_EVENTS => setting.output.warn(&event.to_string()),
            TOLD_EVENTS => setting.output.warn(&format!("{event}; more of this kind are only counted")),
            _ => {}
        }
    }
}

/// What the tap could not see.
fn gaps(counts: &Counts, dropped: u64, args: &TapArgs) -> Vec<Gap> {
    let mut gaps = vec![Gap::new(
        "traces",
        format!(
            "a tap sees statements, not requests: a transaction, or statements with pauses below {} ms on one \
             connection, stand for a piece of work",
            args.gap * 1e3
        ),
        "let the application write sqlcommenter's traceparent into its statements, or send traces",
    )];
    let all = counts.connections;
    if all == 0 {
        let hint = "let the application connect to the tap's address, and do something with it";
        gaps.push(Gap::new("statements", "no connection came", hint));
    }
    let mut gap = |count: u64, reason: String, hint: &str| {
        if count > 0 {
            gaps.push(Gap::new("statements", reason, hint));
        }
    };
    gap(
        counts.encrypted,
        format!("{} of {all} connections were encrypted: their statements are not seen", counts.encrypted),
        "use sslmode=disable and gssencmode=disable between the application and the tap",
    );
    gap(
        counts.not_understood,
        format!("{} of {all} connections were not understood to their end", counts.not_understood),
        "see the warnings; is it Postgres that the tap passes on to?",
    );
    gap(
        counts.refused,
        format!("{} of {all} connections did not reach the server", counts.refused),
        "is it running, and does --max-connections allow enough?",
    );
    let reason = format!("{dropped} spans found no room in the recording; the table counts them");
    gap(dropped, reason, "tap for a shorter time, or allow more with --max-spans");
    let reason = format!(
        "{} spans came faster than they could be written; the table does not count them",
        counts.lost
    );
    gap(counts.lost, reason, "let fewer connections through the tap, or give it a CPU of its own");
    let reason =
        format!("{} times a statement's text found no room: 64 MiB of texts differed", counts.nameless);
    gap(counts.nameless, reason, "let parameters stand for values, or tap fewer connections");
    gaps.sort();
    gaps
}

fn save(
    writer: Writer,
    book: Book,
    tapped: &Tapped,
    (start_ns, end_ns): (u64, u64),
    complete: bool,
    folder: &Path,
) -> Result<()> {
    if let Some(mut sink) = book.sink {
        sink.flush()?;
    }
    let run = Run {
        format: recording::FORMAT,
        id: session::id_of(folder),
        target: format!("postgres://{}", tapped.to),
        start_ns,
        end_ns,
        cell_ms: CELL_MS,
        environment: session::environment(),
        gaps: tapped.gaps.clone(),
        complete,
        ..Run::default()
    };
    writer.finish(&Recording { run, ..Recording::default() }).map(drop)
}
