//! A test's metrics: k6's built-in ones and a script's own, each with the sub-metrics that thresholds name.
//! Samples are added to sketches at once; none is kept.

mod builtin;
mod checks;
mod sink;
mod tell;
mod threshold;

pub(crate) use builtin::Builtin;
pub(crate) use checks::{Checks, Group};
pub(crate) use sink::{Sink, Trend};
pub(crate) use tell::Teller;
pub(crate) use threshold::{Aggregation, Expression, Threshold};

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

/// Metrics of one test, sub-metrics included.
pub(crate) const MAX_METRICS: usize = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Rate,
    Trend,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        }
    }
}

/// What a metric's values are, as k6 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contains {
    Default,
    /// Milliseconds.
    Time,
    /// Bytes.
    Data,
}

impl Contains {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Time => "time",
            Self::Data => "data",
        }
    }
}

/// Place of a metric in its test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricId(usize);

/// Where a sample's tags are looked up.
pub(crate) trait Tags {
    /// Whether the tag has this value.
    fn has(&self, key: &str, value: &str) -> bool;

    /// All tags for the outputs; of two with one name the first counts.
    fn each(&self, told: &mut dyn FnMut(&str, &str));
}

/// No tags at all.
pub(crate) struct NoTags;

impl Tags for NoTags {
    fn has(&self, _key: &str, value: &str) -> bool {
        value.is_empty()
    }

    fn each(&self, _told: &mut dyn FnMut(&str, &str)) {}
}

/// One metric with what was asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) contains: Contains,
    pub(crate) sink: Sink,
    pub(crate) thresholds: Vec<Threshold>,
    pub(crate) subs: Vec<SubMetric>,
}

/// A metric's samples that carry certain tags.
#[derive(Clone, Debug)]
pub(crate) struct SubMetric {
    /// As the script names it: `http_req_duration{name:login}`.
    pub(crate) name: String,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) sink: Sink,
    pub(crate) thresholds: Vec<Threshold>,
}

/// All metrics of a test.
pub(crate) struct Metrics {
    metrics: RefCell<Vec<Metric>>,
    by_name: RefCell<HashMap<String, MetricId>>,
    pub(crate) checks: Checks,
    pub(crate) builtin: Builtin,
    /// Nothing is counted before the test starts.
    pub(crate) counting: Cell<bool>,
    /// Where samples go one by one, if they are wanted.
    pub(crate) teller: RefCell<Option<Teller>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let (metrics, by_name) = (RefCell::default(), RefCell::default());
        let builtin = Builtin::default();
        let all = Self {
            metrics,
            by_name,
            checks: Checks::default(),
            builtin,
            counting: Cell::new(true),
            teller: RefCell::default(),
        };
        let builtin = Builtin::register(&all);
        // k6 tells of the times of what did not fail in each summary.
        let told = all.watch("http_req_duration{expected_response:true}", Vec::new());
        debug_assert!(told.is_ok(), "{told:?}");
        Self { builtin, ..all }
    }

    /// Makes a metric, or finds the one of that name.
    ///
    /// # Errors
    /// In k6's words: a bad name, another type, too many.
    pub(crate) fn register(&self, name: &str, kind: Kind, contains: Contains) -> Result<MetricId, String> {
        if let Some(&id) = self.by_name.borrow().get(name) {
            let metrics = self.metrics.borrow();
            let known = &metrics[id.0];
            if known.kind != kind || known.contains != contains {
                return Err(format!(
                    "metric '{name}' already exists but with type {}, instead of {}",
                    known.kind.name(),
                    kind.name()
                ));
            }
            return Ok(id);
        }
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !starts_well || !name.chars().all(is_name) || name.len() > 128 {
            return Err(format!("invalid metric name: '{name}', it holds letters, digits and _ alone"));
        }
        let mut metrics = self.metrics.borrow_mut();
        if metrics.len() >= MAX_METRICS {
            return Err(format!("more than {MAX_METRICS} metrics"));
        }
        let id = MetricId(metrics.len());
        metrics.push(Metric {
            name: name.to_owned(),
            kind,
            contains,
            sink: Sink::new(kind),
            thresholds: Vec::new(),
            subs: Vec::new(),
        });
        self.by_name.borrow_mut().insert(name.to_owned(), id);
        Ok(id)
    }

    pub(crate) fn find(&self, name: &str) -> Option<MetricId> {
        self.by_name.borrow().get(name).copied()
    }

    /// Counts one sample.
    pub(crate) fn add(&self, id: MetricId, value: f64, tags: &impl Tags) {
        if !self.counting.get() {
            return;
        }
        self.tell(&[(id, value)], tags);
        self.count(id, value, tags);
    }

    /// Counts samples of one moment that share their tags.
    pub(crate) fn add_all(&self, values: &[(MetricId, f64)], tags: &impl Tags) {
        if !self.counting.get() {
            return;
        }
        self.tell(values, tags);
        for (id, value) in values {
            self.count(*id, *value, tags);
        }
    }

    fn tell(&self, values: &[(MetricId, f64)], tags: &impl Tags) {
        if let Some(teller) = &mut *self.teller.borrow_mut() {
            let metrics = self.metrics.borrow();
            teller.tell(values.iter().map(|(id, value)| (&metrics[id.0], *value)), tags);
        }
    }

    fn count(&self, id: MetricId, value: f64, tags: &impl Tags) {
        let mut metrics = self.metrics.borrow_mut();
        let metric = &mut metrics[id.0];
        metric.sink.add(value);
        for sub in &mut metric.subs {
            if sub.tags.iter().all(|(key, value)| tags.has(key, value)) {
                sub.sink.add(value);
            }
        }
    }

    /// Asks for a threshold on a metric, or on a sub-metric named like `checks{scenario:a}`.
    ///
    /// # Errors
    /// What is wrong with the name, or that the metric cannot have such a threshold.
    pub(crate) fn watch(&self, name: &str, thresholds: Vec<Threshold>) -> Result<(), String> {
        let (base, tags) = split_name(name)?;
        let Some(id) = self.find(base) else {
            return Err(format!("there is no metric \"{base}\""));
        };
        let mut metrics = self.metrics.borrow_mut();
        let metric = &mut metrics[id.0];
        for threshold in &thresholds {
            threshold.expression.check(metric.kind)?;
        }
        match tags {
            None => metric.thresholds.extend(thresholds),
            Some(tags) => match metric.subs.iter_mut().find(|sub| sub.name == name) {
                Some(sub) => sub.thresholds.extend(thresholds),
                None => {
                    let sink = Sink::new(metric.kind);
                    metric.subs.push(SubMetric { name: name.to_owned(), tags, sink, thresholds });
                }
            },
        }
        Ok(())
    }

    /// Judges every threshold; `abort` names the first failed one that asks to end the test now.
    pub(crate) fn judge(&self, elapsed: Duration) -> Judged {
        let mut judged = Judged::default();
        for metric in self.metrics.borrow_mut().iter_mut() {
            let main = (metric.name.as_str(), &metric.sink, &mut metric.thresholds);
            let subs = metric.subs.iter_mut().map(|sub| (sub.name.as_str(), &sub.sink, &mut sub.thresholds));
            for (name, sink, thresholds) in std::iter::once(main).chain(subs) {
                for threshold in thresholds {
                    threshold.judge(sink, elapsed);
                    if threshold.failed {
                        judged.failed.push(name.to_owned());
                        if threshold.aborts(elapsed) {
                            judged.abort.get_or_insert_with(|| name.to_owned());
                        }
                    }
                }
            }
        }
        judged.failed.dedup();
        judged
    }

    /// Every metric that has samples or thresholds, sub-metrics as their own, by name.
    pub(crate) fn snapshot(&self) -> Vec<Metric> {
        let mut all = Vec::new();
        for metric in self.metrics.borrow().iter() {
            if !metric.sink.is_empty() || !metric.thresholds.is_empty() {
                all.push(Metric { subs: Vec::new(), ..metric.clone() });
            }
            for sub in &metric.subs {
                all.push(Metric {
                    name: sub.name.clone(),
                    kind: metric.kind,
                    contains: metric.contains,
                    sink: sub.sink.clone(),
                    thresholds: sub.thresholds.clone(),
                    subs: Vec::new(),
                });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Reads one metric's sink.
    pub(crate) fn read<T>(&self, id: MetricId, f: impl FnOnce(&Sink) -> T) -> T {
        f(&self.metrics.borrow()[id.0].sink)
    }
}

/// What became of the thresholds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Metrics with a failed threshold.
    pub(crate) failed: Vec<String>,
    pub(crate) abort: Option<String>,
}

type NameAndTags<'a> = (&'a str, Option<Vec<(String, String)>>);

