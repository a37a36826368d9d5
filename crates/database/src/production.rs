//! Whether others seem to depend on this server: what speaks for it, in sentences. It only looks; whether that is a
//! reason to change nothing is its caller's matter.

use crate::connect::{Database, format_error, look};
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Error};

/// Looks at the sessions while nobody should be at work.
const LOOKS: u32 = 5;
/// Applications that are named.
const MAX_NAMED: usize = 3;
/// Words in a host's or database's name.
const NAMES: [&str; 4] = ["prod", "production", "live", "primary"];

const SERVER: &str = "
SELECT /* trimtab_look */ pg_is_in_recovery(), current_setting('archive_mode') <> 'off',
       (SELECT count(*) FROM pg_stat_replication), current_database()::text";

const SESSIONS: &str = "
SELECT /* trimtab_look */ left(coalesce(nullif(a.application_name, ''), 'an unnamed application'), 64),
       a.client_addr IS NOT NULL AND NOT a.client_addr <<= inet '127.0.0.0/8' AND a.client_addr <> inet '::1'
         AND a.client_addr IS DISTINCT FROM inet_client_addr(),
       a.state IS NULL,
       coalesce(a.state = 'active' OR a.state_change > clock_timestamp() - interval '1 s', false)
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
   AND a.application_name <> 'trimtab' LIMIT 1000";

/// Sessions by application: at the most, in one look.
#[derive(Default)]
struct Seen {
    at_work: BTreeMap<String, usize>,
    elsewhere: BTreeMap<String, usize>,
    hidden: usize,
}

impl Database {
    /// What speaks for a production database, looked at over `length` while no load of ours runs. Empty: nothing was
    /// seen, which is no proof.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn production_signs(&self, length: Duration) -> Result<Vec<String>> {
        let mut client = self.client.lock().await;
        let mut signs = self.signs_of_the_address();
        let failed = |error: Error| {
            anyhow!("could not look whether this is a production database: {}", format_error(&error))
        };
        signs.extend(of_the_server(&mut client).await.map_err(failed)?);
        let mut seen = Seen::default();
        let mut ticks = tokio::time::interval((length / LOOKS).max(Duration::from_millis(1)));
        for _ in 0..LOOKS {
            ticks.tick().await;
            of_the_sessions(&mut client, &mut seen).await.map_err(failed)?;
        }
        signs.extend(seen.signs());
        Ok(signs)
    }

    fn signs_of_the_address(&self) -> Vec<String> {
        let config = self.config();
        let mut signs = Vec::new();
        for host in config.get_hosts() {
            let Host::Tcp(name) = host else { continue };
            let here = name == "localhost" || name == "::1" || name.starts_with("127.");
            if !here {
                signs.push(format!("the server is on another host: {name}"));
            }
            if sounds_like_production(name) {
                signs.push(format!("its host is called {name}"));
            }
        }
        signs
    }
}

fn sounds_like_production(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| NAMES.contains(&word))
}

async fn of_the_server(client: &mut Client) -> Result<Vec<String>, Error> {
    let transaction = look(client).await?;
    let row = transaction.query_one(SERVER, &[]).await?;
    let (replica, archived): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let (standbys, name): (i64, String) = (row.try_get(2)?, row.try_get(3)?);
    let mut signs = Vec::new();
    if replica {
        signs.push("it is a read replica: indexes are made on its primary".to_owned());
    }
    if standbys > 0 {
        signs.push(format!("{standbys} standby servers follow it"));
    }
    if archived {
        signs.push("its write-ahead log is archived".to_owned());
    }
    if sounds_like_production(&name) {
        signs.push(format!("the database is called {name}"));
    }
    Ok(signs)
}

async fn of_the_sessions(client: &mut Client, seen: &mut Seen) -> Result<(), Error> {
    let transaction = look(client).await?;
    let mut now = Seen::default();
    for row in transaction.query(SESSIONS, &[]).await? {
        let name: String = row.try_get(0)?;
        if row.try_get::<_, bool>(2)? {
            now.hidden += 1;
        }
        if row.try_get::<_, bool>(3)? {
            *now.at_work.entry(name.clone()).or_default() += 1;
        }
        if row.try_get::<_, Option<bool>>(1)?.unwrap_or(false) {
            *now.elsewhere.entry(name).or_default() += 1;
        }
    }
    let most = |all: &mut BTreeMap<String, usize>, now: BTreeMap<String, usize>| {
        for (name, count) in now {
            let known = all.entry(name).or_default();
            *known = (*known).max(count);
        }
    };
    most(&mut seen.at_work, now.at_work);
    most(&mut seen.elsewhere, now.elsewhere);
    seen.hidden = seen.hidden.max(now.hidden);
    Ok(())
}

impl Seen {
    fn signs(&self) -> Vec<String> {
        let mut signs = Vec::new();
        let told = |all: &BTreeMap<String, usize>| {
            let sum: usize = all.values().sum();
            let named: Vec<String> =
                all.iter().take(MAX_NAMED).map(|(name, count)| format!("{name} ({count})")).collect();
            (sum > 0).then(|| (sum, named.join(", ")))
        };
        if let Some((sum, names)) = told(&self.at_work) {
            signs.push(format!("{sum} sessions of others were at work while no load ran: {names}"));
        }
        if let Some((sum, names)) = told(&self.elsewhere) {
            signs.push(format!("{sum} sessions come from other hosts: {names}"));
        }
        if self.hidden > 0 {
            signs.push(format!(
                "what {} sessions do is hidden from this role (GRANT pg_read_all_stats shows it)",
                self.hidden
            ));
        }
        signs
    }
}

#[cfg(test)]
mod tests {
    use super::sounds_like_production;

    #[test]
    fn whole_words_of_names_count() {
        for (name, expected) in [
            ("shop_prod", true),
            ("db.live.example.com", true),
            ("orders-PRODUCTION-2", true),
            ("products", false),
            ("delivery", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(sounds_like_production(name), expected, "{name}");
        }
    }
}
