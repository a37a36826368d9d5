//! Verdicts on trials whose truth is known, and on input that nobody should send.

mod series;

use model::{Change, ChangeKind, Design, Grade, Histogram, Judgement, Pair, Prediction, Trial, Verdict};
use series::{Kind, Layout, simulate};
use std::collections::BTreeMap;
use verify::{Metric, Options, compare, interval, judge, noise};

fn trial(operations: Vec<(&str, Vec<Pair>)>) -> Trial {
    Trial {
        change: Change {
            name: "index".to_owned(),
            description: String::new(),
            kind: ChangeKind::Manual { text: String::new() },
        },
        prediction: None,
        design: Design::Interleaved,
        window_s: 1.0,
        operations: operations.into_iter().map(|(name, pairs)| (name.to_owned(), pairs)).collect(),
    }
}

fn simulated(ratio: f64, requests_per_arm: usize, seed: u64) -> Vec<Pair> {
    simulate(Layout { kind: Kind::Independent, pairs: 20, requests_per_arm, ratio }, seed)
}

fn aim(name: &str) -> Options {
    let aim = Metric::parse(name);
    assert!(aim.is_some(), "{name}");
    Options { aim, ..Options::default() }
}

fn predicted(after_ms: f64, low_ms: f64, high_ms: f64) -> Prediction {
    Prediction {
        metric: "p95(GET /a)".to_owned(),
        before_ms: 100.0,
        after_ms,
        low_ms,
        high_ms,
        grade: Grade::B,
        assumption: String::new(),
        quantiles: Vec::new(),
        calibration: None,
    }
}

/// The whole answer on three lines at most, for looking at.
fn told(judgement: &Judgement) -> String {
    format!("{:?} {}\n{}", judgement.verdict, judgement.metric, judgement.reasons.join("\n"))
}

fn says(judgement: &Judgement, text: &str) -> bool {
    judgement.reasons.iter().any(|reason| reason.contains(text))
}

#[test]
fn half_the_time_is_better_and_the_prediction_held() {
    let mut trial = trial(vec![("GET /a", simulated(0.5, 3000, 1)), ("GET /b", simulated(1.0, 3000, 2))]);
    trial.prediction = Some(predicted(48.0, 45.0, 52.0));
    let judgement = judge(&trial, &Options::default());
    assert_eq!(judgement.verdict, Verdict::Better, "{}", told(&judgement));
    assert_eq!((judgement.metric.as_str(), judgement.prediction_held), ("p95(GET /a)", Some(true)));
    let names: Vec<&str> = judgement.metrics.iter().map(|m| m.metric.as_str()).collect();
    assert_eq!(
        names,
        ["p50(GET /a)", "p95(GET /a)", "p99(GET /a)", "p50(GET /b)", "p95(GET /b)", "p99(GET /b)"]
    );
    let p95 = &judgement.metrics[1];
    assert!((p95.ratio - p95.after_ms / p95.before_ms).abs() < 1e-9);
    assert!(
        (p95.ratio - 0.5).abs() < 0.03 && p95.low < p95.ratio && p95.high < 0.6 && p95.detectable < 0.1,
        "{p95:?}"
    );
    assert_eq!((p95.requests_before, p95.requests_after, p95.needed_s), (3000, 3000, None));
}

#[test]
fn a_prediction_is_missed_when_the_intervals_do_not_meet() {
    let mut trial = trial(vec![("GET /a", simulated(0.5, 3000, 1))]);
    let mut held = |prediction: Prediction| {
        trial.prediction = Some(prediction);
        judge(&trial, &Options::default()).prediction_held
    };
    assert_eq!(held(predicted(20.0, 18.0, 22.0)), Some(false));
    // Without a width, the tolerance of 5 % of before counts on either side.
    assert_eq!(held(predicted(46.0, 46.0, 46.0)), Some(true));
    assert_eq!(held(predicted(40.0, f64::NAN, f64::NAN)), Some(false));
    assert_eq!(held(Prediction { before_ms: 0.0, ..predicted(46.0, 46.0, 46.0) }), None);
    assert_eq!(held(Prediction { metric: "p95(GET /gone)".to_owned(), ..predicted(46.0, 46.0, 46.0) }), None);
}

