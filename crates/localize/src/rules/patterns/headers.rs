//! Headers of replies, where the instrumentation was told to capture them. A header that was not captured is not
//! taken for one that was not sent.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::tree::NodeId;

/// Calls of a shape that are looked at.
const MAX_CALLS: usize = 500;

/// Both spellings of a response header's attribute.
pub(in crate::rules) const CONTENT_TYPE: &[&str] =
    &["http.response.header.content-type", "http.response.header.content_type"];
pub(in crate::rules) const CONTENT_ENCODING: &[&str] =
    &["http.response.header.content-encoding", "http.response.header.content_encoding"];
pub(in crate::rules) const CACHE_CONTROL: &[&str] =
    &["http.response.header.cache-control", "http.response.header.cache_control"];
pub(in crate::rules) const VALIDATORS: &[&str] = &[
    "http.response.header.etag",
    "http.response.header.last-modified",
    "http.response.header.last_modified",
];
pub(in crate::rules) const ACCEPT_ENCODING: &[&str] =
    &["http.request.header.accept-encoding", "http.request.header.accept_encoding"];
/// What makes an answer one for a single user.
pub(in crate::rules) const PERSONAL: &[&str] =
    &["http.request.header.authorization", "http.request.header.cookie"];

/// A header's text, lower case; several values as they were sent, in one text.
pub(in crate::rules) fn header(facts: &Facts<'_>, node: NodeId, keys: &[&str]) -> Option<String> {
    facts.attribute(node, keys).map(|value| value.to_string().to_ascii_lowercase())
}

/// Answers of services whose headers were captured (the type at least), evenly spread; with their shapes.
pub(in crate::rules) fn answers<'f>(
    facts: &'f Facts<'_>,
) -> impl Iterator<Item = (ShapeId, &'f Shape, Vec<NodeId>)> + 'f {
    facts.shapes().filter(|(_, shape)| shape.class == Class::Server).filter_map(|(id, shape)| {
        let calls = usize::try_from(shape.calls).unwrap_or(usize::MAX);
        let nodes = shape.groups.iter().flat_map(|g| facts.nodes(g)).copied();
        let sample: Vec<NodeId> = nodes
            .step_by(calls.div_ceil(MAX_CALLS).max(1))
            .filter(|node| facts.attribute(*node, CONTENT_TYPE).is_some() && !facts.call(*node).error)
            .collect();
        (!sample.is_empty()).then_some((id, shape, sample))
    })
}

/// Whether a type is text that compression makes small.
pub(in crate::rules) fn is_text(content_type: &str) -> bool {
    ["text/", "json", "xml", "javascript", "svg", "graphql", "csv"]
        .iter()
        .any(|word| content_type.contains(word))
}
