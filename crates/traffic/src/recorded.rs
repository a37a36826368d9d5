//! A recording as a scenario: its load's operations with their counts, its spans for ids and queries.

use crate::learn::{Exchange, Learner};
use crate::plan::{Options, Plan, Source};
use crate::spans::spans;
use anyhow::{Result, ensure};
use model::Recording;
use std::borrow::Cow;

/// The scenario of a recording. Where it has spans, they tell mix and ids; else the operations of its load do.
///
/// # Errors
/// It holds neither.
pub fn recorded(recording: &Recording, name: &str, service: Option<&str>, options: &Options) -> Result<Plan> {
    let mut learner = Learner::default();
    let mut seen = 0_u64;
    spans(&recording.spans, service, |exchange| {
        seen += 1;
        learner.learn(exchange);
    });
    spans(&recording.spans, service, |exchange| learner.count(exchange));
    let what = if seen > 0 {
        format!("{seen} requests of traces")
    } else {
        of_operations(recording, &mut learner, |learner, exchange| learner.learn(exchange));
        of_operations(recording, &mut learner, |learner, exchange| learner.count(exchange));
        format!("the {} operations of a recording", recording.run.operations.len())
    };
    let target = (!recording.run.target.is_empty()).then_some(recording.run.target.as_str());
    let source = Source { name: name.to_owned(), what };
    let plan = learner.plan(source, target, options);
    ensure!(!plan.operations.is_empty(), "it holds no request that came in from outside");
    Ok(plan)
}

/// Each counted request of each operation, at the time of its cell.
fn of_operations(recording: &Recording, learner: &mut Learner, each: impl Fn(&mut Learner, &Exchange<'_>)) {
    let cell_ns = u64::from(recording.run.cell_ms) * 1_000_000;
    for cell in &recording.latencies {
        let Some(name) = recording.run.operations.get(cell.operation as usize) else { continue };
        let Some((method, route)) = name.split_once(' ') else { continue };
        let exchange = Exchange {
            at_ns: recording.run.start_ns + u64::from(cell.cell) * cell_ns,
            method: Cow::Borrowed(method),
            route: Cow::Borrowed(route),
            ..Exchange::default()
        };
        for _ in 0..cell.response.count() {
            each(learner, &exchange);
        }
    }
}
