//! How an endpoint stands against the goals on its response time. Severity follows from it: what a finding costs the
//! goal, not how large its share is.

use crate::Options;
use crate::facts::Facts;
use crate::goals::{of_endpoint, quantile_ms};
use crate::shape::EndpointId;
use model::{Goal, GoalMetric, Histogram, Prediction};

/// Of one endpoint, by its own figures: a goal that only another endpoint misses (`p95(*)`) is met here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// A goal is missed by so many milliseconds at this quantile; of several, the one missed most.
    Missed { excess_ms: f64, quantile: f64 },
    /// There are goals, and all are met.
    Met,
    /// Nobody set a goal, and the endpoint is quick by any measure.
    Quick,
    /// Nobody set a goal.
    Open,
}

impl Standing {
    /// The standing of an endpoint.
    #[must_use]
    pub fn of(facts: &Facts<'_>, options: &Options<'_>, endpoint: EndpointId) -> Self {
        let name = facts.load.name(endpoint);
        let mut standing = None;
        for goal in options.goals.iter().filter(|g| g.concerns(name)) {
            let quantile = match goal.metric {
                GoalMetric::Quantile(q) => q,
                GoalMetric::Mean => 0.5,
                _ => continue,
            };
            let Some(measured) = of_endpoint(facts, endpoint, goal.metric) else { continue };
            let excess_ms = if goal.is_met_by(measured) { 0.0 } else { (measured - goal.limit).abs() };
            standing = match standing {
                Some(Self::Missed { excess_ms: known, .. }) if known >= excess_ms => standing,
                _ if excess_ms > 0.0 => Some(Self::Missed { excess_ms, quantile }),
                None => Some(Self::Met),
                known => known,
            };
        }
        let quick = quantile_ms(facts, endpoint, 0.95) <= facts.thresholds.quick_p95_ms;
        standing.unwrap_or(if quick { Self::Quick } else { Self::Open })
    }

    /// Nothing presses: a guess is no reason to change anything.
    #[must_use]
    pub fn is_well(self) -> bool {
        matches!(self, Self::Met | Self::Quick)
    }

    /// Share of what the goal is missed by that a prediction wins, at the goal's quantile; 0 where none is missed.
    #[must_use]
    pub fn share_won(self, prediction: &Prediction) -> f64 {
        let Self::Missed { excess_ms, quantile } = self else { return 0.0 };
        let nearest = prediction
            .quantiles
            .iter()
            .min_by(|a, b| (a.quantile - quantile).abs().total_cmp(&(b.quantile - quantile).abs()));
        let won = nearest.map_or(prediction.gain_ms(), |q| q.before_ms - q.after_ms);
        (won / excess_ms).clamp(0.0, 1.0)
    }
}

