//! What a request costs the load generator: requests per CPU-second of the generator alone, against a small server in
//! another process, beside wrk, hey and oha where they are installed. The server is no part of the figure; whether it
//! keeps up shows in the lateness.

use crate::args::LoadArgs;
use crate::figures::{Cell, Figures, Target, median};
use crate::process::{self, Helper, told};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use load::{Clock, Options, Pace, Scenario, Spacing};
use net::{HttpVersion, Shutdown};
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// As large as a small JSON answer.
const BODY_BYTES: usize = 232;
/// Connections of the closed model, as in the peers' usual figures.
const CONNECTIONS: u32 = 50;
/// What was promised, as shares of the peers' requests per CPU-second.
const SHARE_OF_OHA: f64 = 0.8;
const SHARE_OF_WRK: f64 = 0.7;
/// CPU time comes in hundredths of a second: a peer that used less has no figure.
const MIN_CPU_S: f64 = 0.1;

/// How requests are sent.
#[derive(Clone, Copy, PartialEq)]
enum Model {
    /// Poisson arrivals at the asked rate.
    Open(HttpVersion),
    /// [`CONNECTIONS`] users, each of which waits for its answer.
    Closed,
}

const MODELS: [(&str, Model); 3] = [
    ("HTTP/1.1, arrivals", Model::Open(HttpVersion::Http1)),
    ("HTTP/2, arrivals", Model::Open(HttpVersion::Http2)),
    ("HTTP/1.1, 50 connections", Model::Closed),
];

pub(crate) async fn run(args: &LoadArgs) -> Result<Figures> {
    let mut server = Helper::this(["internal-server"])?;
    let address = server.hear()?;
    let rounds = args.rounds.max(1);
    let mut all: Vec<Vec<Round>> = MODELS.iter().map(|_| Vec::new()).collect();
    let mut peers: Vec<(Peer, Vec<f64>)> = Peer::ALL.into_iter().map(|peer| (peer, Vec::new())).collect();
    // Taking turns, so that a busy minute meets everybody.
    for _ in 0..rounds {
        for ((_, model), rounds) in MODELS.iter().zip(&mut all) {
            rounds.push(round(args, &address, *model).await?);
        }
        for (peer, figures) in &mut peers {
            figures.extend(peer.per_cpu_s(&address, args));
        }
    }
    let mut rows: Vec<Vec<Cell>> =
        MODELS.iter().zip(&all).map(|((name, _), rounds)| row(name, rounds)).collect();
    let of = |model: usize| median(&all[model].iter().map(|round| round.per_cpu_s).collect::<Vec<_>>());
    let (arrivals, closed) = (of(0), of(2));
    let mut targets = Vec::new();
    for (peer, figures) in &peers {
        let figure = median(figures);
        let mut cells = vec![Cell::text(peer.name()), Cell::maybe(figure, 0)];
        cells.push(Cell::maybe(figure.map(|figure| 1e6 / figure), 1));
        cells.resize_with(COLUMNS.len(), || Cell::Missing);
        rows.push(cells);
        if let (Some(share), Some(_)) = (peer.promised(), figure) {
            let what = format!("share of the requests per CPU-second of {}", peer.name());
            let ours = if peer.has_arrivals() { arrivals } else { closed };
            targets.push(Target::at_least(
                &what,
                ours.zip(figure).map(|(ours, theirs)| ours / theirs),
                share,
                2,
            ));
        }
    }
    Ok(Figures {
        name: "load",
        title: format!(
            "Poisson arrivals at {:.0}/s and {CONNECTIONS} connections in a closed model for {} s, answers of {BODY_BYTES} bytes; median of {rounds} rounds.",
            args.rate, args.duration,
        ),
        columns: COLUMNS,
        rows,
        targets,
        notes: Vec::new(),
    })
}

const COLUMNS: &[&str] =
    &["generator", "requests/CPU-s", "us/request", "completed/s", "late p50 ms", "late p99 ms", "errors"];

fn row(name: &str, rounds: &[Round]) -> Vec<Cell> {
    let middle = |of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    vec![
        Cell::text(name),
        Cell::maybe(middle(|r| r.per_cpu_s), 0),
        Cell::maybe(middle(|r| 1e6 / r.per_cpu_s), 1),
        Cell::maybe(middle(|r| r.per_s), 0),
        Cell::maybe(middle(|r| r.late_p50_ms), 3),
        Cell::maybe(middle(|r| r.late_p99_ms), 3),
        Cell::maybe(middle(|r| r.errors), 0),
    ]
}

struct Round {
    per_cpu_s: f64,
    per_s: f64,
    late_p50_ms: f64,
    late_p99_ms: f64,
    errors: f64,
}

