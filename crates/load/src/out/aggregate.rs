//! Samples added up by metric and labels, for stores that want sums: counters and histograms since the start, quantiles
//! since the last push. What would make a series of each request is no label.

use super::{Kind, METADATA, Metric, PER_REQUEST, Samples, tag};
use model::Histogram;
use std::collections::HashMap;

/// Sets of labels that are told apart; all others share one.
const MAX_GROUPS: usize = 500;
/// Metrics of one set of labels; beyond that samples are counted as left out.
const MAX_METRICS: usize = 200;
const OTHERS: &str = "(others)";
const BUCKETS_PER_DOUBLING: f64 = 64.0;
/// As OTLP and Prometheus call the buckets of [`Histogram`]: 2^6 to a doubling.
pub(super) const SCALE: i64 = 6;

pub(super) struct Aggregate {
    /// What a millisecond is in the store's unit of time.
    per_ms: f64,
    by_key: HashMap<String, usize>,
    pub(super) groups: Vec<Group>,
    pub(super) left_out: u64,
}

/// Series with the same labels.
pub(super) struct Group {
    /// Sorted by name.
    pub(super) labels: Vec<(String, String)>,
    pub(super) series: Vec<Series>,
}

pub(super) struct Series {
    pub(super) metric: Metric,
    pub(super) value: Value,
}

pub(super) enum Value {
    Counter(f64),
    Gauge(f64),
    Rate { passes: u64, total: u64 },
    Trend(Box<Trend>),
}

#[derive(Default)]
pub(super) struct Trend {
    /// Since the start.
    pub(super) all: Spread,
    /// Since the last push.
    pub(super) recent: Spread,
}

/// A distribution in the store's unit.
#[derive(Default)]
pub(super) struct Spread {
    pub(super) buckets: Histogram,
    /// Values that are not above 0: they have no bucket.
    pub(super) zeros: u64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        let is_first = self.count() == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
        self.sum += value;
        if value > 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a number is small")]
            let bucket = (value.log2() * BUCKETS_PER_DOUBLING).ceil() as i32 - 1;
            self.buckets.add(bucket, 1);
        } else {
            self.zeros += 1;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.count() + self.zeros
    }

    /// The `q`-quantile; values that are not above 0 count as 0.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let (all, zeros) = (self.count() as f64, self.zeros as f64);
        let rank = q * all;
        if rank <= zeros {
            return 0.0_f64.clamp(self.min.min(0.0), self.max.max(0.0));
        }
        let value = self.buckets.quantile_ns((rank - zeros) / (all - zeros)).unwrap_or_default();
        value.clamp(self.min, self.max)
    }
}

impl Aggregate {
    pub(super) fn new(per_ms: f64) -> Self {
        Self { per_ms, by_key: HashMap::new(), groups: Vec::new(), left_out: 0 }
    }

    pub(super) fn take(&mut self, samples: &Samples) {
        let at = self.group(samples);
        let group = &mut self.groups[at];
        for (metric, value) in samples.values.iter().filter(|(_, value)| value.is_finite()) {
            let known = group.series.iter().position(|series| series.metric.name == metric.name);
            let series = match known {
                Some(known) => &mut group.series[known],
                None if group.series.len() >= MAX_METRICS => {
                    self.left_out += 1;
                    continue;
                }
                None => {
                    group.series.push(Series { metric: metric.clone(), value: Value::new(metric.kind) });
                    let last = group.series.len() - 1;
                    &mut group.series[last]
                }
            };
            let is_time = metric.unit == super::Unit::Milliseconds;
            series.value.add(if is_time { value * self.per_ms } else { *value });
        }
    }

    /// Quantiles begin anew.
    pub(super) fn pushed(&mut self) {
        for series in self.groups.iter_mut().flat_map(|group| &mut group.series) {
            if let Value::Trend(trend) = &mut series.value {
                trend.recent = Spread::default();
            }
        }
    }

