//! Makes a change and takes it back. The guard takes it back by itself unless the change is kept.

use crate::in_force::{self, InForce};
use crate::story;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use database::{Database, Progress};
use model::{Change, ChangeKind, HttpCall};
use net::{Call, Connector, HttpVersion, TlsOptions};
use std::path::PathBuf;
use std::time::Duration;

/// A switch or command that has not answered by then has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What changes are made on.
#[derive(Clone, Debug)]
pub struct Hands {
    /// Base of relative URLs.
    pub service_url: String,
    pub database_url: Option<String>,
}

/// A change that is in force and goes back with [`Guard::revert`]; kept with [`Guard::keep`].
/// Dropped without either (an error, Ctrl-C), it is taken back by a task that the program waits for.
pub struct Guard {
    hands: Hands,
    change: Change,
    in_force: bool,
    /// Where it is noted while it is in force: a program that is killed cannot take it back.
    noted: Option<(PathBuf, InForce)>,
}

impl Guard {
    pub fn new(hands: Hands, change: Change) -> Self {
        Self { hands, change, in_force: false, noted: None }
    }

    /// Also notes the change in that folder for as long as it is in force.
    #[must_use]
    pub fn noted_in(mut self, folder: PathBuf, note: InForce) -> Self {
        self.noted = Some((folder, note));
        self
    }

    /// Puts the change in force.
    pub async fn apply(&mut self) -> Result<()> {
        if let Some((folder, note)) = &self.noted {
            in_force::add(folder, note).context("nothing was changed")?;
        }
        // Marked before: a half-made change is one to take back.
        self.in_force = true;
        self.hands.apply(&self.change).await
    }

    /// Takes the change back, if it is in force.
    pub async fn revert(&mut self) -> Result<()> {
        if self.in_force {
            self.hands.undo(&self.change).await?;
            self.in_force = false;
            self.forget();
        }
        Ok(())
    }

    /// Takes charge of a change that somebody else put in force.
    #[must_use]
    pub fn in_force(mut self) -> Self {
        self.in_force = true;
        self
    }

    /// Leaves the change in force and noted: it is not settled.
    pub fn leave(mut self) {
        self.in_force = false;
    }

    /// Leaves the change as it is.
    pub fn keep(mut self) {
        self.in_force = false;
        self.forget();
    }

    fn forget(&self) {
        if let Some((folder, note)) = &self.noted
            && let Err(error) = in_force::remove(folder, &note.change.name)
        {
            crate::output::alarm(&format!("`{}` is settled, but noted still: {error:#}", note.change.name));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.in_force {
            return;
        }
        let (hands, change) = (self.hands.clone(), self.change.clone());
        // A runtime of its own: the one that we were dropped in may be going down.
        let undone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(hands.undo(&change))
        })
        .join();
        if matches!(undone, Ok(Ok(()))) {
            self.forget();
        } else {
            crate::output::alarm(&format!(
                "the change `{}` could not be taken back: {}",
                self.change.name,
                story::undo_by_hand(&self.change)
            ));
        }
    }
}

impl Hands {
    pub async fn apply(&self, change: &Change) -> Result<()> {
        self.apply_showing(change, &mut |_| {}).await
    }

    /// The same, and shows how far a long one has come.
    pub async fn apply_showing(
        &self,
        change: &Change,
        show: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<()> {
        match &change.kind {
            ChangeKind::Sql { apply, .. } => self.sql(apply, show).await,
            ChangeKind::Http { apply, .. } => self.call(apply).await,
            ChangeKind::Command { apply, .. } => crate::process::run_to_end(apply, CALL_TIMEOUT).await,
            ChangeKind::Manual { text } => bail!("only a person can do this: {text}"),
        }
        .with_context(|| format!("could not apply the change `{}`", change.name))
    }

    pub async fn undo(&self, change: &Change) -> Result<()> {
        match &change.kind {
            ChangeKind::Sql { undo, .. } => self.sql(undo, &mut |_| {}).await,
            ChangeKind::Http { undo, .. } => self.call(undo).await,
            ChangeKind::Command { undo, .. } => crate::process::run_to_end(undo, CALL_TIMEOUT).await,
            ChangeKind::Manual { text } => bail!("only a person can take this back: {text}"),
        }
        .with_context(|| format!("could not take the change `{}` back", change.name))
    }

    async fn sql(&self, sql: &str, show: &mut (dyn FnMut(&Progress) + Send)) -> Result<()> {
        let url = self.database_url.as_ref().context("no database is configured; set [database] url")?;
        Database::connect(url).await?.apply_showing(sql, show).await
    }

    async fn call(&self, call: &HttpCall) -> Result<()> {
        let url = if call.url.starts_with('/') {
            format!("{}{}", self.service_url.trim_end_matches('/'), call.url)
        } else {
            call.url.clone()
        };
        let method = http::Method::from_bytes(call.method.as_bytes())
            .with_context(|| format!("`{}` is no HTTP method", call.method))?;
        let headers = [("content-type", "application/json")];
        let connector = Connector::new(&TlsOptions::default(), HttpVersion::Auto)?;
        let body = Bytes::from(call.body.clone());
        let request = Call { method, url: &url, headers: &headers, body, timeout: CALL_TIMEOUT };
        let response = net::call(&connector, &request).await?;
        if !response.is_success() {
            let text: String = String::from_utf8_lossy(&response.body).chars().take(200).collect();
            bail!("{} {} was answered with {}: {text}", call.method, net::display_url(&url), response.status);
        }
        Ok(())
    }
}
