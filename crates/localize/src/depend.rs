//! Pass 4: which calls wait for which. Learnt over all requests of an endpoint: if one call ever started before
//! another had ended, it does not need the other's result. The reverse, a real dependency, cannot be proven.

use crate::critical::overlap_ns;
use crate::shape::{NO_SHAPE, ShapeId, Shapes};
use crate::thresholds::Thresholds;
use crate::tree::Forest;
use hashbrown::HashSet;

/// Pairs of shapes below one parent that overlapped at least once.
#[derive(Default)]
pub struct Independent {
    pairs: HashSet<(ShapeId, ShapeId)>,
}

impl Independent {
    /// Whether a call of one shape was seen to run beside one of the other: neither waits for the other.
    #[must_use]
    pub fn holds(&self, a: ShapeId, b: ShapeId) -> bool {
        self.pairs.contains(&(a.min(b), a.max(b)))
    }
}

/// Of one parent's children, the first so many shapes are learnt about.
const MAX_SIBLING_SHAPES: usize = 128;

/// Looks at every pair of siblings in every tree that has an endpoint.
#[must_use]
pub fn learn(forest: &Forest, shapes: &Shapes, thresholds: &Thresholds) -> Independent {
    let mut learnt = Independent::default();
    // Latest end seen so far, by shape, among the children of the node at hand.
    let mut latest: Vec<(ShapeId, i64)> = Vec::new();
    for (at, node) in (0..).zip(&forest.nodes) {
        if node.subtree_end <= at + 2 || shapes.of_node[at as usize] == NO_SHAPE {
            continue;
        }
        latest.clear();
        let overlap = overlap_ns(node.duration_ns(), thresholds);
        for child in forest.children(at) {
            let shape = shapes.of_node[child as usize];
            let this = forest.node(child);
            if this.detached || this.duration_ns() == 0 || shape == NO_SHAPE {
                continue;
            }
            for &(other, end) in &latest {
                if end > this.start_ns + overlap {
                    learnt.pairs.insert((shape.min(other), shape.max(other)));
                }
            }
            if let Some(known) = latest.iter_mut().find(|l| l.0 == shape) {
                known.1 = known.1.max(this.end_ns);
            } else if latest.len() < MAX_SIBLING_SHAPES {
                latest.push((shape, this.end_ns));
            }
        }
    }
    learnt
}