    fn group(&mut self, samples: &Samples) -> usize {
        let mut key = String::with_capacity(128);
        for (name, value) in labels(samples) {
            key.push_str(name);
            key.push('\u{1}');
            key.push_str(&value);
            key.push('\u{2}');
        }
        if let Some(at) = self.by_key.get(&key) {
            return *at;
        }
        let full = self.groups.len() >= MAX_GROUPS;
        let mut labels: Vec<(String, String)> = if full {
            key = OTHERS.to_owned();
            vec![("name".to_owned(), OTHERS.to_owned())]
        } else {
            labels(samples).map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
        };
        if let Some(at) = self.by_key.get(&key) {
            return *at;
        }
        labels.sort();
        labels.dedup_by(|later, first| later.0 == first.0);
        self.groups.push(Group { labels, series: Vec::new() });
        self.by_key.insert(key, self.groups.len() - 1);
        self.groups.len() - 1
    }
}

impl Value {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge(0.0),
            Kind::Rate => Self::Rate { passes: 0, total: 0 },
            Kind::Trend => Self::Trend(Box::default()),
        }
    }

    fn add(&mut self, value: f64) {
        match self {
            Self::Counter(sum) => *sum += value,
            Self::Gauge(last) => *last = value,
            Self::Rate { passes, total } => {
                *passes += u64::from(value != 0.0);
                *total += 1;
            }
            Self::Trend(trend) => {
                trend.all.add(value);
                trend.recent.add(value);
            }
        }
    }
}

/// A request that was not named is known by the template of its path.
fn labels(samples: &Samples) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, str>)> {
    let url = tag(samples, "url");
    let kept = samples.tags.iter().filter(|(name, value)| {
        !value.is_empty() && !PER_REQUEST.contains(&&**name) && !METADATA.contains(&&**name)
    });
    kept.map(move |(name, value)| {
        if name == "name" && !url.is_empty() && **value == *url {
            ("name", model::template::path(path_of(url)).into())
        } else {
            (&**name, std::borrow::Cow::Borrowed(&**value))
        }
    })
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::Unit;

    fn sample(url: &str, ms: f64) -> Samples {
        Samples {
            time_ns: 0,
            values: vec![(Metric::fixed("took", Kind::Trend, Unit::Milliseconds), ms)],
            tags: vec![
                ("name".into(), url.to_owned().into()),
                ("url".into(), url.to_owned().into()),
                ("vu".into(), "7".into()),
                ("scenario".into(), "a".into()),
            ],
        }
    }

    #[test]
    fn unnamed_requests_share_the_series_of_their_path() {
        let mut all = Aggregate::new(1e-3);
        for n in 0..100 {
            all.take(&sample(&format!("http://host/orders/{n}?x={n}"), f64::from(n)));
        }
        assert_eq!(all.groups.len(), 1);
        let labels: Vec<String> = all.groups[0].labels.iter().map(|(a, b)| format!("{a}={b}")).collect();
        assert_eq!(labels, ["name=/orders/{id}", "scenario=a"]);
        let Value::Trend(trend) = &all.groups[0].series[0].value else { panic!("a trend") };
        assert_eq!((trend.all.count(), trend.all.zeros), (100, 1));
        assert!((trend.all.sum - 4.95).abs() < 1e-9);
        assert!((trend.recent.quantile(0.5) - 0.0495).abs() < 0.001, "{}", trend.recent.quantile(0.5));
        all.pushed();
        let Value::Trend(trend) = &all.groups[0].series[0].value else { panic!("a trend") };
        assert_eq!((trend.all.count(), trend.recent.count()), (100, 0));
    }

    #[test]
    fn labels_without_end_share_one_series() {
        let mut all = Aggregate::new(1.0);
        for n in 0..2_000 {
            all.take(&sample(&format!("http://host/word{}x", "y".repeat(n)), 1.0));
        }
        assert_eq!(all.groups.len(), MAX_GROUPS + 1);
        let counted: u64 = all
            .groups
            .iter()
            .flat_map(|group| &group.series)
            .map(|series| if let Value::Trend(trend) = &series.value { trend.all.count() } else { 0 })
            .sum();
        assert_eq!(counted, 2_000);
    }
}
