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
            for left in drop_if_invalid(&client, &index).await? {
                let phase = format!("dropped {left}, which an earlier attempt left invalid");
                show(&Progress { phase, ..Progress::default() });
            }
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
    let words = words(statement);
    let is = |word: &(String, bool), text: &str| !word.1 && word.0.eq_ignore_ascii_case(text);
    let starts = words.first().is_some_and(|word| is(word, "create"));
    let on = words.iter().position(|word| is(word, "on"))?;
    let index = words[..on].iter().any(|word| is(word, "index"));
    let (name, quoted) = words.get(on.checked_sub(1)?)?;
    (starts && index).then(|| if *quoted { name.clone() } else { name.to_lowercase() })
}

/// Words of a statement up to its first bracket, and whether each was quoted (then without its quotes).
fn words(statement: &str) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    let mut chars = statement.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '(' {
            break;
        }
        if c == '"' {
            let mut name = String::new();
            while let Some(c) = chars.next() {
                match c {
                    '"' if chars.peek() == Some(&'"') => name.extend(chars.next()),
                    '"' => break,
                    _ => name.push(c),
                }
            }
            all.push((name, true));
        } else if !c.is_whitespace() {
            let mut word = String::from(c);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '(') {
                word.push(c);
            }
            all.push((word, false));
        }
    }
    all
}

/// Drops what is left of an attempt to make this index, and names it; one that is being built is left alone.
async fn drop_if_invalid(client: &Client, index: &str) -> Result<Vec<String>> {
    let look = "SELECT /* trimtab_look */ quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE NOT i.indisvalid AND c.relname = $1
                   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)";
    let found = match client.query(look, &[&index]).await {
        Ok(rows) => rows,
        Err(error) => bail!("could not look for an invalid index {index}: {}", format_error(&error)),
    };
    let names: Vec<String> = found.iter().filter_map(|row| row.try_get(0).ok()).collect();
    for name in &names {
        run(client, &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await?;
    }
    Ok(names)
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
        let odd = "CREATE UNIQUE INDEX \"my \"\"on\"\" index\" ON \"t\"(a)";
        assert_eq!(created_index(odd).as_deref(), Some("my \"on\" index"));
        assert_eq!(created_index("CREATE INDEX Items_idx ON t(a)").as_deref(), Some("items_idx"));
        assert_eq!(created_index("DROP INDEX x"), None);
        assert_eq!(created_index("on"), None);
    }
}
