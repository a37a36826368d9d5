//! The two caches for products: a bounded LRU with time to live in this process, and Redis.
//! A cache that fails is a miss, except where a failure would leave a wrong value behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::trace::Trace;

/// Least recently used goes first; an entry past its time is a miss.
pub(crate) struct LocalCache<V> {
    entries: Mutex<Entries<V>>,
}

struct Entries<V> {
    values: HashMap<i32, Entry<V>>,
    /// From the time of use (a counter) to the key, oldest first.
    by_use: BTreeMap<u64, i32>,
    uses: u64,
    /// Counts removals, so that a value that was read before a removal is not inserted after it.
    removals: u64,
}

struct Entry<V> {
    value: V,
    expires: Instant,
    used: u64,
}

/// Taken before the value is read from its source, given back with the value.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl<V> Default for LocalCache<V> {
    fn default() -> Self {
        let entries = Entries { values: HashMap::new(), by_use: BTreeMap::new(), uses: 0, removals: 0 };
        Self { entries: Mutex::new(entries) }
    }
}

impl<V: Clone> LocalCache<V> {
    fn lock(&self) -> MutexGuard<'_, Entries<V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: i32, now: Instant) -> Option<V> {
        let entries = &mut *self.lock();
        let entry = entries.values.get_mut(&key)?;
        entries.by_use.remove(&entry.used);
        if entry.expires <= now {
            entries.values.remove(&key);
            return None;
        }
        entries.uses += 1;
        entry.used = entries.uses;
        entries.by_use.insert(entry.used, key);
        Some(entry.value.clone())
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.lock().removals)
    }

    /// Does nothing when something was removed since the ticket was taken.
    pub(crate) fn insert(&self, ticket: Ticket, key: i32, value: V, expires: Instant, size: usize) {
        let entries = &mut *self.lock();
        if entries.removals != ticket.0 {
            return;
        }
        entries.uses += 1;
        let used = entries.uses;
        if let Some(old) = entries.values.insert(key, Entry { value, expires, used }) {
            entries.by_use.remove(&old.used);
        }
        entries.by_use.insert(used, key);
        while entries.values.len() > size {
            let Some((_, oldest)) = entries.by_use.pop_first() else { break };
            entries.values.remove(&oldest);
        }
    }

    pub(crate) fn remove(&self, key: i32) {
        let entries = &mut *self.lock();
        entries.removals += 1;
        if let Some(entry) = entries.values.remove(&key) {
            entries.by_use.remove(&entry.used);
        }
    }

    pub(crate) fn clear(&self) {
        let entries = &mut *self.lock();
        entries.removals += 1;
        entries.values.clear();
        entries.by_use.clear();
    }
}

const REDIS_TIMEOUT: Duration = Duration::from_millis(500);
const KEY_PREFIX: &str = "shop:product:";
/// Keys that one step of the emptying looks at.
const SCAN_COUNT: usize = 500;

