//! A mapper wraps each of its calls into a span of one name (`prisma:client:operation`, `Repository.execute`). Judged
//! as one shape, three different reads in a row look like one read made three times, so where such spans stand side by
//! side with different calls below, they are told apart by what they call. Nothing is told apart by values.

use crate::resolve::{Calls, Class};
use crate::tree::{Forest, NodeId};
use hashbrown::{HashMap, HashSet};
use model::Sym;

/// Spans below a wrapper that are looked at.
const MAX_BELOW: usize = 64;
/// A function that makes more different calls is no wrapper of a mapper.
const MAX_CALLS: usize = 200;

/// Names of functions, by service.
type Named = (Sym, Sym);

/// Renames the functions that wrap different calls.
pub(crate) fn tell_apart(forest: &Forest, calls: &mut Calls) {
    let wrappers = wrappers(forest, calls);
    if wrappers.is_empty() {
        return;
    }
    let mut names: HashMap<(Sym, Sym), Sym> = HashMap::new();
    for (at, node) in (0..).zip(&forest.nodes) {
        let call = &calls.rows[node.row as usize];
        if node.class != Class::Internal || !wrappers.contains(&(call.service, call.template)) {
            continue;
        }
        let wrapper = call.template;
        let Some(only) = only_call(forest, calls, at) else { continue };
        let name = *names.entry((wrapper, only)).or_insert_with(|| {
            let name = format!("{}: {}", calls.name(wrapper), calls.name(only));
            calls.names.intern(&name)
        });
        calls.rows[node.row as usize].template = name;
    }
}

/// The functions that were seen side by side with different calls below.
fn wrappers(forest: &Forest, calls: &Calls) -> HashSet<Named> {
    let mut known: HashMap<Named, HashSet<Sym>> = HashMap::new();
    let mut differ: HashSet<Named> = HashSet::new();
    let mut siblings: HashMap<(NodeId, Sym), Sym> = HashMap::new();
    for tree in &forest.trees {
        siblings.clear();
        for at in tree.root..tree.end {
            let node = forest.node(at);
            if node.class != Class::Internal || node.subtree_end == at + 1 {
                continue;
            }
            let Some(only) = only_call(forest, calls, at) else { continue };
            let call = &calls.rows[node.row as usize];
            let named = (call.service, call.template);
            let all = known.entry(named).or_default();
            if all.len() <= MAX_CALLS {
                all.insert(only);
            }
            if *siblings.entry((node.parent, call.template)).or_insert(only) != only {
                differ.insert(named);
            }
        }
    }
    differ.retain(|named| known.get(named).is_some_and(|all| all.len() <= MAX_CALLS));
    differ
}

/// The one kind of call that a function makes, however often; `None` where it makes none, or several kinds.
fn only_call(forest: &Forest, calls: &Calls, function: NodeId) -> Option<Sym> {
    let end = forest.node(function).subtree_end;
    let (mut at, mut seen, mut only) = (function + 1, 0, None);
    while at < end {
        seen += 1;
        let node = forest.node(at);
        if seen > MAX_BELOW || node.class == Class::Server {
            return None;
        }
        if node.class.is_call() {
            let template = calls.rows[node.row as usize].template;
            if only.is_some_and(|known| known != template) {
                return None;
            }
            only = Some(template);
            at = node.subtree_end;
        } else {
            at += 1;
        }
    }
    only
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn different_reads_in_spans_of_one_name_are_different_steps() {
        let recording = drawn(
            r#"
            repeat 20
            api server "GET /dashboard" 0..100
              api internal "mapper.operation" 1..31
                api db "SELECT count(*) FROM bookings" 2..30
              api internal "mapper.operation" 32..62
                api db "SELECT count(*) FROM guests" 33..61
              api internal "mapper.operation" 63..93
                api db "SELECT avg(price) FROM rooms" 64..92
            "#,
        );
        check_rule(
            "serial_calls",
            &recording,
            &expect![[r#"
                serial_calls GET /dashboard | 3 independent reads one after another per GET /dashboard | p95 100.0 -> 38.4 (38.4..98.0) B
            "#]],
        );
    }

    #[test]
    fn equal_calls_in_spans_of_one_name_stay_one_shape() {
        let recording = drawn(
            r#"
            repeat 20
            api server "GET /hotels" 0..100
              api internal "mapper.operation" 0..5
                api db "SELECT * FROM hotels" 1..4
              api internal "mapper.operation" 6..12 x10 gap 1
                api db "SELECT * FROM rooms WHERE hotel_id = $1" 7..11
            "#,
        );
        check_rule(
            "n_plus_one",
            &recording,
            &expect![[r#"
                n_plus_one GET /hotels | 10 x SELECT ... FROM rooms per GET /hotels | p95 100.0 -> 59.5 (55.0..64.0) B
            "#]],
        );
    }
}
