//! Paths to patterns, learnt as they come: `/orders/17` is `/orders/{id}`, and where a hundred names stand in one place
//! (`/blog/my-first-post`) they are `{name}`. Bounded, however many different paths there are.

use hashbrown::HashMap;
use model::template;

/// Different names in one place before they are taken for values.
const MAX_CHILDREN: usize = 64;
/// A name that this share of the requests in its place has stays a name (one in so many).
const KEPT_SHARE: u64 = 50;
/// Places in all; a path that needs more ends at the last one known.
const MAX_NODES: usize = 20_000;
/// Segments that are told apart; what lies deeper is `{rest}`.
const MAX_DEPTH: usize = 12;
/// A longer segment is a value.
const MAX_NAME_BYTES: usize = 80;

/// A pattern, by the place where its paths end.
pub type RouteId = u32;

#[derive(Debug, Default)]
struct Node {
    name: Box<str>,
    parent: RouteId,
    children: HashMap<Box<str>, RouteId>,
    /// Of segments that are values.
    any: Option<RouteId>,
    hits: u64,
    /// No further names: they are values.
    closed: bool,
}

/// What was learnt of the paths.
#[derive(Debug)]
pub struct Routes {
    nodes: Vec<Node>,
    /// Patterns that became one with another, since they were last asked for.
    merged: Vec<(RouteId, RouteId)>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], merged: Vec::new() }
    }
}

/// The longest ending of a file's name.
const MAX_ENDING: usize = 5;

/// Whether a segment is what the last pattern of its place stands for; `54.png` is as much a value as `54`.
fn is_value(segment: &str) -> bool {
    let file = segment.rsplit_once('.').filter(|(_, ending)| {
        ending.len() <= MAX_ENDING && ending.starts_with(|c: char| c.is_ascii_alphabetic())
    });
    segment.len() > MAX_NAME_BYTES
        || segment.contains(['%', '@', '='])
        || template::is_value(segment)
        || file.is_some_and(|(stem, _)| template::is_value(stem))
}

/// Whether a router's pattern holds a parameter there: `{id}`, `:id`, `<int:id>`.
fn is_parameter(segment: &str) -> bool {
    segment.starts_with([':', '{', '<', '*'])
}

/// Without empty segments and without `;jsessionid=...`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .map(|segment| segment.split(';').next().unwrap_or(""))
        .filter(|segment| !segment.is_empty())
}

impl Routes {
    /// The pattern of a path, without query. Patterns that it made one with another are in [`Self::take_merged`].
    pub fn learn(&mut self, path: &str) -> RouteId {
        let mut at = 0;
        self.nodes[0].hits += 1;
        for (depth, segment) in segments(path).enumerate() {
            let next = if depth >= MAX_DEPTH {
                self.any_of(at, "{rest}")
            } else if is_parameter(segment) {
                self.any_of(at, segment)
            } else if is_value(segment) {
                self.any_of(at, "{id}")
            } else {
                self.named(at, segment)
            };
            let Some(next) = next else { break };
            at = next;
            self.nodes[at as usize].hits += 1;
            if depth >= MAX_DEPTH {
                break;
            }
        }
        at
    }

