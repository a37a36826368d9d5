//! Pass 9, under load: what is nearly full makes everybody wait, so that work which a fix removes shortens what stays.
//! Two queues are modelled where they were seen more than 70 % in use: the CPU, and pools of connections.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::EndpointId;

/// Factors on the simulated time after a fix; 1: nothing changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Relief {
    pub point: f64,
    pub least: f64,
    pub most: f64,
    pub assumption: Option<String>,
    /// The model was applied: the prediction is of grade C.
    pub is_model: bool,
}

impl Relief {
    pub const NONE: Self = Self { point: 1.0, least: 1.0, most: 1.0, assumption: None, is_model: false };

    /// Two queues at once: each shortens what the other leaves.
    fn and(self, other: Self) -> Self {
        let assumption = match (self.assumption, other.assumption) {
            (Some(one), Some(two)) => Some(format!("{one}; {two}")),
            (one, two) => one.or(two),
        };
        Self {
            point: self.point * other.point,
            least: self.least * other.least,
            most: self.most * other.most,
            assumption,
            is_model: self.is_model || other.is_model,
        }
    }
}

/// The relief that follows when the endpoint's requests need `saved` (0 to 1) less time.
#[must_use]
pub fn relief(facts: &Facts<'_>, endpoint: EndpointId, saved: f64) -> Relief {
    let total: f64 = facts.shapes.endpoints.iter().map(|e| e.root_ns as f64).sum();
    let own = facts.shapes.endpoint(endpoint).root_ns as f64;
    // What the fix removes, as share of all work on requests.
    let freed = if total > 0.0 { (own / total * saved).clamp(0.0, 1.0) } else { 0.0 };
    cpu(facts, freed).and(pool(facts, endpoint, freed))
}

/// Cores that requests keep busy: those of the service and of its database, where they were watched.
fn cores_of_requests(facts: &Facts<'_>) -> Option<f64> {
    let roles = &facts.saturation.roles;
    let service = roles.get("service").and_then(|u| u.cores)?;
    let used = service + roles.get("database").and_then(|u| u.cores).unwrap_or(0.0);
    // An instrument may tell nonsense.
    (used.is_finite() && used >= 0.0).then_some(used)
}

/// The fullest CPU is the machine's, not a container's limit.
fn is_of_host(facts: &Facts<'_>) -> bool {
    let limits = facts.saturation.services.values().filter_map(|u| u.of_limit);
    let host = facts.saturation.host_cpu;
    host.is_some_and(|host| limits.into_iter().all(|limit| limit <= host))
}

/// Processor sharing on `c` cores: `R = D / (1 - rho^c)` (Sakasegawa's approximation for the stretch of an M/M/c).
///
/// Where processes were watched, only what requests use is freed (a load generator on the same machine goes on as
/// before), and only the part of a request that computes or waits for its turn gets shorter: by Little's law the busy
/// cores times the stretch, of all requests in progress. On a CPU that is less busy only the quick end of the interval
/// moves.
fn cpu(facts: &Facts<'_>, freed: f64) -> Relief {
    let t = facts.thresholds;
    let Some(rho) = facts.saturation.cpu().filter(|rho| rho.is_finite() && *rho > 0.0) else {
        return Relief::NONE;
    };
    let rho = rho.min(t.load_model_cap);
    let cores = facts.saturation.cpus;
    let of_requests = cores_of_requests(facts).filter(|_| is_of_host(facts));
    let share = of_requests.map_or(1.0, |used| (used / (rho * cores)).min(1.0));
    let after = rho * (1.0 - share * freed);
    let stretch = |rho: f64| 1.0 / (1.0 - rho.powf(cores));
    let most = stretch(after) / stretch(rho);
    if rho <= t.load_model_from {
        // Too little to count on, but what stays may well wait less.
        return Relief { most, ..Relief::NONE };
    }
    // Half of what was saved is taken to be CPU time where nothing tells.
    let computes = of_requests.map_or(0.5, |used| (used * stretch(rho) / in_progress(facts)).min(1.0));
    Relief {
        point: 1.0 - computes * (1.0 - most),
        least: 1.0,
        most,
        assumption: Some(format!(
            "the cpu is {:.0} % busy, so work that goes shortens the wait of what stays",
            rho * 100.0
        )),
        is_model: true,
    }
}

/// Requests in progress at once, by Little's law.
fn in_progress(facts: &Facts<'_>) -> f64 {
    let busy_s: f64 = facts
        .endpoints()
        .map(|(id, e)| facts.rate_per_s(id) * e.root_ns as f64 / e.trees.len().max(1) as f64 / 1e9)
        .sum();
    busy_s.max(f64::MIN_POSITIVE)
}

