//! Pass 9: what a fix brings. Every recorded request of the endpoint is run again with it, the client's overhead
//! added, and quantiles are taken of the new sample; no percentile is ever scaled by a guess.

use crate::facts::Facts;
use crate::load_model;
use crate::rules::{Fix, LoadEffect};
use crate::shape::{EndpointId, quantile};
use crate::simulate::{Simulator, Transform};
use crate::tree::TreeId;
use model::{Grade, Prediction, QuantilePrediction};

/// Of more requests than this, evenly spread ones are run again.
const MAX_SIMULATED: usize = 4_000;
/// Half-width of a 90 % interval in standard errors.
const Z90: f64 = 1.645;
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// An endpoint's requests as recorded, ready to be run again.
pub struct Sample {
    trees: Vec<TreeId>,
    overheads: Vec<f64>,
    /// Client's time, ascending, nanoseconds.
    before: Vec<f64>,
    /// Requests that were recorded, of those in the sample: they decide how far a quantile may be trusted.
    seen: usize,
}

impl Sample {
    /// The requests of an endpoint, at most [`MAX_SIMULATED`].
    #[must_use]
    pub fn take(facts: &Facts<'_>, endpoint: EndpointId) -> Self {
        let of = facts.shapes.endpoint(endpoint);
        let trees = of.sample(&facts.shapes.weights, MAX_SIMULATED);
        let seen = of.trees.len().min(trees.len());
        let overheads: Vec<f64> = trees.iter().map(|t| facts.load.overhead_ns(endpoint, *t)).collect();
        let mut before: Vec<f64> =
            trees.iter().zip(&overheads).map(|(t, o)| facts.root_ns(*t) as f64 + o).collect();
        before.sort_unstable_by(f64::total_cmp);
        Self { trees, overheads, before, seen }
    }

    /// Half the width of the 90 % interval of the p95 as it was recorded, milliseconds: what chance alone moves it by.
    #[must_use]
    pub fn noise_ms(&self) -> f64 {
        let (low, high) = (lower_rank(0.95, self.seen), upper_rank(0.95, self.seen));
        (quantile(&self.before, high) - quantile(&self.before, low)) / 2e6
    }

    fn after(&self, simulator: &mut Simulator<'_>, fix: &[Transform]) -> Vec<f64> {
        let runs = self.trees.iter().zip(&self.overheads);
        let mut after: Vec<f64> = runs.map(|(t, o)| (simulator.root_ns(*t, fix) + o).max(0.0)).collect();
        after.sort_unstable_by(f64::total_cmp);
        after
    }
}

/// Predicts a fix for an endpoint. `calibration` multiplies the gain (the past's actual over predicted).
/// `None` without requests.
#[must_use]
pub fn predict(
    facts: &Facts<'_>,
    endpoint: EndpointId,
    sample: &Sample,
    fix: &Fix,
    calibration: f64,
) -> Option<Prediction> {
    if sample.before.is_empty() {
        return None;
    }
    let mut simulator = Simulator::new(facts.stage());
    let point = sample.after(&mut simulator, &fix.point);
    let least = sample.after(&mut simulator, &fix.least);
    let most = sample.after(&mut simulator, &fix.most);
    let relief = match fix.load {
        LoadEffect::Added => load_model::relief(facts, endpoint, sample.saved_share(&point)),
        LoadEffect::Included => load_model::Relief::NONE,
    };
    let of = |q: f64| {
        let recorded = quantile(&sample.before, q);
        let joined = &facts.load.endpoints[endpoint as usize];
        let measured = joined.responses.quantile_ns(q).unwrap_or(recorded);
        // The load saw more than the traces did: their ratio carries over.
        let scale = if recorded > 0.0 { measured / recorded } else { 1.0 } / 1e6;
        let gained = |after: f64| (recorded - (recorded - after) * calibration).max(0.0);
        let after = gained(quantile(&point, q)) * relief.point;
        // Where a measurement as long as this one would find it: both are samples, so the error is that of two.
        let seen = sample.seen / 2;
        let low = gained(quantile(&most, lower_rank(q, seen))) * relief.most;
        let high = gained(quantile(&least, upper_rank(q, seen))) * relief.least;
        QuantilePrediction {
            quantile: q,
            before_ms: round(measured / 1e6),
            after_ms: round(after * scale),
            low_ms: round(low.min(after) * scale),
            high_ms: round(high.max(after) * scale),
        }
    };
    let quantiles: Vec<QuantilePrediction> = QUANTILES.iter().map(|q| of(*q)).collect();
    let p95 = quantiles[1];
    let assumption = match relief.assumption {
        Some(more) if fix.assumption.is_empty() => more,
        Some(more) => format!("{}; {more}", fix.assumption),
        None => fix.assumption.clone(),
    };
    Some(Prediction {
        metric: format!("p95({})", facts.load.name(endpoint)),
        before_ms: p95.before_ms,
        after_ms: p95.after_ms,
        low_ms: p95.low_ms,
        high_ms: p95.high_ms,
        grade: if relief.is_model { fix.grade.max(Grade::C) } else { fix.grade },
        assumption,
        quantiles,
        calibration: ((calibration - 1.0).abs() > 1e-9).then_some(calibration),
    })
}

/// Several fixes as one: their transforms are one list, run at once. Of grades and assumptions, the worst and all.
#[must_use]
pub fn together(fixes: &[&Fix]) -> Option<Fix> {
    let grade = fixes.iter().map(|f| f.grade).max()?;
    let all = |of: fn(&Fix) -> &Vec<Transform>| fixes.iter().flat_map(|f| of(f).iter().cloned()).collect();
    let mut assumptions: Vec<&str> =
        fixes.iter().map(|f| f.assumption.as_str()).filter(|a| !a.is_empty()).collect();
    assumptions.dedup();
    let included = fixes.iter().all(|f| f.load == LoadEffect::Included);
    Some(Fix {
        point: all(|f| &f.point),
        least: all(|f| &f.least),
        most: all(|f| &f.most),
        grade,
        assumption: assumptions.join("; "),
        load: if included { LoadEffect::Included } else { LoadEffect::Added },
    })
}

impl Sample {
    /// Mean time saved as share of the mean before.
    fn saved_share(&self, after: &[f64]) -> f64 {
        let (before, after): (f64, f64) = (self.before.iter().sum(), after.iter().sum());
        if before > 0.0 { ((before - after) / before).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The bootstrap distribution of a sample's quantile is that of order statistics with binomial ranks (Efron 1979):
/// its 5th and 95th percentile are read off directly, without drawing.
fn lower_rank(q: f64, count: usize) -> f64 {
    (q - rank_error(q, count)).max(0.0)
}

fn upper_rank(q: f64, count: usize) -> f64 {
    (q + rank_error(q, count)).min(1.0)
}

/// Half the width of a 90 % interval, in ranks.
fn rank_error(q: f64, count: usize) -> f64 {
    Z90 * (q * (1.0 - q) / count.max(1) as f64).sqrt()
}

/// Milliseconds to a microsecond: no more is known.
pub(crate) fn round(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}
