//! Pass 2: how much of a request's time its spans explain. Silence about an endpoint that is not covered would be a
//! lie: it is reported, and whatever is found on it is believed less.

use crate::resolve::Class;
use crate::shape::Shapes;
use crate::tree::{Forest, Node};

/// Per endpoint: the share of root time that child spans cover, 0 to 1.
#[must_use]
pub fn coverage(forest: &Forest, shapes: &Shapes) -> Vec<f64> {
    let of = |endpoint: &crate::shape::Endpoint| {
        let (covered, total) = endpoint.trees.iter().fold((0.0, 0.0), |(covered, total), tree| {
            let tree = &forest.trees[*tree as usize];
            (covered + covered_ns(forest, tree.root) as f64, total + forest.root_ns(tree) as f64)
        });
        if total > 0.0 { covered / total } else { 1.0 }
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
        // A middleware or handler that wraps the whole request explains nothing by itself.
        let opaque = node.subtree_end == first + 1 && node.class != Class::Internal;
        if opaque || node.class.is_call() || !wraps(forest.node(at), node) {
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

#[cfg(test)]
mod tests {
    use crate::facts::Facts;
    use crate::testing::drawn;
    use crate::thresholds::Thresholds;

    fn percent(drawing: &str) -> f64 {
        let recording = drawn(drawing);
        let thresholds = Thresholds::default();
        let facts = Facts::gather(&recording, &thresholds, false);
        (facts.coverage[0] * 100.0).round()
    }

    fn assert_percent(expected: f64, drawing: &str) {
        let found = percent(drawing);
        assert!((found - expected).abs() < 0.5, "{found} %, expected {expected} %");
    }

    #[test]
    fn children_that_overlap_explain_their_time_once() {
        assert_percent(
            60.0,
            "api server \"GET /a\" 0..100\n  api db \"SELECT 1\" 10..50\n  api db \"SELECT 2\" 30..70",
        );
    }

    #[test]
    fn a_middleware_around_everything_explains_nothing() {
        assert_percent(
            10.0,
            "api server \"GET /a\" 0..100\n  api internal \"auth\" 1..99\n    api db \"SELECT 1\" 10..20",
        );
    }

    #[test]
    fn a_handler_with_nothing_below_it_explains_nothing() {
        assert_percent(0.0, "api server \"GET /a\" 0..100\n  api internal \"request handler\" 1..99");
        assert_percent(60.0, "api server \"GET /a\" 0..100\n  api internal \"render\" 20..80");
    }

    #[test]
    fn work_after_the_reply_and_a_lonely_root_explain_nothing() {
        assert_percent(0.0, "api server \"GET /a\" 0..100\n  api internal \"mail\" 90..500");
        assert_percent(0.0, "api server \"GET /a\" 0..100");
    }

    #[test]
    fn a_root_that_took_no_time_is_covered() {
        assert_percent(100.0, "api server \"GET /a\" 0..0");
    }
}
