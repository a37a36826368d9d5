//! A server that counts its statements, whichever it is: what a measurement asks of Postgres and of MariaDB or MySQL.

use crate::connect::Database;
use crate::mariadb::MariaDb;
use crate::plans::PlanOptions;
use crate::snapshot::Snapshot;
use crate::sqlite::Sqlite;
use anyhow::{Result, bail};
use model::{Gap, Plan, Statement};
use std::time::Duration;
use tokio::sync::Mutex;

/// A connection to one of them.
pub enum Server {
    Postgres(Box<Database>),
    MariaDb(Box<Mutex<MariaDb>>),
}

impl Server {
    /// By the URL's scheme.
    ///
    /// # Errors
    /// The URL cannot be read, or the server refuses; never with the password.
    pub async fn connect(url: &str) -> Result<Self> {
        if MariaDb::is_meant(url) {
            return Ok(Self::MariaDb(Box::new(Mutex::new(MariaDb::connect(url).await?))));
        }
        if Sqlite::is_meant(url) {
            bail!(
                "a SQLite file counts no statements; `trimtab database sqlite:FILE --statements FILE` looks at it"
            );
        }
        Ok(Self::Postgres(Box::new(Database::connect(url).await?)))
    }

    /// Reads the counters. What keeps them from being read is a gap in the snapshot.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        match self {
            Self::Postgres(database) => database.snapshot().await,
            Self::MariaDb(session) => session.lock().await.snapshot().await,
        }
    }

    /// There and back with a question that needs no work.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn round_trip(&self) -> Result<Duration> {
        match self {
            Self::Postgres(database) => database.round_trip().await,
            Self::MariaDb(session) => session.lock().await.round_trip().await,
        }
    }

    /// Plans of these statements, and indexes that could help; what could not be explained is a gap.
    pub async fn plans(&self, statements: &[Statement], options: &PlanOptions) -> (Vec<Plan>, Vec<Gap>) {
        match self {
            Self::Postgres(database) => database.plans(statements, options).await,
            Self::MariaDb(session) => session.lock().await.plans(statements, options.most).await,
        }
    }
}
