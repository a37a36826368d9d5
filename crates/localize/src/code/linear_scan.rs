//! `linear_scan`: a function spends its time comparing one element after the other.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Endpoint, Told, names};
use model::states::ON_CPU;
use std::collections::BTreeMap;

pub(super) const RULE: CodeRule = CodeRule {
    name: "linear_scan",
    why: "Looking for one element among n by comparing costs n; within a loop n times n. A set, a map or a sorted list answers at once.",
    how: "Half or more of a function's time on CPU lies in comparisons or membership tests that it calls (memcmp, contains, indexOf, includes, __eq__), and that is 15 % or more of the endpoint's.",
    predicts: "The comparisons fall to a tenth; from half of that gain to all of them.",
    run,
};

const SPEEDUP: f64 = 10.0;

/// By function of the service's own: its time, and that of comparisons within.
type Compared = BTreeMap<u32, (f64, BTreeMap<u32, f64>)>;

fn run(code: &Code<'_>) -> Vec<Told> {
    let told = |(at, endpoint): (usize, &Endpoint)| of_endpoint(code, at, endpoint);
    code.endpoints.iter().enumerate().flat_map(told).collect()
}

fn of_endpoint(code: &Code<'_>, at: usize, endpoint: &Endpoint) -> Vec<Told> {
    let t = code.facts.thresholds;
    let mut compared = Compared::new();
    for node in 1..code.profile.nodes.len() {
        let ms = code.own(endpoint, node)[ON_CPU];
        let Some(owner) = (ms > 0.0).then(|| code.owner(node)).flatten() else { continue };
        let of = compared.entry(owner).or_default();
        of.0 += ms;
        let mut within = code.upward(node).take_while(|frame| *frame != owner);
        if let Some(frame) = within.find(|frame| names::is_comparison(code.frame(*frame))) {
            *of.1.entry(frame).or_default() += ms;
        }
    }
    let all = endpoint.ms[ON_CPU];
    let mut out = Vec::new();
    for (owner, (total, inner)) in compared {
        let scan: f64 = inner.values().sum();
        if scan >= t.scan_share_of_caller * total && scan >= t.scan_share * all && all > 0.0 {
            out.push(tell(code, (at, endpoint), owner, scan, &inner));
        }
    }
    out.sort_by(|a, b| b.share.unwrap_or(0.0).total_cmp(&a.share.unwrap_or(0.0)));
    out
}

fn tell(
    code: &Code<'_>,
    (at, endpoint): (usize, &Endpoint),
    owner: u32,
    scan: f64,
    inner: &BTreeMap<u32, f64>,
) -> Told {
    let mean = endpoint.responses.mean_ms();
    let share = scan / endpoint.ms[ON_CPU];
    let name = code.named(owner);
    let most = inner.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(frame, _)| code.shown(*frame));
    let amount = mean.map_or_else(
        || format!("{:.0} % of the time on CPU", share * 100.0),
        |_| format!("{scan:.1} ms of CPU a request"),
    );
    Told {
        endpoint: at,
        title: format!("{amount} for comparing element by element in {name}"),
        function: Some(code.place(owner)),
        resource: None,
        share: mean.map(|mean| (scan / mean).min(1.0)).or(Some(share)),
        lines: vec![format!(
            "{:.0} % of the endpoint's time on CPU, mostly in {}",
            share * 100.0,
            most.unwrap_or_default()
        )],
        prediction: saved(
            code,
            endpoint,
            Saved::faster(scan, SPEEDUP),
            "a look-up in a set or map takes a tenth of the comparisons",
        ),
        remedy: "look up in a set or map that is built once instead of searching a list, or keep the list sorted and search by halves",
        confidence: 0.8,
        claims: std::iter::once(owner).chain(inner.keys().copied()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const SCAN: &str = "
        = GET /mine 100 60
        GET /mine cpu 300 | t:web;n:shop::recommend@shop/src/r.rs:9
        GET /mine cpu 2700 | t:web;n:shop::recommend@shop/src/r.rs:9;n:<[T] as SliceContains>::slice_contains;n:__memcmp_avx2_movbe
    ";

    #[test]
    fn a_search_in_a_list_is_one_finding_at_its_caller() {
        check(
            "linear_scan",
            &profiled(SCAN),
            &expect![[r#"
                linear_scan GET /mine | 27.0 ms of CPU a request for comparing element by element in shop::recommend (src/r.rs:9) | p95 59.9 -> 35.6 (32.9..47.7) C
            "#]],
        );
    }

    #[test]
    fn what_the_division_spills_onto_another_endpoint_is_not_told_there() {
        let spilled = "
        = GET /ping 100 60
        GET /ping cpu 10 | t:web;n:shop::ping@shop/src/p.rs:2
        GET /ping cpu 200 | t:web;n:shop::recommend@shop/src/r.rs:9;n:<[T] as SliceContains>::slice_contains;n:__memcmp_avx2_movbe
        ";
        let found =
            crate::localize(&profiled(&format!("{SCAN}{spilled}")), &crate::Options::default()).findings;
        let of = |endpoint: &str| found.iter().any(|f| f.rule == "linear_scan" && f.endpoint == endpoint);
        assert!(of("GET /mine") && !of("GET /ping"), "{found:?}");
        let as_much = format!("{SCAN}{}", spilled.replace("cpu 200", "cpu 2000"));
        let found = crate::localize(&profiled(&as_much), &crate::Options::default()).findings;
        assert!(found.iter().any(|f| f.rule == "linear_scan" && f.endpoint == "GET /ping"), "{found:?}");
    }

    #[test]
    fn a_few_comparisons_beside_work_are_none() {
        let few = SCAN.replace("cpu 300", "cpu 9000");
        check("linear_scan", &profiled(&few), &expect![[""]]);
    }

    #[test]
    fn the_same_function_is_not_told_twice() {
        check("hot_function", &profiled(SCAN), &expect![[""]]);
    }

    #[test]
    fn without_a_profile_the_rule_does_not_run() {
        check(
            "linear_scan",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: linear_scan (a profile)
        "#]],
        );
    }
}
