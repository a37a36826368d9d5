//! Our own estimate of a plan's cost with an index, where nothing better can be asked: the planner's formula for an
//! index scan (`btcostestimate`, and Mackert and Lohman's count of pages), without its finer corrections.
//! In the planner's units, for a cold cache; never below the cost of one look-up.

use crate::candidates::{Candidate, Scan};
use crate::catalog::{Costs, Table};
use crate::explain::Explained;
use crate::tokens::tokens;

/// Entries of a page of a btree, roughly: decides its height.
const FANOUT: f64 = 300.0;
const PAGE_BYTES: f64 = 8192.0;
/// Rows that `LIMIT $n` is taken to ask for; the planner takes it for a tenth of all rows, which no page is.
const PAGE_ROWS: f64 = 20.0;
/// What the planner charges for each page of the descent, in operator calls.
const DESCENT_OPERATORS: f64 = 50.0;

/// The statement's total cost with the candidate instead of the scan.
pub(crate) fn cost_after(
    explained: &Explained,
    scan: &Scan<'_>,
    candidate: &Candidate,
    table: &Table,
    costs: &Costs,
) -> f64 {
    let sort = scan.sort.as_ref().filter(|_| candidate.ordered);
    let found = (candidate.selectivity * table.rows).max(1.0);
    // With the order from the index, a LIMIT ends the scan early.
    let wanted = match sort.and_then(|s| s.limit) {
        Some(limit) => (asked(&explained.text, limit) / sort.map_or(1.0, |s| s.node.rows).max(1.0)).min(1.0),
        None => 1.0,
    };
    let lookups = if candidate.joined { scan.partner_rows.unwrap_or(1.0).max(1.0) } else { 1.0 };
    let whole = lookup(candidate, table, costs, found * wanted) * lookups;
    let replaced = sort.map_or(scan.node.total_cost, |s| s.node.total_cost);
    let share = if scan.sort.is_some() && sort.is_none() { 1.0 } else { scan.share };
    let share = if sort.is_some() { 1.0 } else { share };
    // Workers that are not started cost nothing.
    let workers = if scan.parallel { costs.parallel_setup } else { 0.0 };
    let gain = (replaced - whole) * scan.times * share + workers;
    (explained.root.total_cost - gain).max(lookup(candidate, table, costs, 1.0))
}

/// Rows that a LIMIT asks for, where the plan says `rows`.
fn asked(text: &str, rows: f64) -> f64 {
    let open = tokens(text).windows(2).any(|w| w[0].is_word("limit") && w[1].parameter().is_some());
    if open { rows.min(PAGE_ROWS) } else { rows }
}

/// Cost of one look-up that fetches `rows` rows.
fn lookup(candidate: &Candidate, table: &Table, costs: &Costs, rows: f64) -> f64 {
    let rows = rows.max(1.0);
    let share = rows / table.rows.max(1.0);
    let height = (table.rows.max(2.0).ln() / FANOUT.ln()).ceil();
    let descent = (table.rows.max(2.0).log2().ceil() + (height + 1.0) * DESCENT_OPERATORS) * costs.operator;
    let leaves = (candidate.index.bytes(table) as f64 / PAGE_BYTES * share).ceil().max(1.0);
    let scattered = mackert_lohman(table.blocks.max(1.0), rows) * costs.random_page;
    let adjacent = costs.random_page + ((table.blocks * share).ceil() - 1.0).max(0.0) * costs.sequential_page;
    let first = candidate.index.keys.first().and_then(|k| table.columns.get(&k.name));
    let correlation = first.and_then(|c| c.statistics.as_ref()).map_or(0.0, |s| s.correlation);
    let ordered = correlation * correlation;
    let heap = scattered + ordered * (adjacent.min(scattered) - scattered);
    let cpu = rows * (costs.index_tuple + costs.operator + costs.tuple + costs.operator);
    descent + leaves * costs.random_page + heap + cpu
}

/// Pages of a table of `pages` that `rows` scattered rows lie on.
fn mackert_lohman(pages: f64, rows: f64) -> f64 {
    (2.0 * pages * rows / (2.0 * pages + rows)).ceil().min(pages)
}
