//! Sets of single calls: the connections that only serve them, and the transforms that change just these calls.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::NO_SHAPE;
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use hashbrown::HashSet;
use std::sync::Arc;

/// Transforms by which exactly these calls take `ns`, with all below them.
pub(in crate::rules) fn take(facts: &Facts<'_>, nodes: HashSet<NodeId>, ns: f64) -> Vec<Transform> {
    let of_node = |node: &NodeId| facts.shapes.of_node[*node as usize];
    let mut shapes: Vec<_> = nodes.iter().map(of_node).filter(|shape| *shape != NO_SHAPE).collect();
    shapes.sort_unstable();
    shapes.dedup();
    let nodes = Arc::new(nodes);
    let one = |of| {
        let nodes = Arc::clone(&nodes);
        let cost = Cost::Each(Arc::new(move |case| if nodes.contains(&case.node) { ns } else { case.ns }));
        Transform::Duration { of, to: cost }
    };
    shapes.into_iter().map(one).collect()
}

/// Connections taken, transactions begun and ended for nothing but these calls: every call that follows one below the
/// same parent, up to the next connection, is among them.
pub(in crate::rules) fn serving(facts: &Facts<'_>, calls: &HashSet<NodeId>) -> Vec<NodeId> {
    let mut parents: Vec<NodeId> = calls.iter().map(|n| facts.node(*n).parent).collect();
    parents.sort_unstable();
    parents.dedup();
    let mut out = Vec::new();
    for parent in parents.into_iter().filter(|p| *p != crate::tree::NONE) {
        // Those of the connection at hand, and whether all its work so far is ours.
        let (mut held, mut ours, mut used) = (Vec::new(), true, false);
        for child in facts.forest.children(parent) {
            match facts.node(child).class {
                Class::Pool => {
                    if ours && used {
                        out.append(&mut held);
                    }
                    (ours, used) = (true, false);
                    held.clear();
                    held.push(child);
                }
                Class::Db if facts.is_control(child) => held.push(child),
                Class::Db => {
                    used = true;
                    ours &= calls.contains(&child);
                }
                _ => {}
            }
        }
        if ours && used {
            out.append(&mut held);
        }
    }
    out
}

/// Whether a call lies between a BEGIN and its COMMIT or ROLLBACK among its siblings.
pub(in crate::rules) fn in_transaction(facts: &Facts<'_>, node: NodeId) -> bool {
    let parent = facts.node(node).parent;
    if parent == crate::tree::NONE {
        return false;
    }
    let before = facts.forest.children(parent).take_while(|child| *child < node);
    let statements = before.filter(|child| facts.node(*child).class == Class::Db);
    statements.fold(false, |open, child| is_open_after(facts, child, open))
}

/// Whether a transaction is open after a statement, if it was or was not before.
pub(in crate::rules) fn is_open_after(facts: &Facts<'_>, statement: NodeId, open: bool) -> bool {
    let name = facts.name(facts.call(statement).template);
    match name.split(' ').next().unwrap_or("").to_ascii_uppercase().as_str() {
        "BEGIN" | "START" | "SQL.TX.BEGIN" => true,
        "COMMIT" | "ROLLBACK" | "END" | "ABORT" | "SQL.TX.COMMIT" | "SQL.TX.ROLLBACK" => false,
        _ => open,
    }
}
