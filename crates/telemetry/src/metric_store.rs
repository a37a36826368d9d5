//! Series under collection, bounded. Deltas are summed up to counters; histograms become `<name>.count` and
//! `<name>.sum` counters and quantiles of what was added since their last point.

use crate::bounds::{MAX_POINTS, MAX_SERIES};
use crate::distribution::Distribution;
use crate::report::{IngestReport, Unusable};
use hashbrown::HashMap;
use model::{MetricKind, MetricSeries, Point};
use std::collections::BTreeMap;

pub(crate) type Attributes = BTreeMap<String, String>;

/// Quantiles that a histogram is reduced to, as they are named in the attribute `quantile`.
const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.95, "0.95"), (0.99, "0.99")];

pub(crate) struct MetricName<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
}

/// One point as it was sent.
pub(crate) enum Figure {
    Gauge(f64),
    Sum {
        value: f64,
        monotonic: bool,
        delta: bool,
    },
    Histogram {
        distribution: Distribution,
        count: u64,
        sum: Option<f64>,
        delta: bool,
    },
    Summary {
        count: u64,
        sum: f64,
        quantiles: Vec<(f64, f64)>,
    },
    /// One of a summary's, named by its attribute `quantile`.
    Quantile(f64),
}

struct Slot {
    series: MetricSeries,
    /// Sum of the deltas so far.
    total: f64,
    previous: Option<Distribution>,
}

#[derive(Default)]
pub(crate) struct MetricStore {
    slots: Vec<Slot>,
    index: HashMap<(String, Attributes), usize>,
    points: usize,
}

impl MetricStore {
    /// Keeps a point; `false` if it could not be kept, which is counted.
    pub(crate) fn push(
        &mut self,
        name: &MetricName<'_>,
        attributes: Attributes,
        time_ns: u64,
        figure: Figure,
        report: &mut IngestReport,
    ) -> bool {
        let kept = if time_ns == 0 {
            Err(Unusable::NoTime)
        } else {
            match figure {
                Figure::Gauge(value) => {
                    self.add(name, MetricKind::Gauge, attributes, Point { time_ns, value })
                }
                // A summary without values in its window has NaN as quantiles: nothing was lost.
                Figure::Quantile(value) if value.is_nan() => return true,
                Figure::Quantile(value) => {
                    self.add(name, MetricKind::Quantile, attributes, Point { time_ns, value })
                }
                Figure::Sum { value, monotonic, delta } => {
                    let kind = if monotonic { MetricKind::Counter } else { MetricKind::Gauge };
                    self.add_sum(name, kind, attributes, Point { time_ns, value }, delta)
                }
                Figure::Histogram { distribution, count, sum, delta } => self
                    .add_count_and_sum(name, &attributes, time_ns, (count, sum), delta)
                    .and_then(|()| self.add_quantiles(name, &attributes, time_ns, distribution, delta)),
                Figure::Summary { count, sum, quantiles } => self
                    .add_count_and_sum(name, &attributes, time_ns, (count, Some(sum)), false)
                    .and_then(|()| self.add_summary(name, &attributes, time_ns, &quantiles)),
            }
        };
        match kept {
            Ok(()) => report.points += 1,
            Err(reason) => report.count(reason, 1),
        }
        kept.is_ok()
    }

    /// The series that have points since the last time, sorted; what differences need stays.
    pub(crate) fn take(&mut self) -> Vec<MetricSeries> {
        self.points = 0;
        let with_points = self.slots.iter_mut().filter(|slot| !slot.series.points.is_empty());
        let mut taken: Vec<MetricSeries> = with_points
            .map(|slot| {
                let mut points = std::mem::take(&mut slot.series.points);
                points.sort_by_key(|point| point.time_ns);
                MetricSeries { points, ..slot.series.clone() }
            })
            .collect();
        taken.sort_by(|a, b| (&a.name, &a.attributes).cmp(&(&b.name, &b.attributes)));
        taken
    }

    /// The place of a series, made if it is new.
    fn slot(
        &mut self,
        name: &MetricName<'_>,
        kind: MetricKind,
        attributes: Attributes,
    ) -> Result<&mut Slot, Unusable> {
        let key = (name.name.to_owned(), attributes);
        if let Some(&at) = self.index.get(&key) {
            return Ok(&mut self.slots[at]);
        }
        if self.slots.len() >= MAX_SERIES {
            return Err(Unusable::TooManySeries);
        }
        let at = self.slots.len();
        let unit = name.unit.to_owned();
        let series =
            MetricSeries { name: key.0.clone(), unit, kind, attributes: key.1.clone(), points: Vec::new() };
        self.index.insert(key, at);
        self.slots.push(Slot { series, total: 0.0, previous: None });
        Ok(&mut self.slots[at])
    }

    fn add(
        &mut self,
        name: &MetricName<'_>,
        kind: MetricKind,
        attributes: Attributes,
        point: Point,
    ) -> Result<(), Unusable> {
        self.add_sum(name, kind, attributes, point, false)
    }

