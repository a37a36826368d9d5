//! The state of a Redis server: hit ratio, memory, slow commands, large values, connections. Each observation comes with
//! the command that shows it and, where a command can, the one that mends it. Only looks.

use super::connection::Redis;
use super::keys::{self, Sampled};
use super::slow;
use super::stats::{CacheLook, figures};
use crate::health::Observation;
use anyhow::Result;
use model::Gap;
use serde::Serialize;
use std::collections::BTreeMap;

const SIGNAL: &str = "cache";
/// Below this share of look-ups that find something a cache is worth little ...
const HIT_RATIO: f64 = 0.8;
/// ... if there were so many look-ups.
const MIN_LOOKUPS: u64 = 1_000;
/// A value of more bytes holds the server and the network for long whenever it is read whole.
const BIG_BYTES: u64 = 1 << 20;
/// Share of what may be used.
const NEARLY_FULL: f64 = 0.9;
/// Without a limit, of the host's memory.
const MUCH_OF_HOST: f64 = 0.5;
const FRAGMENTED: f64 = 1.5;
/// Less is not worth mending.
const MIN_FRAGMENTED_BYTES: f64 = 100.0 * 1024.0 * 1024.0;
/// Of commands, so many with a connection of their own.
const CHURN: f64 = 0.1;
const LONG_FORK_US: f64 = 100_000.0;
/// Databases that are walked.
const MAX_DATABASES: usize = 16;

/// What was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    pub version: String,
    pub uptime_s: u64,
    /// Of all look-ups since the server's start; `None` without any.
    pub hit_ratio: Option<f64>,
    pub keys: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// `None` where the role may not ask.
    pub sampled: Option<Sampled>,
    pub observations: Vec<Observation>,
    pub gaps: Vec<Gap>,
}

/// The sections of `INFO` as one list.
struct Info(BTreeMap<String, String>);

impl Info {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> f64 {
        self.text(key).parse().unwrap_or(0.0)
    }

    fn whole(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// Numbers and keys of the databases that hold any: `db0:keys=12,expires=3,avg_ttl=0`.
    fn databases(&self) -> Vec<(u32, u64)> {
        let one = |(name, figures): (&String, &String)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let keys = figures.split(',').find_map(|pair| pair.strip_prefix("keys="))?;
            Some((number, keys.parse().ok()?))
        };
        self.0.iter().filter_map(one).take(MAX_DATABASES).collect()
    }
}

impl Redis {
    /// The state of the server; `now_s`: Unix seconds. What the role may not ask for is a gap.
    ///
    /// # Errors
    /// `INFO` is refused, or the connection broke.
    pub async fn health(&mut self, now_s: i64) -> Result<Health> {
        let info = Info(figures(&self.info("all").await?));
        let look = self.look().await?;
        let databases = info.databases();
        let lookups = look.hits + look.misses;
        let mut seen = Health {
            version: info.text("redis_version").to_owned(),
            uptime_s: info.whole("uptime_in_seconds"),
            hit_ratio: (lookups > 0).then(|| look.hits as f64 / lookups as f64),
            keys: databases.iter().map(|(_, keys)| keys).sum(),
            used_bytes: info.whole("used_memory"),
            limit_bytes: info.whole("maxmemory"),
            observations: CHECKS.iter().filter_map(|check| check(&info, &look)).collect(),
            ..Health::default()
        };
        match slow::observations(self, now_s).await {
            Ok(more) => seen.observations.extend(more),
            Err(error) => seen.gaps.push(refused("the slow log", &error, "+slowlog|get")),
        }
        let numbers: Vec<u32> = databases.iter().map(|(number, _)| *number).collect();
        match keys::sample(self, &numbers).await {
            Ok(sampled) => {
                seen.observations.extend(sampled.largest.iter().filter_map(big));
                seen.sampled = Some(sampled);
            }
            Err(error) => {
                seen.gaps.push(refused("the sizes of keys", &error, "+scan +memory|usage +select ~*"))
            }
        }
        Ok(seen)
    }
}

fn refused(what: &str, error: &anyhow::Error, grant: &str) -> Gap {
    Gap::new(
        SIGNAL,
        format!("{what} could not be seen: {error:#}"),
        format!("ACL SETUSER the role that Trimtab connects as {grant}"),
    )
}

