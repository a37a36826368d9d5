//! The slow log: commands that held the server for long, while no other client was served. Arguments are not shown, but
//! for the pattern of the first key.

use super::connection::Redis;
use super::keys::pattern;
use super::reply::Reply;
use crate::health::Observation;
use anyhow::Result;
use std::collections::BTreeMap;

/// Entries asked for.
const MAX_ENTRIES: &str = "128";
/// Kinds that are told.
const MAX_TOLD: usize = 10;

/// Of one command on keys that are called alike.
#[derive(Default)]
struct Slow {
    times: usize,
    longest_us: i64,
    /// Unix seconds of the last.
    last_s: i64,
}

/// `slow_command`, the longest first.
pub(super) async fn observations(redis: &mut Redis, now_s: i64) -> Result<Vec<Observation>> {
    let reply = redis.ask(&["SLOWLOG", "GET", MAX_ENTRIES]).await?;
    let mut by_command: BTreeMap<(String, String), Slow> = BTreeMap::new();
    for entry in reply.list() {
        let [_, at, us, words, ..] = entry.list() else { continue };
        let word = |n: usize| words.list().get(n).and_then(Reply::text).unwrap_or_default();
        let name: String = word(0).to_ascii_uppercase().chars().filter(char::is_ascii_alphabetic).collect();
        if ["SLOWLOG", "MEMORY", "SCAN", "INFO", "AUTH", ""].contains(&name.as_str()) {
            continue;
        }
        let key = if on_a_key(&name) { pattern(&word(1)) } else { String::new() };
        let known = by_command.entry((name, key)).or_default();
        known.times += 1;
        known.longest_us = known.longest_us.max(us.number().unwrap_or(0));
        known.last_s = known.last_s.max(at.number().unwrap_or(0));
    }
    let mut all: Vec<((String, String), Slow)> = by_command.into_iter().collect();
    all.sort_by(|a, b| b.1.longest_us.cmp(&a.1.longest_us).then_with(|| a.0.cmp(&b.0)));
    Ok(all.into_iter().take(MAX_TOLD).map(|(what, slow)| told(&what, &slow, now_s)).collect())
}

/// Commands whose first argument is none.
fn on_a_key(name: &str) -> bool {
    !["EVAL", "EVALSHA", "FCALL", "KEYS", "FLUSHALL", "FLUSHDB", "CONFIG", "DEBUG", "CLIENT", "MULTI", "EXEC"]
        .contains(&name)
}

fn told((name, key): &(String, String), slow: &Slow, now_s: i64) -> Observation {
    let subject = if key.is_empty() { name.clone() } else { format!("{name} {key}") };
    let ms = slow.longest_us as f64 / 1e3;
    let ago = (now_s - slow.last_s).max(0);
    let reason = format!(
        "{subject} is in the slow log {} times, the longest held the server for {ms:.1} ms, the last {ago} s ago; \
         meanwhile no other client was served",
        slow.times
    );
    let mut observation = Observation::new("slow_command", &subject, reason, "SLOWLOG GET 128");
    observation.mend = advice(name).map(str::to_owned);
    observation
}

/// What to ask instead.
pub(super) fn advice(name: &str) -> Option<&'static str> {
    Some(match name {
        "KEYS" => "walk with SCAN in steps, or keep the names in a set",
        "FLUSHALL" | "FLUSHDB" => "FLUSHALL ASYNC, FLUSHDB ASYNC",
        "DEL" => "UNLINK: the memory is freed beside the commands",
        "SMEMBERS" => "SSCAN in steps, or SISMEMBER for the one that is asked for",
        "HGETALL" | "HVALS" | "HKEYS" => "HMGET of the fields that are needed, or HSCAN in steps",
        "LRANGE" => "LRANGE of one page",
        "ZRANGE" | "ZREVRANGE" | "ZRANGEBYSCORE" => "the same with LIMIT",
        "SORT" => "keep the order in a sorted set",
        "EVAL" | "EVALSHA" | "FCALL" => "shorter scripts: each runs alone",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Slow, told};

    #[test]
    fn a_slow_command_says_what_to_ask_instead() {
        let slow = Slow { times: 3, longest_us: 42_100, last_s: 990 };
        let seen = told(&("KEYS".to_owned(), String::new()), &slow, 1_000);
        assert!(
            seen.reason.contains("3 times") && seen.reason.contains("42.1 ms, the last 10 s ago"),
            "{seen:?}"
        );
        assert!(seen.mend.unwrap().contains("SCAN"));
    }
}
