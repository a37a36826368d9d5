//! The SQLite instrument: plans of given statements, indexes proved on a copy of the file, the file's state. It drives the
//! system's `sqlite3`, read-only and in safe mode. Why a child process: as a library SQLite is compiled in (a minute of C,
//! and an SQL engine in the binary, which this project does not have) or linked (then the program does not start where it
//! is missing). The tool costs no package, and what a damaged file does, it does to a process with a time limit.

mod advise;
mod copy;
mod file;
mod health;
mod plan;
mod schema;
mod shell;
mod workload;

pub use file::{Look, Sqlite};
pub use workload::Workload;
