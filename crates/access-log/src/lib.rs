//! Access logs of web servers and services: the format is told by the first lines, each line becomes a request,
//! requests become endpoints and a recording. Reads from what it is given; opens no file, reads no clock, judges nothing.

mod clf;
mod collect;
mod envelope;
mod fields;
mod haproxy;
mod hints;
mod keyed;
mod lines;
mod names;
mod parser;
mod record;
mod request;
mod routes;
mod sample;
mod scan;
pub mod series;
mod template;
mod text;
mod time;

pub use collect::{Collector, is_error};
pub use fields::Unit;
pub use hints::duration_hint;
pub use lines::MAX_LINE_BYTES;
pub use parser::Parser;
pub use record::{Collected, EndpointSummary};
pub use request::{Request, Stamp, Unreadable};
pub use routes::{RouteId, Routes};
pub use scan::{Options, Scan, scan, sniff};
pub use text::describe;
pub use time::parse as parse_time;