/// Connections are held for as much less time as the fix saves; the wait for one follows by Erlang C.
fn pool(facts: &Facts<'_>, endpoint: EndpointId, freed: f64) -> Relief {
    let none = || Relief::NONE;
    let waits = facts.shapes().filter(|(_, s)| s.endpoint == endpoint && s.class == Class::Pool);
    let Some((_, wait)) = waits.max_by(|a, b| a.1.own_share.total_cmp(&b.1.own_share)) else { return none() };
    let Some(pool) = facts.saturation.pools.get(facts.name(wait.service)) else { return none() };
    let known = pool.used_mean.zip(pool.size);
    let Some((used, size)) = known.filter(|(used, size)| *size >= 1.0 && used.is_finite()) else {
        return none();
    };
    let t = facts.thresholds;
    if used / size <= t.load_model_from {
        return none();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and MAX_SERVERS")]
    let servers = size.round().min(f64::from(MAX_SERVERS)) as u32;
    let load = used.min(f64::from(servers) * t.load_model_cap);
    let after = load * (1.0 - freed);
    let ratio = waiting(after, servers) * (1.0 - freed) / waiting(load, servers);
    let share = wait.own_share.clamp(0.0, 1.0);
    let most = 1.0 - share * (1.0 - ratio.clamp(0.0, 1.0));
    Relief {
        // All requests hold connections alike, or this endpoint's hold none of them.
        point: f64::midpoint(1.0, most),
        least: 1.0,
        most,
        assumption: Some(format!(
            "{used:.1} of {size:.0} connections of the pool are in use, so connections that are held for less time shorten the wait for one"
        )),
        is_model: true,
    }
}

/// Of larger pools, as many are looked at: nobody waits there.
const MAX_SERVERS: u32 = 1000;

/// Mean wait in hold times: Erlang C over the room that is left, `C(c, a) / (c - a)`.
fn waiting(load: f64, servers: u32) -> f64 {
    let blocked = (1..=servers).fold(1.0, |b, c| load * b / (f64::from(c) + load * b));
    let room = f64::from(servers) - load;
    let chance = blocked / (1.0 - load / f64::from(servers) * (1.0 - blocked));
    if room > 0.0 { chance / room } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::{Relief, relief, waiting};
    use crate::facts::Facts;
    use crate::testing::{drawn, gauge_series};
    use crate::thresholds::Thresholds;
    use model::metrics::names;
    use model::{MetricSeries, Recording};

    /// 100 requests over 10 seconds, of 60 ms each: 0.6 in progress at once.
    fn of(metrics: Vec<MetricSeries>, saved: f64) -> Relief {
        let mut recording = drawn(
            "repeat 100\napi server \"GET /a\" 0..60\n  api client \"pool.acquire\" 1..21\n  api db \"SELECT 1\" 21..59",
        );
        (recording.run.start_ns, recording.run.end_ns) = (0, 10_000_000_000);
        recording.run.environment.cpus = 2;
        let recording = Recording { metrics, ..recording };
        let thresholds = Thresholds::default();
        relief(&Facts::gather(&recording, &thresholds, false), 0, saved)
    }

    fn busy(share: f64) -> MetricSeries {
        gauge_series(names::HOST_CPU, &[], &[(1, share)])
    }

    fn role(name: &str, cores: f64) -> MetricSeries {
        gauge_series(names::PROCESS_CPU, &[("process.role", name)], &[(1, cores)])
    }

    fn near(value: f64, wanted: f64) {
        assert!((value - wanted).abs() < 1e-6, "{value} is not {wanted}");
    }

    #[test]
    fn with_room_everywhere_nothing_changes() {
        let some = of(vec![busy(0.69)], 0.5);
        assert!(some.most < 1.0, "{some:?}");
        assert_eq!(Relief { most: 1.0, ..some }, Relief::NONE);
        assert_eq!(of(Vec::new(), 0.5), Relief::NONE);
    }

    #[test]
    fn without_processes_half_of_a_request_is_taken_to_compute() {
        let found = of(vec![busy(0.8)], 0.5);
        // 1 / (1 - 0.4^2) over 1 / (1 - 0.8^2).
        near(found.most, 0.36 / 0.84);
        near(found.point, f64::midpoint(1.0, 0.36 / 0.84));
    }

    #[test]
    fn what_a_generator_uses_is_not_freed() {
        let alone = of(vec![busy(0.8), role("service", 1.6)], 0.5);
        let shared = of(vec![busy(0.8), role("service", 0.4), role("generator", 1.2)], 0.5);
        near(alone.most, 0.36 / 0.84);
        // A quarter of the use is the service's: 0.8 becomes 0.7.
        near(shared.most, 0.36 / 0.51);
    }

    #[test]
    fn only_the_part_that_computes_gets_shorter() {
        // 0.108 cores stretched by 1 / 0.36 are 0.3 of the 0.6 requests in progress: half.
        let found = of(vec![busy(0.8), role("service", 0.108)], 0.5);
        near(found.point, 1.0 - 0.5 * (1.0 - found.most));
    }

    #[test]
    fn a_pool_that_is_nearly_full_empties_by_erlang_c() {
        let used = [("service.name", "api"), ("db.client.connection.state", "used")];
        let pool = |connections: f64| {
            vec![
                gauge_series(names::POOL_CONNECTIONS, &used, &[(1, connections)]),
                gauge_series(names::POOL_MAX, &used[..1], &[(1, 10.0)]),
            ]
        };
        let found = of(pool(9.0), 0.5);
        assert!(found.is_model && found.assumption.as_ref().is_some_and(|a| a.starts_with("9.0 of 10")));
        // A third of the time is waiting, and nearly all of it goes.
        let ratio = waiting(4.5, 10) * 0.5 / waiting(9.0, 10);
        near(found.most, 1.0 - (1.0 - ratio) / 3.0);
        assert!(ratio < 0.01 && found.least > 0.999, "{ratio}");
        assert_eq!(of(pool(5.0), 0.5), Relief::NONE);
    }

    #[test]
    fn waits_are_those_of_the_single_server() {
        // M/M/1: rho / (1 - rho) hold times.
        near(waiting(0.5, 1), 1.0);
        near(waiting(0.9, 1), 9.0);
        assert!(waiting(1.0, 1).is_infinite());
    }
}
