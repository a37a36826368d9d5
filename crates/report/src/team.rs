//! A diagnosis in the forms that a team's tools read: SARIF for code scanning, JUnit for test views, Markdown for pull
//! requests, a comparison of two, and the gate that decides whether a pipeline fails.

mod acknowledged;
mod compare;
mod gate;
mod junit;
mod markdown;
mod sarif;

pub use acknowledged::{Acknowledged, Acknowledgements, Standing};
pub use compare::{Changed, Comparison};
pub use gate::FailOn;
pub use junit::junit;
pub use markdown::markdown;
pub use sarif::{RuleText, sarif};