    /// The pattern of a path as far as it is known; `values` are the segments that its parameters stand for.
    pub fn find<'p>(&self, path: &'p str, values: &mut Vec<&'p str>) -> Option<RouteId> {
        values.clear();
        let mut at = 0_u32;
        for (depth, segment) in segments(path).enumerate() {
            let node = &self.nodes[at as usize];
            if depth < MAX_DEPTH
                && !is_value(segment)
                && let Some(next) = node.children.get(segment)
            {
                at = *next;
                continue;
            }
            at = node.any?;
            values.push(segment);
            if depth >= MAX_DEPTH {
                break;
            }
        }
        Some(at)
    }

    /// `/orders/{id}/items`.
    #[must_use]
    pub fn pattern(&self, route: RouteId) -> String {
        let mut names = Vec::new();
        let mut at = route;
        while at != 0 {
            let node = &self.nodes[at as usize];
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }

    /// Patterns that became one with another, in order: what was counted for the first belongs to the second.
    pub fn take_merged(&mut self) -> Vec<(RouteId, RouteId)> {
        std::mem::take(&mut self.merged)
    }

    /// Whether [`Self::take_merged`] has any.
    #[must_use]
    pub fn has_merged(&self) -> bool {
        !self.merged.is_empty()
    }

    fn named(&mut self, at: RouteId, segment: &str) -> Option<RouteId> {
        if let Some(known) = self.nodes[at as usize].children.get(segment) {
            return Some(*known);
        }
        if self.nodes[at as usize].closed {
            return self.any_of(at, "{name}");
        }
        if self.nodes[at as usize].children.len() >= MAX_CHILDREN {
            self.close(at);
            return self.any_of(at, "{name}");
        }
        let new = self.add(at, segment)?;
        self.nodes[at as usize].children.insert(segment.into(), new);
        Some(new)
    }

    fn any_of(&mut self, at: RouteId, name: &str) -> Option<RouteId> {
        if let Some(any) = self.nodes[at as usize].any {
            return Some(any);
        }
        let any = self.add(at, name)?;
        self.nodes[at as usize].any = Some(any);
        Some(any)
    }

    fn add(&mut self, parent: RouteId, name: &str) -> Option<RouteId> {
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        self.nodes.push(Node { name: name.into(), parent, ..Node::default() });
        u32::try_from(self.nodes.len() - 1).ok()
    }

    /// Names that seemed frequent when their place was closed and were not, once everything was seen.
    pub fn settle(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].closed
                && let Ok(at) = RouteId::try_from(at)
            {
                self.close(at);
            }
        }
    }

    /// From here on names are values, but for those that many requests have.
    fn close(&mut self, at: RouteId) {
        self.nodes[at as usize].closed = true;
        let hits = self.nodes[at as usize].hits;
        let children = std::mem::take(&mut self.nodes[at as usize].children);
        let (kept, mut values): (HashMap<_, _>, Vec<_>) = {
            let (kept, values): (Vec<_>, Vec<_>) = children
                .into_iter()
                .partition(|(_, child)| self.nodes[*child as usize].hits.saturating_mul(KEPT_SHARE) >= hits);
            (kept.into_iter().collect(), values)
        };
        self.nodes[at as usize].children = kept;
        values.sort_unstable_by_key(|(_, child)| *child);
        for (_, child) in values {
            // No room for one more place: the names stay as they are, and no new one comes.
            let Some(any) = self.any_of(at, "{name}") else { return };
            self.merge(child, any);
        }
    }

    /// Everything of `from` becomes `to`'s.
    fn merge(&mut self, from: RouteId, to: RouteId) {
        if from == to {
            return;
        }
        self.merged.push((from, to));
        let taken = std::mem::take(&mut self.nodes[from as usize]);
        self.nodes[to as usize].hits += taken.hits;
        let mut children: Vec<_> = taken.children.into_iter().collect();
        children.sort_unstable_by_key(|(_, child)| *child);
        for (name, child) in children {
            let node = &self.nodes[to as usize];
            let into = node.children.get(&name).copied().or_else(|| node.any.filter(|_| node.closed));
            match into {
                Some(into) => self.merge(child, into),
                None => {
                    self.nodes[child as usize].parent = to;
                    self.nodes[to as usize].children.insert(name, child);
                }
            }
        }
        if let Some(any) = taken.any {
            match self.nodes[to as usize].any {
                Some(into) => self.merge(any, into),
                None => {
                    self.nodes[any as usize].parent = to;
                    self.nodes[to as usize].any = Some(any);
                }
            }
        }
        if self.nodes[to as usize].children.len() > MAX_CHILDREN {
            self.close(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(paths: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut routes = Routes::default();
        let paths: Vec<String> = paths.into_iter().collect();
        for path in &paths {
            routes.learn(path);
        }
        let mut found: Vec<String> = paths
            .iter()
            .filter_map(|p| routes.find(p, &mut Vec::new()))
            .map(|id| routes.pattern(id))
            .collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn numbers_are_ids_at_once_and_names_after_a_hundred() {
        let paths = ["/orders/17/items", "/orders/18/items/", "//orders/19", "/a%20b", "/x;jsessionid=1"]
            .map(str::to_owned);
        assert_eq!(patterns(paths), ["/orders/{id}", "/orders/{id}/items", "/x", "/{id}"]);
        let words =
            ["quick", "brown", "fox", "lazy", "dog", "red", "blue", "green", "fast", "slow", "warm", "cold"];
        let posts = words.iter().flat_map(|a| words.iter().map(move |b| format!("/blog/{a}-{b}/comments")));
        let busy = std::iter::repeat_n("/blog/archive".to_owned(), 50);
        assert_eq!(patterns(busy.chain(posts)), ["/blog/archive", "/blog/{name}/comments"]);
    }

    #[test]
    fn what_was_counted_for_a_name_moves_to_its_pattern() {
        let mut routes = Routes::default();
        let mut counts: HashMap<RouteId, u64> = HashMap::new();
        for n in 0..5000_u64 {
            // Letters only: nothing here is a value by its looks.
            let name: String = (0..4).map(|d| char::from(b'a' + ((n >> (d * 4)) % 16) as u8)).collect();
            let id = routes.learn(&format!("/u/{name}/x"));
            for (from, to) in routes.take_merged() {
                if let Some(moved) = counts.remove(&from) {
                    *counts.entry(to).or_default() += moved;
                }
            }
            *counts.entry(id).or_default() += 1;
        }
        assert_eq!(counts.values().sum::<u64>(), 5000);
        let all: Vec<String> = counts.keys().map(|id| routes.pattern(*id)).collect();
        assert_eq!(all, ["/u/{name}/x"]);
    }

    #[test]
    fn ever_new_paths_stay_in_bounds() {
        let mut routes = Routes::default();
        for n in 0..200_000_u64 {
            let letters = |mut n: u64| {
                let mut text = String::new();
                for _ in 0..5 {
                    text.push(char::from(b'a' + (n % 26) as u8));
                    n /= 26;
                }
                text
            };
            routes.learn(&format!("/{}/{}/{}", letters(n * 7919), letters(n), letters(n * 31)));
            routes.take_merged();
        }
        assert!(routes.nodes.len() <= MAX_NODES, "{}", routes.nodes.len());
    }

    #[test]
    fn very_deep_and_very_long_paths_have_an_end() {
        let found = patterns(["/a".repeat(1000), format!("/{}", "x".repeat(100_000))]);
        assert_eq!(found, [format!("{}/{{rest}}", "/a".repeat(12)), "/{id}".to_owned()]);
    }
}