pub(crate) struct RedisCache {
    client: Client,
    address: String,
    port: u16,
    /// Opened at the first use and again after an error; one connection carries all requests.
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

impl RedisCache {
    /// # Errors
    /// When the URL cannot be understood; the message does not repeat it.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let client =
            Client::open(url).ok().context("the Redis URL cannot be read; expected redis://host:port")?;
        let (address, port) = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), *port)
            }
            _ => ("localhost".to_owned(), 0),
        };
        Ok(Self { client, address, port, connection: tokio::sync::Mutex::new(None) })
    }

    /// A value that cannot be read, for whatever reason, is a miss.
    pub(crate) async fn get<V: DeserializeOwned>(&self, trace: &Trace, id: i32) -> Option<V> {
        let bytes: Option<Vec<u8>> =
            self.run(trace, "GET", "GET ?", id, redis::cmd("GET").arg(key(id))).await.ok()?;
        serde_json::from_slice(&bytes?).ok()
    }

    /// Stores what was just read, unless a newer value is there already.
    pub(crate) async fn add(&self, trace: &Trace, id: i32, value: &impl Serialize, ttl: Duration) {
        let Ok(bytes) = serde_json::to_vec(value) else { return };
        let mut command = redis::cmd("SET");
        command.arg(key(id)).arg(bytes).arg("NX").arg("PX").arg(millis(ttl));
        // The next reader simply misses again.
        drop(self.run::<Option<String>>(trace, "SET", "SET ? ? NX PX ?", id, &command).await);
    }

    /// Stores what was just written.
    ///
    /// # Errors
    /// `Unavailable`: readers may see the old value until it expires, so the writer must know.
    pub(crate) async fn replace(
        &self,
        trace: &Trace,
        id: i32,
        value: &impl Serialize,
        ttl: Duration,
    ) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))?;
        let mut command = redis::cmd("SET");
        command.arg(key(id)).arg(bytes).arg("PX").arg(millis(ttl));
        self.run::<Option<String>>(trace, "SET", "SET ? ? PX ?", id, &command)
            .await
            .map(drop)
            .map_err(|_| unavailable("the product was changed, but the cache could not be told"))
    }

    /// Removes every product.
    ///
    /// # Errors
    /// `Unavailable` when Redis does not answer.
    pub(crate) async fn clear(&self, trace: &Trace) -> Result<(), Error> {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{KEY_PREFIX}*")).arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<String>) = self
                .run(trace, "SCAN", "SCAN ? MATCH ? COUNT ?", 0, &scan)
                .await
                .map_err(|_| unavailable("Redis does not answer"))?;
            if !keys.is_empty() {
                self.run::<u64>(trace, "UNLINK", "UNLINK ?", 0, redis::cmd("UNLINK").arg(keys))
                    .await
                    .map_err(|_| unavailable("Redis does not answer"))?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn run<T: FromRedisValue>(
        &self,
        trace: &Trace,
        operation: &'static str,
        text: &'static str,
        id: i32,
        command: &Cmd,
    ) -> redis::RedisResult<T> {
        let attributes = vec![
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("db.query.text", text),
            KeyValue::new("db.query.parameter.0", i64::from(id)),
            KeyValue::new("server.address", self.address.clone()),
            KeyValue::new("server.port", i64::from(self.port)),
        ];
        let span = trace.span(operation, SpanKind::Client, attributes);
        let result = async {
            let mut connection = self.connected(span.trace()).await?;
            command.query_async(&mut connection).await
        }
        .await;
        if result.is_err() {
            span.fail("redis", "command failed");
            *self.connection.lock().await = None;
        }
        result
    }

    async fn connected(&self, trace: &Trace) -> redis::RedisResult<MultiplexedConnection> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let attributes = vec![
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("server.address", self.address.clone()),
            KeyValue::new("server.port", i64::from(self.port)),
        ];
        let span = trace.span("connect", SpanKind::Client, attributes);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REDIS_TIMEOUT))
            .set_response_timeout(Some(REDIS_TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        if connection.is_err() {
            span.fail("connect", "cannot connect");
        }
        Ok(held.insert(connection?).clone())
    }
}

fn key(id: i32) -> String {
    format!("{KEY_PREFIX}{id}")
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(message: &str) -> Error {
    Error::Unavailable(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, char)], size: usize, expires: Instant) -> LocalCache<char> {
        let cache = LocalCache::default();
        for (key, value) in entries {
            cache.insert(cache.ticket(), *key, *value, expires, size);
        }
        cache
    }

    #[test]
    fn the_least_recently_used_entry_goes_first() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let cache = cache(&[(1, 'a'), (2, 'b')], 2, later);
        assert_eq!(cache.get(1, now), Some('a'));
        cache.insert(cache.ticket(), 3, 'c', later, 2);
        assert_eq!([cache.get(1, now), cache.get(2, now), cache.get(3, now)], [Some('a'), None, Some('c')]);
    }

    #[test]
    fn an_entry_past_its_time_is_a_miss() {
        let now = Instant::now();
        let cache = cache(&[(1, 'a')], 2, now);
        assert_eq!(cache.get(1, now), None);
        let entries = cache.lock();
        assert!(entries.values.is_empty() && entries.by_use.is_empty());
    }

    #[test]
    fn a_value_read_before_a_removal_is_not_inserted_after_it() {
        let now = Instant::now();
        let cache = LocalCache::default();
        let ticket = cache.ticket();
        cache.remove(1);
        cache.insert(ticket, 1, "old", now + Duration::from_secs(1), 2);
        assert_eq!(cache.get(1, now), None);
    }
}
