//! Thresholds as k6 writes them: `p(95)<250`, `rate>0.99`, with abortOnFail and delayAbortEval.

use super::{Kind, Sink};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aggregation {
    Count,
    Rate,
    Value,
    Avg,
    Min,
    Max,
    Med,
    /// 0 to 100.
    Percentile(f64),
}

impl Aggregation {
    /// `avg`, `p(99.9)` and their like.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let percentile = || {
            let inner = text.strip_prefix("p(")?.strip_suffix(')')?;
            inner.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(Self::Percentile)
        };
        match text {
            "count" => Some(Self::Count),
            "rate" => Some(Self::Rate),
            "value" => Some(Self::Value),
            "avg" => Some(Self::Avg),
            "min" => Some(Self::Min),
            "max" => Some(Self::Max),
            "med" => Some(Self::Med),
            _ => percentile(),
        }
    }

    /// The figure of a metric; `None` where its type has no such.
    pub(crate) fn of(self, sink: &Sink, elapsed: Duration) -> Option<f64> {
        match (self, sink) {
            (Self::Count, Sink::Counter { sum, .. }) => Some(*sum),
            (Self::Rate, Sink::Counter { .. }) => Some(sink.per_second(elapsed)),
            (Self::Value, Sink::Gauge { value, .. }) => Some(*value),
            (Self::Min, Sink::Gauge { min, .. }) => Some(*min),
            (Self::Max, Sink::Gauge { max, .. }) => Some(*max),
            (Self::Rate, Sink::Rate { passes, total }) => Some(*passes as f64 / (*total).max(1) as f64),
            (Self::Count, Sink::Trend(trend)) => Some(trend.count as f64),
            (Self::Avg, Sink::Trend(trend)) => Some(trend.mean()),
            (Self::Min, Sink::Trend(trend)) => Some(if trend.count == 0 { 0.0 } else { trend.min }),
            (Self::Max, Sink::Trend(trend)) => Some(if trend.count == 0 { 0.0 } else { trend.max }),
            (Self::Med, Sink::Trend(trend)) => Some(trend.quantile(0.5)),
            (Self::Percentile(p), Sink::Trend(trend)) => Some(trend.quantile(p / 100.0)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
    NotEqual,
}

/// Longest first, so that `<=` is not read as `<`.
const COMPARISONS: &[(&str, Comparison)] = &[
    ("===", Comparison::Equal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::MoreOrEqual),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

/// `p(95) < 250`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    pub(crate) text: String,
    aggregation: Aggregation,
    comparison: Comparison,
    limit: f64,
}

impl Expression {
    /// # Errors
    /// What is wrong, with what was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("threshold \"{text}\": {why}");
        let at = text
            .find(['<', '>', '=', '!'])
            .ok_or_else(|| wrong("expected a comparison such as p(95)<250"))?;
        let (left, right) = text.split_at(at);
        let (sign, comparison) = COMPARISONS
            .iter()
            .find(|(sign, _)| right.starts_with(sign))
            .ok_or_else(|| wrong("expected one of < <= > >= == === !="))?;
        let aggregation = Aggregation::parse(left.trim()).ok_or_else(|| {
            wrong("expected count, rate, value, avg, min, max, med or p(N) before the comparison")
        })?;
        let limit = right[sign.len()..].trim();
        let limit: f64 = limit.parse().map_err(|_| wrong("expected a number after the comparison"))?;
        Ok(Self { text: text.to_owned(), aggregation, comparison: *comparison, limit })
    }

    /// # Errors
    /// A metric of this type has no such figure.
    pub(crate) fn check(&self, kind: Kind) -> Result<(), String> {
        if self.aggregation.of(&Sink::new(kind), Duration::from_secs(1)).is_some() {
            return Ok(());
        }
        Err(format!("threshold \"{}\": a metric of type {} has no such figure", self.text, kind.name()))
    }

    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::LessOrEqual => value <= self.limit,
            Comparison::More => value > self.limit,
            Comparison::MoreOrEqual => value >= self.limit,
            Comparison::Equal => (value - self.limit).abs() <= f64::EPSILON,
            Comparison::NotEqual => (value - self.limit).abs() > f64::EPSILON,
        }
    }
}

/// An expression with what happens where it does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    pub(crate) expression: Expression,
    pub(crate) abort_on_fail: bool,
    pub(crate) delay_abort: Duration,
    pub(crate) failed: bool,
}

impl Threshold {
    pub(crate) fn new(expression: Expression) -> Self {
        Self { expression, abort_on_fail: false, delay_abort: Duration::ZERO, failed: false }
    }

    /// A metric without samples fails nothing, as in k6.
    pub(crate) fn judge(&mut self, sink: &Sink, elapsed: Duration) {
        let value = self.expression.aggregation.of(sink, elapsed);
        self.failed = value.is_some_and(|value| !sink.is_empty() && !self.expression.holds(value));
    }

    pub(crate) fn aborts(&self, elapsed: Duration) -> bool {
        self.abort_on_fail && elapsed >= self.delay_abort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_k6_writes_them() {
        for text in ["p(95)<250", "p(99.9) <= 1e3", "avg>1", "rate===1", "count != 0", "med<.5"] {
            Expression::parse(text).unwrap();
        }
        for text in ["", "p(95)", "p(101)<1", "p95<1", "avg<x", "<5", "avg=5", "avg<5ms"] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.contains("threshold"), "{error}");
        }
    }

    #[test]
    fn a_rate_is_judged_by_its_share() {
        let mut sink = Sink::new(Kind::Rate);
        for value in [1.0, 1.0, 1.0, 0.0] {
            sink.add(value);
        }
        let mut threshold = Threshold::new(Expression::parse("rate>0.8").unwrap());
        threshold.judge(&sink, Duration::from_secs(1));
        assert!(threshold.failed);
        threshold.judge(&Sink::new(Kind::Rate), Duration::from_secs(1));
        assert!(!threshold.failed);
    }
}
