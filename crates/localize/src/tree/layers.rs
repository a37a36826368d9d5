//! One call, two spans: where a mapper and the driver below it are both instrumented and the mapper's span is not made
//! the current one, they are siblings. Counted twice, an N+1 of 15 would be one of 30, so the driver's span is left out.

use super::{Local, Nursery};

/// Open calls that are remembered and that a sibling is compared with, the newest.
const MAX_OPEN_CALLS: usize = 64;

impl Nursery<'_> {
    /// Leaves second layers out of children by parent and start.
    pub(super) fn drop_second_layers(&mut self, mut children: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
        let mut found: Vec<u32> = Vec::new();
        for siblings in children.chunk_by(|a, b| a.0 == b.0) {
            self.find_second_layers(siblings, &mut found);
        }
        if found.is_empty() {
            return children;
        }
        for at in found {
            self.spans[at as usize].dead = true;
            self.forest.ingest.second_layers += 1;
        }
        children.retain(|(_, child)| !self.spans[*child as usize].dead);
        children
    }

    fn find_second_layers(&self, siblings: &[(u32, u32)], found: &mut Vec<u32>) {
        let mut open: Vec<u32> = Vec::new();
        for &(_, at) in siblings {
            let span = &self.spans[at as usize];
            if !span.class.is_storage() {
                continue;
            }
            open.retain(|o| self.spans[*o as usize].end > span.start);
            if open.len() > MAX_OPEN_CALLS {
                open.drain(..open.len() - MAX_OPEN_CALLS);
            }
            match open.iter().rev().copied().find(|o| self.is_layer_below(&self.spans[*o as usize], span)) {
                // One layer below each call: a second one within it is a call of its own.
                Some(outer) => {
                    open.retain(|o| *o != outer);
                    found.push(at);
                }
                None => open.push(at),
            }
        }
    }

    /// Whether a leaf is the same call as another, as a different instrumentation saw it from further down.
    fn is_layer_below(&self, outer: &Local, inner: &Local) -> bool {
        let (above, below) = (self.call(outer), self.call(inner));
        let scope = |span: &Local| self.table.strings.get(self.table.scopes[span.row as usize]);
        let (upper, lower) = (scope(outer), scope(inner));
        !inner.has_children
            && inner.end <= outer.end
            && (above.class, above.service, above.template) == (below.class, below.service, below.template)
            && !upper.is_empty()
            && !lower.is_empty()
            && upper != lower
    }
}
