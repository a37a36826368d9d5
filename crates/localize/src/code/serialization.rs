//! `serialization`, from a profile: turning data into text or bytes and back takes much of an endpoint's CPU time.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Endpoint, Told, names};
use model::states::ON_CPU;
use std::collections::BTreeMap;

pub(super) const RULE: CodeRule = CodeRule {
    name: "serialization",
    why: "Every field is visited, formatted, validated and copied, also those that nobody reads.",
    how: "Functions that are named so, or lie in such a library (json, serde, protobuf, msgpack, pickle ...), take 15 % or more of the endpoint's time on CPU with all that they call. Told at the function of the service's own that calls them.",
    predicts: "Half of it: fewer fields, or a faster codec; from a quarter to all.",
    run,
};

fn run(code: &Code<'_>) -> Vec<Told> {
    code.endpoints.iter().enumerate().filter_map(|(at, endpoint)| of_endpoint(code, at, endpoint)).collect()
}

fn of_endpoint(code: &Code<'_>, at: usize, endpoint: &Endpoint) -> Option<Told> {
    let mut callers: BTreeMap<Option<u32>, f64> = BTreeMap::new();
    let mut codecs: BTreeMap<u32, f64> = BTreeMap::new();
    let mut total = 0.0;
    for node in 1..code.profile.nodes.len() {
        let ms = code.own(endpoint, node)[ON_CPU];
        if ms <= 0.0 {
            continue;
        }
        let path: Vec<u32> = code.upward(node).collect();
        let Some(codec) = codec_on(code, &path) else { continue };
        let caller = path[codec..].iter().find(|frame| names::is_own(code.frame(**frame))).copied();
        total += ms;
        *callers.entry(caller).or_default() += ms;
        *codecs.entry(path[codec]).or_default() += ms;
    }
    let all = endpoint.ms[ON_CPU];
    let share = if all > 0.0 { total / all } else { 0.0 };
    if share < code.facts.thresholds.serialization_share {
        return None;
    }
    let heaviest =
        |of: &BTreeMap<u32, f64>| of.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(frame, _)| *frame);
    let codec = heaviest(&codecs)?;
    let caller = callers.iter().max_by(|a, b| a.1.total_cmp(b.1)).and_then(|(caller, _)| *caller);
    let mean = endpoint.responses.mean_ms();
    let amount = mean.map_or_else(
        || format!("{:.0} % of the time on CPU", share * 100.0),
        |_| format!("{total:.1} ms of CPU a request"),
    );
    let codec_name = code.shown(codec);
    let place = caller.unwrap_or(codec);
    Some(Told {
        endpoint: at,
        title: format!("{amount} for turning data into text or back in {}", code.named(place)),
        function: Some(code.place(place)),
        resource: None,
        share: mean.map(|mean| (total / mean).min(1.0)).or(Some(share)),
        lines: vec![format!("{:.0} % of the endpoint's time on CPU, mostly in {codec_name}", share * 100.0)],
        prediction: saved(
            code,
            endpoint,
            Saved::faster(total, 2.0),
            "half of the fields, or a codec twice as fast",
        ),
        remedy: "turn only the fields into text that are asked for; skip validation of one's own data; stream instead of building the whole; take a faster codec (orjson, simd-json, a generated serializer) or a binary format between services",
        confidence: 0.8,
        claims: std::iter::once(codec).collect(),
    })
}

/// The outermost codec on a path (innermost frame first): what the service calls. A function of its own that is named so
/// counts for what it does itself: a handler may be named after the format that it answers in.
fn codec_on(code: &Code<'_>, path: &[u32]) -> Option<usize> {
    let is_codec = |frame: &u32| names::is_codec(code.frame(*frame));
    let is_own = |frame: &u32| names::is_own(code.frame(*frame));
    let foreign = path.iter().rposition(|frame| is_codec(frame) && !is_own(frame));
    foreign.or_else(|| path.iter().position(is_own).filter(|at| is_codec(&path[*at])))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const CODEC: &str = "
        = GET /list 100 50
        GET /list cpu 1000 | t:web;p:list@/srv/app.py:9;p:query@/srv/app.py:20
        GET /list cpu 2000 | t:web;p:list@/srv/app.py:9;p:dumps@/usr/lib/python3.11/json/__init__.py:183;p:iterencode@/usr/lib/python3.11/json/encoder.py:2
    ";

    #[test]
    fn a_codec_is_told_at_its_caller() {
        check(
            "serialization",
            &profiled(CODEC),
            &expect![[r#"
                serialization GET /list | 20.0 ms of CPU a request for turning data into text or back in list (srv/app.py:9) | p95 49.8 -> 39.8 (29.8..44.8) C
            "#]],
        );
    }

    #[test]
    fn a_little_of_it_is_none() {
        check("serialization", &profiled(&CODEC.replace("cpu 2000", "cpu 150")), &expect![[""]]);
    }

    #[test]
    fn a_handler_that_is_named_after_its_format_is_no_codec_for_what_it_calls() {
        let text = "
            = GET /list 100 50
            GET /list cpu 3000 | t:web;p:list_json@/srv/app.py:9;p:rank@/srv/rank.py:3
        ";
        check("serialization", &profiled(text), &expect![[""]]);
    }

    #[test]
    fn without_a_profile_and_without_such_spans_the_rule_does_not_run() {
        check(
            "serialization",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: serialization (spans of serializers, or a profile)
        "#]],
        );
    }

    #[test]
    fn the_caller_is_not_told_as_hot_for_it() {
        let found = crate::localize(&profiled(CODEC), &crate::Options::default()).findings;
        let of = |rule: &str| found.iter().filter(|f| f.rule == rule).count();
        assert_eq!((of("serialization"), of("hot_function")), (1, 1), "{found:?}");
    }
}