#[test]
fn a_change_that_is_fast_because_it_fails_is_worse() {
    let mut pairs = simulated(0.1, 600, 3);
    for pair in &mut pairs {
        pair.after_errors = pair.after.count() / 2;
    }
    let judgement = judge(&trial(vec![("GET /a", pairs)]), &aim("p95(GET /a)"));
    assert_eq!((judgement.verdict, judgement.metric.as_str()), (Verdict::Worse, "errors(GET /a)"));
    assert!(says(&judgement, "errors(GET /a) is worse: 0.0 % of requests failed before, 50 % after"));
}

#[test]
fn a_few_new_failures_of_the_aimed_operation_weigh_fully_and_of_others_are_told() {
    let failing = |seed: u64| {
        let mut pairs = simulated(0.5, 200, seed);
        pairs.iter_mut().step_by(2).for_each(|pair| pair.after_errors = 1);
        pairs
    };
    let judgement = judge(&trial(vec![("GET /a", failing(21))]), &aim("p95(GET /a)"));
    assert_eq!(judgement.metric, "errors(GET /a)", "{}", told(&judgement));
    let many: Vec<String> = (0..20).map(|op| format!("GET /{op}")).collect();
    let mut operations = vec![("GET /a", simulated(0.5, 200, 22)), ("GET /b", failing(23))];
    operations.extend(many.iter().zip(24..).map(|(name, seed)| (name.as_str(), simulated(1.0, 200, seed))));
    let judgement = judge(&trial(operations), &aim("p95(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Better, "{}", told(&judgement));
    assert!(says(&judgement, "errors(GET /b) may have risen, from 0.0 % to 5.0 % of requests"));
}

#[test]
fn errors_that_were_there_before_do_not_count() {
    let mut pairs = simulated(0.5, 3000, 3);
    for pair in &mut pairs {
        (pair.before_errors, pair.after_errors) = (3, 3);
    }
    let judgement = judge(&trial(vec![("GET /a", pairs)]), &aim("p95(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Better, "{}", told(&judgement));
}

#[test]
fn a_gain_paid_by_another_operation_is_worse_and_says_which() {
    let trial = trial(vec![("GET /a", simulated(0.5, 3000, 4)), ("PUT /b", simulated(1.4, 3000, 5))]);
    let judgement = judge(&trial, &aim("p95(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Worse);
    assert!(judgement.metric.ends_with("(PUT /b)"), "{}", told(&judgement));
    assert!(says(&judgement, "p95(GET /a) is better") && says(&judgement, "p95(PUT /b) is worse"));
}

#[test]
fn no_change_with_much_data_is_the_same() {
    let judgement = judge(&trial(vec![("GET /a", simulated(1.0, 6000, 6))]), &aim("p50(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Same, "{}", told(&judgement));
    assert!(says(&judgement, "p50(GET /a) is the same within 5.0 %"));
}

#[test]
fn a_small_gain_in_little_data_is_unclear_and_says_what_is_needed() {
    let pairs = simulate(Layout { kind: Kind::Hard, pairs: 20, requests_per_arm: 1000, ratio: 0.95 }, 7);
    let judgement = judge(&trial(vec![("GET /a", pairs)]), &aim("p95(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Unclear, "{}", told(&judgement));
    let p95 = &judgement.metrics[1];
    assert!(p95.detectable > 0.05 && p95.needed_s.is_some_and(|s| s > 40.0), "{p95:?}");
    assert!(says(&judgement, "would have been seen") && says(&judgement, "s more of measuring needed"));
}

#[test]
fn a_percentile_without_enough_requests_is_unclear() {
    let judgement = judge(&trial(vec![("GET /a", simulated(0.2, 150, 8))]), &aim("p99(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Unclear);
    assert!(says(&judgement, "150 requests in the smaller arm, this percentile needs at least 500"));
    // 20 pairs of two windows of 1 s gave 150: 350 more take 47 pairs.
    assert_eq!(judgement.metrics[2].needed_s, Some(94.0));
    assert_eq!(judgement.metrics[1].verdict, Verdict::Better, "{}", told(&judgement));
}

#[test]
fn one_after_the_other_gives_no_verdict_below_20_percent() {
    let sequential = |ratio: f64, seed: u64| {
        let mut trial = trial(vec![("GET /a", simulated(ratio, 6000, seed))]);
        trial.design = Design::Sequential;
        judge(&trial, &aim("p95(GET /a)"))
    };
    for ratio in [0.85, 1.0, 1.15] {
        let judgement = sequential(ratio, 9);
        assert_eq!(judgement.verdict, Verdict::Unclear, "{ratio}: {}", told(&judgement));
        assert!(says(&judgement, "drift cannot be told from a change below 20 %"));
    }
    assert_eq!(sequential(0.6, 9).verdict, Verdict::Better);
    assert_eq!(sequential(1.5, 9).verdict, Verdict::Worse);
}

#[test]
fn without_an_aim_any_gain_counts() {
    let trial = trial(vec![("GET /a", simulated(1.0, 3000, 10)), ("GET /b", simulated(0.6, 3000, 11))]);
    let judgement = judge(&trial, &Options::default());
    assert_eq!(judgement.verdict, Verdict::Better, "{}", told(&judgement));
    assert!(judgement.metric.ends_with("(GET /b)"));
}

#[test]
fn an_aim_that_was_not_measured_is_unclear() {
    let judgement = judge(&trial(vec![("GET /a", simulated(0.5, 3000, 12))]), &aim("p95(GET /b)"));
    assert_eq!((judgement.verdict, judgement.metric.as_str()), (Verdict::Unclear, "p95(GET /b)"));
    assert!(says(&judgement, "p95(GET /b) was not measured"));
}

#[test]
fn an_aim_at_another_percentile_is_judged_too() {
    let judgement = judge(&trial(vec![("GET /a", simulated(0.5, 3000, 13))]), &aim("p90(GET /a)"));
    assert_eq!((judgement.verdict, judgement.metrics.len()), (Verdict::Better, 4));
}

/// A bucket is 1.1 % wide; the ends of an interval must not step from bucket to bucket.
#[test]
fn a_small_move_of_the_values_moves_the_interval_as_much() {
    let layout = |ratio: f64| Layout { kind: Kind::Hard, pairs: 20, requests_per_arm: 6000, ratio };
    let of = |ratio: f64| compare(&simulate(layout(ratio), 14), 0.95, 0.95).unwrap();
    let start = of(1.0);
    for step in 1..=10 {
        let ratio = 1.0 + 0.001 * f64::from(step);
        let moved = of(ratio);
        for (now, was) in [(moved.ratio, start.ratio), (moved.low, start.low), (moved.high, start.high)] {
            assert!((now / was / ratio - 1.0).abs() < 0.004, "{ratio}: {was} became {now}");
        }
    }
}

#[test]
fn identical_arms_have_ratio_1_and_the_sketch_s_width() {
    let mut window = Histogram::default();
    window.add(1500, 40);
    let pair = Pair { before: window.clone(), after: window, ..Pair::default() };
    let found = interval(&vec![pair; 12], 0.95, 0.95).unwrap();
    assert!((found.ratio - 1.0).abs() < 1e-12 && found.low < 1.0 && 1.0 < found.high, "{found:?}");
    assert!(found.high / found.low < 1.02 && found.closed() && found.detectable.is_finite());
}

#[test]
fn an_end_that_the_data_do_not_close_is_the_bound() {
    // All the slow values of before lie in one window: no ratio is excluded on that side.
    let mut pairs = vec![Pair::default(); 6];
    for pair in &mut pairs {
        pair.before.add(1000, 30);
        pair.after.add(1000, 30);
    }
    pairs[2].before.add(1400, 12);
    pairs[4].after.add(1100, 12);
    let found = interval(&pairs, 0.95, 0.95).unwrap();
    assert!(!found.closed() && found.low.is_finite() && found.low > 0.0, "{found:?}");
    assert!(found.high.is_finite() && found.se_log.is_finite() && found.detectable.is_finite());
}

#[test]
fn hostile_trials_are_unclear_and_never_a_panic() {
    let one = simulated(0.5, 3000, 15).split_off(19);
    let far = |bucket: i32| {
        let mut pair = Pair::default();
        pair.before.add(bucket, 1000);
        pair.after.add(-bucket, 1000);
        pair
    };
    let half_empty: Vec<Pair> = simulated(0.5, 3000, 16)
        .into_iter()
        .map(|pair| Pair { after: Histogram::default(), ..pair })
        .collect();
    for (name, pairs) in [
        ("no pairs", vec![]),
        ("empty windows", vec![Pair::default(); 20]),
        ("one pair", one),
        ("one arm", half_empty),
        ("two far pairs", vec![far(i32::MAX - 1), far(1)]),
    ] {
        for window_s in [1.0, f64::NAN, -1.0, 0.0, f64::INFINITY] {
            let mut trial = trial(vec![("GET /a", pairs.clone())]);
            trial.window_s = window_s;
            let judgement = judge(&trial, &aim("p95(GET /a)"));
            assert_eq!(judgement.verdict, Verdict::Unclear, "{name}: {}", told(&judgement));
            assert!(!judgement.reasons.is_empty());
            finite(&judgement);
        }
    }
    let nothing = judge(&trial(vec![]), &Options::default());
    assert_eq!((nothing.verdict, nothing.metric.as_str()), (Verdict::Unclear, ""));
}

fn finite(judgement: &Judgement) {
    for m in &judgement.metrics {
        let figures =
            [m.before_ms, m.after_ms, m.ratio, m.low, m.high, m.detectable, m.needed_s.unwrap_or(0.0)];
        assert!(figures.iter().all(|figure| figure.is_finite()), "{m:?}");
    }
}

#[test]
fn a_change_beyond_the_bounds_is_reported_at_the_bound() {
    let mut pairs = vec![Pair::default(); 12];
    for pair in &mut pairs {
        for value in 0..50 {
            pair.before.add(2500 + value, 1);
            pair.after.add(10 + value, 1);
        }
    }
    let judgement = judge(&trial(vec![("GET /a", pairs)]), &aim("p95(GET /a)"));
    assert_eq!(judgement.verdict, Verdict::Better, "{}", told(&judgement));
    finite(&judgement);
}

#[test]
fn options_out_of_range_fall_back() {
    let trial = trial(vec![("GET /a", simulated(0.5, 3000, 17))]);
    let options = Options {
        tolerance: f64::NAN,
        confidence: 7.0,
        quantiles: vec![f64::NAN, 0.0, 1.0, 0.95, 0.95],
        min_pairs: 0,
        aim: None,
    };
    let judgement = judge(&trial, &options);
    assert_eq!((judgement.verdict, judgement.metrics.len()), (Verdict::Better, 1), "{}", told(&judgement));
    for (quantile, confidence) in [(0.0, 0.95), (1.0, 0.95), (f64::NAN, 0.95), (0.5, f64::NAN), (0.5, 1.0)] {
        assert_eq!(interval(&trial.operations["GET /a"], quantile, confidence), None);
    }
}

#[test]
fn metrics_have_names_that_read_back() {
    for name in ["p50(GET /a)", "p99.9(POST /a/{id})", "p95(odd (name))"] {
        assert_eq!(Metric::parse(name).map(|metric| metric.name()).as_deref(), Some(name));
    }
    for name in ["", "errors(GET /a)", "p95", "p0(GET /a)", "p100(GET /a)", "pNaN(GET /a)", "p95()"] {
        assert_eq!(Metric::parse(name), None, "{name}");
    }
}

#[test]
fn the_noise_of_an_unchanged_service_is_certified() {
    let layout = Layout { kind: Kind::Hard, pairs: 20, requests_per_arm: 2000, ratio: 1.0 };
    let trial =
        trial(vec![("GET /a", simulate(layout, 18)), ("GET /b", simulate(layout, 19)), ("GET /c", vec![])]);
    let found = noise(&trial, &Options::default(), 20).unwrap();
    println!("{found:?}");
    assert_eq!(found.metrics.len(), 6);
    assert!((0.01..=0.09).contains(&found.false_alarms), "{found:?}");
    assert!(found.false_verdicts <= 0.07, "{found:?}");
    assert!(found.metrics.iter().all(|m| m.detectable > 0.02));
    assert_eq!(Some(found), noise(&trial, &Options::default(), 20));
    let empty = Trial { operations: BTreeMap::new(), ..trial };
    assert_eq!(noise(&empty, &Options::default(), 1), None);
}
