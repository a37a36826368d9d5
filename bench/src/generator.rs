//! What a request costs the load generator: requests per CPU-second of this process against a small server in another
//! one. The server is no part of the figure; whether it keeps up shows in the lateness.

use crate::args::LoadArgs;
use crate::figures::{Cell, Figures, median};
use crate::process::{Helper, told};
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
use std::time::{Duration, Instant};

/// As large as a small JSON answer.
const BODY_BYTES: usize = 232;

pub(crate) async fn run(args: &LoadArgs) -> Result<Figures> {
    let mut server = Helper::this(["internal-server"])?;
    let address = server.hear()?;
    let mut rows = Vec::new();
    for (name, version) in [("HTTP/1.1", HttpVersion::Http1), ("HTTP/2", HttpVersion::Http2)] {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds.max(1) {
            rounds.push(round(args, &address, version).await?);
        }
        let middle = |of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
        rows.push(vec![
            Cell::text(name),
            Cell::maybe(middle(|r| r.per_cpu_s), 0),
            Cell::maybe(middle(|r| 1e6 / r.per_cpu_s), 1),
            Cell::maybe(middle(|r| r.per_s), 0),
            Cell::maybe(middle(|r| r.late_p50_ms), 3),
            Cell::maybe(middle(|r| r.late_p99_ms), 3),
            Cell::maybe(middle(|r| r.errors), 0),
        ]);
    }
    Ok(Figures {
        name: "load",
        title: format!(
            "Poisson arrivals, {:.0}/s for {} s, answers of {BODY_BYTES} bytes; median of {} rounds.",
            args.rate,
            args.duration,
            args.rounds.max(1)
        ),
        columns: &[
            "protocol",
            "requests/CPU-s",
            "us/request",
            "completed/s",
            "late p50 ms",
            "late p99 ms",
            "errors",
        ],
        rows,
        targets: Vec::new(),
        notes: Vec::new(),
    })
}

struct Round {
    per_cpu_s: f64,
    per_s: f64,
    late_p50_ms: f64,
    late_p99_ms: f64,
    errors: f64,
}

async fn round(args: &LoadArgs, address: &str, version: HttpVersion) -> Result<Round> {
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
    options.version = version;
    let result = load::run(&scenario, &options, &Shutdown::new()).await?;
    let share = result.figures.cpu_share.context("the kernel does not tell CPU time")?;
    ensure!(result.completed > 0, "no request was answered");
    Ok(Round {
        per_cpu_s: result.completed as f64 / (share * duration.as_secs_f64()),
        per_s: result.completed as f64 / duration.as_secs_f64(),
        late_p50_ms: result.lateness.quantile_ms(0.5).unwrap_or(f64::NAN),
        late_p99_ms: result.lateness.quantile_ms(0.99).unwrap_or(f64::NAN),
        errors: result.error_count() as f64,
    })
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