fn big(large: &keys::Large) -> Option<Observation> {
    let mib = large.bytes as f64 / f64::from(1 << 20);
    let reason = format!(
        "a value of {mib:.1} MiB under {} (database {}): to read it whole holds the server and the network for long",
        large.pattern, large.database
    );
    (large.bytes >= BIG_BYTES).then(|| {
        let mut seen = Observation::new("big_key", &large.pattern, reason, "redis-cli --memkeys");
        seen.mend = Some("divide it: one key per part, or a hash that is read by field".to_owned());
        seen
    })
}

type Check = fn(&Info, &CacheLook) -> Option<Observation>;
const CHECKS: [Check; 9] =
    [hit_ratio, evictions, memory, fragmentation, connections, churn, blocking, persistence, forks];

fn hit_ratio(info: &Info, look: &CacheLook) -> Option<Observation> {
    let lookups = look.hits + look.misses;
    let ratio = look.hits as f64 / lookups.max(1) as f64;
    let expired = info.whole("expired_keys");
    let reason = format!(
        "{:.0} % of {lookups} look-ups found a value; {expired} keys expired, {} were evicted",
        ratio * 100.0,
        info.whole("evicted_keys")
    );
    (lookups >= MIN_LOOKUPS && ratio < HIT_RATIO).then(|| {
        let mut seen = Observation::new("hit_ratio", "keyspace", reason, "INFO stats");
        seen.mend = Some("longer times to live, or keys that more requests share".to_owned());
        seen
    })
}

fn evictions(info: &Info, _: &CacheLook) -> Option<Observation> {
    let evicted = info.whole("evicted_keys");
    let limit = info.whole("maxmemory");
    let reason = format!(
        "{evicted} keys were evicted to stay below {} MiB ({})",
        limit >> 20,
        info.text("maxmemory_policy")
    );
    (evicted > 0).then(|| {
        Observation::new("evictions", "maxmemory", reason, "INFO stats")
            .mend(format!("CONFIG SET maxmemory {}", limit * 2), format!("CONFIG SET maxmemory {limit}"))
    })
}

fn memory(info: &Info, _: &CacheLook) -> Option<Observation> {
    let (used, limit) = (info.number("used_memory"), info.number("maxmemory"));
    let policy = info.text("maxmemory_policy");
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    if limit > 0.0 && used >= NEARLY_FULL * limit && policy == "noeviction" {
        let reason = format!(
            "{:.0} of {:.0} MiB are used and nothing is evicted (noeviction): writes fail when it is full",
            mib(used),
            mib(limit)
        );
        let seen = Observation::new("memory", "maxmemory", reason, "INFO memory");
        return Some(
            seen.mend("CONFIG SET maxmemory-policy allkeys-lfu", "CONFIG SET maxmemory-policy noeviction"),
        );
    }
    let host = info.number("total_system_memory");
    let reason = format!(
        "{:.0} MiB are used, {:.0} % of the host's memory, and there is no limit: the host ends the process when it is out",
        mib(used),
        100.0 * used / host.max(1.0)
    );
    (limit <= 0.0 && host > 0.0 && used >= MUCH_OF_HOST * host).then(|| {
        Observation::new("memory", "maxmemory", reason, "INFO memory")
            .mend(format!("CONFIG SET maxmemory {:.0}", host * 0.75), "CONFIG SET maxmemory 0")
    })
}

fn fragmentation(info: &Info, _: &CacheLook) -> Option<Observation> {
    let (ratio, used) = (info.number("mem_fragmentation_ratio"), info.number("used_memory"));
    let reason = format!("the process holds {ratio:.1} times the memory of its data");
    (ratio >= FRAGMENTED && used >= MIN_FRAGMENTED_BYTES).then(|| {
        Observation::new("fragmentation", "memory", reason, "MEMORY STATS")
            .mend("CONFIG SET activedefrag yes", "CONFIG SET activedefrag no")
    })
}

fn connections(info: &Info, _: &CacheLook) -> Option<Observation> {
    let (open, most) = (info.number("connected_clients"), info.number("maxclients"));
    let rejected = info.whole("rejected_connections");
    let reason =
        format!("{open:.0} of {most:.0} connections are open; {rejected} were refused since the start");
    let full = most > 0.0 && open >= NEARLY_FULL * most;
    (full || rejected > 0).then(|| Observation::new("connections", "maxclients", reason, "INFO clients"))
}

