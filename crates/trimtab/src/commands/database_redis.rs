//! `trimtab database redis://...`: a Redis server alone, without load and without a change to it. Which commands cost
//! most, how full and how useful it is, and what of its state should be mended.

use super::database::{cut, observation};
use super::{Answer, Setting};
use crate::args::DatabaseArgs;
use crate::clock;
use anyhow::{Result, bail};
use database::{CacheHealth, CacheLook, CommandCount, Redis};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Version of the JSON object.
const VERSION: u32 = 1;
/// Commands shown.
const SHOWN: usize = 15;

struct Seen {
    url: String,
    /// Of the window; `None`: since the server's start.
    seconds: Option<f64>,
    /// Those with most time first.
    commands: Vec<(String, CommandCount)>,
    /// Look-ups that found a value, and those that did not.
    lookups: (u64, u64),
    health: CacheHealth,
}

/// Whether the URL is one of a Redis server.
pub(super) fn is_meant(url: &str) -> bool {
    ["redis://", "rediss://", "valkey://", "valkeys://"].iter().any(|scheme| url.starts_with(scheme))
}

pub(super) async fn run(setting: &Setting, args: &DatabaseArgs, url: &str) -> Result<Answer> {
    if args.report.is_some() || args.may_build || args.statements.is_some() {
        bail!(
            "--report, --may-build and --statements are for databases with plans: a Redis server has no plans and no indexes"
        );
    }
    let mut redis = Redis::connect(url).await?;
    let begin = Instant::now();
    let mut before = CacheLook::default();
    let mut seconds = None;
    if args.over > 0.0 {
        before = redis.look().await?;
        setting.output.progress("counting commands");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(args.over.clamp(0.0, 86_400.0))) => {}
            () = setting.shutdown.wait() => {}
        }
        seconds = Some(begin.elapsed().as_secs_f64());
    }
    let now = redis.look().await?;
    setting.output.progress("looking at the server's state");
    let health = redis.health(i64::try_from(clock::now_ns() / 1_000_000_000).unwrap_or(i64::MAX)).await?;
    setting.output.clear_line();
    let seen = Seen {
        url: redis.shown_url().to_owned(),
        seconds,
        commands: grown(&before, &now),
        lookups: (now.hits.saturating_sub(before.hits), now.misses.saturating_sub(before.misses)),
        health,
    };
    let told = if setting.output.json() { as_json(&seen).to_string() } else { as_text(setting, &seen)? };
    setting.output.result(&told);
    Ok(Answer::Yes)
}

fn grown(before: &CacheLook, now: &CacheLook) -> Vec<(String, CommandCount)> {
    let one = |(name, count): (&String, &CommandCount)| {
        let then = before.commands.get(name).copied().unwrap_or_default();
        let count = CommandCount {
            calls: count.calls.saturating_sub(then.calls),
            microseconds: count.microseconds.saturating_sub(then.microseconds),
        };
        (count.calls > 0).then(|| (name.clone(), count))
    };
    let mut all: Vec<(String, CommandCount)> = now.commands.iter().filter_map(one).collect();
    all.sort_by(|a, b| b.1.microseconds.cmp(&a.1.microseconds).then_with(|| a.0.cmp(&b.0)));
    all
}

impl Seen {
    fn hit_ratio(&self) -> Option<f64> {
        let all = self.lookups.0 + self.lookups.1;
        (all > 0).then(|| self.lookups.0 as f64 / all as f64)
    }
}

fn as_json(seen: &Seen) -> Value {
    let command = |(name, count): &(String, CommandCount)| {
        let each = count.microseconds as f64 / count.calls.max(1) as f64;
        json!({"name": name, "calls": count.calls, "total_us": count.microseconds, "mean_us": each})
    };
    json!({
        "version": VERSION,
        "cache": seen.url,
        "window_s": seen.seconds,
        "server_version": seen.health.version,
        "commands": seen.commands.iter().map(command).collect::<Vec<_>>(),
        "hit_ratio": seen.hit_ratio(),
        "keys": seen.health.keys,
        "used_bytes": seen.health.used_bytes,
        "limit_bytes": seen.health.limit_bytes,
        "sampled": seen.health.sampled,
        "observations": seen.health.observations,
        "gaps": seen.health.gaps,
    })
}

fn as_text(setting: &Setting, seen: &Seen) -> Result<String> {
    let (output, health) = (&setting.output, &seen.health);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = String::new();
    let span = seen.seconds.map_or("since its start".to_owned(), |s| format!("over {s:.0} s"));
    writeln!(text, "{}", output.bold(&format!("{} {span}", seen.url)))?;
    let limit = match health.limit_bytes {
        0 => "no limit".to_owned(),
        bytes => format!("limit {:.0} MiB", mib(bytes)),
    };
    let hits = seen.hit_ratio().map_or("no look-ups".to_owned(), |r| format!("hit ratio {:.1} %", r * 100.0));
    writeln!(
        text,
        "  version {}, up {:.1} h; {} keys, {:.1} MiB, {limit}; {hits}",
        health.version,
        health.uptime_s as f64 / 3600.0,
        health.keys,
        mib(health.used_bytes)
    )?;
    let total: u64 = seen.commands.iter().map(|(_, count)| count.microseconds).sum();
    if !seen.commands.is_empty() {
        let head = output.bold("Commands by total time");
        writeln!(text, "\n{head}\n  {:>6} {:>12} {:>10}", "share", "calls", "mean us")?;
    }
    for (name, count) in seen.commands.iter().take(SHOWN) {
        writeln!(
            text,
            "  {:>5.1}% {:>12} {:>10.1}  {}",
            100.0 * count.microseconds as f64 / total.max(1) as f64,
            count.calls,
            count.microseconds as f64 / count.calls.max(1) as f64,
            cut(&name.to_ascii_uppercase(), output.width.saturating_sub(36))
        )?;
    }
    if let Some(sampled) = health.sampled.as_ref().filter(|s| s.keys > 0) {
        let of = if sampled.complete { "all" } else { "a sample of" };
        writeln!(text, "\n{}", output.bold(&format!("Keys by size, {of} {}", sampled.keys)))?;
        for pattern in &sampled.patterns {
            writeln!(
                text,
                "  {:>5.1}% {:>12} {:>10.0} B each  {}",
                100.0 * pattern.bytes as f64 / sampled.bytes.max(1) as f64,
                pattern.keys,
                pattern.bytes as f64 / pattern.keys.max(1) as f64,
                cut(&pattern.pattern, output.width.saturating_sub(43))
            )?;
        }
    }
    if !health.observations.is_empty() {
        writeln!(text, "\n{}", output.bold("State of the server"))?;
    }
    for seen in &health.observations {
        observation(&mut text, output, seen)?;
    }
    if !health.gaps.is_empty() {
        writeln!(text, "\n{}", output.bold("Not seen"))?;
    }
    for gap in &health.gaps {
        writeln!(text, "  {}\n    {}", gap.reason, output.dim(&gap.hint))?;
    }
    Ok(text)
}
