//! Drives work in three parts that know nothing of each other: the pace says when, the scenario what, the client how.
//! The model is open: arrivals are due whatever the service does, and a response time counts from the due time.
//! Judges only its own validity; goals, files and printing are the program's.

mod client;
mod expect;
mod options;
mod pace;
mod pool;
mod record;
mod render;
mod requests;
mod result;
mod run;
mod samples;
mod scenario;
mod schedule;
mod summary;
mod template;
mod timer;
mod validity;
mod variable;

pub use client::{Client, Failure, Outcome, TraceIds};
pub use expect::{Expect, StatusRange};
pub use options::{Clock, Options};
pub use pace::{Arrivals, Pace, Segment, Spacing};
pub use record::Progress;
pub use render::{k6_json, text};
pub use requests::{Prepared, Requests};
pub use result::{ErrorCount, LoadResult, OperationTotals};
pub use run::run;
pub use scenario::{Operation, Scenario};
pub use summary::{Distribution, OperationSummary, Summary, summary};
pub use validity::{Figures, judge};
pub use variable::Variable;
