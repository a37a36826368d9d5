//! Stepped load on a real service that does one request at a time: what it can take is known from the outside.

use crate::service::{NO_TRACES, Service, write};
use crate::support::run;
use serde_json::Value;
use std::time::Duration;

/// Nothing is answered faster than one in ten milliseconds.
const EACH: Duration = Duration::from_millis(10);

#[test]
fn a_service_that_does_one_request_at_a_time_is_measured_to_its_end() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::one_at_a_time(EACH));
    write(folder.path(), &service.settings("\"p95(GET /items) < 2 s\"", NO_TRACES));
    let levels = ["measure", "--levels", "10,25,50,75,150", "--level-duration", "5", "--for-rate", "1000"];
    let ran = run(folder.path(), &[&levels[..], &["-o", "recording", "--format", "json"]].concat());
    let found: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let measured = found["levels"].as_array().unwrap();
    if measured.iter().any(|level| level["state"] == "generator_limited") {
        // A machine on which not even the load gets its turn: that is the answer then, and no figure is given for it.
        assert_eq!((&found["stop"]["kind"], ran.code), (&"generator".into(), Some(2)), "{found:#}");
        return;
    }
    let top = measured.last().unwrap();
    assert_eq!(top["state"], "overloaded", "{found:#}");
    let ceiling = found["ceiling"]["rate"]["value"].as_f64().unwrap();
    // Sleeps are never short: a busy machine makes them longer.
    assert!((20.0..=101.0).contains(&ceiling), "{found:#}");
    assert!(found["replicas"]["count"].as_u64().is_some_and(|n| n >= 10), "{found:#}");
    let cpu = &found["resources"].as_array().unwrap().iter().find(|r| r["name"] == "CPU" && r["owner"] == "");
    let full = cpu.is_some_and(|cpu| {
        let limit = cpu["limit"].as_f64().unwrap();
        cpu["used"].as_array().unwrap().iter().any(|used| used.as_f64().unwrap() >= 0.85 * limit)
    });
    let kind = found["limit"]["kind"].as_str().unwrap();
    // The lock is nothing that anybody watches; on a machine that others fill, that is said in its place.
    assert!(if full { ["machine", "resource"].contains(&kind) } else { kind == "unseen" }, "{found:#}");
    assert!(ran.code == Some(if kind == "machine" { 2 } else { 0 }), "{ran:?}");

    let kept: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("recording/levels.json")).unwrap()).unwrap();
    assert_eq!(kept, found);
    let at = found["reference"].as_u64().unwrap() as usize;
    let judged = run(folder.path(), &["localize", "recording", "--format", "json"]);
    let judged: Value = serde_json::from_str(&judged.out).unwrap_or_else(|_| panic!("{judged:?}"));
    assert_eq!(judged["recording"]["start_ns"], measured[at]["start_ns"], "{judged:#}");
    let page = run(folder.path(), &["report", "recording", "-o", "page.html"]);
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(std::fs::read_to_string(folder.path().join("page.html")).unwrap().contains("\"goal_rate\""));
}

#[test]
fn levels_that_are_none_are_told_before_the_load() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    write(folder.path(), &service.settings("", NO_TRACES));
    for (flags, part) in [
        (&["--levels", "10,twenty"][..], "`twenty` is no number"),
        (&["--levels", "0.5,2", "--closed"], "0.5 is no number of users"),
        (&["--levels", "10", "--level-duration", "1"], "at least 5 s"),
        (&["--levels", "--for-rate", "0"], "--for-rate: 0"),
    ] {
        let ran = run(folder.path(), &[&["measure"][..], flags].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(part), "{flags:?}: {}", ran.err);
    }
    assert_eq!(service.answered(), 0);
    let alone = run(folder.path(), &["measure", "--for-rate", "5"]);
    assert!(alone.code == Some(2) && alone.err.contains("--levels"), "{alone:?}");
}
