//! Random options: each is read, or refused with a field's name. The seeds of a fuzzer, run as a test.

use super::{Options, Overrides};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const NAMES: &[&str] = &[
    "vus",
    "duration",
    "iterations",
    "stages",
    "scenarios",
    "thresholds",
    "tags",
    "userAgent",
    "hosts",
    "tlsAuth",
    "tlsVersion",
    "batch",
    "batchPerHost",
    "maxRedirects",
    "throw",
    "rps",
    "dns",
    "blockHostnames",
    "blacklistIPs",
    "minIterationDuration",
    "setupTimeout",
    "summaryTrendStats",
    "executionSegment",
    "executor",
    "rate",
    "timeUnit",
    "preAllocatedVUs",
    "maxVUs",
    "startTime",
    "gracefulStop",
    "gracefulRampDown",
    "startVUs",
    "startRate",
    "target",
    "exec",
    "env",
    "threshold",
    "abortOnFail",
    "delayAbortEval",
    "min",
    "max",
    "cert",
    "key",
    "ttl",
    "http_reqs",
    "http_req_duration{a:b}",
    "default",
    "x",
    "",
];
const TEXTS: &[&str] = &[
    "",
    "1s",
    "10m",
    "-1s",
    "1e9h",
    "0",
    "inf",
    "constant-vus",
    "ramping-vus",
    "per-vu-iterations",
    "shared-iterations",
    "constant-arrival-rate",
    "ramping-arrival-rate",
    "p(95)<250",
    "rate>0.9",
    "avg<",
    "p(1e999)<1",
    "tls1.2",
    "10.0.0.0/8",
    "127.0.0.1:80",
    "[::1]",
    "*.test",
    "0:1",
    "1/3:2/3",
    "default",
    "\0",
    "\u{1f980}",
];

fn value(random: &mut Xoshiro256PlusPlus, depth: u32) -> Value {
    match random.random_range(0..if depth == 0 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => Value::Bool(random.random()),
        2 => json!(random.random_range(-3_i64..20)),
        3 => json!(f64::from_bits(random.random::<u64>())),
        4 | 5 => TEXTS[random.random_range(0..TEXTS.len())].into(),
        6 => (0..random.random_range(0..4)).map(|_| value(random, depth - 1)).collect(),
        _ => Value::Object(object(random, depth - 1)),
    }
}

fn object(random: &mut Xoshiro256PlusPlus, depth: u32) -> Map<String, Value> {
    let count = random.random_range(0..6);
    (0..count)
        .map(|_| (NAMES[random.random_range(0..NAMES.len())].to_owned(), value(random, depth)))
        .collect()
}

/// One scenario of the right shape, with fields of any.
fn scenario(random: &mut Xoshiro256PlusPlus) -> Value {
    let mut scenario = object(random, 2);
    scenario.insert("executor".to_owned(), TEXTS[random.random_range(7..13)].into());
    json!({ "scenarios": { "a": scenario } })
}

#[test]
fn any_options_are_read_or_refused_by_name() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(20_261_123);
    let (mut taken, mut refused) = (0_u32, 0_u32);
    for round in 0..20_000 {
        let options =
            if round % 2 == 0 { scenario(&mut random) } else { Value::Object(object(&mut random, 4)) };
        match Options::read(&options, &Overrides::default(), &BTreeMap::new()) {
            Ok(_) => taken += 1,
            Err(error) => {
                let text = format!("{error:#}");
                assert!(text.starts_with("options"), "{options}: {text}");
                refused += 1;
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}
