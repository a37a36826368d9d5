//! One connection to Postgres, encrypted where the server or the URL wants it. What only looks runs in a read-only
//! transaction with time limits.

use crate::address::Address;
use crate::index::quoted;
use crate::snapshot::Memory;
use crate::tls::Tls;
use anyhow::{Context, Result, anyhow};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Error, Transaction};

/// A server that does not take the connection by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For each look: it waits for nobody for long, and nobody waits for it.
pub(crate) const LIMITS: &str = "SET LOCAL /* trimtab_look */ statement_timeout = '5s';
    SET LOCAL /* trimtab_look */ lock_timeout = '200ms'";

/// A connection, used by one look or change at a time.
pub struct Database {
    pub(crate) client: Mutex<Client>,
    pub(crate) memory: std::sync::Mutex<Memory>,
    address: Address,
    url: String,
}

impl Database {
    /// Connects to `postgres://user:password@host:port/database`. `sslmode` is one of libpq's (`disable`, `prefer`, the
    /// default, `require`, `verify-ca`, `verify-full`); the last two trust `sslrootcert`, a file, or without it the
    /// authorities that browsers trust.
    ///
    /// # Errors
    /// The URL cannot be read, or the server refuses; never with the password.
    pub async fn connect(url: &str) -> Result<Self> {
        let mut address = Address::parse(url)?;
        address.config.connect_timeout(CONNECT_TIMEOUT).application_name("trimtab");
        let shown = redacted(url);
        let client = connect(&address).await.with_context(|| format!("could not connect to {shown}"))?;
        Ok(Self { client: Mutex::new(client), memory: std::sync::Mutex::default(), address, url: shown })
    }

    /// A second connection to the same server.
    pub(crate) async fn beside(&self) -> Result<Client> {
        connect(&self.address).await.with_context(|| format!("could not connect to {}", self.url))
    }

    /// A second connection whose names are looked for in these schemas, in this order.
    pub(crate) async fn beside_within(&self, schemas: &[String]) -> Result<Client> {
        let mut address = self.address.clone();
        let path: Vec<String> = schemas.iter().map(|s| quoted(s)).collect();
        // The server splits this at blanks that no backslash stands before.
        let path = path.join(",").replace('\\', "\\\\").replace(' ', "\\ ");
        let known = address.config.get_options().map(|o| format!("{o} ")).unwrap_or_default();
        address.config.options(format!("{known}-csearch_path={path}"));
        connect(&address).await.with_context(|| format!("could not connect to {}", self.url))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.address.config
    }

    /// The URL without user, password and parameters.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.url
    }
}

async fn connect(address: &Address) -> Result<Client> {
    let pem = match &address.roots {
        Some(path) => {
            Some(tokio::fs::read(path).await.with_context(|| format!("could not read {}", path.display()))?)
        }
        None => None,
    };
    let tls = Tls::new(address.verify, pem.as_deref())?;
    let mut config = address.config.clone();
    let mut connected = config.connect(tls.clone()).await;
    // As libpq does: what was only preferred is given up where it fails.
    let refused = connected.as_ref().is_err_and(|error| error.as_db_error().is_none());
    if refused && config.get_ssl_mode() == SslMode::Prefer {
        let first = connected;
        config.ssl_mode(SslMode::Disable);
        connected = config.connect(tls).await.or(first);
    }
    let (client, connection) =
        connected.map_err(|error| anyhow!(hidden(&format_error(&error), &address.config)))?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// How the driver begins a look: it is counted among the server's statements.
pub(crate) const BEGIN_LOOK: &str = "START TRANSACTION READ ONLY";

/// A transaction that cannot write and does not wait. Dropped, it rolls back, also if its owner is cut off.
pub(crate) async fn look(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(LIMITS).await?;
    Ok(transaction)
}

/// What the server said, with its detail.
pub(crate) fn format_error(error: &Error) -> String {
    match error.as_db_error() {
        Some(db) => db.message().to_owned(),
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            text
        }
    }
}

/// A text without the configuration's password, should it be in it.
fn hidden(text: &str, config: &Config) -> String {
    let password = config.get_password().and_then(|p| std::str::from_utf8(p).ok()).filter(|p| !p.is_empty());
    password.map_or_else(|| text.to_owned(), |p| text.replace(p, "***"))
}

/// A URL without what may be secret: `postgres://host:port/database`.
#[must_use]
pub fn redacted(url: &str) -> String {
    net::display_url(url)
}
