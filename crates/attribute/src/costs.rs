//! Everything that was counted at the borders of the windows, attributed in one go: what a recording keeps.

use crate::fit::Regression;
use crate::mix::Mix;
use crate::statements::statements;
use model::{COSTS_VERSION, Costs, ResourceCost, Statement};

/// Stands for a condition number that is no number, so that it can be saved.
const NO_CONDITION: f64 = 1e9;

/// A counter's growth in each window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counter {
    /// One of [`model::resources`], or its own name.
    pub name: String,
    pub unit: String,
    /// Not a number where the counter could not be read.
    pub growth: Vec<f64>,
}

/// Statements (differences of snapshots, window by window; empty where there is no database) and other counters.
#[must_use]
pub fn costs(mix: &Mix, windows: &[Vec<Statement>], counters: &[Counter]) -> Costs {
    let regression = Regression::new(mix);
    let (told, mut gaps) = if windows.is_empty() {
        (Vec::new(), regression.gaps().to_vec())
    } else {
        let told = statements(mix, windows);
        (told.statements, told.gaps)
    };
    let mut resources: Vec<ResourceCost> = counters
        .iter()
        .filter_map(|counter| {
            let cost = regression.attribute(&counter.growth)?;
            Some(ResourceCost { name: counter.name.clone(), unit: counter.unit.clone(), cost })
        })
        .collect();
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    gaps.sort();
    gaps.dedup();
    let seconds: f64 = mix.windows.iter().map(|w| w.seconds).sum();
    Costs {
        version: COSTS_VERSION,
        operations: mix.operations.clone(),
        window_s: seconds / mix.windows.len().max(1) as f64,
        varied: false,
        condition: regression.condition().min(NO_CONDITION),
        round_trip_ms: None,
        cache_round_trip_ms: None,
        statements: told,
        resources,
        gaps,
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, costs};
    use crate::{Mix, Window};

    #[test]
    fn a_counter_that_was_not_read_in_a_window_loses_that_window_only() {
        let window = |n: usize| Window {
            seconds: 1.0,
            requests: vec![(n % 5) as f64 * 10.0, (n % 3) as f64 * 7.0],
            void: None,
        };
        let mix = Mix { operations: vec!["a".into(), "b".into()], windows: (0..12).map(window).collect() };
        let mut growth: Vec<f64> =
            mix.windows.iter().map(|w| w.requests[0] * 3.0 + w.requests[1] + 5.0).collect();
        growth[4] = f64::NAN;
        let counter = Counter { name: "cpu".into(), unit: "ms".into(), growth };
        let told = costs(&mix, &[], &[counter]);
        let cost = told.resource("cpu").unwrap();
        assert_eq!(cost.windows, 11);
        assert!((cost.of(0).unwrap().value - 3.0).abs() < 1e-6, "{cost:?}");
        assert!((cost.background_per_second.unwrap().value - 5.0).abs() < 1e-6, "{cost:?}");
        assert_eq!((told.gaps, told.statements), (Vec::new(), Vec::new()));
    }
}
