//! From what was seen of a service, or is written about it, to a load scenario to edit: traces, access logs, recordings,
//! HAR files, OpenAPI descriptions, Postman collections. Pure: bytes in, a text of TOML out; nothing is sent.

mod flow;
mod guess;
mod har;
mod learn;
mod logs;
mod openapi;
mod plan;
mod postman;
mod recorded;
mod secrets;
mod spans;
mod values;
mod write;
mod yaml;

pub use har::har;
pub use learn::{Exchange, Learner};
pub use openapi::openapi;
pub use plan::{Operation, Options, Plan, Source, Variable};
pub use postman::postman;
pub use recorded::recorded;
pub use spans::spans;
pub use write::toml;
pub use yaml::document;