async fn round(args: &LoadArgs, address: &str, model: Model) -> Result<Round> {
    let scenario = Scenario {
        base_url: format!("http://{address}"),
        headers: Default::default(),
        operations: vec![serde_json::from_str(r#"{ "name": "GET /", "path": "/orders/{{id}}" }"#)?],
        variables: serde_json::from_str(
            r#"{ "id": { "kind": "integer", "from": 1, "to": 100000, "skew": 1.0 } }"#,
        )?,
    };
    let duration = Duration::try_from_secs_f64(args.duration).context("--duration")?;
    let clock = Clock { unix_ns: 0, at: Instant::now() };
    let mut options = Options::new(Pace::constant(args.rate, Spacing::Poisson), duration, 1, clock);
    match model {
        Model::Open(version) => options.connection.version = version,
        Model::Closed => options.users = Some(CONNECTIONS),
    }
    let result = load::run(&scenario, &options, &Shutdown::new()).await?;
    let cpu_s = result.cpu_s.context("the kernel does not tell CPU time")?;
    ensure!(result.completed > 0, "no request was answered");
    Ok(Round {
        per_cpu_s: result.completed as f64 / cpu_s,
        per_s: result.completed as f64 / duration.as_secs_f64(),
        late_p50_ms: result.lateness.quantile_ms(0.5).unwrap_or(f64::NAN),
        late_p99_ms: result.lateness.quantile_ms(0.99).unwrap_or(f64::NAN),
        errors: result.error_count() as f64,
    })
}

/// Another generator.
#[derive(Clone, Copy)]
enum Peer {
    Wrk,
    Hey,
    Oha,
    /// At the asked rate, with latencies counted from when a request was due.
    OhaArrivals,
}

impl Peer {
    const ALL: [Self; 4] = [Self::Wrk, Self::Hey, Self::Oha, Self::OhaArrivals];

    fn name(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::Hey => "hey",
            Self::Oha => "oha",
            Self::OhaArrivals => "oha, arrivals",
        }
    }

    fn promised(self) -> Option<f64> {
        match self {
            Self::Wrk => Some(SHARE_OF_WRK),
            Self::Hey => None,
            Self::Oha | Self::OhaArrivals => Some(SHARE_OF_OHA),
        }
    }

    fn has_arrivals(self) -> bool {
        matches!(self, Self::OhaArrivals)
    }

    fn program(self) -> &'static str {
        match self {
            Self::Wrk => "wrk",
            Self::Hey => "hey",
            Self::Oha | Self::OhaArrivals => "oha",
        }
    }

    /// Requests per CPU-second of one run; `None` where it is not installed or says nothing that can be read.
    fn per_cpu_s(self, address: &str, args: &LoadArgs) -> Option<f64> {
        let url = format!("http://{address}/orders/1");
        let (length, connections) = (format!("{}s", args.duration.ceil()), CONNECTIONS.to_string());
        let rate = args.rate.to_string();
        let words: Vec<&str> = match self {
            Self::Wrk => vec!["-t1", "-c", &connections, "-d", &length, &url],
            Self::Hey => vec!["-c", &connections, "-z", &length, "-cpus", "1", &url],
            Self::Oha => vec!["--no-tui", "-c", &connections, "-z", &length, &url],
            Self::OhaArrivals => {
                vec!["--no-tui", "-c", &connections, "-z", &length, "-q", &rate, "--latency-correction", &url]
            }
        };
        let before = process::cpu_s_of_ended()?;
        let said = process::run_quietly(Path::new(self.program()), words).ok()?;
        let cpu_s = process::cpu_s_of_ended()? - before;
        let requests = self.requests(&said)?;
        (cpu_s >= MIN_CPU_S && requests > 0.0).then(|| requests / cpu_s)
    }

    /// How many requests it says to have made.
    fn requests(self, said: &str) -> Option<f64> {
        let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<f64>().ok());
        match self {
            Self::Wrk => number(said.lines().find(|line| line.contains("requests in"))?),
            // `  [200]	12345 responses`
            Self::Hey | Self::Oha | Self::OhaArrivals => {
                let line = said.lines().find(|line| line.trim_start().starts_with("[200]"))?;
                number(line.trim_start().trim_start_matches("[200]"))
            }
        }
    }
}

/// The helper: answers until nobody holds its standard input.
pub(crate) async fn serve() -> Result<()> {
    let listener = net::listen(([127, 0, 0, 1], 0).into()).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let mut connections = tokio::task::JoinSet::new();
    let mut owner = std::pin::pin!(told());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            ended = &mut owner => return ended.map(drop),
        };
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let body = body.clone();
        let answer = service_fn(move |_: Request<Incoming>| {
            let body = body.clone();
            async { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        connections.spawn(async move {
            // A client that goes away has been answered as far as possible.
            drop(
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await,
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peers_say_is_read() {
        let wrk = "Running 5s test\n  Latency 1.0ms\n  402134 requests in 5.10s, 120.00MB read\n";
        assert_eq!(Peer::Wrk.requests(wrk), Some(402_134.0));
        assert_eq!(
            Peer::Hey.requests("Status code distribution:\n  [200]\t180500 responses\n"),
            Some(180_500.0)
        );
        assert_eq!(
            Peer::Oha.requests("Status code distribution:\n  [200] 338000 responses\n"),
            Some(338_000.0)
        );
        assert_eq!(Peer::Oha.requests("nothing"), None);
    }
}
