//! Pass 2: how much of a request's time its spans explain. Silence about an endpoint that is not covered would be a
//! lie: it is reported, and whatever is found on it is believed less.

use crate::shape::Shapes;
use crate::tree::{Forest, Node};

/// Per endpoint: the share of root time that child spans cover, 0 to 1.
#[must_use]
pub fn coverage(forest: &Forest, shapes: &Shapes) -> Vec<f64> {
    let of = |endpoint: &crate::shape::Endpoint| {
        let (covered, total) = endpoint.trees.iter().fold((0_i64, 0_i64), |(covered, total), tree| {
            let tree = &forest.trees[*tree as usize];
            (covered + covered_ns(forest, tree.root), total + forest.root_ns(tree))
        });
        if total > 0 { covered as f64 / total as f64 } else { 1.0 }
    };
    shapes.endpoints.iter().map(of).collect()
}

/// Time of a root that some leaf-ward span explains: its children, or, where it has one only that is an entry or a
/// caller's view of one, what lies below that.
fn covered_ns(forest: &Forest, root: u32) -> i64 {
    let mut at = root;
    loop {
        let mut children = forest.children(at).filter(|c| !forest.node(*c).detached);
        let (Some(first), None) = (children.next(), children.next()) else { break };
        let node = forest.node(first);
        // A middleware that wraps the whole request explains nothing by itself.
        if node.subtree_end == first + 1 || node.class.is_call() || !wraps(forest.node(at), node) {
            break;
        }
        at = first;
    }
    let (mut covered, mut until) = (0, forest.node(at).start_ns);
    for child in forest.children(at).map(|c| forest.node(c)).filter(|c| !c.detached) {
        covered += (child.end_ns - child.start_ns.max(until)).max(0);
        until = until.max(child.end_ns);
    }
    covered
}

/// Nine tenths of the outer one's time.
fn wraps(outer: &Node, inner: &Node) -> bool {
    inner.duration_ns() * 10 >= outer.duration_ns() * 9
}
