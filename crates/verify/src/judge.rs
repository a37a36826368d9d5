//! From the pairs of a trial to its verdict: each metric on its own, corrected for looking at many, then the whole.

use crate::error_share::{ErrorShares, compare_errors};
use crate::interval::{Comparison, MAX_AUTOCORRELATION, MIN_BATCHES, RatioInterval, Shortage};
use crate::needed::{needed_for, needed_s};
use crate::words::quantile_name;
use crate::{prediction, reasons};
use model::{Design, Judgement, MetricVerdict, Pair, SCHEMA_VERSION, Trial, Verdict};

/// One quantile of one operation's response time.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub operation: String,
    /// Strictly between 0 and 1.
    pub quantile: f64,
}

impl Metric {
    /// `p95(GET /orders)`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}({})", quantile_name(self.quantile), self.operation)
    }

    /// The metric that a name means; `None` if it is no percentile of an operation.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (percent, operation) = name.trim().strip_prefix('p')?.strip_suffix(')')?.split_once('(')?;
        let quantile = percent.parse::<f64>().ok()? / 100.0;
        let valid = quantile > 0.0 && quantile < 1.0 && !operation.is_empty();
        valid.then(|| Self { operation: operation.to_owned(), quantile })
    }
}

/// What to ask of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// A difference within this share of the before does not matter: 0.05 is 5 %.
    pub tolerance: f64,
    /// Of every interval, 0 to 1.
    pub confidence: f64,
    /// Judged for every operation.
    pub quantiles: Vec<f64>,
    /// Fewer pairs give no verdict.
    pub min_pairs: usize,
    /// What the change is about; without it the prediction's metric; without that all metrics are equal.
    pub aim: Option<Metric>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tolerance: 0.05,
            confidence: 0.95,
            quantiles: vec![0.5, 0.95, 0.99],
            min_pairs: MIN_BATCHES,
            aim: None,
        }
    }
}

impl Options {
    /// Values out of range become the defaults: a verdict is still due.
    pub(crate) fn sane(&self) -> Self {
        let default = Self::default();
        let within = |share: f64| share > 0.0 && share < 1.0;
        let mut quantiles: Vec<f64> = self.quantiles.iter().copied().filter(|q| within(*q)).collect();
        quantiles.sort_by(f64::total_cmp);
        quantiles.dedup();
        Self {
            tolerance: if within(self.tolerance) { self.tolerance } else { default.tolerance },
            confidence: if within(self.confidence) { self.confidence } else { default.confidence },
            quantiles,
            min_pairs: self.min_pairs.max(2),
            aim: self.aim.clone(),
        }
    }
}

/// What the data say of one metric, before any word is given.
pub(crate) struct Evidence {
    pub(crate) interval: RatioInterval,
    /// One-sided p-values of "not better" and "not worse by more than the tolerance".
    pub(crate) p_better: f64,
    pub(crate) p_worse: f64,
}

/// Why a metric is unclear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Doubt {
    Shortage(Shortage),
    /// The interval covers more than one answer.
    Noise,
    /// Clear alone, but one of many looked at.
    Many,
    /// Before and after were not interleaved.
    Sequential,
}

/// One metric with its evidence and its word.
pub(crate) struct Judged {
    pub(crate) metric: Metric,
    pub(crate) aimed: bool,
    pub(crate) pairs: usize,
    pub(crate) evidence: Result<Evidence, Shortage>,
    pub(crate) doubt: Option<Doubt>,
    pub(crate) figures: MetricVerdict,
}

/// The failures of one operation with the word on them.
pub(crate) struct JudgedErrors {
    pub(crate) operation: String,
    /// Of the operation that the change is about.
    pub(crate) aimed: bool,
    pub(crate) shares: ErrorShares,
    pub(crate) worse: bool,
}

/// Below this change a sequential trial gives no verdict.
pub(crate) const SEQUENTIAL_LIMIT: f64 = 0.2;

