//! What a request costs: `closed URL USERS SECONDS [PER_SECOND]` drives a closed model, or arrivals at a rate, and
//! prints requests, requests per second, per CPU-second of the generator's thread, and the response's percentiles.

use anyhow::{Context, Result};
use load::{Clock, Operation, Options, Pace, Scenario, Spacing};
use net::Shutdown;
use std::io::Write;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| words.get(at).context("usage: closed URL USERS SECONDS [PER_SECOND]");
    let users: u32 = word(1)?.parse().context("USERS")?;
    let duration = Duration::try_from_secs_f64(word(2)?.parse().context("SECONDS")?)?;
    let rate: Option<f64> = words.get(3).map(|rate| rate.parse()).transpose().context("PER_SECOND")?;
    let operation: Operation = serde_json::from_str(r#"{ "name": "GET /", "path": "/" }"#)?;
    let scenario = Scenario {
        base_url: word(0)?.clone(),
        headers: Default::default(),
        operations: vec![operation],
        variables: Default::default(),
    };
    let clock = Clock { unix_ns: 0, at: Instant::now() };
    let pace = Pace::constant(rate.unwrap_or(1.0), Spacing::Constant);
    let mut options = Options::new(pace, duration, 1, clock);
    options.users = rate.is_none().then_some(users);
    options.max_in_flight = users as usize;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(load::run(&scenario, &options, &Shutdown::new()))?;
    let seconds = duration.as_secs_f64();
    let cpu_s = result.cpu_s.context("the kernel does not tell CPU time")?;
    let response = result.response(0);
    let ms = |q| response.quantile_ms(q).unwrap_or_default();
    writeln!(
        std::io::stdout(),
        "{} requests, {} errors, {:.0}/s, {:.0} per CPU-second, p50 {:.2} p95 {:.2} p99 {:.2} ms, {} connections",
        result.completed,
        result.error_count(),
        result.completed as f64 / seconds,
        result.completed as f64 / cpu_s,
        ms(0.5),
        ms(0.95),
        ms(0.99),
        result.connections,
    )?;
    for issue in &result.validity.issues {
        writeln!(std::io::stdout(), "{}: {}", issue.kind, issue.reason)?;
    }
    Ok(())
}
