//! Access logs of web servers and services: the format is told by the first lines, each line becomes a request,
//! requests become endpoints and a recording. Reads from what it is given; opens no file, reads no clock, judges nothing.

mod clf;
mod envelope;
mod fields;
mod haproxy;
mod keyed;
mod lines;
mod names;
mod parser;
mod request;
mod scan;
mod template;
mod time;

pub use fields::Unit;
pub use lines::MAX_LINE_BYTES;
pub use parser::Parser;
pub use request::{Request, Stamp, Unreadable};
pub use scan::{Options, Scan, scan};
