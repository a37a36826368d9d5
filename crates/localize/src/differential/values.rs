//! What the slower requests have in common: values of attributes (a pod, a version, a customer) that most of them have
//! and few of the others. Reads whatever attributes there are; a recording that was read with the listed ones alone
//! shows fewer.

use super::Suspect;
use crate::facts::Facts;
use crate::shape::{Endpoint, EndpointId, quantile};
use crate::tree::{NodeId, TreeId};
use hashbrown::{HashMap, HashSet};
use model::Sym;

/// Values that are told, at most.
const MAX_TOLD: usize = 2;
/// Spans of a request that are asked for their values.
const MAX_NODES: usize = 64;
/// Different values that are counted; further ones are not.
const MAX_VALUES: usize = 20_000;
/// Says the same of every request, or something else of each.
const SKIPPED: &[&str] =
    &["service.name", "telemetry.", "busy_ns", "idle_ns", "thread.", "tracestate", "otel."];

/// Sentences about the values that set the slower requests of an endpoint apart, most telling first.
pub(super) fn in_common(
    now: &Facts<'_>,
    base: &Facts<'_>,
    suspect: &Suspect,
    endpoint: EndpointId,
) -> Vec<String> {
    let Some(limit) = slow_from_ns(now, base, endpoint) else { return Vec::new() };
    let trees = &now.shapes.endpoint(endpoint).trees;
    let (slow, others): (Vec<TreeId>, Vec<TreeId>) =
        trees.iter().partition(|tree| now.root_ns(**tree) as f64 > limit);
    let t = now.thresholds;
    let enough = |of: &[TreeId]| of.len() as u64 >= t.value_requests;
    if !enough(&slow) || !enough(&others) {
        return Vec::new();
    }
    let mut counts: HashMap<(String, String), [u64; 2]> = HashMap::new();
    for (side, trees) in [&slow, &others].into_iter().enumerate() {
        for tree in trees {
            count(now, suspect, *tree, side, &mut counts);
        }
    }
    let share = |n: u64, of: &[TreeId]| n as f64 / of.len() as f64;
    let mut apart: Vec<(f64, f64, (String, String))> = counts
        .into_iter()
        .map(|(pair, [in_slow, in_others])| (share(in_slow, &slow), share(in_others, &others), pair))
        .filter(|(slow, others, _)| slow - others >= t.value_difference)
        .collect();
    apart.sort_by(|a, b| (b.0 - b.1).total_cmp(&(a.0 - a.1)).then_with(|| a.2.cmp(&b.2)));
    let told = apart.into_iter().take(MAX_TOLD);
    told.map(|(slow, others, (key, value))| {
        format!(
            "{:.0} % of the slower requests and {:.0} % of the others have {key}={value}",
            slow * 100.0,
            others * 100.0
        )
    })
    .collect()
}

/// The same endpoint's p95 in the baseline.
fn slow_from_ns(now: &Facts<'_>, base: &Facts<'_>, endpoint: EndpointId) -> Option<f64> {
    let name = |facts: &Facts<'_>, e: &Endpoint| {
        (facts.name(e.service).to_owned(), facts.name(e.template).to_owned())
    };
    let wanted = name(now, now.shapes.endpoint(endpoint));
    let (_, before) = base.endpoints().find(|(_, e)| name(base, e) == wanted)?;
    let mut roots: Vec<f64> = before.trees.iter().map(|t| base.root_ns(*t) as f64).collect();
    roots.sort_unstable_by(f64::total_cmp);
    Some(quantile(&roots, 0.95))
}

/// Values of the request's root and of the suspect's spans, each once a request.
fn count(
    facts: &Facts<'_>,
    suspect: &Suspect,
    tree: TreeId,
    side: usize,
    counts: &mut HashMap<(String, String), [u64; 2]>,
) {
    let planted = &facts.forest.trees[tree as usize];
    let concerned =
        |node: &NodeId| *node == planted.root || facts.name(facts.call(*node).service) == suspect.service;
    let mut seen: HashSet<(String, String)> = HashSet::new();
    for node in (planted.root..planted.end).filter(concerned).take(MAX_NODES) {
        let spans = &facts.recording.spans;
        let row = facts.node(node).row as usize;
        let resource = spans.packed_resource(spans.resources[row]);
        for attribute in spans.packed_attributes(row).iter().chain(resource) {
            let key = spans.strings.get(attribute.key);
            if attribute.key != Sym::EMPTY && SKIPPED.iter().all(|skipped| !key.starts_with(skipped)) {
                seen.insert((key.to_owned(), spans.unpack(attribute.value).to_string()));
            }
        }
    }
    for pair in seen {
        if counts.len() < MAX_VALUES || counts.contains_key(&pair) {
            counts.entry(pair).or_default()[side] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{drawn, on_instances};
    use crate::{Options, localize};

    fn lines(now: &str, of: impl Fn(usize) -> &'static str) -> Vec<String> {
        let base = drawn("repeat 60\napi server \"GET /a\" 0..40\n  api db \"SELECT 1\" 1..9");
        let now = on_instances(drawn(now), of);
        let found = localize(&now, &Options { baseline: Some(&base), ..Options::default() }).findings;
        let suspect = found.iter().find(|f| f.title.contains("baseline")).expect("a suspect");
        suspect.evidence.lines.clone()
    }

    const NOW: &str = r#"
        repeat 30
        api server "GET /a" 0..140 customer.id=acme
          api db "SELECT 1" 1..9

        repeat 20
        api server "GET /a" 0..40 customer.id={t}
          api db "SELECT 1" 1..9
        "#;

    #[test]
    fn what_the_slower_requests_share_is_named() {
        let found = lines(NOW, |trace| ["pod-a", "pod-b"][trace % 2]);
        assert!(
            found
                .iter()
                .any(|l| l == "100 % of the slower requests and 0 % of the others have customer.id=acme"),
            "{found:?}"
        );
        let found = lines(NOW, |trace| if trace <= 30 { "pod-c" } else { "pod-a" });
        assert!(found.iter().any(|l| l.ends_with("service.instance.id=pod-c")), "{found:?}");
    }

    #[test]
    fn what_all_requests_share_is_not() {
        let alike = NOW.replace("acme", "{t}");
        let found = lines(&alike, |_| "pod-a");
        assert!(found.iter().all(|l| !l.contains("slower requests")), "{found:?}");
    }
}
