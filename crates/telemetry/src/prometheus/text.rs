//! The text exposition format 0.0.4 and OpenMetrics: lines of `name{label="value"} number`, types from comments.
//! Times and exemplars of lines are left aside; the time of the scrape counts.

use crate::distribution::Distribution;
use crate::metric_store::{Attributes, Figure, MetricName, MetricStore};
use crate::report::{IngestReport, Unusable};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

/// One line of a sample.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Attributes,
    value: f64,
}

#[derive(Default)]
struct Buckets {
    /// Cumulative counts by upper bound, as sent.
    counts: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

#[derive(Default)]
struct Family<'a> {
    histograms: BTreeMap<(&'a str, Attributes), Buckets>,
}

/// Reads one text into the store.
pub(super) fn read(
    body: &str,
    time_ns: u64,
    attributes: &Attributes,
    store: &mut MetricStore,
    report: &mut IngestReport,
) {
    let mut types: BTreeMap<&str, Type> = BTreeMap::new();
    let mut family = Family::default();
    let mut push = |name: &str, mut labels: Attributes, figure: Figure, report: &mut IngestReport| {
        labels.extend(attributes.iter().map(|(key, value)| (key.clone(), value.clone())));
        store.push(&MetricName { name, unit: "" }, labels, time_ns, figure, report);
    };
    for (at, line) in body.lines().enumerate() {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            types.extend(type_of(comment));
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let Some(sample) = sample(line) else {
            report.malformed(format!("line {} of a scrape", at + 1));
            continue;
        };
        if let Some((name, part)) = part_of_histogram(&sample, &types) {
            family.add(name, part, sample);
            continue;
        }
        let total = sample.name.strip_suffix("_total").unwrap_or(sample.name);
        let figure = match types.get(sample.name).or_else(|| types.get(total)) {
            Some(Type::Counter) => Figure::Sum { value: sample.value, monotonic: true, delta: false },
            Some(Type::Summary) => Figure::Quantile(sample.value),
            _ => Figure::Gauge(sample.value),
        };
        push(sample.name, sample.labels, figure, report);
    }
    for ((name, labels), buckets) in family.histograms {
        match buckets.figure() {
            Some(figure) => push(name, labels, figure, report),
            None => report.count(Unusable::Histogram, 1),
        }
    }
}

/// `# TYPE name kind`.
fn type_of(comment: &str) -> Option<(&str, Type)> {
    let mut words = comment.split_ascii_whitespace();
    if words.next() != Some("TYPE") {
        return None;
    }
    let name = words.next()?;
    let kind = match words.next()? {
        "counter" => Type::Counter,
        "histogram" => Type::Histogram,
        "summary" => Type::Summary,
        _ => Type::Gauge,
    };
    Some((name, kind))
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Bucket,
    Sum,
    Count,
    /// When a counter was made; of no use here.
    Created,
}

/// The family of a line of a histogram or of a summary's sum and count.
fn part_of_histogram<'a>(sample: &Sample<'a>, types: &BTreeMap<&str, Type>) -> Option<(&'a str, Part)> {
    let parts = [
        ("_bucket", Part::Bucket),
        ("_sum", Part::Sum),
        ("_count", Part::Count),
        ("_created", Part::Created),
    ];
    parts.iter().find_map(|(suffix, part)| {
        let name = sample.name.strip_suffix(suffix)?;
        let known = types.get(name)?;
        let fits = match part {
            Part::Bucket => *known == Type::Histogram,
            Part::Created => *known != Type::Gauge,
            _ => matches!(known, Type::Histogram | Type::Summary),
        };
        fits.then_some((name, *part))
    })
}

impl<'a> Family<'a> {
    fn add(&mut self, name: &'a str, part: Part, mut sample: Sample<'a>) {
        let bound = sample.labels.remove("le").and_then(|le| number(&le));
        if part == Part::Created {
            return;
        }
        let buckets = self.histograms.entry((name, sample.labels)).or_default();
        match (part, bound) {
            (Part::Bucket, Some(bound)) => buckets.counts.push((bound, sample.value)),
            (Part::Sum, _) => buckets.sum = Some(sample.value),
            (Part::Count, _) => buckets.count = Some(sample.value),
            _ => {}
        }
    }
}