/// Judges a trial. The verdict is `Worse` if the aimed metric, any other or the share of failures is worse; `Better`
/// if the aimed metric (without an aim: any) is better and nothing is worse; `Same` if the aimed metric (without an
/// aim: every one) lies within the tolerance; else `Unclear`. The aimed metric and the failures of its operation are
/// tested at the full confidence, all others share it (Holm 1979). A metric without an interval has `low` and `high` at the bounds e^-9 and e^9.
#[must_use]
pub fn judge(trial: &Trial, options: &Options) -> Judgement {
    let options = options.sane();
    let aim = options.aim.clone().or_else(|| Metric::parse(&trial.prediction.as_ref()?.metric));
    let mut metrics = measure(trial, &options, aim.as_ref());
    let mut errors: Vec<JudgedErrors> = trial
        .operations
        .iter()
        .map(|(operation, pairs)| JudgedErrors {
            operation: operation.clone(),
            aimed: aim.as_ref().is_some_and(|aim| aim.operation == *operation),
            shares: compare_errors(pairs),
            worse: false,
        })
        .collect();
    give_words(trial, &options, &mut metrics, &mut errors);
    let (verdict, metric) = decide(&metrics, &errors, aim.as_ref());
    let mut reasons = reasons::all(trial, &options, verdict, &metrics, &errors, aim.as_ref());
    let prediction_held = trial.prediction.as_ref().and_then(|predicted| {
        let outcome =
            metrics.iter().find(|judged| Some(&judged.metric) == Metric::parse(&predicted.metric).as_ref());
        let interval = outcome.and_then(|judged| Some((&judged.evidence.as_ref().ok()?.interval).into()));
        let (held, text) = prediction::held(predicted, interval, options.tolerance);
        reasons.push(text);
        held
    });
    Judgement {
        version: SCHEMA_VERSION,
        verdict,
        metric,
        metrics: metrics.into_iter().map(|judged| judged.figures).collect(),
        prediction_held,
        reasons,
    }
}

/// The evidence on every quantile of every operation, and on the aim if it is none of those.
fn measure(trial: &Trial, options: &Options, aim: Option<&Metric>) -> Vec<Judged> {
    let mut judged = Vec::new();
    for (operation, pairs) in &trial.operations {
        let mut quantiles = options.quantiles.clone();
        if let Some(aim) = aim.filter(|aim| aim.operation == *operation && !quantiles.contains(&aim.quantile))
        {
            quantiles.push(aim.quantile);
            quantiles.sort_by(f64::total_cmp);
        }
        for quantile in quantiles {
            let metric = Metric { operation: operation.clone(), quantile };
            let evidence = evidence(pairs, quantile, options);
            judged.push(Judged {
                aimed: aim == Some(&metric),
                pairs: pairs.len(),
                figures: figures(&metric, pairs, evidence.as_ref().ok()),
                metric,
                evidence,
                doubt: None,
            });
        }
    }
    judged
}

pub(crate) fn evidence(pairs: &[Pair], quantile: f64, options: &Options) -> Result<Evidence, Shortage> {
    let comparison = Comparison::new(pairs, quantile)?;
    if comparison.pairs() < options.min_pairs {
        return Err(Shortage::Pairs { have: comparison.pairs(), need: options.min_pairs });
    }
    Ok(Evidence {
        interval: comparison.interval(options.confidence),
        p_better: comparison.p_below(1.0),
        p_worse: comparison.p_above(1.0 + options.tolerance),
    })
}

fn figures(metric: &Metric, pairs: &[Pair], evidence: Option<&Evidence>) -> MetricVerdict {
    let interval =
        evidence.map_or_else(|| RatioInterval::unknown(pairs, metric.quantile), |e| e.interval.clone());
    MetricVerdict {
        metric: metric.name(),
        operation: metric.operation.clone(),
        quantile: metric.quantile,
        before_ms: interval.before_ms,
        after_ms: interval.after_ms,
        ratio: interval.ratio,
        low: interval.low,
        high: interval.high,
        detectable: interval.detectable,
        needed_s: None,
        verdict: Verdict::Unclear,
        requests_before: pairs.iter().map(|pair| pair.before.count()).sum(),
        requests_after: pairs.iter().map(|pair| pair.after.count()).sum(),
    }
}