    fn add_sum(
        &mut self,
        name: &MetricName<'_>,
        kind: MetricKind,
        attributes: Attributes,
        mut point: Point,
        delta: bool,
    ) -> Result<(), Unusable> {
        if !point.value.is_finite() {
            return Err(Unusable::NotFinite);
        }
        if self.points >= MAX_POINTS {
            return Err(Unusable::TooManyPoints);
        }
        let slot = self.slot(name, kind, attributes)?;
        if delta {
            slot.total += point.value;
            point.value = slot.total;
        }
        slot.series.points.push(point);
        self.points += 1;
        Ok(())
    }

    fn add_count_and_sum(
        &mut self,
        name: &MetricName<'_>,
        attributes: &Attributes,
        time_ns: u64,
        (count, sum): (u64, Option<f64>),
        delta: bool,
    ) -> Result<(), Unusable> {
        let counted = MetricName { name: &format!("{}.count", name.name), unit: "1" };
        let point = Point { time_ns, value: count as f64 };
        self.add_sum(&counted, MetricKind::Counter, attributes.clone(), point, delta)?;
        let Some(value) = sum else { return Ok(()) };
        let summed = MetricName { name: &format!("{}.sum", name.name), unit: name.unit };
        self.add_sum(&summed, MetricKind::Counter, attributes.clone(), Point { time_ns, value }, delta)
    }

    fn add_quantiles(
        &mut self,
        name: &MetricName<'_>,
        attributes: &Attributes,
        time_ns: u64,
        distribution: Distribution,
        delta: bool,
    ) -> Result<(), Unusable> {
        // The state lives in the series without a quantile, which never has points.
        let slot = self.slot(name, MetricKind::Quantile, attributes.clone())?;
        let added = if delta {
            Some(distribution)
        } else {
            let previous = slot.previous.replace(distribution.clone());
            previous.map(|previous| distribution.since(&previous))
        };
        let Some(added) = added else { return Ok(()) };
        for (q, word) in QUANTILES {
            if let Some(value) = added.quantile(q) {
                let mut attributes = attributes.clone();
                attributes.insert("quantile".to_owned(), word.to_owned());
                self.add(name, MetricKind::Quantile, attributes, Point { time_ns, value })?;
            }
        }
        Ok(())
    }

    fn add_summary(
        &mut self,
        name: &MetricName<'_>,
        attributes: &Attributes,
        time_ns: u64,
        quantiles: &[(f64, f64)],
    ) -> Result<(), Unusable> {
        for (q, value) in quantiles.iter().filter(|(_, value)| value.is_finite()) {
            let mut attributes = attributes.clone();
            attributes.insert("quantile".to_owned(), q.to_string());
            self.add(name, MetricKind::Quantile, attributes, Point { time_ns, value: *value })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: MetricName<'_> = MetricName { name: "wait", unit: "s" };

    fn histogram(counts: [u64; 3], delta: bool) -> Figure {
        let distribution = Distribution::explicit(vec![0.1, 1.0], counts.to_vec()).unwrap();
        Figure::Histogram { distribution, count: counts.iter().sum(), sum: Some(1.0), delta }
    }

    fn told(store: &mut MetricStore) -> Vec<String> {
        let line = |s: &MetricSeries| {
            let values: Vec<f64> = s.points.iter().map(|p| p.value).collect();
            format!("{} {:?} {:?}", s.name, s.attribute("quantile"), values)
        };
        store.take().iter().map(line).collect()
    }

    #[test]
    fn a_cumulative_histogram_gives_quantiles_of_what_was_added_also_across_windows() {
        let (mut store, mut report) = (MetricStore::default(), IngestReport::default());
        store.push(&NAME, Attributes::new(), 1, histogram([100, 0, 0], false), &mut report);
        assert_eq!(told(&mut store), ["wait.count None [100.0]", "wait.sum None [1.0]"]);
        store.push(&NAME, Attributes::new(), 2, histogram([100, 10, 0], false), &mut report);
        let lines = told(&mut store);
        assert_eq!(lines[0], "wait Some(\"0.5\") [0.55]");
        assert_eq!((lines.len(), report.points), (5, 2));
    }

    #[test]
    fn deltas_are_summed_up() {
        let (mut store, mut report) = (MetricStore::default(), IngestReport::default());
        for time in 1..=3 {
            let figure = Figure::Sum { value: 2.0, monotonic: true, delta: true };
            assert!(store.push(&NAME, Attributes::new(), time, figure, &mut report));
        }
        assert_eq!(told(&mut store), ["wait None [2.0, 4.0, 6.0]"]);
    }

    #[test]
    fn nan_and_infinite_points_are_counted_and_not_kept() {
        let (mut store, mut report) = (MetricStore::default(), IngestReport::default());
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!store.push(&NAME, Attributes::new(), 1, Figure::Gauge(value), &mut report));
        }
        assert_eq!(report.unusable[&Unusable::NotFinite], 3);
        assert!(store.take().is_empty());
    }

    #[test]
    fn hostile_labels_stop_at_the_bound() {
        let (mut store, mut report) = (MetricStore::default(), IngestReport::default());
        for at in 0..MAX_SERIES + 5 {
            let attributes = Attributes::from([("id".to_owned(), at.to_string())]);
            store.push(&NAME, attributes, 1, Figure::Gauge(1.0), &mut report);
        }
        assert_eq!(report.unusable[&Unusable::TooManySeries], 5);
        assert_eq!(store.take().len(), MAX_SERIES);
    }
}
