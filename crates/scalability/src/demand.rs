//! What a request costs of each resource, by the utilization law `U = X D` (Denning and Buzen 1978), and so which of
//! them is full first and at which rate.

use crate::random::{Chance, DRAWS, interval, mean_and_error, t975};
use crate::{Study, Used};
use model::{Bounds, Estimate, Level, LevelState, ResourceUse};
use std::collections::BTreeMap;

/// Levels that a line with an interval needs.
const LEAST_LEVELS: usize = 3;
/// A background whose line explains so little more is taken for none.
const SCATTER_FLOOR: f64 = 0.01;

/// A resource and its use by level.
type Seen<'a> = (&'a Used, Vec<Option<f64>>);

/// A line through the levels.
struct Line {
    background: f64,
    demand: f64,
    demand_error: f64,
    freedom: f64,
    scatter: f64,
}

/// All resources that a level saw, the one that is full first before the others, parts of others last.
pub(crate) fn resources(study: &Study<'_>, levels: &[Level], sound: &[bool]) -> Vec<ResourceUse> {
    let mut all: BTreeMap<(&str, &str), Seen<'_>> = BTreeMap::new();
    for (at, level) in study.levels.iter().enumerate() {
        for used in &level.used {
            let none = || (used, vec![None; levels.len()]);
            let slot = &mut all.entry((&used.name, &used.owner)).or_insert_with(none).1[at];
            *slot = Some(slot.unwrap_or(0.0) + used.used);
        }
    }
    let mut out: Vec<ResourceUse> =
        all.into_values().map(|(used, values)| resource(study, levels, sound, used, values)).collect();
    let first = |r: &ResourceUse| r.full_at_per_s.map_or(f64::INFINITY, |e| e.value);
    out.sort_by(|a, b| {
        (a.part, first(a))
            .partial_cmp(&(b.part, first(b)))
            .unwrap_or(std::cmp::Ordering::Equal)
            .then_with(|| a.title().cmp(&b.title()))
    });
    out
}

fn resource(
    study: &Study<'_>,
    levels: &[Level],
    sound: &[bool],
    used: &Used,
    values: Vec<Option<f64>>,
) -> ResourceUse {
    let pairs: Vec<(f64, f64)> = levels
        .iter()
        .zip(&values)
        .zip(sound)
        .filter(|(_, sound)| **sound)
        .filter_map(|((level, value), _)| Some((level.throughput_per_s.value, (*value)?)))
        .collect();
    let line = line(&pairs);
    let limit = used.limit.filter(|limit| *limit > 0.0);
    let demand = line.as_ref().map(|line| {
        let half = t975(line.freedom) * line.demand_error;
        Estimate { value: line.demand, low: (line.demand - half).max(0.0), high: Some(line.demand + half) }
    });
    let full_at_per_s =
        line.as_ref().zip(limit).and_then(|(line, limit)| full_at(&pairs, line, limit, study.seed));
    ResourceUse {
        name: used.name.clone(),
        owner: used.owner.clone(),
        unit: used.unit.to_owned(),
        limit,
        shared: used.shared,
        part: used.part,
        used: values,
        demand,
        background: line.map_or(0.0, |line| line.background),
        full_at_per_s,
    }
}

