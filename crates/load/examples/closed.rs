//! What a request costs: `closed URL USERS SECONDS [PER_SECOND|-] [OUT]` drives a closed model, or arrivals at a rate, and
//! prints requests, requests per second, per CPU-second of the generator's thread, and the response's percentiles; memory
//! after each million requests. OUT is an output such as `csv=/dev/null`.

use anyhow::{Context, Result};
use load::out::{Origin, Outputs};
use load::{Clock, Operation, Options, Pace, Progress, Scenario, Spacing};
use net::Shutdown;
use std::io::Write;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| words.get(at).context("usage: closed URL USERS SECONDS [PER_SECOND|-] [OUT]");
    let users: u32 = word(1)?.parse().context("USERS")?;
    let duration = Duration::try_from_secs_f64(word(2)?.parse().context("SECONDS")?)?;
    let rate = words.get(3).filter(|rate| *rate != "-");
    let rate: Option<f64> = rate.map(|rate| rate.parse()).transpose().context("PER_SECOND")?;
    let outputs = match words.get(4) {
        Some(target) => Some(Outputs::start(&[target.parse()?], &Origin::default())?),
        None => None,
    };
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
    options.feed = outputs.as_ref().map(Outputs::feed);
    let (told, telling) = tokio::sync::watch::channel(Progress::default());
    options.progress = Some(told);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let memory = tokio::spawn(tell_memory(telling));
        let result = load::run(&scenario, &options, &Shutdown::new()).await;
        memory.abort();
        result
    })?;
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
    drop(options);
    if let Some(outputs) = outputs {
        for told in runtime.block_on(outputs.finish()) {
            writeln!(std::io::stdout(), "{}", told.text)?;
        }
    }
    writeln!(std::io::stdout(), "at the end: {}", memory())?;
    for issue in &result.validity.issues {
        writeln!(std::io::stdout(), "{}: {}", issue.kind, issue.reason)?;
    }
    Ok(())
}

/// A line after each million requests.
async fn tell_memory(mut telling: tokio::sync::watch::Receiver<Progress>) {
    let mut next = 1_000_000;
    while telling.changed().await.is_ok() {
        let completed = telling.borrow_and_update().completed;
        if completed >= next {
            next = completed - completed % 1_000_000 + 1_000_000;
            // Nobody reads it where standard output is closed.
            drop(writeln!(std::io::stdout(), "{completed} requests: {}", memory()));
        }
    }
}

/// Memory of this process, now and at most.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        status.lines().find(|line| line.starts_with(name)).unwrap_or_default().replace('\t', " ")
    };
    format!("{}, {}", of("VmRSS"), of("VmHWM"))
}
