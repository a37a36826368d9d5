//! Samples of a script for the outputs, with all their tags.

use super::{Contains, Kind, Metric, Tags};
use load::out::{self, Feed, Samples, Text, Unit};
use std::time::{Duration, Instant};

pub(crate) struct Teller {
    feed: Feed,
    started: Instant,
    /// Since 1970, at `started`.
    unix_start: Duration,
}

impl Teller {
    pub(crate) fn new(feed: &Feed, unix_start: Duration) -> Self {
        Self { feed: feed.clone(), started: Instant::now(), unix_start }
    }

    pub(super) fn tell<'a>(&mut self, values: impl Iterator<Item = (&'a Metric, f64)>, tags: &impl Tags) {
        let values = values.map(|(metric, value)| (told(metric), value)).collect();
        let mut all: Vec<(Text, Text)> = Vec::with_capacity(16);
        tags.each(&mut |name, value| {
            if !value.is_empty() && !all.iter().any(|(known, _)| known == name) {
                all.push((name.to_owned().into(), shown(name, value).to_owned().into()));
            }
        });
        let time = self.unix_start + self.started.elapsed();
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.feed.send(Samples { time_ns, values, tags: all });
    }

    pub(crate) fn flush(&mut self) {
        self.feed.flush();
    }
}

fn told(metric: &Metric) -> out::Metric {
    let kind = match metric.kind {
        Kind::Counter => out::Kind::Counter,
        Kind::Gauge => out::Kind::Gauge,
        Kind::Rate => out::Kind::Rate,
        Kind::Trend => out::Kind::Trend,
    };
    let unit = match metric.contains {
        Contains::Default => Unit::None,
        Contains::Time => Unit::Milliseconds,
        Contains::Data => Unit::Bytes,
    };
    out::Metric { name: metric.name.clone().into(), kind, unit }
}

/// A URL's query may hold secrets; where it is the name, it would also make a series of each request.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    let is_url = name == "url" || (name == "name" && value.contains("://"));
    if is_url { value.split(['?', '#']).next().unwrap_or_default() } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_not_told() {
        assert_eq!(shown("url", "http://host/a?token=hush"), "http://host/a");
        assert_eq!(shown("name", "http://host/a?token=hush"), "http://host/a");
        assert_eq!(shown("name", "what? this"), "what? this");
    }
}