/// Gives each metric and each operation's failures their word.
fn give_words(trial: &Trial, options: &Options, metrics: &mut [Judged], errors: &mut [JudgedErrors]) {
    let alpha = 0.5 * (1.0 - options.confidence);
    // The aimed metric stands alone; what cannot be measured tests nothing.
    let shared = |p: fn(&Evidence) -> f64, judged: &Judged| match &judged.evidence {
        Ok(evidence) if !judged.aimed => p(evidence),
        _ => f64::NAN,
    };
    let better = holm(&metrics.iter().map(|m| shared(|e| e.p_better, m)).collect::<Vec<_>>(), alpha);
    let mut p_worse: Vec<f64> = metrics.iter().map(|m| shared(|e| e.p_worse, m)).collect();
    p_worse.extend(errors.iter().map(|e| if e.aimed { f64::NAN } else { e.shares.p_rise }));
    let worse = holm(&p_worse, alpha);
    let tests = p_worse.iter().filter(|p| !p.is_nan()).count();
    for (at, judged) in metrics.iter_mut().enumerate() {
        let passes = (judged.aimed || better[at], judged.aimed || worse[at]);
        let (verdict, doubt) = word(judged, passes, trial.design, options);
        judged.figures.verdict = verdict;
        judged.doubt = doubt;
        judged.figures.needed_s = match (doubt, &judged.evidence) {
            (Some(Doubt::Noise), Ok(e)) => needed_s(trial, &e.interval, judged.pairs, options, 1),
            (Some(Doubt::Many), Ok(e)) => needed_s(trial, &e.interval, judged.pairs, options, tests),
            (Some(Doubt::Shortage(shortage)), _) => needed_for(trial, shortage, judged.pairs),
            _ => None,
        };
    }
    for (at, error) in errors.iter_mut().enumerate() {
        error.worse = worse[metrics.len() + at] || (error.aimed && error.shares.p_rise <= alpha);
    }
}

/// The word on one metric. `passes`: whether "better" and "worse" survive the correction for many metrics.
fn word(
    judged: &Judged,
    passes: (bool, bool),
    design: Design,
    options: &Options,
) -> (Verdict, Option<Doubt>) {
    let evidence = match &judged.evidence {
        Ok(evidence) => evidence,
        Err(shortage) => return (Verdict::Unclear, Some(Doubt::Shortage(*shortage))),
    };
    let RatioInterval { ratio, low, high, .. } = evidence.interval;
    if design == Design::Sequential && (ratio - 1.0).abs() < SEQUENTIAL_LIMIT {
        return (Verdict::Unclear, Some(Doubt::Sequential));
    }
    let (better, worse) = (high < 1.0, low > 1.0 + options.tolerance);
    if better && passes.0 {
        (Verdict::Better, None)
    } else if worse && passes.1 {
        (Verdict::Worse, None)
    } else if low > 1.0 - options.tolerance && high < 1.0 + options.tolerance {
        (Verdict::Same, None)
    } else {
        (Verdict::Unclear, Some(if better || worse { Doubt::Many } else { Doubt::Noise }))
    }
}

/// Which hypotheses fall at the family-wise level `alpha`: Holm's step-down. NaN is no hypothesis.
pub(crate) fn holm(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).filter(|&at| !p_values[at].is_nan()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut fallen = vec![false; p_values.len()];
    for (step, &at) in order.iter().enumerate() {
        if p_values[at] > alpha / (order.len() - step) as f64 {
            break;
        }
        fallen[at] = true;
    }
    fallen
}

/// The verdict on the whole, and the name of the metric that decided it.
fn decide(metrics: &[Judged], errors: &[JudgedErrors], aim: Option<&Metric>) -> (Verdict, String) {
    let is = |verdict: Verdict| metrics.iter().filter(move |m| m.figures.verdict == verdict);
    let by_ratio = |a: &&Judged, b: &&Judged| a.figures.ratio.total_cmp(&b.figures.ratio);
    let name = |judged: &Judged| judged.figures.metric.clone();
    if let Some(error) = errors.iter().filter(|e| e.worse).max_by(|a, b| a.rise().total_cmp(&b.rise())) {
        return (Verdict::Worse, format!("errors({})", error.operation));
    }
    if let Some(worst) = is(Verdict::Worse).max_by_key(|m| m.aimed).filter(|m| m.aimed) {
        return (Verdict::Worse, name(worst));
    }
    if let Some(worst) = is(Verdict::Worse).max_by(by_ratio) {
        return (Verdict::Worse, name(worst));
    }
    if let Some(aim) = aim {
        let verdict = metrics.iter().find(|m| m.aimed).map_or(Verdict::Unclear, |m| m.figures.verdict);
        return (verdict, aim.name());
    }
    if let Some(best) = is(Verdict::Better).min_by(by_ratio) {
        return (Verdict::Better, name(best));
    }
    if let Some(unclear) = is(Verdict::Unclear).max_by(by_ratio) {
        return (Verdict::Unclear, name(unclear));
    }
    metrics.first().map_or((Verdict::Unclear, String::new()), |first| (Verdict::Same, name(first)))
}

impl JudgedErrors {
    pub(crate) fn rise(&self) -> f64 {
        self.shares.after - self.shares.before
    }
}

impl Judged {
    /// The interval still rests on differences that remember their neighbours.
    pub(crate) fn remembers(&self) -> bool {
        self.evidence.as_ref().is_ok_and(|e| e.interval.autocorrelation > MAX_AUTOCORRELATION)
    }
}
