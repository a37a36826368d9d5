//! Requests per CPU-second of the client, on a server in another process (this program again), so that the server's
//! work is not counted. `load_speed [RATE [SECONDS]]`, default 15,000 per second for 5 s; build with --release.

use anyhow::{Context, Result};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use load::{Clock, Options, Pace, Scenario, Spacing, run, summary, text};
use net::Shutdown;
use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// As large as a small JSON answer.
const BODY_BYTES: usize = 232;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("serve") => serve(),
        rate => {
            let rate: f64 = rate.unwrap_or("15000").parse().context("RATE is no number")?;
            let seconds: u64 =
                words.next().as_deref().unwrap_or("5").parse().context("SECONDS is no number")?;
            measure(rate, Duration::from_secs(seconds))
        }
    }
}

struct EndOnDrop(Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn measure(rate: f64, duration: Duration) -> Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "an example of its own: the server must be another process"
    )]
    let child = Command::new(std::env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut server = EndOnDrop(child);
    let mut address = String::new();
    BufReader::new(server.0.stdout.take().context("no output of the server")?).read_line(&mut address)?;
    let scenario = Scenario {
        base_url: format!("http://{}", address.trim()),
        headers: Default::default(),
        operations: vec![serde_json::from_str(r#"{ "name": "GET /", "path": "/orders/{{id}}" }"#)?],
        variables: serde_json::from_str(
            r#"{ "id": { "kind": "integer", "from": 1, "to": 100000, "skew": 1.0 } }"#,
        )?,
    };
    let clock = Clock { unix_ns: 0, at: Instant::now() };
    let options = Options::new(Pace::constant(rate, Spacing::Poisson), duration, 1, clock);
    let result = run(&scenario, &options, &Shutdown::new()).await?;
    let cpu_s =
        result.figures.cpu_share.context("the kernel does not tell CPU time")? * duration.as_secs_f64();
    let mut out = std::io::stdout();
    writeln!(out, "{}", text(&summary(&result)))?;
    writeln!(
        out,
        "{:.0} requests per client CPU-second ({:.1} us each), lateness p50 {:.3} ms, p99 {:.3} ms, {} connections, {} held back",
        result.completed as f64 / cpu_s,
        cpu_s * 1e6 / result.completed as f64,
        result.lateness.quantile_ms(0.5).unwrap_or_default(),
        result.lateness.quantile_ms(0.99).unwrap_or_default(),
        result.connections,
        result.held_back,
    )?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn serve() -> Result<()> {
    let listener = net::listen(([127, 0, 0, 1], 0).into()).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let body = body.clone();
        let answer = service_fn(move |_: Request<Incoming>| {
            let body = body.clone();
            async { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        connections
            .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
