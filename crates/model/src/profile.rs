//! What the service's threads did while it was measured: a tree of calls with time on CPU, queued and blocked, and how
//! it divides among the load's operations. Small enough to be judged and drawn; the whole profile lies beside it.

use crate::Estimate;
use serde::{Deserialize, Serialize};

/// Version of [`Profile`] as it is saved; readers pass over a newer one.
pub const PROFILE_VERSION: u32 = 1;

/// Milliseconds on a CPU, queued for one, blocked, and blocked by an interpreter's global lock.
pub type StateMs = [f64; 4];

/// Positions in [`StateMs`].
pub mod states {
    pub const ON_CPU: usize = 0;
    pub const QUEUED: usize = 1;
    pub const BLOCKED: usize = 2;
    pub const LOCKED_OUT: usize = 3;
    pub const NAMES: [&str; 4] = ["on CPU", "queued for a CPU", "blocked", "waiting for the GIL"];
}

/// What ran a frame's code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    #[default]
    Native,
    Kernel,
    Python,
    JavaScript,
    /// No code: what a thread waited for, or why there is no stack. Its function is in square brackets.
    Label,
    /// A group of threads, by their name.
    Threads,
}

/// One function.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CodeFrame {
    pub kind: CodeKind,
    pub function: String,
    /// The file of machine code: program or library.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub module: String,
    /// The source file, and the line that took most; 0 means unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub line: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(line: &u32) -> bool {
    *line == 0
}

/// A function below its caller. Node 0 is the root: all threads, without a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallNode {
    pub parent: u32,
    /// Index into [`Profile::frames`].
    pub frame: u32,
    /// While it was the innermost.
    pub own_ms: StateMs,
    /// By state: index into [`Profile::splits`].
    pub split: [u32; 4],
}

/// Threads of one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadGroup {
    pub name: String,
    pub threads: u32,
    pub wall_ms: f64,
    pub own_ms: StateMs,
}

/// What the requests of one operation cost the service's threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationTime {
    /// Requests within the profile's windows.
    pub requests: f64,
    /// Milliseconds on a CPU of one request; `None` where the windows cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<Estimate>,
}

/// One function's own time on CPU, by operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionTime {
    /// Index into [`Profile::frames`].
    pub frame: u32,
    /// Milliseconds of one request of each operation.
    pub per_request: Vec<Option<Estimate>>,
    /// What the fit leaves over, 0 to 1.
    pub residual: f64,
}

/// A profile of the service during the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// [`PROFILE_VERSION`] of the writer.
    pub version: u32,
    pub title: String,
    pub wall_ms: f64,
    /// Sums over all threads, as the kernel counted them; what the nodes' `own_ms` sum to.
    pub ledger_ms: StateMs,
    /// Samples on CPU before they were scaled to the kernel's count, as share of it, less one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unscaled_error: Option<f64>,
    /// The profiler's own CPU time as share of one core.
    pub own_share: f64,
    /// The program came from a file: nothing is known of requests.
    #[serde(default)]
    pub foreign: bool,
    pub groups: Vec<ThreadGroup>,
    pub frames: Vec<CodeFrame>,
    /// Parents before children.
    pub nodes: Vec<CallNode>,
    /// Shares of a node's time that each operation takes, and last what no request causes; they sum to 1. The first one
    /// lays everything on the last.
    pub splits: Vec<Vec<f64>>,
    pub operations: Vec<String>,
    pub times: Vec<OperationTime>,
    /// The functions with most own time on CPU, most first.
    pub functions: Vec<FunctionTime>,
    /// CPU time that the fit over all windows leaves over, 0 to 1, and how many windows there were.
    pub residual: f64,
    pub windows: usize,
    /// Of the mix, see the crate `attribute`.
    pub condition: f64,
    /// By process: resident bytes first and last, and page faults that had to find memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryUse>,
}

/// What is seen of a process's memory from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryUse {
    pub pid: u32,
    pub resident_first_bytes: u64,
    pub resident_last_bytes: u64,
    pub resident_peak_bytes: u64,
    /// Pages that were touched for the first time, and those that had to be read from a disk.
    pub minor_faults: u64,
    pub major_faults: u64,
}

impl Profile {
    /// Frames from the outermost to a node's own, its group of threads first.
    #[must_use]
    pub fn path(&self, node: u32) -> Vec<&CodeFrame> {
        let mut path = Vec::new();
        let mut at = node;
        while at != 0 && path.len() <= self.nodes.len() {
            let Some(this) = self.nodes.get(at as usize) else { break };
            path.extend(self.frames.get(this.frame as usize));
            at = this.parent;
        }
        path.reverse();
        path
    }

    /// A node's own time in one state that an operation takes; of the position after the last operation, what no request
    /// causes.
    #[must_use]
    pub fn own_ms(&self, node: &CallNode, state: usize, operation: usize) -> f64 {
        let split = self.splits.get(node.split[state] as usize);
        node.own_ms[state] * split.and_then(|shares| shares.get(operation)).copied().unwrap_or(0.0)
    }

    /// Milliseconds in a state that one request of an operation takes, over all nodes.
    #[must_use]
    pub fn per_request_ms(&self, state: usize, operation: usize) -> f64 {
        let requests = self.times.get(operation).map_or(0.0, |t| t.requests);
        let all: f64 = self.nodes.iter().map(|node| self.own_ms(node, state, operation)).sum();
        if requests > 0.0 { all / requests } else { 0.0 }
    }
}

/// How a profile grew, window by window: what its division among operations is made from. Never saved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Growth {
    /// Unix nanoseconds, ascending: one more than there are windows.
    pub borders_ns: Vec<u64>,
    pub own: Vec<Grown>,
}

/// Own time of a node in a state within one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grown {
    pub node: u32,
    /// Position in [`StateMs`].
    pub state: u8,
    pub window: u32,
    pub ms: f64,
}
