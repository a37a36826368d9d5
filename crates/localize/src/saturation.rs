//! Pass 6, before any rule: which resource is full. A slow span on a full host is a symptom, and re-simulation
//! alone misjudges it, so rules and predictions read these facts first.

use crate::thresholds::Thresholds;
use model::metrics::names;
use model::{MetricSeries, Recording};
use std::collections::BTreeMap;

/// A service's or role's share of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// Cores in use, mean over the window.
    pub cores: Option<f64>,
    /// Share of the limit, mean over the window.
    pub of_limit: Option<f64>,
    /// The largest share of the limit at any moment.
    pub of_limit_max: Option<f64>,
    /// Seconds of run-queue wait per second.
    pub run_queue: Option<f64>,
}

/// What the metrics tell about full resources. Shares are 0 to 1; `None`: not measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saturation {
    /// Of the whole host, mean over the window.
    pub host_cpu: Option<f64>,
    pub cpus: f64,
    pub host_memory: Option<f64>,
    pub cpu_pressure: Option<f64>,
    pub io_pressure: Option<f64>,
    /// By `service.name`: containers.
    pub services: BTreeMap<String, Use>,
    /// By `process.role`: `service`, `database`, `generator`, `trimtab`.
    pub roles: BTreeMap<String, Use>,
    /// By service: callers waiting for a connection (largest), wait p95 in milliseconds, connections used and size.
    pub pools: BTreeMap<String, Pool>,
    /// Why the load's figures are not to be used; predictions are held back.
    pub generator_invalid: Vec<String>,
}

/// A connection pool as its owner reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pool {
    pub pending_max: Option<f64>,
    pub wait_p95_ms: Option<f64>,
    pub used_mean: Option<f64>,
    pub size: Option<f64>,
}

/// Reads the facts out of a recording's metrics.
#[must_use]
pub fn saturation(recording: &Recording) -> Saturation {
    let first = |name: &str| mean_of(recording.series(name));
    let environment = f64::from(recording.run.environment.cpus);
    let invalid = recording.run.validity.issues.iter().filter(|i| i.invalid);
    let mut facts = Saturation {
        host_cpu: first(names::HOST_CPU),
        cpus: first(names::HOST_CPUS).filter(|n| *n >= 1.0).unwrap_or(environment.max(1.0)),
        host_memory: first(names::HOST_MEMORY),
        cpu_pressure: first(names::HOST_CPU_PRESSURE),
        io_pressure: first(names::HOST_IO_PRESSURE),
        generator_invalid: invalid.map(|i| i.reason.clone()).collect(),
        ..Saturation::default()
    };
    for series in &recording.metrics {
        facts.note(series);
    }
    facts
}

impl Saturation {
    fn note(&mut self, series: &MetricSeries) {
        let Some(mean) = series.mean() else { return };
        let service = series.service().unwrap_or("").to_owned();
        let role = series.attribute("process.role").unwrap_or("").to_owned();
        let add = |slot: &mut Option<f64>| *slot = Some(slot.unwrap_or(0.0) + mean);
        match series.name.as_str() {
            names::CONTAINER_CPU => add(&mut self.services.entry(service).or_default().cores),
            names::CONTAINER_CPU_LIMIT => {
                // Of several instances the fullest speaks.
                let slot = &mut self.services.entry(service.clone()).or_default().of_limit;
                *slot = Some(slot.unwrap_or(0.0).max(mean));
                let slot = &mut self.services.entry(service).or_default().of_limit_max;
                *slot = larger(*slot, series.max());
            }
            names::PROCESS_CPU => add(&mut self.roles.entry(role).or_default().cores),
            names::PROCESS_RUN_QUEUE => add(&mut self.roles.entry(role).or_default().run_queue),
            names::POOL_PENDING => {
                let slot = &mut self.pools.entry(service).or_default().pending_max;
                *slot = larger(*slot, series.max());
            }
            names::POOL_MAX => add(&mut self.pools.entry(service).or_default().size),
            names::POOL_CONNECTIONS if series.attribute("db.client.connection.state") == Some("used") => {
                add(&mut self.pools.entry(service).or_default().used_mean);
            }
            names::POOL_WAIT if series.attribute("quantile") == Some("0.95") => {
                let slot = &mut self.pools.entry(service).or_default().wait_p95_ms;
                *slot = larger(*slot, series.max().map(|s| s * 1e3));
            }
            _ => {}
        }
    }

