//! The highest rate that meets the goals: between the last level that meets them and the first that does not, read off
//! the goals' figures, with the interval of drawing those figures anew.

use crate::Study;
use crate::random::{Chance, DRAWS, interval};
use model::{Ceiling, Estimate, Goal, GoalMetric, GoalRate, Level, LevelState, Relation};

/// One goal along the levels.
struct Course<'a> {
    goal: &'a Goal,
    /// Rate and figure of each level that may be judged, ascending; times as ln.
    points: Vec<(f64, f64)>,
    errors: Vec<f64>,
    limit: f64,
}

/// `errors` are of the goals' figures, by level, then goal. `None` without a goal that a level can meet or miss.
pub(crate) fn rate(
    study: &Study<'_>,
    levels: &[Level],
    errors: &[Vec<f64>],
    ceiling: Option<&Ceiling>,
) -> Option<GoalRate> {
    let mut order: Vec<usize> =
        (0..levels.len()).filter(|at| levels[*at].state != LevelState::GeneratorLimited).collect();
    order.sort_by(|a, b| along(&levels[*a]).total_cmp(&along(&levels[*b])));
    let courses: Vec<Course<'_>> = study
        .goals
        .iter()
        .enumerate()
        .filter_map(|(at, goal)| course(goal, at, levels, errors, &order))
        .collect();
    if courses.is_empty() {
        return None;
    }
    let most = ceiling.filter(|c| c.measured).map_or(f64::INFINITY, |c| c.rate.value);
    // What piles up meets no goal for long.
    let overloaded = order.iter().map(|at| &levels[*at]).filter(|l| l.state == LevelState::Overloaded);
    let sustained =
        overloaded.map(|l| l.throughput_per_s.value).reduce(f64::max).unwrap_or(f64::INFINITY).min(most);
    let highest = order.last().map_or(0.0, |at| along(&levels[*at]));
    let edge = |figures: &dyn Fn(&Course<'_>) -> Vec<f64>| {
        let edges = courses.iter().map(|c| (crossing(c, &figures(c)), c.goal));
        edges.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let (value, goal) = edge(&|c| c.points.iter().map(|p| p.1).collect())?;
    if value <= 0.0 {
        let reason = format!("{goal} is missed at the lowest level already");
        return Some(GoalRate { rate: None, first_missed: Some(goal.to_string()), reason });
    }
    let mut chance = Chance::new(study.seed);
    let drawn: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let shift: Vec<Vec<f64>> = courses
                .iter()
                .map(|c| c.points.iter().zip(&c.errors).map(|(p, e)| p.1 + e * chance.normal()).collect())
                .collect();
            let edges = courses.iter().zip(&shift).map(|(c, figures)| crossing(c, figures));
            edges.min_by(f64::total_cmp).map(|edge| edge.min(sustained))
        })
        .collect();
    let (low, high) = interval(drawn)?;
    let point = value.min(sustained);
    let (first_missed, reason) = if point.is_infinite() {
        (None, format!("all goals are met at every level, up to {highest:.1}/s"))
    } else if sustained < value {
        (None, "beyond it more is due than is answered".to_owned())
    } else {
        (Some(goal.to_string()), format!("beyond it {goal} is missed"))
    };
    let rate = Estimate {
        value: point.min(highest),
        low: low.min(point).min(highest),
        high: Some(high.max(point)).filter(|h| h.is_finite()),
    };
    Some(GoalRate { rate: Some(rate), first_missed, reason })
}

/// Where a level stands among the others: by what was due, for users by what was answered.
fn along(level: &Level) -> f64 {
    match level.kind {
        model::LevelKind::Rate => level.offered_per_s,
        model::LevelKind::Users => level.throughput_per_s.value,
    }
}

fn course<'a>(
    goal: &'a Goal,
    at: usize,
    levels: &[Level],
    errors: &[Vec<f64>],
    order: &[usize],
) -> Option<Course<'a>> {
    // More load raises a rate: it is what is asked for, not what breaks.
    if goal.relation != Relation::Below || goal.metric == GoalMetric::Rate {
        return None;
    }
    let name = goal.to_string();
    let logs = matches!(goal.metric, GoalMetric::Quantile(_) | GoalMetric::Mean);
    let scale = |value: f64| if logs { value.max(f64::MIN_POSITIVE).ln() } else { value };
    let mut course = Course { goal, points: Vec::new(), errors: Vec::new(), limit: scale(goal.limit) };
    for level in order {
        let measured = levels[*level].goals.iter().find(|g| g.goal == name);
        if let Some(measured) = measured {
            course.points.push((along(&levels[*level]), scale(measured.measured)));
            course.errors.push(errors.get(*level).and_then(|e| e.get(at)).copied().unwrap_or(0.0));
        }
    }
    (!course.points.is_empty()).then_some(course)
}

/// The rate at which the figures, taken to rise only, pass the limit: 0 where the first one does, infinite where none.
/// A level counts as the middle of the highest figure up to it and the lowest from it on, so that one that happened to
/// be slow among few requests is not taken for the edge.
fn crossing(course: &Course<'_>, figures: &[f64]) -> f64 {
    let mut lowest_on = figures.to_vec();
    for at in (1..lowest_on.len()).rev() {
        lowest_on[at - 1] = lowest_on[at - 1].min(lowest_on[at]);
    }
    let mut before: Option<(f64, f64)> = None;
    let mut risen = f64::NEG_INFINITY;
    for (((rate, _), figure), lowest) in course.points.iter().zip(figures).zip(lowest_on) {
        risen = risen.max(*figure);
        let here = f64::midpoint(risen, lowest);
        if here >= course.limit {
            let Some((low_rate, low)) = before else { return 0.0 };
            let share = ((course.limit - low) / (here - low)).clamp(0.0, 1.0);
            return low_rate + share * (rate - low_rate);
        }
        before = Some((*rate, here));
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crossing_lies_between_the_levels() {
        let goal: Goal = "p95(*) < 100 ms".parse().expect("a goal");
        let points = vec![(10.0, 20.0_f64.ln()), (20.0, 50.0_f64.ln()), (40.0, 200.0_f64.ln())];
        let course = Course { goal: &goal, errors: vec![0.0; 3], limit: 100.0_f64.ln(), points };
        let of = |figures: &[f64]| crossing(&course, &figures.iter().map(|v| v.ln()).collect::<Vec<_>>());
        assert!((of(&[20.0, 50.0, 200.0]) - 30.0).abs() < 1e-9);
        // A level that happens to be quicker than a lower one does not take the limit back.
        assert!(of(&[20.0, 150.0, 90.0]) < 20.0);
        // One that happens to be slow before quicker ones is no edge.
        assert!(of(&[110.0, 50.0, 60.0]).is_infinite());
        assert!(of(&[20.0, 50.0, 60.0]).is_infinite());
        assert!(of(&[150.0, 160.0, 170.0]).abs() < 1e-12);
    }
}