impl Buckets {
    /// `None` if the buckets are not cumulative.
    fn figure(mut self) -> Option<Figure> {
        self.counts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = self.count.or_else(|| self.counts.last().map(|(_, count)| *count))?;
        let mut counts = Vec::with_capacity(self.counts.len());
        let mut below = 0.0;
        for (_, count) in &self.counts {
            counts.push(whole(count - below)?);
            below = *count;
        }
        let bounds: Vec<f64> =
            self.counts.iter().map(|(bound, _)| *bound).filter(|b| b.is_finite()).collect();
        if counts.len() == bounds.len() && !counts.is_empty() {
            // Without a last bucket of `+Inf` the count tells what lies beyond.
            counts.push(whole(all - below)?);
        }
        let distribution = Distribution::explicit(bounds, counts)?;
        Some(Figure::Histogram { distribution, count: whole(all)?, sum: self.sum, delta: false })
    }
}

/// A count that was sent as a float; `None` for what is no count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked, and a float beyond 2^53 has lost its unit before"
)]
fn whole(count: f64) -> Option<u64> {
    (count.is_finite() && (0.0..1e18).contains(&count)).then_some(count as u64)
}

/// A number as Prometheus writes it: `+Inf`, `NaN`, `1e3`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.';
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Attributes::new(), rest),
    };
    let value = number(rest.split_ascii_whitespace().next()?)?;
    Some(Sample { name, labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(Attributes, &str)> {
    let mut all = Attributes::new();
    loop {
        text = text.trim_start().trim_start_matches(',').trim_start();
        if let Some(rest) = text.strip_prefix('}') {
            return Some((all, rest));
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = quoted(rest.trim_start().strip_prefix('"')?)?;
        all.insert(name.trim().to_owned(), value);
        text = rest;
    }
}

/// The text up to the closing quote with its escapes undone, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Scraped;
    use super::*;

    const PAGE: &str = r#"
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="GET",path="/a\"b\\c\n"} 5 1395066363000
# TYPE pool gauge
pool{state="idle"} 3
up 1
# TYPE wait histogram
wait_bucket{le="0.1"} 0
wait_bucket{le="1"} COUNT
wait_bucket{le="+Inf"} COUNT
wait_sum 0.5
wait_count COUNT
# TYPE rpc summary
rpc{quantile="0.5"} 0.25
rpc{quantile="0.9"} NaN
rpc_sum 9
rpc_count 20
broken{ 5
# EOF
"#;

    #[test]
    fn a_page_becomes_series() {
        let mut scraped = Scraped::default();
        let own = Attributes::from([("service.name".to_owned(), "shop".to_owned())]);
        scraped.add(&PAGE.replace("COUNT", "10"), 1, &own);
        scraped.add(&PAGE.replace("COUNT", "30"), 2, &own);
        let (series, gaps) = scraped.take();
        let lines: Vec<String> = series
            .iter()
            .map(|s| {
                let labels: Vec<String> = s
                    .attributes
                    .iter()
                    .filter(|(k, _)| *k != "service.name")
                    .map(|(k, v)| format!("{k}={v}"))
                    .collect();
                let values: Vec<f64> = s.points.iter().map(|p| p.value).collect();
                format!("{} {:?} {labels:?} {values:?}", s.name, s.kind)
            })
            .collect();
        expect_test::expect![[r#"
            http_requests_total Counter ["method=GET", "path=/a\"b\\c\n"] [5.0, 5.0]
            pool Gauge ["state=idle"] [3.0, 3.0]
            rpc Quantile ["quantile=0.5"] [0.25, 0.25]
            rpc.count Counter [] [20.0, 20.0]
            rpc.sum Counter [] [9.0, 9.0]
            up Gauge [] [1.0, 1.0]
            wait Quantile ["quantile=0.5"] [0.55]
            wait Quantile ["quantile=0.95"] [0.955]
            wait Quantile ["quantile=0.99"] [0.991]
            wait.count Counter [] [10.0, 30.0]
            wait.sum Counter [] [0.5, 0.5]"#]]
        .assert_eq(&lines.join("\n"));
        assert!(gaps[0].reason.contains("2 inputs could not be read; the first: line 19"), "{gaps:?}");
    }

    #[test]
    fn exemplars_and_odd_lines_do_no_harm() {
        let with_exemplar = sample(r#"a_bucket{le="1"} 7 # {trace_id="x"} 0.5"#).unwrap();
        assert_eq!((with_exemplar.name, with_exemplar.value), ("a_bucket", 7.0));
        for bad in ["", "a", "a{", "a{b}", "a{b=\"c} 1", "a{b=\"\\", "{} 1", "a b", "ä 1"] {
            assert_eq!(sample(bad), None, "{bad}");
        }
    }
}
