//! Commands of a cache as requests send them, from the server's own counters: how often, how long, and in how many goes.
//! A pipeline of twenty commands and twenty commands one after another count alike; how often the server read from its
//! clients' sockets tells them apart. Where that was not counted, no command is drawn: nothing could be concluded.

use super::{Call, MIN_CALLS, NEAR_WHOLE, whole_calls};
use model::{Costs, Rate, ResourceCost, resources};

/// Time of one command on the wire where nobody measured it, milliseconds: a round trip on one host.
const ROUND_TRIP_MS: f64 = 0.05;
/// Commands that a request does not wait for by themselves, or that belong to a connection.
const ASIDE: [&str; 12] = [
    "client",
    "hello",
    "auth",
    "select",
    "ping",
    "config",
    "command",
    "info",
    "multi",
    "exec",
    "subscribe",
    "publish",
];

/// The commands of a request of an operation.
pub(super) fn commands(costs: &Costs, operation: usize) -> Vec<Call<'_>> {
    let of = |name: &str| costs.resource(name).and_then(|cost| cost.of(operation));
    let Some(reads) = of(resources::CACHE_READS) else { return Vec::new() };
    let all: Vec<(&str, Rate)> = costs
        .resources
        .iter()
        .filter_map(|cost| told(cost, operation))
        .filter(|(_, r)| r.value >= MIN_CALLS)
        .collect();
    let sent: f64 = all.iter().map(|(_, rate)| rate.value).sum();
    // Of single commands each is one read; a pipeline has many in one.
    let goes = (reads.value / sent.max(f64::MIN_POSITIVE)).min(1.0);
    let goes = if goes >= 1.0 - NEAR_WHOLE { 1.0 } else { goes };
    let round_trip_ms = costs.cache_round_trip_ms.unwrap_or(ROUND_TRIP_MS);
    let call = |(name, rate)| {
        let ms = of(&format!("{}{name}", resources::CACHE_TIME)).map_or(0.0, |ms| ms.value);
        let calls = whole_calls(rate) * goes;
        let calls = if goes < 1.0 { calls.round().max(calls.min(1.0)) } else { calls };
        Call { text: name, cache: true, calls, ms: ms / calls.max(MIN_CALLS) + round_trip_ms, rows: 0.0 }
    };
    all.into_iter().map(call).collect()
}

/// A command's name and its calls per request, where they can be told.
fn told(cost: &ResourceCost, operation: usize) -> Option<(&str, Rate)> {
    let name = cost.name.strip_prefix(resources::CACHE_CALLS)?;
    let container = name.split('|').next().unwrap_or(name);
    let rate = cost.cost.of(operation).filter(|rate| rate.low > 0.0)?;
    (!ASIDE.contains(&container)).then_some((name, rate))
}

/// What is said of a finding on a command: how it was counted, and in how many goes it came.
pub(super) fn evidence(costs: &Costs, operation: usize, command: &str) -> Option<(String, f64)> {
    let name = format!("{}{}", resources::CACHE_CALLS, command.to_ascii_lowercase());
    let cost = costs.resource(&name)?;
    let calls = cost.of(operation)?;
    let of = |name: &str| costs.resource(name).and_then(|cost| cost.of(operation));
    let reads = of(resources::CACHE_READS).map_or(0.0, |rate| rate.value);
    let found = of(resources::CACHE_HITS).map_or(0.0, |rate| rate.value);
    let missed = of(resources::CACHE_MISSES).map_or(0.0, |rate| rate.value);
    let hits = if found + missed > 0.0 {
        format!("; {:.0} % of a request's look-ups find a value", 100.0 * found / (found + missed))
    } else {
        String::new()
    };
    let line = format!(
        "told without traces, from {} windows of a varied load: {:.2} {} a request ({:.2} to {:.2}), the server read {reads:.1} times from its clients, {:.0} % of the growth is left over{hits}",
        cost.windows,
        calls.value,
        command.to_ascii_uppercase(),
        calls.low,
        calls.high,
        cost.residual * 100.0
    );
    Some((line, cost.residual))
}
