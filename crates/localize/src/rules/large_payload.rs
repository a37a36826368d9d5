//! `large_payload`: the reply is so large that making and sending it is what takes the time.

use super::patterns::headers::{CONTENT_TYPE, header, is_text};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "large_payload",
    needs: &[Signal::Traces, Signal::BodySizes],
    why: "Every byte is built, copied, compressed, sent and parsed; most clients read a part of it.",
    how: "The reply has 100 kB or more at the mean, and at least 10 % of the latency goes with its size: by the slope of time over size (Theil-Sen over 30 requests whose sizes spread twofold), else by the entry's own time, with the framework's spans around its handler. Not images, sound, film and fonts, which are sent as they are; other files (application/octet-stream, zip, pdf) only where the time goes with the size.",
    predicts: "A reply of a third of the size: the part of the time that goes with the size falls to a third.",
    run,
};

/// Requests from which a slope is fitted, at least ...
const MIN_FIT: usize = 30;
/// ... and at most: the slopes of all pairs are looked at.
const MAX_FIT: usize = 300;
/// What a reply with only the fields that are needed, or compressed, is taken to be of today's size.
const SMALLER: f64 = 1.0 / 3.0;
/// A span with this share of the time around it is a layer of the framework.
const WRAPS: f64 = 0.9;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts.endpoints().filter_map(|(id, _)| on_endpoint(facts, id)).collect()
}

fn on_endpoint(facts: &Facts<'_>, endpoint: EndpointId) -> Option<Candidate> {
    let t = facts.thresholds;
    let (root, shape) = facts.shapes().find(|(_, s)| s.endpoint == endpoint && s.parent.is_none())?;
    let bytes = shape.bytes_mean.filter(|b| *b >= t.payload_bytes)?;
    if is_of(facts, shape, &MEDIA) {
        return None;
    }
    let points: Vec<(f64, f64)> = facts
        .shapes
        .endpoint(endpoint)
        .trees
        .iter()
        .filter_map(|tree| {
            let node = facts.forest.trees[*tree as usize].root;
            let ns = facts.root_ns(*tree) as f64 + facts.load.overhead_ns(endpoint, *tree);
            facts.call(node).bytes().map(|bytes| (bytes, ns))
        })
        .collect();
    let slope = theil_sen(&points);
    // A file may be sent as it is kept: that it is made for each request, only time that goes with the size shows.
    if slope.is_none() && is_of(facts, shape, &FILES) {
        return None;
    }
    let own = || layers(facts, root).iter().map(|id| facts.shape(*id).own_share).sum::<f64>();
    let total = shape.duration_p50_ns + facts.load.overhead_ns(endpoint, u32::MAX);
    let share = slope.map_or_else(own, |s| (s * bytes / total.max(1.0)).clamp(0.0, 1.0));
    (share >= t.payload_share).then(|| candidate(facts, root, bytes, share, slope))
}

/// Bodies that are kept as they are sent.
const MEDIA: [&str; 4] = ["image/", "video/", "audio/", "font/"];
/// Bodies that may be.
const FILES: [&str; 3] = ["octet-stream", "zip", "pdf"];

/// Whether every reply that tells its kind is of one of these.
fn is_of(facts: &Facts<'_>, root: &Shape, kinds: &[&str]) -> bool {
    let nodes = root.groups.iter().flat_map(|g| facts.nodes(g));
    let mut told = nodes.filter_map(|n| header(facts, *n, CONTENT_TYPE)).take(MAX_FIT);
    let is_file = |kind: &String| kinds.iter().any(|file| kind.contains(file)) && !is_text(kind);
    told.next().is_some_and(|first| is_file(&first) && told.all(|kind| is_file(&kind)))
}

/// The entry and the framework's spans around its handler.
fn layers(facts: &Facts<'_>, root: ShapeId) -> Vec<ShapeId> {
    let (mut at, mut out) = (root, vec![root]);
    loop {
        let whole = facts.shape(at);
        let wraps = |id: &ShapeId| {
            let inner = facts.shape(*id);
            inner.class == Class::Internal
                && inner.service == whole.service
                && inner.path_share >= WRAPS * whole.path_share
        };
        let Some(inner) = facts.shapes.children(at).find(wraps) else { return out };
        out.push(inner);
        at = inner;
    }
}

