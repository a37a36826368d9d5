//! Tests of the pass on drawings and hostile cases.

use super::{Cost, Simulator, Transform};
use crate::facts::Facts;
use crate::shape::ShapeId;
use crate::testing::drawn;
use crate::thresholds::Thresholds;

/// The first tree's root, microseconds, with the fix that `fix` makes from a finder of shapes by template.
fn root_ms(drawing: &str, fix: impl Fn(&dyn Fn(&str) -> ShapeId) -> Vec<Transform>) -> i64 {
    let recording = drawn(drawing);
    let thresholds = Thresholds::default();
    let facts = Facts::gather(&recording, &thresholds, false);
    let find = |template: &str| {
        let found = facts.shapes().find(|(_, s)| facts.name(s.template) == template);
        found.unwrap_or_else(|| panic!("no shape {template}")).0
    };
    let fix = fix(&find);
    ms(Simulator::new(facts.stage()).root_ns(0, &fix) / 1e6)
}

/// Milliseconds as whole microseconds, which compare exactly.
#[expect(clippy::cast_possible_truncation, reason = "drawings are small")]
fn ms(ms: f64) -> i64 {
    (ms * 1e3).round() as i64
}

const SERIAL: &str = r#"
    api server "GET /a" 0..100
      api internal "one" 10..30
      api internal "two" 35..60
      api internal "three" 60..90
        api internal "deep" 65..85
"#;

#[test]
fn without_a_fix_the_recorded_duration_comes_out() {
    assert_eq!(root_ms(SERIAL, |_| Vec::new()), ms(100.0));
}

#[test]
fn what_follows_moves_up_and_gaps_stay() {
    let shorter =
        |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Duration { of: find("one"), to: Cost::Ns(5e6) }];
    assert_eq!(root_ms(SERIAL, shorter), ms(85.0));
    let gone = |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Drop { of: find("two"), gap_kept: 0.0 }];
    assert_eq!(root_ms(SERIAL, gone), ms(70.0));
}

#[test]
fn what_is_deep_carries_through_and_own_time_is_scaled() {
    let deep =
        |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Duration { of: find("deep"), to: Cost::Times(0.5) }];
    assert_eq!(root_ms(SERIAL, deep), ms(90.0));
    // The own time of `three` is 10 ms before and after `deep`.
    let own = |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Own { of: find("three"), to: Cost::Ns(2e6) }];
    assert_eq!(root_ms(SERIAL, own), ms(92.0));
    let edge =
        |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Own { of: find("three"), to: Cost::Less(4e6) }];
    assert_eq!(root_ms(SERIAL, edge), ms(96.0));
}

#[test]
fn side_by_side_the_longest_counts() {
    let together = |find: &dyn Fn(&str) -> ShapeId| {
        let lanes = vec![vec![find("one")], vec![find("two")], vec![find("three")]];
        vec![Transform::Parallel { lanes, dispatch_ns: 1e6, stretch: 1.0 }]
    };
    // All start at 10; the third, 30 ms long, 2 ms later.
    assert_eq!(root_ms(SERIAL, together), ms(10.0 + 2.0 + 30.0 + 10.0));
}

#[test]
fn calls_of_one_lane_follow_each_other_beside_another_lane() {
    let drawing = r#"
        api server "GET /a" 0..100
          api internal "one" 10..30
          api internal "two" 30..40
          api internal "three" 40..65
    "#;
    let lanes = |find: &dyn Fn(&str) -> ShapeId| {
        let lanes = vec![vec![find("one"), find("two")], vec![find("three")]];
        vec![Transform::Parallel { lanes, dispatch_ns: 1e6, stretch: 1.0 }]
    };
    // 10 ms before, 20 + 10 ms in one lane beside 1 + 25 in the other, 35 after.
    assert_eq!(root_ms(drawing, lanes), ms(10.0 + 30.0 + 35.0));
}

#[test]
fn a_group_becomes_one_call() {
    let drawing = r#"
        api server "GET /a" 0..100
          api db "SELECT 1" 10..14 x10 gap 2
    "#;
    let merge = |find: &dyn Fn(&str) -> ShapeId| {
        let to = Cost::batch(1e6, 3e6, 0.5);
        vec![Transform::Merge { of: find("SELECT $1"), to, gap_kept: 0.5 }]
    };
    // 10 ms before, one batch of 1 + 3 + 0.5 * 9 * 3 ms, half of 9 gaps of 2 ms, 100 - 68 ms after.
    assert_eq!(root_ms(drawing, merge), ms(10.0 + 17.5 + 9.0 + 32.0));
}