    /// The fullest CPU that requests depend on: the host, or a container against its limit.
    #[must_use]
    pub fn cpu(&self) -> Option<f64> {
        let limits = self.services.values().filter_map(|u| u.of_limit);
        limits.chain(self.host_cpu).max_by(f64::total_cmp)
    }

    /// Cores in use by processes that nobody watches, where the host is full and the watched ones, the service among
    /// them, hold less than [`Thresholds::busy_share`] of what is in use.
    #[must_use]
    pub fn cores_of_others(&self, thresholds: &Thresholds) -> Option<f64> {
        let used = self.host_cpu.filter(|u| *u >= thresholds.cpu_saturated)? * self.cpus;
        self.roles.get("service")?.cores?;
        let watched: f64 = self.roles.values().chain(self.services.values()).filter_map(|u| u.cores).sum();
        (watched < used * thresholds.busy_share).then_some(used - watched)
    }

    #[must_use]
    pub fn is_cpu_full(&self, thresholds: &Thresholds) -> bool {
        self.cpu().is_some_and(|u| u >= thresholds.cpu_saturated)
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).max_by(f64::total_cmp)
}

fn mean_of<'a>(series: impl Iterator<Item = &'a MetricSeries>) -> Option<f64> {
    let (sum, count) = series.filter_map(MetricSeries::mean).fold((0.0, 0_u32), |(s, n), m| (s + m, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::saturation;
    use crate::thresholds::Thresholds;
    use model::metrics::names;
    use model::{MetricKind, MetricSeries, Point, Recording};

    fn series(name: &str, attributes: &[(&str, &str)], values: &[f64]) -> MetricSeries {
        MetricSeries {
            name: name.to_owned(),
            unit: "1".to_owned(),
            kind: MetricKind::Gauge,
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            points: (0..).zip(values).map(|(time_ns, value)| Point { time_ns, value: *value }).collect(),
        }
    }

    fn recording(metrics: Vec<MetricSeries>) -> Recording {
        Recording { metrics, ..Recording::default() }
    }

    #[test]
    fn the_fullest_of_host_and_containers_is_the_cpu() {
        let api = [("service.name", "api")];
        let facts = saturation(&recording(vec![
            series(names::HOST_CPU, &[], &[0.3, 0.5]),
            series(names::CONTAINER_CPU_LIMIT, &api, &[0.2, 0.3]),
            series(names::CONTAINER_CPU_LIMIT, &api, &[0.8, 1.0]),
        ]));
        assert_eq!(facts.cpu().map(|u| (u * 100.0).round() as u32), Some(90));
        assert_eq!(facts.services["api"].of_limit_max, Some(1.0));
        assert!(facts.is_cpu_full(&Thresholds::default()));
    }

    #[test]
    fn processes_of_a_role_add_up_and_a_pools_worst_moment_counts() {
        let role = [("process.role", "database")];
        let used = [("service.name", "api"), ("db.client.connection.state", "used")];
        let wait = [("service.name", "api"), ("quantile", "0.95")];
        let facts = saturation(&recording(vec![
            series(names::PROCESS_CPU, &role, &[0.5]),
            series(names::PROCESS_CPU, &role, &[0.25]),
            series(names::POOL_PENDING, &used[..1], &[0.0, 7.0, 1.0]),
            series(names::POOL_CONNECTIONS, &used, &[4.0, 6.0]),
            series(names::POOL_WAIT, &wait, &[0.001, 0.025]),
        ]));
        assert_eq!(facts.roles["database"].cores, Some(0.75));
        let pool = facts.pools["api"];
        assert_eq!((pool.pending_max, pool.used_mean, pool.wait_p95_ms), (Some(7.0), Some(5.0), Some(25.0)));
    }

    #[test]
    fn nothing_measured_is_nothing_known() {
        let facts = saturation(&recording(vec![series(names::HOST_CPU, &[], &[])]));
        assert_eq!(facts.cpu(), None);
        assert!(!facts.is_cpu_full(&Thresholds::default()));
    }
}
