//! What a Redis server counts: its commands (`INFO commandstats`), hits, misses and reads of the socket (`INFO stats`),
//! since its start.

use super::connection::Redis;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a look itself causes.
const OWN: [&str; 10] =
    ["info", "auth", "hello", "ping", "slowlog|get", "slowlog", "memory|usage", "memory", "scan", "select"];

/// Of one command since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CommandCount {
    pub calls: u64,
    /// Within the server, without waiting for its turn.
    pub microseconds: u64,
}

/// All counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct CacheLook {
    /// By name, in lower case: `get`, `mget`, `config|get`.
    pub commands: BTreeMap<String, CommandCount>,
    pub hits: u64,
    pub misses: u64,
    /// Times that the server read from a client's socket: a pipeline of many commands is one. `None` before Redis 6.
    pub reads: Option<u64>,
    /// There and back with `PING`.
    pub round_trip: Duration,
}

impl CacheLook {
    /// One look, on a connection of its own.
    ///
    /// # Errors
    /// As [`Redis::connect`], or the role may not ask.
    pub async fn at(url: &str) -> Result<Self> {
        let mut redis = Redis::connect(url).await?;
        let shown = redis.shown_url().to_owned();
        redis.look().await.with_context(|| format!("could not read the commands of {shown}"))
    }
}

impl Redis {
    /// All counters now.
    ///
    /// # Errors
    /// The role may not ask for them, or the connection broke.
    pub async fn look(&mut self) -> Result<CacheLook> {
        let commands = command_counts(&self.info("commandstats").await?);
        let stats = figures(&self.info("stats").await?);
        let number = |key: &str| stats.get(key).and_then(|text| text.parse::<u64>().ok());
        let asked = Instant::now();
        // A role that may not say hello has no round trip told.
        let pinged = self.ask(&["PING"]).await.is_ok();
        Ok(CacheLook {
            commands,
            hits: number("keyspace_hits").unwrap_or(0),
            misses: number("keyspace_misses").unwrap_or(0),
            reads: number("total_reads_processed"),
            round_trip: if pinged { asked.elapsed() } else { Duration::ZERO },
        })
    }
}

/// `key:value` lines of an answer to `INFO`.
pub(super) fn figures(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.trim().split_once(':').map(|(k, v)| (k.to_owned(), v.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// `cmdstat_get:calls=21,usec=175,usec_per_call=8.33,...`
fn command_counts(text: &str) -> BTreeMap<String, CommandCount> {
    let one = |line: &str| {
        let (name, figures) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
        let figure = |key: &str| {
            let mut pairs = figures.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key)?.1.parse::<u64>().ok()
        };
        let count = CommandCount { calls: figure("calls")?, microseconds: figure("usec")? };
        let name = name.to_ascii_lowercase();
        (!OWN.contains(&name.as_str())).then_some((name, count))
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{CommandCount, command_counts};

    #[test]
    fn commands_are_read_and_our_own_are_not() {
        let text = "# Commandstats\r\ncmdstat_get:calls=21,usec=175,usec_per_call=8.33,rejected_calls=0\r\n\
                    cmdstat_config|get:calls=2,usec=9\r\ncmdstat_info:calls=1,usec=1\r\ncmdstat_bad:calls=x\r\n";
        let all = command_counts(text);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["config|get", "get"]);
        assert_eq!(all["get"], CommandCount { calls: 21, microseconds: 175 });
    }
}
