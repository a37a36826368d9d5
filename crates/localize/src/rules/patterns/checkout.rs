//! Whether a span that is named like the making of a connection waits for one of a pool: SQLAlchemy's `connect` covers
//! both. What tells them apart is what others do meanwhile: a full pool has all its connections in use.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::Shape;
use crate::tree::NodeId;

/// Takes that are looked at.
const MAX_TAKES: usize = 50_000;
/// Share of the time in which somebody waits that all connections must be in use.
const FULL_SHARE: f64 = 0.6;

/// A pool that was seen to be full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::rules) struct Full {
    /// Connections that were in use at most.
    pub connections: usize,
    /// Share of the time in which somebody waited that so many were.
    pub share: f64,
}

/// What happens at a moment, Unix nanoseconds; at the same moment ends come first.
type Event = (i64, Change);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    GivenBack,
    Taken,
    WaitEnds,
    WaitBegins,
}

/// The pool behind these takes, if they wait because it is full. All takes of the same name in the service count.
pub(in crate::rules) fn full(facts: &Facts<'_>, shape: &Shape) -> Option<Full> {
    let same = |s: &&Shape| {
        (s.service, s.class, s.template, s.peer) == (shape.service, shape.class, shape.template, shape.peer)
    };
    let wait_ns = facts.thresholds.pool_wait_ms * 1e6;
    let mut events: Vec<Event> = Vec::new();
    let groups = facts.shapes().map(|(_, s)| s).filter(same).flat_map(|s| &s.groups);
    let takes = groups.flat_map(|g| facts.nodes(g).iter().map(|n| (facts.began_ns(g.tree), *n)));
    for (began, take) in takes.take(MAX_TAKES) {
        let this = facts.node(take);
        if this.duration_ns() as f64 >= wait_ns {
            events.push((began + this.start_ns, Change::WaitBegins));
            events.push((began + this.end_ns, Change::WaitEnds));
        }
        if let Some(end) = held_until(facts, take) {
            events.push((began + this.end_ns, Change::Taken));
            events.push((began + end, Change::GivenBack));
        }
    }
    events.sort_unstable();
    of(&events)
}

/// The end of the last call that was made on the connection: before the next one is taken by the same step.
fn held_until(facts: &Facts<'_>, take: NodeId) -> Option<i64> {
    let this = facts.node(take);
    let later = facts.forest.children(this.parent).filter(|n| facts.node(*n).start_ns >= this.end_ns);
    let used = later.take_while(|n| facts.node(*n).class != Class::Pool);
    let calls = used.filter(|n| matches!(facts.node(*n).class, Class::Db | Class::Cache));
    calls.map(|n| facts.node(n).end_ns).max()
}

fn of(events: &[Event]) -> Option<Full> {
    let (mut held, mut connections) = (0_usize, 0_usize);
    for (_, change) in events {
        match change {
            Change::Taken => held += 1,
            Change::GivenBack => held = held.saturating_sub(1),
            Change::WaitBegins | Change::WaitEnds => {}
        }
        connections = connections.max(held);
    }
    let (mut waiting, mut before, mut waited, mut full) = (0_usize, 0, 0_i64, 0_i64);
    held = 0;
    for (at, change) in events {
        if waiting > 0 {
            waited += at - before;
            full += if held >= connections { at - before } else { 0 };
        }
        before = *at;
        match change {
            Change::Taken => held += 1,
            Change::GivenBack => held = held.saturating_sub(1),
            Change::WaitBegins => waiting += 1,
            Change::WaitEnds => waiting = waiting.saturating_sub(1),
        }
    }
    let share = full as f64 / waited.max(1) as f64;
    (connections > 0 && share >= FULL_SHARE).then_some(Full { connections, share })
}

#[cfg(test)]
mod tests {
    use super::{Change, Full, of};

    /// Waits from and to, and the end of use.
    fn pool(takes: &[(i64, i64, i64)]) -> Option<Full> {
        let mut events: Vec<(i64, Change)> = Vec::new();
        for &(from, to, until) in takes {
            events.extend([(from, Change::WaitBegins), (to, Change::WaitEnds)]);
            events.extend([(to, Change::Taken), (until, Change::GivenBack)]);
        }
        events.sort_unstable();
        of(&events)
    }

    #[test]
    fn whoever_waits_while_all_are_in_use_waits_for_the_pool() {
        let full = pool(&[(0, 0, 50), (0, 0, 60), (5, 50, 100), (10, 60, 110), (15, 100, 150)]);
        assert_eq!(full, Some(Full { connections: 2, share: 1.0 }));
    }

    #[test]
    fn connections_that_are_made_beside_each_other_are_no_pool() {
        // Four workers, each makes its connection in 20 and uses it for 20.
        let made: Vec<(i64, i64, i64)> = (0..40)
            .map(|n| (n % 4 * 7 + n / 4 * 40, n % 4 * 7 + n / 4 * 40 + 20, n % 4 * 7 + n / 4 * 40 + 40))
            .collect();
        assert_eq!(pool(&made), None);
        assert_eq!(pool(&[(0, 20, 40), (50, 70, 90)]), None);
    }
}
