//! What a database told: statements with their counts over the window, plans, and what-if indexes.

use serde::{Deserialize, Serialize};

/// One statement's figures over the window: differences of two snapshots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Identity: the text with comments and white space folded and literals as `$n`; never with values.
    pub text: String,
    /// `postgresql`, `redis` ...
    pub system: String,
    pub calls: u64,
    /// Time within the database over all calls.
    pub total_ms: f64,
    /// Set where no call was timed, and `total_ms` is 0 for that: milliseconds that a call takes at least (0: nothing
    /// is known).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least_ms: Option<f64>,
    pub rows: u64,
    pub blocks_hit: u64,
    pub blocks_read: u64,
    /// Blocks written to temporary files: a sort or hash that did not fit.
    pub temp_blocks: u64,
    pub wal_bytes: u64,
}

impl Statement {
    /// Mean time of a call within the database; 0 without calls.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.total_ms / self.calls as f64 }
    }
}

/// The plan of a statement, with the figures of the tables that it touches and the indexes that were tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The text of the [`Statement`] that it belongs to.
    pub statement: String,
    pub root: PlanNode,
    /// The plan as it was executed with typical values, where that was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<PlanNode>,
    pub tables: Vec<TableFigures>,
    pub what_ifs: Vec<WhatIf>,
}

/// A node of a plan, in the planner's own terms. Costs are the planner's units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanNode {
    /// `Seq Scan`, `Index Scan`, `Sort` ...
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_condition: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sort_keys: Vec<String>,
    pub total_cost: f64,
    /// Estimated rows that leave the node.
    pub rows: f64,
    /// Estimated bytes a row.
    pub width: u32,
    /// Rows that left the node each time it ran; only of a plan that was executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_rows: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<PlanNode>,
}

impl PlanNode {
    /// The node and all below it, parents first.
    pub fn walk(&self) -> Vec<&Self> {
        let mut nodes = vec![self];
        let mut at = 0;
        while at < nodes.len() {
            let node = nodes[at];
            nodes.extend(&node.children);
            at += 1;
        }
        nodes
    }
}

/// A table's size, and the write traffic that an index on it would slow down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableFigures {
    pub name: String,
    /// Empty where the database has none, or only one that needs no name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
    pub rows: f64,
    pub blocks: u64,
    /// Definitions of the indexes that exist.
    pub indexes: Vec<String>,
    /// Rows written (inserted, updated, deleted) per second of the window.
    pub writes_per_second: f64,
    /// Rows changed since the planner's statistics were taken, as share of all rows.
    pub stale_share: f64,
    /// Share of the updates that touched no index; one more index on a column that they set ends that.
    #[serde(default)]
    pub hot_update_share: f64,
    /// What one more index adds to each row written, estimated; 0 where that is not known.
    #[serde(default)]
    pub index_write_us: f64,
    /// Write-ahead log that one more index adds to each row written, without page images; 0 where that is not known.
    #[serde(default)]
    pub index_write_bytes: f64,
}

/// How a what-if figure came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhatIfMethod {
    /// Built for real within a transaction that was rolled back, and the statement executed.
    Executed,
    /// The planner was shown an index that does not exist (HypoPG).
    Hypothetical,
    /// Our own estimate from the table's size and the predicate's selectivity.
    Estimated,
}

/// One index tried for one statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    pub table: String,
    pub columns: Vec<String>,
    /// SQL that makes the index, safe for a table in use.
    pub create: String,
    /// SQL that removes it.
    pub undo: String,
    pub method: WhatIfMethod,
    pub cost_before: f64,
    pub cost_after: f64,
    /// Execution times, where the statement was executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms_before: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms_after: Option<f64>,
    /// Estimated size of the index.
    pub bytes: u64,
}