/// What an endpoint, by its response times, misses its goals on them by, milliseconds; 0: all are met; `None`: there are
/// none.
pub(crate) fn excess_ms(goals: &[Goal], name: &str, responses: &Histogram) -> Option<f64> {
    let of_goal = |goal: &Goal| {
        let measured = match goal.metric {
            GoalMetric::Quantile(q) => responses.quantile_ms(q)?,
            GoalMetric::Mean => responses.mean_ms()?,
            _ => return None,
        };
        Some(if goal.is_met_by(measured) { 0.0 } else { (measured - goal.limit).abs() })
    };
    let concerned = goals.iter().filter(|goal| goal.concerns(name));
    concerned.filter_map(of_goal).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::Standing;
    use crate::facts::Facts;
    use crate::testing::drawn;
    use crate::thresholds::Thresholds;
    use crate::{Options, localize};
    use model::{Grade, Severity};

    fn standing(drawing: &str, goals: &[&str]) -> Standing {
        let goals = goals.iter().map(|g| g.parse().expect("a goal")).collect();
        let recording = drawn(drawing);
        let thresholds = Thresholds::default();
        let facts = Facts::gather(&recording, &thresholds, false);
        Standing::of(&facts, &Options { goals, ..Options::default() }, 0)
    }

    const SLOW: &str = "repeat 20\napi server \"GET /a\" 0..200\n  api db \"SELECT 1\" 5..15";

    #[test]
    fn the_goal_that_is_missed_most_counts() {
        let of = |goals: &[&str]| standing(SLOW, goals);
        assert_eq!(of(&[]), Standing::Open);
        assert_eq!(of(&["p95(GET /a) < 300 ms", "errors(GET /a) < 1 %"]), Standing::Met);
        let missed = Standing::Missed { excess_ms: 150.0, quantile: 0.95 };
        assert_eq!(of(&["p50(*) < 150 ms", "p95(GET /a) < 50 ms", "p99(*) < 400 ms"]), missed);
        assert_eq!(standing("repeat 20\napi server \"GET /a\" 0..20", &[]), Standing::Quick);
    }

    #[test]
    fn where_the_goal_is_met_a_sure_gain_is_information() {
        let recording = drawn(
            "repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT * FROM items WHERE order_id = $1\" 5..12 x10 gap 1 db.query.parameter.0={n}",
        );
        let severity = |goals: &[&str]| {
            let goals = goals.iter().map(|g| g.parse().expect("a goal")).collect();
            let found = localize(&recording, &Options { goals, ..Options::default() }).findings;
            found.iter().find(|f| f.rule == "n_plus_one").expect("a finding").severity
        };
        assert_eq!(severity(&["p95(GET /a) < 300 ms"]), Severity::Info);
        assert_eq!(severity(&[]), Severity::Warning);
        assert_eq!(severity(&["p95(GET /a) < 50 ms"]), Severity::Critical);
    }

    #[test]
    fn a_goal_that_another_endpoint_misses_makes_nothing_critical_here() {
        let recording = drawn(
            "repeat 20\napi server \"GET /slow\" 0..900\n  api db \"SELECT pg_sleep($1)\" 5..890\n\nrepeat 20\napi server \"GET /ok\" 0..10 busy_ns=9900000 idle_ns=100000",
        );
        let goals = vec!["p95(*) < 500 ms".parse().expect("a goal")];
        let found = localize(&recording, &Options { goals, ..Options::default() }).findings;
        let own = found.iter().find(|f| f.rule == "cpu_self_time" && f.endpoint == "GET /ok").expect("told");
        assert_eq!(own.severity, Severity::Info);
    }

    #[test]
    fn a_healthy_service_hears_nothing_loud() {
        for (service, length) in [("express", 2), ("express", 7), ("express", 15)] {
            let drawing = format!("repeat 50\n{service} server \"GET /items\" 0..{length}");
            let found = localize(&drawn(&drawing), &Options::default()).findings;
            assert!(found.iter().all(|f| f.severity == Severity::Info), "{length} ms: {found:?}");
        }
    }

    #[test]
    fn of_guesses_on_a_healthy_endpoint_only_the_best_is_told() {
        let recording = drawn(
            r#"
            repeat 40
            api server "GET /recommendations" 0..100 http.response.body.size=400 busy_ns=58000000 idle_ns=2000000
              api db "SELECT * FROM orders WHERE customer_id = $1" 5..45 db.response.returned_rows=500
            "#,
        );
        let guesses = |goal: &str| {
            let options = Options { goals: vec![goal.parse().expect("a goal")], ..Options::default() };
            let mut found = localize(&recording, &options).findings;
            found.retain(|f| f.prediction.as_ref().is_some_and(|p| p.grade == Grade::C));
            found.iter().map(|f| f.severity).collect::<Vec<_>>()
        };
        assert_eq!(guesses("p95(*) < 200 ms"), [Severity::Info]);
        assert_eq!(guesses("p95(*) < 60 ms"), [Severity::Critical, Severity::Critical]);
    }
}
