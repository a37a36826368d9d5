//! Tests of the pass on drawings and hostile cases.

use super::suspects;
use crate::facts::Facts;
use crate::testing::drawn;
use crate::thresholds::Thresholds;
use crate::{Options, localize};
use model::metrics::names;
use model::{MetricKind, MetricSeries, Point, Recording};
use std::collections::BTreeMap;

/// A shop of three services; the way to stock and the work in it take as long as given.
fn shop(way_ms: u32, work_ms: u32) -> Recording {
    let (work_end, call_end) = (20 + way_ms + work_ms, 20 + 2 * way_ms + work_ms);
    let work_start = 20 + way_ms;
    let end = call_end + 30;
    let price = (call_end + 2, call_end + 22, call_end + 5, call_end + 19);
    drawn(&format!(
        r#"
        repeat 50
        web server "GET /a" 0..{end}
          web http "GET http://stock/x" 20..{call_end}
            stock server "GET /x" {work_start}..{work_end}
          web http "GET http://price/x" {}..{}
            price server "GET /x" {}..{}
        "#,
        price.0, price.1, price.2, price.3
    ))
}

fn names_of(now: &Recording, base: &Recording) -> Vec<String> {
    let thresholds = Thresholds::default();
    let (now, base) = (Facts::gather(now, &thresholds, false), Facts::gather(base, &thresholds, false));
    suspects(&now, &base).into_iter().map(|s| s.service).collect()
}

fn with_cpu(mut recording: Recording, service: &str, share: f64) -> Recording {
    recording.metrics.push(MetricSeries {
        name: names::CONTAINER_CPU_LIMIT.to_owned(),
        unit: "1".to_owned(),
        kind: MetricKind::Gauge,
        attributes: BTreeMap::from([("service.name".to_owned(), service.to_owned())]),
        points: vec![Point { time_ns: 1, value: share }],
    });
    recording
}

#[test]
fn slower_work_is_the_services_own() {
    assert_eq!(names_of(&shop(5, 60), &shop(5, 20)), ["stock"]);
}

#[test]
fn a_slower_way_is_blamed_on_the_end_whose_other_ways_are_slow_as_well() {
    // `web` has another way that did not become slower, `stock` has none.
    assert_eq!(names_of(&shop(25, 20), &shop(5, 20))[0], "stock");
}

#[test]
fn nothing_slower_nobody_suspected() {
    assert_eq!(names_of(&shop(5, 20), &shop(5, 20)), Vec::<String>::new());
    assert_eq!(names_of(&shop(5, 20), &shop(25, 60)), Vec::<String>::new());
}

#[test]
fn a_cpu_that_became_full_comes_before_what_is_slow() {
    let now = with_cpu(shop(25, 20), "price", 0.95);
    let base = with_cpu(shop(5, 20), "price", 0.2);
    assert_eq!(names_of(&now, &base)[0], "price");
    let always_full = with_cpu(shop(5, 20), "price", 0.9);
    assert_eq!(names_of(&now, &always_full)[0], "stock");
}

#[test]
fn the_prediction_is_the_way_back() {
    let (now, base) = (shop(25, 20), shop(5, 20));
    let diagnosis = localize(&now, &Options { baseline: Some(&base), ..Options::default() });
    let first = &diagnosis.findings[0];
    assert_eq!((first.rule.as_str(), first.service.as_str()), ("slow_dependency", "stock"));
    let gain = first.prediction.as_ref().expect("a prediction").gain_ms();
    assert!((gain - 40.0).abs() < 1.0, "{gain}");
}
