//! One connection to Postgres. What only looks runs in a read-only transaction with time limits.

use anyhow::{Context, Result, anyhow};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls};

/// A server that does not take the connection by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, used by one look or change at a time.
pub struct Database {
    pub(crate) client: Mutex<Client>,
    url: String,
}

impl Database {
    /// Connects to `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// The URL cannot be read, or the server refuses; never with the password.
    pub async fn connect(url: &str) -> Result<Self> {
        let shown = redacted(url);
        let mut config: Config = url.parse().map_err(|_| anyhow!("`{shown}` is no Postgres URL"))?;
        config.connect_timeout(CONNECT_TIMEOUT).application_name("trimtab");
        let (client, connection) = config
            .connect(NoTls)
            .await
            .map_err(|error| anyhow!(hidden(&format_error(&error), &config)))
            .with_context(|| format!("could not connect to {shown}"))?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client: Mutex::new(client), url: shown })
    }

    /// The URL without user, password and parameters.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.url
    }
}

/// What the server said, with its detail.
pub(crate) fn format_error(error: &tokio_postgres::Error) -> String {
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