/// `name{a:b, c:"d"}` into its parts.
fn split_name(name: &str) -> Result<NameAndTags<'_>, String> {
    let Some((base, rest)) = name.split_once('{') else { return Ok((name, None)) };
    let Some(inner) = rest.strip_suffix('}') else {
        return Err(format!("the sub-metric \"{name}\" does not end with }}"));
    };
    let mut tags = Vec::new();
    for pair in inner.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        let clean = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        tags.push((clean(key), clean(value)));
    }
    Ok((base, Some(tags)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str, &'static str);

    impl Tags for One {
        fn has(&self, key: &str, value: &str) -> bool {
            self.0 == key && self.1 == value
        }

        fn each(&self, told: &mut dyn FnMut(&str, &str)) {
            told(self.0, self.1);
        }
    }

    fn threshold(text: &str) -> Vec<Threshold> {
        vec![Threshold::new(Expression::parse(text).unwrap())]
    }

    #[test]
    fn a_sub_metric_counts_its_tags_alone() {
        let metrics = Metrics::new();
        let id = metrics.register("orders", Kind::Counter, Contains::Default).unwrap();
        metrics.watch("orders{kind:paid}", threshold("count==2")).unwrap();
        metrics.watch("orders", threshold("count<3")).unwrap();
        for kind in ["paid", "open", "paid"] {
            metrics.add(id, 1.0, &One("kind", kind));
        }
        let judged = metrics.judge(Duration::from_secs(1));
        assert_eq!(judged.failed, ["orders"]);
    }

    #[test]
    fn wrong_names_and_types_are_told() {
        let metrics = Metrics::new();
        assert!(metrics.register("a-b", Kind::Rate, Contains::Default).is_err());
        assert!(metrics.register("http_reqs", Kind::Rate, Contains::Default).is_err());
        assert!(metrics.watch("no_such", threshold("count>1")).unwrap_err().contains("no_such"));
        assert!(metrics.watch("http_reqs", threshold("p(95)>1")).unwrap_err().contains("counter"));
        assert!(metrics.watch("http_reqs{a:b", threshold("count>1")).unwrap_err().contains('}'));
    }
}
