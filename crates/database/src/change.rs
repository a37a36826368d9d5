//! Makes and undoes changes of the schema: one statement at a time, with a limit on waiting for locks.

use crate::connect::{Database, format_error};
use anyhow::{Result, anyhow, bail};
use std::time::Duration;
use tokio_postgres::Client;

/// A change that would have to wait longer for a lock is given up: it would block everybody behind it.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '3s'";

/// How often the progress of an index is asked for.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How far the building of an index has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// In the server's words: `building index: scanning table`, `waiting for writers before build` ...
    pub phase: String,
    pub blocks_done: u64,
    /// 0 in phases that do not count blocks.
    pub blocks_total: u64,
}

impl Database {
    /// [`Database::apply_showing`] without showing.
    ///
    /// # Errors
    /// A statement fails: it is named with what the server said.
    pub async fn apply(&self, sql: &str) -> Result<()> {
        self.apply_showing(sql, &mut |_| {}).await
    }

    /// Runs statements (separated by `;`) one by one outside of a transaction, as `CONCURRENTLY` demands, and shows how
    /// far an index has come. An invalid index that an earlier attempt left behind is dropped first; one that this
    /// attempt leaves is dropped again.
    ///
    /// # Errors
    /// A statement fails: it is named with what the server said.
    pub async fn apply_showing(&self, sql: &str, show: &mut (dyn FnMut(&Progress) + Send)) -> Result<()> {
        let client = self.client.lock().await;
        run(&client, LOCK_TIMEOUT).await?;
        for statement in statements(sql) {
            let Some(index) = created_index(statement) else {
                run(&client, statement).await?;
                continue;
            };
            drop_if_invalid(&client, &index).await?;
            let done = self.run_showing(&client, statement, show).await;
            if done.is_err() {
                drop_if_invalid(&client, &index).await?;
            }
            done?;
        }
        Ok(())
    }

    /// Progress is asked for on a second connection: the first is busy. Without it the statement runs all the same.
    async fn run_showing(
        &self,
        client: &Client,
        statement: &str,
        show: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<()> {
        let own = client.query_one("SELECT pg_backend_pid() /* trimtab_look */", &[]).await;
        let pid: i32 = own.ok().and_then(|row| row.try_get(0).ok()).unwrap_or(0);
        let mut work = std::pin::pin!(run(client, statement));
        let Ok(watcher) = self.beside().await else { return work.await };
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {
                    if let Some(progress) = progress(&watcher, pid).await {
                        show(&progress);
                    }
                }
            }
        }
    }
}

async fn progress(client: &Client, pid: i32) -> Option<Progress> {
    let sql = "SELECT /* trimtab_look */ phase, blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = $1";
    let row = client.query_opt(sql, &[&pid]).await.ok()??;
    let count = |column: usize| u64::try_from(row.try_get::<_, i64>(column).unwrap_or(0)).unwrap_or(0);
    Some(Progress { phase: row.try_get(0).ok()?, blocks_done: count(1), blocks_total: count(2) })
}

async fn run(client: &Client, statement: &str) -> Result<()> {
    client
        .batch_execute(statement)
        .await
        .map_err(|error| anyhow!("`{}` failed: {}", statement.trim(), format_error(&error)))
}

/// The statements of a text, split at semicolons outside of quotes.
fn statements(sql: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let (mut from, mut quote) = (0, None);
    for (at, c) in sql.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ';') => {
                all.push(&sql[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    all.push(&sql[from..]);
    all.retain(|s| !s.trim().is_empty());
    all
}

/// The index that `CREATE [UNIQUE] INDEX [CONCURRENTLY] [IF NOT EXISTS] name ON ...` makes.
fn created_index(statement: &str) -> Option<String> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let starts = words.first()?.eq_ignore_ascii_case("create");
    let on = words.iter().position(|w| w.eq_ignore_ascii_case("on"))?;
    let index = words[..on].iter().any(|w| w.eq_ignore_ascii_case("index"));
    (starts && index).then(|| words[on.saturating_sub(1)].trim_matches('"').to_owned())
}

/// Drops what is left of an attempt to make this index; one that is being built is left alone.
async fn drop_if_invalid(client: &Client, index: &str) -> Result<()> {
    let look = "SELECT /* trimtab_look */ quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE NOT i.indisvalid AND c.relname = $1
                   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)";
    let found = match client.query(look, &[&index]).await {
        Ok(rows) => rows,
        Err(error) => bail!("could not look for an invalid index {index}: {}", format_error(&error)),
    };
    for name in found.iter().filter_map(|row| row.try_get::<_, String>(0).ok()) {
        run(client, &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{created_index, statements};

    #[test]
    fn statements_are_split_outside_of_quotes() {
        assert_eq!(statements("SELECT ';'; SELECT \"a;b\";\n"), ["SELECT ';'", " SELECT \"a;b\""]);
        assert!(statements(" ;; ").is_empty());
    }

    #[test]
    fn the_created_index_is_known_by_name() {
        let sql = "create index CONCURRENTLY if not exists \"Trimtab_x\" ON t (a)";
        assert_eq!(created_index(sql).as_deref(), Some("Trimtab_x"));
        assert_eq!(created_index("DROP INDEX x"), None);
        assert_eq!(created_index("on"), None);
    }
}
