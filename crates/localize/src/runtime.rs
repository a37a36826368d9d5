//! Pass 6, what runtimes, pools and servers tell of themselves, whatever the library called it: garbage collection,
//! memory, event loops, and how much of each limited resource is in use. Nothing is judged here.

use model::metrics::names;
use model::{MetricSeries, Recording};
use std::collections::BTreeMap;

/// What a series means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Total time in collections that stop the program.
    GcTime,
    /// Bytes, or a share of the limit.
    Memory,
    MemoryShare,
    LoopDelayP99,
    /// In use, of the series `of`.
    Used(&'static str),
    /// A share from 0 to 1.
    Share(&'static str),
}

/// Name as sent (Prometheus's with `_`), and what it means. Times are seconds unless the unit says milliseconds.
const TABLE: &[(&str, Meaning)] = &[
    ("jvm.gc.duration.sum", Meaning::GcTime),
    ("jvm_gc_pause_seconds.sum", Meaning::GcTime),
    ("jvm_gc_collection_seconds.sum", Meaning::GcTime),
    ("process.runtime.jvm.gc.duration.sum", Meaning::GcTime),
    ("v8js.gc.duration.sum", Meaning::GcTime),
    ("nodejs_gc_duration_seconds.sum", Meaning::GcTime),
    ("dotnet.gc.pause.time", Meaning::GcTime),
    ("go_gc_duration_seconds.sum", Meaning::GcTime),
    (names::PROCESS_MEMORY, Meaning::Memory),
    ("container.memory.usage", Meaning::Memory),
    ("process_resident_memory_bytes", Meaning::Memory),
    (names::HOST_MEMORY, Meaning::MemoryShare),
    ("k8s.container.memory_limit_utilization", Meaning::MemoryShare),
    ("nodejs.eventloop.delay.p99", Meaning::LoopDelayP99),
    ("nodejs_eventloop_lag_p99_seconds", Meaning::LoopDelayP99),
    ("nodejs.eventloop.utilization", Meaning::Share("event loop")),
    ("jvm.cpu.recent_utilization", Meaning::Share("CPU of the process")),
    (names::HOST_CPU, Meaning::Share("CPU")),
    (names::CONTAINER_CPU_LIMIT, Meaning::Share("CPU limit")),
    ("system.disk.utilization", Meaning::Share("disk")),
    ("hikaricp_connections_active", Meaning::Used("hikaricp_connections_max")),
    ("hikaricp.connections.active", Meaning::Used("hikaricp.connections.max")),
    ("tomcat_threads_busy_threads", Meaning::Used("tomcat_threads_config_max_threads")),
    ("tomcat.threads.busy", Meaning::Used("tomcat.threads.config.max")),
    ("puma_running", Meaning::Used("puma_max_threads")),
    ("pg_stat_activity_count", Meaning::Used("pg_settings_max_connections")),
    ("postgresql.backends", Meaning::Used("postgresql.connection.max")),
];

/// A resource with a limit, and how much of it is in use, 0 to 1, mean over the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Limited {
    /// `CPU`, `pool of connections`, `event loop` ...
    pub name: String,
    /// The service that has it; empty for the host.
    pub service: String,
    pub used: f64,
}

/// Memory of one process or service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Share of the limit, largest.
    pub share: Option<f64>,
    /// Growth by the hour, as share of the mean, and over how many seconds it was seen.
    pub growth_per_h: Option<f64>,
    pub seconds: f64,
}

/// What the metrics tell; empty where they do not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// By service or role: share of time spent in collections.
    pub gc: BTreeMap<String, f64>,
    pub memory: BTreeMap<String, Memory>,
    /// By service: p99 of the event loop's delay, milliseconds, largest.
    pub loop_delay_ms: BTreeMap<String, f64>,
    /// Fullest first.
    pub limited: Vec<Limited>,
}

/// Points that a growth is read from, at least.
const MIN_POINTS: usize = 10;
/// Points that are compared pair by pair, at most.
const MAX_POINTS: usize = 200;

/// Reads them all.
#[must_use]
pub fn runtime(recording: &Recording) -> Runtime {
    let mut out = Runtime::default();
    for series in &recording.metrics {
        let Some((_, meaning)) = TABLE.iter().find(|(name, _)| *name == series.name) else { continue };
        out.note(recording, series, *meaning);
    }
    out.pools(recording);
    out.limited
        .sort_by(|a, b| b.used.total_cmp(&a.used).then((&a.name, &a.service).cmp(&(&b.name, &b.service))));
    out
}

/// Service, else role, else nothing: the host.
fn owner(series: &MetricSeries) -> String {
    series.service().or_else(|| series.attribute("process.role")).unwrap_or("").to_owned()
}

