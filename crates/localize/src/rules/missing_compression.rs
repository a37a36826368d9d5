//! `missing_compression`: text travels as it was written.

use super::patterns::headers::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, answers, header, is_text};
use super::{Candidate, Rule, Signal};
use crate::facts::Facts;
use crate::shape::{Shape, ShapeId, quantile};
use crate::tree::NodeId;
use model::{Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "missing_compression",
    needs: &[Signal::Traces, Signal::ResponseHeaders],
    why: "JSON and HTML shrink to a fifth or less; on a phone's connection that is most of the wait, and it is traffic that is paid for.",
    how: "Captured response headers say text (JSON, HTML, XML, script) and no Content-Encoding in 90 % of the answers, of 10 kB or more at the median, and nothing says that the client cannot take it. Answers up to 1.4 kB fit one packet and are left out.",
    predicts: "Nothing: what the transfer takes on the users' connections is not in the traces of the service.",
    run,
};

/// What gzip leaves of text, typically; said, not measured.
const LEFT: f64 = 0.2;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    answers(facts).filter_map(|(id, shape, nodes)| on_shape(facts, id, shape, &nodes)).collect()
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape, nodes: &[NodeId]) -> Option<Candidate> {
    let t = facts.thresholds;
    // Between services of one house the network is quick, and compression costs CPU.
    if shape.parent.is_some() {
        return None;
    }
    let bytes = |node: &NodeId| facts.call(*node).bytes().filter(|b| *b > t.one_packet_bytes);
    let large: Vec<(NodeId, f64)> = nodes.iter().filter_map(|n| bytes(n).map(|b| (*n, b))).collect();
    let plain = large.iter().filter(|(node, _)| is_plain_text(facts, *node)).count();
    let mut sizes: Vec<f64> = large.iter().map(|l| l.1).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let median = quantile(&sizes, 0.5);
    let often = plain as f64 >= t.plain_share * large.len() as f64;
    let is_one = often && large.len() as u64 >= t.min_traces && median >= t.compress_bytes;
    is_one.then(|| candidate(facts, id, plain, median))
}

fn is_plain_text(facts: &Facts<'_>, node: NodeId) -> bool {
    let text = header(facts, node, CONTENT_TYPE).is_some_and(|kind| is_text(&kind));
    let encoded = header(facts, node, CONTENT_ENCODING).is_some_and(|e| !e.contains("identity"));
    let refused = header(facts, node, ACCEPT_ENCODING)
        .is_some_and(|a| !["gzip", "br", "zstd", "deflate", "*"].iter().any(|e| a.contains(e)));
    text && !encoded && !refused
}

fn candidate(facts: &Facts<'_>, id: ShapeId, plain: usize, median: f64) -> Candidate {
    let title = format!("replies with {:.0} kB of text, not compressed", median / 1e3);
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("content encoding".to_owned());
    let whole = facts.rate_per_s(candidate.endpoint) * median;
    candidate.lines = vec![
        format!("{plain} answers of text were looked at, none with a Content-Encoding"),
        format!(
            "gzip leaves about a fifth of such text: {:.0} of {:.0} kB, {:.0} of {:.0} kB/s",
            median * LEFT / 1e3,
            median / 1e3,
            whole * LEFT / 1e3,
            whole / 1e3
        ),
    ];
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Configuration,
        text: "compress text from 1.4 kB on in the server or the proxy before it (gzip or zstd while sending, brotli for files that are built once), with Vary: Accept-Encoding"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Info);
    candidate.confidence = 0.8;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    const DRAWING: &str = r#"
        repeat 20
        api server "GET /list" 0..20 http.response.body.size=90000 http.response.header.content-type=["application/json"]
          api db "SELECT 1" 1..19
        "#;

    #[test]
    fn large_text_as_written_is_one_finding() {
        check_rule(
            "missing_compression",
            &drawn(DRAWING),
            &expect![[r#"
                missing_compression GET /list | replies with 90 kB of text, not compressed | no prediction
            "#]],
        );
    }

    #[test]
    fn compressed_small_and_binary_answers_are_none() {
        for other in [
            DRAWING.replace("0..20", "0..20 http.response.header.content-encoding=[gzip]"),
            DRAWING.replace("90000", "1200"),
            DRAWING.replace("application/json", "image/avif"),
            DRAWING.replace("0..20", "0..20 http.request.header.accept-encoding=identity"),
        ] {
            check_rule("missing_compression", &drawn(&other), &expect![[""]]);
        }
    }

    #[test]
    fn without_captured_headers_the_rule_does_not_run() {
        check_rule(
            "missing_compression",
            &drawn("repeat 20\napi server \"GET /list\" 0..20 http.response.body.size=90000"),
            &expect![[r#"
                not run: missing_compression (captured response headers)
            "#]],
        );
    }
}
