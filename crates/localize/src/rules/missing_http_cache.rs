//! `missing_http_cache`: the same answer is made and sent again, and nothing lets the client keep it.

use super::patterns::headers::{CACHE_CONTROL, PERSONAL, VALIDATORS, answers, header};
use super::{Candidate, Rule, Signal};
use crate::facts::Facts;
use crate::shape::{Shape, ShapeId};
use crate::tree::NodeId;
use hashbrown::HashMap;
use model::{Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "missing_http_cache",
    needs: &[Signal::Traces, Signal::ResponseHeaders],
    why: "An answer with a validator costs a 304 instead of a body, one with a lifetime costs nothing at all.",
    how: "GET answers with status 200 whose captured headers hold no ETag, Last-Modified or Cache-Control; the same URL was asked again in 30 % of the requests, and its answers were of equal size in 90 % of the repeats. Requests with a cookie or credentials are left out.",
    predicts: "Nothing: who asked again, and from where, is not in the traces.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    answers(facts).filter_map(|(id, shape, nodes)| on_shape(facts, id, shape, &nodes)).collect()
}

/// Requests for one URL: how many, and the first one's size.
type Known = HashMap<u64, f64>;

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape, nodes: &[NodeId]) -> Option<Candidate> {
    let t = facts.thresholds;
    if shape.parent.is_some() || !facts.name(shape.template).starts_with("GET ") {
        return None;
    }
    let mut known = Known::new();
    let (mut asked, mut again, mut equal) = (0_u64, 0_u64, 0_u64);
    for &node in nodes.iter().filter(|n| facts.call(**n).status == 200) {
        let sent = |keys| header(facts, node, keys).is_some();
        if sent(VALIDATORS) || sent(CACHE_CONTROL) {
            return None;
        }
        let (Some(url), Some(bytes)) = (url(facts, node), facts.call(node).bytes()) else { continue };
        if sent(PERSONAL) {
            continue;
        }
        asked += 1;
        if let Some(before) = known.insert(url, bytes) {
            again += 1;
            equal += u64::from((before - bytes).abs() < 0.5);
        }
    }
    let often = again as f64 >= t.cache_hit_ratio * asked as f64;
    let same = equal as f64 >= t.plain_share * again as f64;
    (often && same && again >= t.min_traces).then(|| candidate(facts, id, asked, again))
}

/// What was asked for, path and query; `None` where the span does not tell.
fn url(facts: &Facts<'_>, node: NodeId) -> Option<u64> {
    let path = facts.attribute(node, &["url.full", "http.url", "url.path", "http.target", "http.path"])?;
    let query = facts.attribute(node, &["url.query"]).map(|q| q.to_string()).unwrap_or_default();
    Some(crate::resolve::hash(format!("{path}?{query}").as_bytes(), 0))
}

fn candidate(facts: &Facts<'_>, id: ShapeId, asked: u64, again: u64) -> Candidate {
    let share = again as f64 / asked.max(1) as f64 * 100.0;
    let title =
        format!("{share:.0} % of the answers were sent before, and no header lets a client keep them");
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("http cache".to_owned());
    candidate.lines = vec![format!(
        "{again} of {asked} answers repeat a URL with a body of the same size; no ETag, Last-Modified or Cache-Control was captured"
    )];
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "send an ETag and answer If-None-Match with 304; where all users get the same, also Cache-Control: public with a short max-age and stale-while-revalidate; files with a hash in their name: immutable"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Info);
    candidate.confidence = 0.5;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    const DRAWING: &str = r#"
        repeat 20
        api server "GET /rates" 0..20 url.path=/rates http.response.status_code=200 http.response.body.size=900 http.response.header.content-type=application/json
          api db "SELECT 1" 1..19
        "#;

    #[test]
    fn equal_answers_without_a_validator_are_one_finding() {
        check_rule(
            "missing_http_cache",
            &drawn(DRAWING),
            &expect![[r#"
                missing_http_cache GET /rates | 95 % of the answers were sent before, and no header lets a client keep them | no prediction
            "#]],
        );
    }

    #[test]
    fn validated_changing_personal_and_different_answers_are_none() {
        for other in [
            DRAWING.replace("0..20", "0..20 http.response.header.etag=abc"),
            DRAWING.replace("0..20", "0..20 http.response.header.cache-control=no-store"),
            DRAWING.replace("size=900", "size={t}"),
            DRAWING.replace("0..20", "0..20 http.request.header.cookie=session"),
            DRAWING.replace("path=/rates", "path=/rates/{t}"),
        ] {
            check_rule("missing_http_cache", &drawn(&other), &expect![[""]]);
        }
    }

    #[test]
    fn without_captured_headers_the_rule_does_not_run() {
        check_rule(
            "missing_http_cache",
            &drawn("repeat 20\napi server \"GET /rates\" 0..20 url.path=/rates"),
            &expect![[r#"
                not run: missing_http_cache (captured response headers)
            "#]],
        );
    }
}
