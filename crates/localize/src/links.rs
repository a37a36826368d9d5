//! Pass 1, across traces: which message a consumer took up, and how long it had waited. A consumer is told by a link
//! to the producer's span, or by being its child; its work is no time of the request that sent the message.

use crate::tree::{Forest, NONE, NodeId, TreeId};
use hashbrown::HashMap;
use model::{SpanKind, SpanTable};

/// More links than this are not followed.
const MAX_LINKS: usize = 1 << 20;

/// One message: sent, and taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub producer: NodeId,
    pub producer_tree: TreeId,
    pub consumer: NodeId,
    pub consumer_tree: TreeId,
    /// From the end of sending to the start of the work on it; negative where clocks differ.
    pub wait_ns: i64,
}

/// All messages whose two ends were recorded, by consumer.
#[must_use]
pub fn links(table: &SpanTable, forest: &Forest) -> Vec<Link> {
    let consumes = |row: usize| table.kinds.get(row) == Some(&SpanKind::Consumer);
    let mut wanted: HashMap<(u128, u64), Vec<u32>> = HashMap::new();
    for &(row, trace, span) in table.links.iter().filter(|l| consumes(l.0 as usize)).take(MAX_LINKS) {
        wanted.entry((trace, span)).or_default().push(row);
    }
    // A consumer that began after its producer had ended is a tree of its own: its parent is the message's sender.
    let mut children = 0;
    for row in (0..table.len()).filter(|row| consumes(*row) && table.parent_ids[*row] != 0) {
        children += 1;
        if children > MAX_LINKS {
            break;
        }
        let row_id = u32::try_from(row).unwrap_or(u32::MAX);
        wanted.entry((table.trace_ids[row], table.parent_ids[row])).or_default().push(row_id);
    }
    let mut sent: HashMap<u32, (NodeId, TreeId)> = HashMap::new();
    let mut taken: HashMap<u32, (NodeId, TreeId)> = HashMap::new();
    let mut out = Vec::new();
    for (id, tree) in (0..).zip(&forest.trees) {
        for node in tree.root..tree.end {
            let this = forest.node(node);
            let row = this.row as usize;
            if let Some(rows) = wanted.get(&(table.trace_ids[row], table.span_ids[row])) {
                let sends = table.kinds.get(row) == Some(&SpanKind::Producer);
                let named =
                    |consumer: &&u32| sends || table.parent_ids[**consumer as usize] != table.span_ids[row];
                sent.extend(rows.iter().filter(named).map(|consumer| (*consumer, (node, id))));
            }
            if !consumes(row) {
                continue;
            }
            let above = this.parent;
            if above != NONE && table.kinds.get(forest.node(above).row as usize) == Some(&SpanKind::Producer)
            {
                out.push(link(table, forest, (above, id), (node, id)));
            } else {
                taken.insert(this.row, (node, id));
            }
        }
    }
    out.extend(taken.iter().filter_map(|(row, to)| Some(link(table, forest, *sent.get(row)?, *to))));
    out.sort_unstable_by_key(|l| (l.consumer, l.producer));
    out
}

fn link(table: &SpanTable, forest: &Forest, from: (NodeId, TreeId), to: (NodeId, TreeId)) -> Link {
    let row = |node: NodeId| forest.node(node).row as usize;
    // As sent: a consumer that was put within its producer's time has lost its wait.
    let ends = table.starts_ns[row(from.0)].saturating_add_signed(table.durations_ns[row(from.0)].max(0));
    let wait = i128::from(table.starts_ns[row(to.0)]) - i128::from(ends);
    Link {
        producer: from.0,
        producer_tree: from.1,
        consumer: to.0,
        consumer_tree: to.1,
        wait_ns: i64::try_from(wait).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::links;
    use crate::facts::Facts;
    use crate::testing::drawn;
    use crate::thresholds::Thresholds;

    #[test]
    fn a_link_and_a_parent_lead_to_the_producer() {
        let mut recording = drawn(
            r#"
            api server "POST /orders" 0..20
              api producer "orders publish" 5..8 messaging.system=kafka
                mail consumer "orders process" 400..450 messaging.system=kafka

            mail consumer "orders process" 70..90 messaging.system=kafka
            "#,
        );
        // The second trace starts 100 ms after the first.
        let (trace, producer) = (recording.spans.trace_ids[1], recording.spans.span_ids[1]);
        recording.spans.links = vec![(3, trace, producer), (3, 77, 77), (99, trace, producer)];
        let facts_of = Thresholds::default();
        let facts = Facts::gather(&recording, &facts_of, false);
        let waits: Vec<i64> =
            links(&recording.spans, &facts.forest).iter().map(|l| l.wait_ns / 1_000_000).collect();
        assert_eq!(waits, [392, 162]);
    }
}