fn candidate(facts: &Facts<'_>, root: ShapeId, bytes: f64, share: f64, slope: Option<f64>) -> Candidate {
    let mut candidate = Candidate::on_shape(facts, root, format!("replies with {:.0} kB", bytes / 1e3));
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.place.resource = Some("response body".to_owned());
    candidate.share_of_critical_path = Some(share);
    candidate.lines = vec![format!(
        "{:.0} kB a reply at the mean, {:.0} % of the time goes with it",
        bytes / 1e3,
        share * 100.0
    )];
    candidate.lines.push(match slope {
        Some(slope) => format!("each further 100 kB costs {:.2} ms", slope * 1e5 / 1e6),
        None => "sizes are too alike for a slope: the entry's own time was taken for building the reply"
            .to_owned(),
    });
    let layers = layers(facts, root);
    let shrink = move |kept: f64| {
        let cost = Cost::Each(Arc::new(move |case| {
            // What goes with the size, as share of the whole request, is taken from the entry's own time.
            case.ns * (1.0 - (1.0 - kept) * 0.9_f64.min(share.max(0.5)))
        }));
        layers.iter().map(|of| Transform::Own { of: *of, to: cost.clone() }).collect::<Vec<_>>()
    };
    candidate.fix = Some(Fix {
        point: shrink(SMALLER),
        least: Vec::new(),
        most: shrink(0.0),
        grade: Grade::C,
        assumption:
            "a third of the bytes is enough: fields that are asked for, a page at a time, or a denser format"
                .to_owned(),
        load: LoadEffect::Added,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "send less: only the fields that are asked for, pages, a binary format; stream it instead of building it whole; compress text"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = if slope.is_some() { 0.8 } else { 0.6 };
    candidate
}

/// Median of the slopes of all pairs (Theil 1950, Sen 1968), nanoseconds per byte; `None` where sizes spread less
/// than twofold (5th to 95th percentile), requests are few, or time does not grow.
fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < MIN_FIT {
        return None;
    }
    let step = points.len().div_ceil(MAX_FIT);
    let mut points: Vec<(f64, f64)> = points.iter().copied().step_by(step).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let at = |q: f64| points[((points.len() - 1) as f64 * q) as usize].0;
    if at(0.95) < 2.0 * at(0.05).max(1.0) {
        return None;
    }
    let mut slopes: Vec<f64> = Vec::with_capacity(points.len() * points.len() / 2);
    for (n, a) in points.iter().enumerate() {
        slopes.extend(points[n + 1..].iter().filter(|b| b.0 > a.0).map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().filter(|s| *s > 0.0)
}

#[cfg(test)]
mod tests {
    use super::theil_sen;
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_large_reply_built_by_the_entry_is_one_finding() {
        check_rule(
            "large_payload",
            &drawn(
                r#"
            repeat 20
            api server "GET /export" 0..100 http.response.body.size=900000
              api db "SELECT * FROM orders WHERE day = $1" 5..25
            "#,
            ),
            &expect![[r#"
                large_payload GET /export | replies with 900 kB | p95 100.0 -> 57.3 (36.0..100.0) C
            "#]],
        );
    }

    #[test]
    fn what_is_built_within_a_frameworks_handler_counts_as_the_entrys_own() {
        check_rule(
            "large_payload",
            &drawn(
                r#"
            repeat 20
            api server "GET /export" 0..100 http.response.body.size=900000
              api internal "request handler" 1..99
                api db "SELECT * FROM orders WHERE day = $1" 5..25
            "#,
            ),
            &expect![[r#"
                large_payload GET /export | replies with 900 kB | p95 100.0 -> 57.3 (36.0..100.0) C
            "#]],
        );
    }

    #[test]
    fn a_file_is_sent_as_it_is() {
        check_rule(
            "large_payload",
            &drawn(
                r#"
            repeat 20
            api server "GET /export" 0..100 http.response.body.size=900000 http.response.header.content-type=["application/octet-stream"]
              api db "SELECT count(*) FROM orders" 5..25
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_large_reply_that_costs_nothing_is_none() {
        check_rule(
            "large_payload",
            &drawn(
                r#"
            repeat 20
            api server "GET /export" 0..100 http.response.body.size=900000
              api db "SELECT * FROM orders WHERE day = $1" 2..97
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_sizes_the_rule_does_not_run() {
        check_rule(
            "large_payload",
            &drawn("api server \"GET /\" 0..100"),
            &expect![[r#"
                not run: large_payload (body sizes on spans)
            "#]],
        );
    }

    #[test]
    fn the_slope_is_found_among_outliers() {
        let points: Vec<(f64, f64)> = (1..=60)
            .map(|n| (f64::from(n) * 1e4, f64::from(n) * 2e4 + if n % 7 == 0 { 1e9 } else { 0.0 }))
            .collect();
        assert!(theil_sen(&points).is_some_and(|s| (s - 2.0).abs() < 0.1), "{:?}", theil_sen(&points));
        assert_eq!(theil_sen(&points[..10]), None);
        assert_eq!(theil_sen(&[(5.0, 1.0); 40]), None);
    }
}
