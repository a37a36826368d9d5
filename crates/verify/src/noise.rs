//! A/A mode: what this machine's noise does to verdicts when nothing was changed.
//!
//! Within each pair the order of the arms is a draw, so under "no change" any swap of the two labels of a pair is as
//! likely as what happened. Each relabelling is judged; what comes out other than "no difference" is a false alarm.

use crate::interval::{Comparison, RatioInterval};
use crate::judge::{Metric, Options, evidence, holm};
use crate::words::percent;
use model::{Pair, Trial};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Relabellings drawn: a rate of 5 % is then known within 1.0 % (one standard error).
const RELABELLINGS: u32 = 500;

/// One metric's noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFigures {
    /// `p95(GET /orders)`.
    pub metric: String,
    /// Of the A/A trial as it was measured; 1 lies between `low` and `high` in all but 1 - confidence of trials.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    /// The smallest rise that such a trial tells from noise (power 0.8), as share.
    pub detectable: f64,
    /// Share of relabellings whose interval excludes 1.
    pub false_alarms: f64,
}

/// The certificate: how often this machine, load and design cry wolf, and what they can see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    pub relabellings: u32,
    /// Mean over the metrics of the share of relabellings whose interval excludes 1; nominally 1 - confidence.
    pub false_alarms: f64,
    /// Share of relabellings in which any metric would have been called better or worse, corrected for many.
    pub false_verdicts: f64,
    /// By operation and quantile; those with too little data are left out.
    pub metrics: Vec<NoiseFigures>,
    /// The same for a person, in a sentence.
    pub summary: String,
}

/// The noise of an A/A trial: one in which before and after are the same service, all metrics alike (no aim).
/// The same seed draws the same relabellings. `None` if no metric has enough data.
#[must_use]
pub fn noise(trial: &Trial, options: &Options, seed: u64) -> Option<Noise> {
    let options = options.sane();
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let measured = measured(trial, &options);
    let longest = trial.operations.values().map(Vec::len).max().filter(|_| !measured.is_empty())?;
    let alpha = 0.5 * (1.0 - options.confidence);
    let mut alarms = vec![0_u32; measured.len()];
    let mut wrong = 0_u32;
    for _ in 0..RELABELLINGS {
        let swaps: Vec<bool> = (0..longest).map(|_| chance.random()).collect();
        let relabelled: Vec<Option<Comparison>> = measured
            .iter()
            .map(|(metric, _)| {
                let pairs = swapped(&trial.operations[&metric.operation], &swaps);
                Comparison::new(&pairs, metric.quantile).ok()
            })
            .collect();
        let p = |of: fn(&Comparison, f64) -> f64, ratio: f64| -> Vec<f64> {
            relabelled.iter().map(|c| c.as_ref().map_or(f64::NAN, |c| of(c, ratio))).collect()
        };
        let (falls, rises) = (p(Comparison::p_below, 1.0), p(Comparison::p_above, 1.0));
        for (alarm, (fall, rise)) in alarms.iter_mut().zip(falls.iter().zip(&rises)) {
            *alarm += u32::from(fall.min(*rise) < alpha);
        }
        let worse = p(Comparison::p_above, 1.0 + options.tolerance);
        wrong += u32::from(holm(&falls, alpha).contains(&true) || holm(&worse, alpha).contains(&true));
    }
    let share = |count: u32| f64::from(count) / f64::from(RELABELLINGS);
    let metrics: Vec<NoiseFigures> = measured
        .iter()
        .zip(&alarms)
        .map(|((m, interval), alarm)| figures(m, interval, share(*alarm)))
        .collect();
    let false_alarms = metrics.iter().map(|m| m.false_alarms).sum::<f64>() / metrics.len() as f64;
    let summary = summary(&metrics, false_alarms);
    Some(Noise { relabellings: RELABELLINGS, false_alarms, false_verdicts: share(wrong), metrics, summary })
}

fn measured(trial: &Trial, options: &Options) -> Vec<(Metric, RatioInterval)> {
    let mut measured = Vec::new();
    for (operation, pairs) in &trial.operations {
        for &quantile in &options.quantiles {
            if let Ok(evidence) = evidence(pairs, quantile, options) {
                measured.push((Metric { operation: operation.clone(), quantile }, evidence.interval));
            }
        }
    }
    measured
}

fn swapped(pairs: &[Pair], swaps: &[bool]) -> Vec<Pair> {
    let swap = |(pair, &swap): (&Pair, &bool)| {
        let Pair { before, after, before_errors, after_errors } = pair.clone();
        if swap {
            Pair { before: after, after: before, before_errors: after_errors, after_errors: before_errors }
        } else {
            Pair { before, after, before_errors, after_errors }
        }
    };
    pairs.iter().zip(swaps).map(swap).collect()
}

fn figures(metric: &Metric, interval: &RatioInterval, false_alarms: f64) -> NoiseFigures {
    NoiseFigures {
        metric: metric.name(),
        ratio: interval.ratio,
        low: interval.low,
        high: interval.high,
        detectable: interval.detectable,
        false_alarms,
    }
}

fn summary(metrics: &[NoiseFigures], false_alarms: f64) -> String {
    let by = |a: &&NoiseFigures, b: &&NoiseFigures| a.detectable.total_cmp(&b.detectable);
    let finest = metrics.iter().min_by(by).map(|m| (percent(m.detectable), m.metric.as_str()));
    let coarsest = metrics.iter().max_by(by).map(|m| (percent(m.detectable), m.metric.as_str()));
    let ((fine, fine_metric), (coarse, coarse_metric)) = finest.zip(coarsest).unwrap_or_default();
    format!(
        "with nothing changed, {} of relabelled trials look like a change; such a trial can tell a rise of {fine} \
         in {fine_metric} and one of {coarse} in {coarse_metric}",
        percent(false_alarms)
    )
}
