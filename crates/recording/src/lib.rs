//! The recording on disk: one directory of plain JSON and Parquet files that opens in DuckDB, pandas and ClickHouse.
//! Files appear by rename, `run.json` last: a directory without it is an unfinished run that still can be read.
//! It judges nothing and reads no clock; a power cut may cost the newest files, a crash of the program does not.

mod disk;
mod metrics;
mod read;
mod requests;
mod reservoir;
mod rest;
mod sink;
mod spans;
mod spans_read;
mod table;
mod write;

pub use read::{read, read_findings, read_run, read_scaling, read_wanted};
pub use reservoir::{Reservoir, RootFigures, Thinned};
pub use sink::SpanSink;
pub use spans_read::read_spans;
pub use write::{Writer, write_findings, write_scaling};

/// Layout of the directory that this version writes, [`model::Run::format`]; newer ones are refused.
pub const FORMAT: u32 = 1;

/// Spans of one file and row group.
pub const SPANS_PER_FILE: usize = 131_072;

/// Attribute keys with a column of their own; the rarer ones share `attrs_rest`.
pub const KEY_COLUMNS: usize = 200;