#[test]
fn a_call_beside_a_longer_one_brings_nothing() {
    let drawing = r#"
        api server "GET /a" 0..100
          api http "GET http://slow/x" 10..90
          api http "GET http://quick/x" 10..60
    "#;
    let quick = |find: &dyn Fn(&str) -> ShapeId| {
        vec![Transform::Duration { of: find("GET quick/x"), to: Cost::Ns(0.0) }]
    };
    assert_eq!(root_ms(drawing, quick), ms(100.0));
    let slow = |find: &dyn Fn(&str) -> ShapeId| {
        vec![Transform::Duration { of: find("GET slow/x"), to: Cost::Ns(0.0) }]
    };
    assert_eq!(root_ms(drawing, slow), ms(70.0));
}

#[test]
fn what_once_ran_beside_another_does_not_wait_for_it() {
    // In the second request `two` starts before `one` has ended: it never waited for it.
    let drawing = r#"
        api server "GET /a" 0..100
          api internal "one" 10..40
          api internal "two" 40..90

        api server "GET /a" 0..100
          api internal "one" 10..60
          api internal "two" 40..90
    "#;
    let shorter =
        |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Duration { of: find("one"), to: Cost::Ns(0.0) }];
    assert_eq!(root_ms(drawing, shorter), ms(100.0));
}

#[test]
fn a_detached_tail_is_not_waited_for() {
    let drawing = r#"
        api server "GET /a" 0..50
          api internal "mail" 40..400
          api internal "work" 10..40
    "#;
    let gone = |find: &dyn Fn(&str) -> ShapeId| vec![Transform::Drop { of: find("mail"), gap_kept: 0.0 }];
    assert_eq!(root_ms(drawing, gone), ms(50.0));
}

#[test]
fn every_tree_of_a_wild_forest_comes_out_as_recorded() {
    // Overlaps of all sorts, drawn by a linear congruential generator.
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut drawing = String::new();
    for _ in 0..200 {
        drawing.push_str("api server \"GET /a\" 0..1000\n");
        for n in 0..12 {
            let (start, length) = (next(990), next(300));
            let end = (start + length).min(1000);
            drawing.push_str(&format!("  api internal \"n{}\" {start}..{end}\n", n % 5));
        }
        drawing.push('\n');
    }
    let recording = drawn(&drawing);
    let thresholds = Thresholds::default();
    let facts = Facts::gather(&recording, &thresholds, false);
    let mut simulator = Simulator::new(facts.stage());
    for tree in 0..200 {
        let again = simulator.root_ns(tree, &[]);
        assert!((again / 1e9 - 1.0).abs() < 1e-3, "tree {tree}: {again}");
    }
    assert_eq!(facts.critical.path_ns.iter().sum::<i64>(), 200 * 1_000_000_000);
}

const FIVE: &str = r#"
    api server "GET /a" 0..110
      api db "SELECT * FROM items WHERE order_id = $1" 10..20 x5 gap 10
"#;

#[test]
fn two_fixes_at_once_are_one_run_and_not_a_sum() {
    let index = |of| Transform::Duration { of, to: Cost::Times(0.1) };
    let batch = |of| Transform::Merge { of, to: Cost::Times(1.0), gap_kept: 0.0 };
    let statement = "SELECT * FROM items WHERE order_id = $1";
    let alone = root_ms(FIVE, |f| vec![index(f(statement))]);
    assert_eq!(alone, ms(65.0));
    assert_eq!(root_ms(FIVE, |f| vec![batch(f(statement))]), ms(30.0));
    // The batch of indexed reads takes 1 ms; the gains, 45 and 80 ms, would add up to more than there is.
    assert_eq!(root_ms(FIVE, |f| vec![index(f(statement)), batch(f(statement))]), ms(21.0));
    assert_eq!(root_ms(FIVE, |f| vec![batch(f(statement)), index(f(statement))]), ms(21.0));
}

#[test]
fn a_call_that_is_gone_is_not_brought_back_and_own_time_shrinks_twice() {
    let statement = "SELECT * FROM items WHERE order_id = $1";
    let gone = |f: &dyn Fn(&str) -> ShapeId| {
        let of = f(statement);
        vec![Transform::Drop { of, gap_kept: 1.0 }, Transform::Duration { of, to: Cost::Ns(7e6) }]
    };
    assert_eq!(root_ms(FIVE, gone), ms(60.0));
    let twice = |f: &dyn Fn(&str) -> ShapeId| {
        let of = f("GET /a");
        vec![Transform::Own { of, to: Cost::Times(0.5) }, Transform::Own { of, to: Cost::Times(0.5) }]
    };
    assert_eq!(root_ms(FIVE, twice), ms(65.0));
}

#[test]
fn what_waited_before_the_root_is_taken_off_whole() {
    let sooner = std::sync::Arc::new([(0, 4e6)].into_iter().collect());
    let fix = |_: &dyn Fn(&str) -> ShapeId| {
        vec![Transform::Arrival { sooner_ns: std::sync::Arc::clone(&sooner), times: 0.5 }]
    };
    assert_eq!(root_ms(FIVE, fix), ms(108.0));
}
