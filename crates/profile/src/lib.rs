//! Samples a running process, native, Python or Node, on and off CPU, into stacks that add up: each thread's weights
//! sum to its ledger of running, queued and blocked time. Also reads and writes the file formats of other profilers.
//! It holds no opinion on what it sees, starts no process, and stops none.

mod deeper;
pub mod distil;
mod elf;
pub mod formats;
mod graft;
mod ledger;
mod memory;
mod names;
mod node;
mod perf;
mod process;
mod procfs;
mod python;
mod recorder;
mod sampler;
mod session;
mod short_runs;
mod stacks;
pub mod summary;
mod switches;
mod symbols;
#[expect(unsafe_code, reason = "the one module that talks to the kernel past the standard library")]
mod sys;
mod threads;
mod timeline;
mod unnamed;
mod unwind;
mod usage;
mod variants;
mod wait;

pub use ledger::{Ledger, State};
pub use procfs::listening;
pub use session::{Options, Prepared, Progress, Session, Target};
pub use stacks::{
    Builder, Cell, Frame, FrameKind, MAX_CELLS, MAX_DEPTH, MAX_NODES, Node, Quality, Stacks, Thread,
    WINDOW_NS,
};
pub use usage::{Ran, ran};
