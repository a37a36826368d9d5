//! Real load on scripted servers: what each kind of failure is called, and that no arrival ever vanishes.

#![expect(clippy::unwrap_used, reason = "a failure of the test's own parts is a failure of the test")]

mod client;
mod drive;
mod failures;
mod flows;
mod out;
mod scenarios;
mod server;
mod truth;

use load::{Clock, LoadResult, Options, Pace, Scenario, Spacing, run};
use net::Shutdown;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Any moment will do as the wall clock's: results only count from it.
const UNIX_NS: u64 = 1_700_000_000_000_000_000;

fn scenario(address: SocketAddr) -> Scenario {
    toml::from_str(&format!(
        "base_url = \"http://{address}\"\noperations = [{{ name = \"GET /x\", path = \"/x?token=hush\" }}]"
    ))
    .unwrap()
}

fn options(rate_per_s: f64, duration: Duration) -> Options {
    let clock = Clock { unix_ns: UNIX_NS, at: Instant::now() };
    Options::new(Pace::constant(rate_per_s, Spacing::Constant), duration, 1, clock)
}

async fn measure(address: SocketAddr, options: &Options) -> LoadResult {
    let result = run(&scenario(address), options, &Shutdown::new()).await.unwrap();
    nothing_vanished(&result);
    result
}

/// Every arrival that was due is in the cells, and is a success or a counted error.
fn nothing_vanished(result: &LoadResult) {
    assert_eq!(result.response(0).count(), result.offered);
    let cell_errors: u64 = result.cells.iter().map(|cell| u64::from(cell.errors)).sum();
    assert_eq!(cell_errors, result.error_count());
    assert_eq!(result.offered, result.started_count + result.figures.not_started);
    for error in &result.errors {
        assert!(!error.example.is_empty() && !error.example.contains("hush"), "{error:?}");
    }
}