/// Least squares of `U = background + X D` with neither part negative.
fn line(pairs: &[(f64, f64)]) -> Option<Line> {
    let n = pairs.len() as f64;
    if pairs.len() < LEAST_LEVELS {
        return None;
    }
    let xs: Vec<f64> = pairs.iter().map(|p| p.0).collect();
    let (mean_x, _) = mean_and_error(&xs);
    let mean_u = pairs.iter().map(|p| p.1).sum::<f64>() / n;
    let spread: f64 = pairs.iter().map(|(x, _)| (x - mean_x) * (x - mean_x)).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = pairs.iter().map(|(x, u)| (x - mean_x) * (u - mean_u)).sum::<f64>() / spread;
    let background = mean_u - slope * mean_x;
    let squares = |background: f64, slope: f64| -> f64 {
        pairs.iter().map(|(x, u)| (u - background - slope * x).powi(2)).sum()
    };
    if background >= 0.0 && slope > 0.0 {
        let freedom = n - 2.0;
        let scatter = (squares(background, slope) / freedom).sqrt().max(SCATTER_FLOOR * mean_u);
        return Some(Line {
            background,
            demand: slope,
            demand_error: scatter / spread.sqrt(),
            freedom,
            scatter,
        });
    }
    let square_x: f64 = pairs.iter().map(|(x, _)| x * x).sum();
    let through = pairs.iter().map(|(x, u)| x * u).sum::<f64>() / square_x;
    if background < 0.0 && through > 0.0 {
        let freedom = n - 1.0;
        let scatter = (squares(0.0, through) / freedom).sqrt().max(SCATTER_FLOOR * mean_u);
        let demand_error = scatter / square_x.sqrt();
        return Some(Line { background: 0.0, demand: through, demand_error, freedom, scatter });
    }
    None
}

/// The throughput at which the line reaches the limit; its interval by drawing the levels anew around the line.
fn full_at(pairs: &[(f64, f64)], of: &Line, limit: f64, seed: u64) -> Option<Estimate> {
    let at = |line: &Line| (limit - line.background) / line.demand;
    let value = at(of);
    if !value.is_finite() || value <= 0.0 {
        return None;
    }
    let mut chance = Chance::new(seed);
    let wider = of.scatter * t975(of.freedom) / crate::random::Z975;
    let draw = |_| {
        let drawn: Vec<(f64, f64)> = pairs
            .iter()
            .map(|(x, _)| (*x, of.background + of.demand * x + wider * chance.normal()))
            .collect();
        line(&drawn).map_or(f64::INFINITY, |line| at(&line))
    };
    let (low, high) = interval((0..DRAWS).map(draw).collect())?;
    Some(Estimate {
        value,
        low: low.clamp(0.0, value),
        high: Some(high.max(value)).filter(|h| h.is_finite()),
    })
}

/// Asymptotic bounds from the quickest level and the resource that is full first; `None` without either.
pub(crate) fn bounds(levels: &[Level], sound: &[bool], resources: &[ResourceUse]) -> Option<Bounds> {
    let whole = resources.iter().filter(|r| !r.part);
    let most_per_s = whole.filter_map(|r| r.full_at_per_s).map(|e| e.value).min_by(f64::total_cmp)?;
    let quick = levels.iter().zip(sound).filter(|(l, sound)| **sound && l.state != LevelState::Overloaded);
    let least_ms = quick.map(|(l, _)| l.service_ms).filter(|ms| *ms > 0.0).min_by(f64::total_cmp)?;
    Some(Bounds { least_ms, most_per_s, concurrency: least_ms / 1e3 * most_per_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_background_is_found() {
        let pairs: Vec<(f64, f64)> =
            (1..=6).map(|n| f64::from(n) * 10.0).map(|x| (x, 0.2 + 0.01 * x)).collect();
        let found = line(&pairs).expect("a line");
        assert!((found.background - 0.2).abs() < 1e-9 && (found.demand - 0.01).abs() < 1e-12);
        let full = full_at(&pairs, &found, 1.0, 1).expect("a rate");
        assert!((full.value - 80.0).abs() < 1e-6 && full.low < 80.0 && full.high.is_some_and(|h| h > 80.0));
    }

    #[test]
    fn a_background_is_never_negative_and_a_fall_is_no_demand() {
        let steep = line(&[(1.0, 0.0), (2.0, 1.0), (3.0, 2.0)]).expect("a line");
        assert!(steep.background.abs() < 1e-12 && steep.demand > 0.0);
        assert!(line(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]).is_none());
        assert!(line(&[(1.0, 3.0), (2.0, 2.0)]).is_none());
        assert!(line(&[(2.0, 3.0), (2.0, 2.0), (2.0, 1.0)]).is_none());
    }
}
