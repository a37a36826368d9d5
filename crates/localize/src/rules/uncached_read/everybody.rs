//! One URL that is asked for by requests of all kinds: likely the same answer for everybody. Who asked does not show in
//! the URL but may show in a header, so what sounds personal, or as if it changed all the time, is left out.

use crate::facts::Facts;
use crate::rules::patterns::headers::PERSONAL;
use crate::rules::patterns::values;
use crate::shape::Shape;
use crate::tree::NodeId;
use hashbrown::HashSet;

/// Calls that are looked at.
const MAX_CALLS: usize = 500;
/// Distinct requests around the one URL, as share of all: they ask for different things.
const DISTINCT: f64 = 0.3;

/// Words of a path that is answered by who asks.
const OWN: &[&str] = &[
    "me",
    "my",
    "self",
    "own",
    "user",
    "users",
    "userinfo",
    "whoami",
    "account",
    "accounts",
    "session",
    "sessions",
    "profile",
    "auth",
    "oauth",
    "token",
    "tokens",
    "login",
    "introspect",
    "permissions",
    "cart",
    "basket",
    "inbox",
    "wallet",
    "balance",
    "notifications",
];
/// Words of a path whose answer is only right at once.
const LIVE: &[&str] = &[
    "health", "healthz", "ready", "readyz", "live", "livez", "ping", "status", "metrics", "poll", "next",
    "now", "time", "random", "lock", "locks", "queue", "job", "jobs", "events", "search",
];

/// Whether calls with one and the same URL may be answered alike for all requests that make them.
pub(super) fn is_for_everybody(facts: &Facts<'_>, shape: &Shape) -> bool {
    let nodes: Vec<NodeId> =
        shape.groups.iter().flat_map(|g| facts.nodes(g)).copied().take(MAX_CALLS).collect();
    let Some(first) = nodes.first() else { return false };
    let template = facts.name(shape.template);
    let path = template.split_once('/').map_or("", |(_, path)| path).to_ascii_lowercase();
    let mut words = path.split(|c: char| !c.is_ascii_alphanumeric());
    if words.any(|word| OWN.contains(&word) || LIVE.contains(&word)) {
        return false;
    }
    let entry = |node: &NodeId| facts.forest.entry(*node);
    let personal = |node: NodeId| facts.attribute(node, PERSONAL).is_some();
    if nodes.iter().any(|n| personal(*n) || personal(entry(n))) || entry(first) == *first {
        return false;
    }
    let asked: HashSet<Vec<String>> = nodes.iter().map(|n| values::of_request(facts, entry(n))).collect();
    asked.len() >= 2 && asked.len() as f64 >= DISTINCT * nodes.len() as f64
}
