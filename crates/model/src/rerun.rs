//! One request drawn twice: as it was recorded, and run again with a finding's fix.

use serde::{Deserialize, Serialize};

/// A request that shows a finding. Its times are this one request's: what the endpoint's percentiles become is the
/// prediction's to say, which also counts the load and the client's way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rerun {
    /// 32 lower-case hex digits.
    pub trace_id: String,
    pub before_ms: f64,
    pub after_ms: f64,
    /// In the order of the tree, parents before children.
    pub rows: Vec<RerunRow>,
    /// Spans that no row stands for.
    pub hidden: u64,
}

/// Alike calls below one parent, as one row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RerunRow {
    pub depth: u32,
    pub name: String,
    pub service: String,
    /// `server`, `db`, `http`, `rpc`, `cache`, `messaging`, `pool`, `browser` or `internal`.
    pub class: String,
    /// The finding is about these calls.
    pub found: bool,
    pub before: Stretch,
    /// `None`: the calls are not made any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Stretch>,
}

/// Where a row's calls lie, after the request's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    pub calls: u64,
    pub start_ms: f64,
    pub end_ms: f64,
    /// Of all the calls together; more than the stretch where they overlap.
    pub total_ms: f64,
}