fn churn(info: &Info, _: &CacheLook) -> Option<Observation> {
    let (made, commands) =
        (info.number("total_connections_received"), info.number("total_commands_processed"));
    let reason = format!(
        "{made:.0} connections were made for {commands:.0} commands: each costs a round trip or more"
    );
    (commands >= MIN_LOOKUPS as f64 && made >= CHURN * commands).then(|| {
        let mut seen = Observation::new("connection_churn", "clients", reason, "INFO stats");
        seen.mend = Some("keep connections open in the service: one pool, made at its start".to_owned());
        seen
    })
}

/// Commands that walk over all keys, however quick they are now.
fn blocking(_: &Info, look: &CacheLook) -> Option<Observation> {
    let count = look.commands.get("keys").filter(|count| count.calls > 0)?;
    let each_ms = count.microseconds as f64 / 1e3 / count.calls as f64;
    let reason = format!(
        "KEYS was called {} times, {each_ms:.2} ms each: it walks over all keys while no other client is served",
        count.calls
    );
    let mut seen = Observation::new("blocking_command", "KEYS", reason, "INFO commandstats");
    seen.mend = slow::advice("KEYS").map(str::to_owned);
    Some(seen)
}

fn persistence(info: &Info, _: &CacheLook) -> Option<Observation> {
    let failed = ["rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"];
    let failed: Vec<&str> = failed.into_iter().filter(|key| info.text(key) == "err").collect();
    let reason =
        format!("the last save failed ({}): writes may be refused until one succeeds", failed.join(", "));
    (!failed.is_empty()).then(|| Observation::new("persistence", "saves", reason, "INFO persistence"))
}

fn forks(info: &Info, _: &CacheLook) -> Option<Observation> {
    let us = info.number("latest_fork_usec");
    let reason = format!("the last fork for a save held the server for {:.0} ms", us / 1e3);
    (us >= LONG_FORK_US).then(|| Observation::new("fork", "saves", reason, "INFO stats"))
}

#[cfg(test)]
mod tests {
    use super::{CHECKS, CacheLook, Info, figures};

    fn kinds(text: &str, hits: u64, misses: u64) -> Vec<&'static str> {
        let info = Info(figures(text));
        let look = CacheLook { hits, misses, ..CacheLook::default() };
        CHECKS.iter().filter_map(|check| check(&info, &look)).map(|seen| seen.kind).collect()
    }

    #[test]
    fn a_server_that_is_well_has_nothing_to_mend() {
        let well = "used_memory:1000000\r\nmaxmemory:0\r\ntotal_system_memory:8000000000\r\nmaxclients:10000\r\n\
                    connected_clients:12\r\ntotal_connections_received:50\r\ntotal_commands_processed:90000\r\n\
                    rdb_last_bgsave_status:ok\r\nlatest_fork_usec:900\r\n";
        assert!(kinds(well, 9_000, 1_000).is_empty());
        assert!(kinds("", 1, 9).is_empty(), "ten look-ups say nothing");
        assert!(kinds("garbage\r\nused_memory:many\r\n", 0, 0).is_empty());
    }

    #[test]
    fn each_trouble_is_one_observation() {
        let ill = "used_memory:950000000\r\nmaxmemory:1000000000\r\nmaxmemory_policy:noeviction\r\nevicted_keys:3\r\n\
                   mem_fragmentation_ratio:2.1\r\nmaxclients:100\r\nconnected_clients:95\r\n\
                   total_connections_received:900\r\ntotal_commands_processed:1000\r\nrdb_last_bgsave_status:err\r\n\
                   latest_fork_usec:250000\r\n";
        let expected = [
            "hit_ratio",
            "evictions",
            "memory",
            "fragmentation",
            "connections",
            "connection_churn",
            "persistence",
            "fork",
        ];
        assert_eq!(kinds(ill, 500, 1_500), expected);
    }

    #[test]
    fn databases_with_keys_are_known() {
        let info = Info(figures("db0:keys=12,expires=3,avg_ttl=0\r\ndb3:keys=1,expires=0\r\ndbx:keys=1\r\n"));
        assert_eq!(info.databases(), [(0, 12), (3, 1)]);
    }
}
