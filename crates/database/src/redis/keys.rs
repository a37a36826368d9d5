//! How large the values are: a bounded walk over the keys with `SCAN`, and `MEMORY USAGE` of each. What keys are called is
//! shown as a pattern: a key may hold a session's secret or a person's address.

use super::connection::Redis;
use super::reply::Reply;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Keys asked for their size, over all databases.
const MAX_KEYS: usize = 5_000;
/// Keys of one step.
const STEP: &str = "100";
/// Time for the whole walk.
const MAX_TIME: Duration = Duration::from_secs(3);
/// Elements of a list or hash whose size stands for the others.
const ELEMENTS: &str = "5";
/// Steps, however few keys each gives.
const MAX_STEPS: usize = 1_000;
const MAX_PATTERNS: usize = 200;
const SHOWN: usize = 5;
const MAX_PATTERN_CHARS: usize = 80;

/// What was seen of the keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sampled {
    /// Keys that were asked for their size.
    pub keys: usize,
    pub bytes: u64,
    /// Every key of the server was seen.
    pub complete: bool,
    /// Those with most bytes first.
    pub patterns: Vec<Pattern>,
    /// The largest values, largest first.
    pub largest: Vec<Large>,
}

/// Keys that are called alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pattern {
    pub pattern: String,
    pub keys: usize,
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Large {
    pub pattern: String,
    pub database: u32,
    pub bytes: u64,
}

/// Walks over databases, which hold the keys.
pub(super) async fn sample(redis: &mut Redis, databases: &[u32]) -> Result<Sampled> {
    let begin = Instant::now();
    let mut seen = Sampled { complete: true, ..Sampled::default() };
    let mut patterns: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let each = MAX_KEYS / databases.len().max(1);
    for &database in databases {
        if databases.len() > 1 || redis.database != Some(database) {
            redis.ask(&["SELECT", &database.to_string()]).await?;
        }
        let until = seen.keys + each;
        let mut cursor = "0".to_owned();
        for step in 0.. {
            if seen.keys >= until || step >= MAX_STEPS || begin.elapsed() > MAX_TIME {
                seen.complete = false;
                break;
            }
            let reply = redis.ask(&["SCAN", &cursor, "COUNT", STEP]).await?;
            let [next, keys] = reply.list() else { break };
            let keys: Vec<&[u8]> = keys.list().iter().filter_map(bytes).collect();
            for (key, bytes) in sizes(redis, &keys).await? {
                let pattern = pattern(&String::from_utf8_lossy(key));
                seen.keys += 1;
                seen.bytes += bytes;
                seen.largest.push(Large { pattern: pattern.clone(), database, bytes });
                if patterns.len() < MAX_PATTERNS || patterns.contains_key(&pattern) {
                    let known = patterns.entry(pattern).or_default();
                    *known = (known.0 + 1, known.1 + bytes);
                }
            }
            seen.largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.pattern.cmp(&b.pattern)));
            seen.largest.truncate(SHOWN);
            cursor = next.text().unwrap_or_default();
            if cursor == "0" || cursor.is_empty() {
                break;
            }
        }
    }
    let one = |(pattern, (keys, bytes))| Pattern { pattern, keys, bytes };
    seen.patterns = patterns.into_iter().map(one).collect();
    seen.patterns.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.pattern.cmp(&b.pattern)));
    seen.patterns.truncate(SHOWN);
    Ok(seen)
}

fn bytes(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Text(bytes) => Some(bytes),
        _ => None,
    }
}

/// A key that went meanwhile has no size.
async fn sizes<'k>(redis: &mut Redis, keys: &[&'k [u8]]) -> Result<Vec<(&'k [u8], u64)>> {
    let question = |key: &&'k [u8]| -> Vec<&[u8]> {
        vec![&b"MEMORY"[..], b"USAGE", key, b"SAMPLES", ELEMENTS.as_bytes()]
    };
    let questions: Vec<Vec<&[u8]>> = keys.iter().map(question).collect();
    let answers = redis.ask_all(&questions).await?;
    let mut known = Vec::new();
    for (key, answer) in keys.iter().zip(answers) {
        if let Some(bytes) = answer.well()?.number().and_then(|n| u64::try_from(n).ok()) {
            known.push((*key, bytes));
        }
    }
    Ok(known)
}

/// `session:*`, `user:*:orders`: a part with a digit, a long one, or one that is no word of letters, is left out.
pub(super) fn pattern(key: &str) -> String {
    let mut out = String::new();
    let mut part = String::new();
    for c in key.chars().take(4 * MAX_PATTERN_CHARS).chain(std::iter::once('\0')) {
        if c.is_alphanumeric() || c == '@' {
            part.push(c);
            continue;
        }
        let word = part.len() <= 20 && part.chars().all(char::is_alphabetic);
        if word {
            out.push_str(&part);
        } else if !out.ends_with('*') {
            out.push('*');
        }
        part.clear();
        if c.is_control() {
            continue;
        }
        out.push(c);
    }
    let mut folded = out;
    for twice in ["*-*", "*.*", "*_*"] {
        while folded.contains(twice) {
            folded = folded.replace(twice, "*");
        }
    }
    folded.chars().take(MAX_PATTERN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn keys_are_shown_without_what_tells_them_apart() {
        for (key, expected) in [
            ("user:17:orders", "user:*:orders"),
            ("session:9f86d081884c7d659a2feaa0c55ad015", "session:*"),
            ("cache:7c9e6679-7425-40de-944b-e07fc1f90ae7", "cache:*"),
            ("mail:jane@example.com", "mail:*.com"),
            ("plain", "plain"),
            ("{tag}:x1", "{tag}:*"),
            ("", ""),
            ("a\r\nb", "ab"),
        ] {
            assert_eq!(pattern(key), expected, "{key}");
        }
    }
}