impl Runtime {
    fn note(&mut self, recording: &Recording, series: &MetricSeries, meaning: Meaning) {
        let owner = owner(series);
        let seconds = |value: f64| if series.unit == "ms" { value / 1e3 } else { value };
        match meaning {
            Meaning::GcTime => {
                if let Some(share) = series.rate().map(seconds).filter(|s| *s <= 1.0) {
                    *self.gc.entry(owner).or_default() += share;
                }
            }
            Meaning::Memory => {
                let known = self.memory.entry(owner).or_default();
                if let Some((growth, seconds)) = growth(series)
                    && seconds >= known.seconds
                {
                    (known.growth_per_h, known.seconds) = (Some(growth), seconds);
                }
            }
            Meaning::MemoryShare => {
                let known = self.memory.entry(owner).or_default();
                known.share = known.share.into_iter().chain(series.max()).max_by(f64::total_cmp);
            }
            Meaning::LoopDelayP99 => {
                let delay = series.max().map(|s| seconds(s) * 1e3).unwrap_or(0.0);
                let known = self.loop_delay_ms.entry(owner).or_default();
                *known = known.max(delay);
            }
            Meaning::Share(name) => self.add(name, owner, series.mean()),
            Meaning::Used(of) => {
                let limit = recording.series(of).filter(|s| s.service() == series.service());
                let limit = limit.filter_map(MetricSeries::max).max_by(f64::total_cmp).filter(|l| *l > 0.0);
                let used = series.mean().zip(limit).map(|(used, limit)| used / limit);
                let name = if of.contains("thread") { "threads" } else { "connections" };
                self.add(name, owner, used);
            }
        }
    }

    fn add(&mut self, name: &str, service: String, used: Option<f64>) {
        if let Some(used) = used.filter(|u| u.is_finite() && *u >= 0.0) {
            self.limited.push(Limited { name: name.to_owned(), service, used: used.min(1.0) });
        }
    }

    /// OpenTelemetry's pools: connections in use of the largest number.
    fn pools(&mut self, recording: &Recording) {
        let used = recording
            .series(names::POOL_CONNECTIONS)
            .filter(|s| s.attribute("db.client.connection.state") == Some("used"));
        for series in used {
            let pool = |s: &&MetricSeries| {
                s.service() == series.service()
                    && s.attribute("db.client.connection.pool.name")
                        == series.attribute("db.client.connection.pool.name")
            };
            let limit = recording.series(names::POOL_MAX).filter(pool).find_map(MetricSeries::max);
            let share = series.mean().zip(limit.filter(|l| *l > 0.0)).map(|(used, limit)| used / limit);
            self.add("pool of connections", owner(series), share);
        }
    }
}

/// Growth by the hour as share of the mean: the median of the slopes of all pairs (Theil 1950, Sen 1968), so that a
/// cache that fills at the start does not count; with the seconds that it was seen over.
fn growth(series: &MetricSeries) -> Option<(f64, f64)> {
    if series.points.len() < MIN_POINTS {
        return None;
    }
    let mean = series.mean().filter(|m| *m > 0.0)?;
    let step = series.points.len().div_ceil(MAX_POINTS).max(1);
    let points: Vec<_> = series.points.iter().step_by(step).collect();
    let mut slopes = Vec::new();
    for (n, a) in points.iter().enumerate() {
        let later = points[n + 1..].iter().filter(|b| b.time_ns > a.time_ns);
        slopes.extend(later.map(|b| (b.value - a.value) / ((b.time_ns - a.time_ns) as f64 / 1e9)));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = slopes.get(slopes.len() / 2)?;
    let (first, last) = (series.points.first()?, series.points.last()?);
    Some((slope * 3600.0 / mean, last.time_ns.saturating_sub(first.time_ns) as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::runtime;
    use crate::testing::gauge_series;
    use model::{MetricKind, Recording};

    #[test]
    fn every_spelling_of_a_figure_is_read() {
        let service = [("service.name", "api")];
        let mut gc = gauge_series("jvm.gc.duration.sum", &service, &[(0, 0.0), (10, 0.8)]);
        gc.kind = MetricKind::Counter;
        let mut old = gauge_series(
            "process.runtime.jvm.gc.duration.sum",
            &[("service.name", "old")],
            &[(0, 0.0), (10, 700.0)],
        );
        old.unit = "ms".to_owned();
        let facts = runtime(&Recording {
            metrics: vec![
                gc,
                old,
                gauge_series("hikaricp_connections_active", &service, &[(0, 9.0)]),
                gauge_series("hikaricp_connections_max", &service, &[(0, 10.0)]),
                gauge_series("nodejs_eventloop_lag_p99_seconds", &service, &[(0, 0.2)]),
                gauge_series("something.else", &service, &[(0, 9.0)]),
            ],
            ..Recording::default()
        });
        assert!((facts.gc["api"] - 0.08).abs() < 1e-9 && (facts.gc["old"] - 0.07).abs() < 1e-9, "{facts:?}");
        assert!((facts.limited[0].used - 0.9).abs() < 1e-9 && facts.limited[0].name == "connections");
        assert!((facts.loop_delay_ms["api"] - 200.0).abs() < 1e-9);
    }

    #[test]
    fn memory_that_fills_once_does_not_grow() {
        let ramp: Vec<(u64, f64)> =
            (0..40_u32).map(|n| (u64::from(n) * 60, 1e8 + 1e6 * f64::from(n))).collect();
        let filled: Vec<(u64, f64)> = (0..40).map(|n| (n * 60, if n < 8 { 1e8 } else { 2e8 })).collect();
        let growth = |points: &[(u64, f64)]| {
            let series = gauge_series("process.memory.usage", &[("service.name", "api")], points);
            runtime(&Recording { metrics: vec![series], ..Recording::default() }).memory["api"].growth_per_h
        };
        assert!(growth(&ramp).is_some_and(|g| (g - 0.5).abs() < 0.03), "{:?}", growth(&ramp));
        assert!(growth(&filled).is_some_and(|g| g.abs() < 1e-9));
        assert_eq!(growth(&ramp[..5]), None);
    }
}
