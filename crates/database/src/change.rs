//! Makes and undoes changes of the schema: one statement at a time, with a limit on waiting for locks.

use crate::connect::{Database, format_error};
use anyhow::{Result, anyhow, bail};
use tokio_postgres::Client;

/// A change that would have to wait longer for a lock is given up: it would block everybody behind it.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '3s'";

impl Database {
    /// Runs statements (separated by `;`) one by one outside of a transaction, as `CONCURRENTLY` demands. An invalid
    /// index that an earlier attempt left behind is dropped first; one that this attempt leaves is dropped again.
    ///
    /// # Errors
    /// A statement fails: it is named with what the server said.
    pub async fn apply(&self, sql: &str) -> Result<()> {
        let client = self.client.lock().await;
        run(&client, LOCK_TIMEOUT).await?;
        for statement in statements(sql) {
            let index = created_index(statement);
            if let Some(name) = &index {
                drop_if_invalid(&client, name).await?;
            }
            let done = run(&client, statement).await;
            if let (Err(_), Some(name)) = (&done, &index) {
                drop_if_invalid(&client, name).await?;
            }
            done?;
        }
        Ok(())
    }
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

async fn drop_if_invalid(client: &Client, index: &str) -> Result<()> {
    let look = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
                  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE NOT i.indisvalid AND c.relname = $1";
    let found = client.query_opt(look, &[&index]).await;
    let name: Option<String> = match found {
        Ok(row) => row.and_then(|r| r.try_get(0).ok()),
        Err(error) => bail!("could not look for an invalid index {index}: {}", format_error(&error)),
    };
    match name {
        Some(name) => run(client, &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await,
        None => Ok(()),
    }
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
