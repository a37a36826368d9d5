//! Which endpoints are worth a drawing: those that a missed goal, a change or a finding speaks of, then the busiest.

use model::{Diagnosis, Goal, Step};
use std::collections::HashMap;

/// Endpoints that get distributions and series.
pub(crate) const MAX_CHARTS: usize = 8;
/// Goals looked at; each is compared with every endpoint.
const MAX_GOALS: usize = 40;

/// Names of the chosen endpoints, the most telling first; at most [`MAX_CHARTS`].
pub(crate) fn endpoints(
    before: Option<&Diagnosis>,
    after: Option<&Diagnosis>,
    steps: &[Step],
) -> Vec<String> {
    let mut weights: HashMap<&str, f64> = HashMap::new();
    for figures in [before, after].into_iter().flatten().flat_map(|d| &d.recording.endpoints) {
        let time = figures.requests.max(figures.traces) as f64 * figures.p50_ms.max(0.0);
        let weight = weights.entry(&figures.endpoint).or_default();
        *weight = weight.max(if time.is_finite() { time } else { 0.0 });
    }
    let mut busiest: Vec<(&str, f64)> = weights.iter().map(|(name, weight)| (*name, *weight)).collect();
    busiest.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));

    let mut chosen: Vec<String> = Vec::new();
    let mut take = |name: &str| {
        if chosen.len() < MAX_CHARTS && weights.contains_key(name) && !chosen.iter().any(|c| c == name) {
            chosen.push(name.to_owned());
        }
    };
    for step in steps {
        take(&step.finding.endpoint);
    }
    for name in by_goals(before.or(after), &busiest) {
        take(name);
    }
    for finding in [before, after].into_iter().flatten().flat_map(|d| &d.findings) {
        take(&finding.endpoint);
    }
    for (name, _) in busiest.iter().take(MAX_CHARTS) {
        take(name);
    }
    chosen
}

/// Endpoints with a goal of their own, those of missed goals first.
fn by_goals<'a>(diagnosis: Option<&Diagnosis>, endpoints: &[(&'a str, f64)]) -> Vec<&'a str> {
    let Some(diagnosis) = diagnosis else { return Vec::new() };
    let mut goals: Vec<(bool, Goal)> = diagnosis
        .goals
        .iter()
        .take(MAX_GOALS)
        .filter_map(|g| Some((g.met != Some(false), g.goal.parse().ok()?)))
        .filter(|(_, goal): &(bool, Goal)| goal.subject != "*")
        .collect();
    goals.sort_by_key(|(met, _)| *met);
    goals.iter().flat_map(|(_, g)| endpoints.iter().filter(|e| g.concerns(e.0)).map(|e| e.0)).collect()
}
