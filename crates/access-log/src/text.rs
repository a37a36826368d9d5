//! What was read, in words: the format, what could not be read, statuses by endpoint, the course over time. Facts only.

use crate::collect::is_error;
use crate::record::{Collected, EndpointSummary};
use crate::scan::Scan;
use model::Histogram;
use std::collections::BTreeMap;

/// Endpoints whose statuses are shown.
const MAX_ENDPOINTS: usize = 10;
/// Rows of the course over time.
const MAX_ROWS: u64 = 12;

/// One line about a log: `access.log: combined format ..., 120000 lines, 119950 requests; 50 lines not read: ...`.
#[must_use]
pub fn describe(name: &str, scan: &Scan) -> String {
    let mut text = format!("{name}: {}", scan.format);
    if let Some(compression) = scan.compression {
        text.push_str(&format!(", {compression}"));
    }
    text.push_str(&format!(", {} lines, {} requests", scan.lines, scan.requests));
    if scan.other_hosts > 0 {
        text.push_str(&format!(", {} of other hosts left out", scan.other_hosts));
    }
    if scan.unread() > 0 {
        let reasons: Vec<String> = scan
            .unreadable
            .iter()
            .map(|(reason, (count, first))| format!("{count} {reason} (first: line {first})"))
            .collect();
        text.push_str(&format!("; {} lines not read: {}", scan.unread(), reasons.join(", ")));
    }
    for assumed in &scan.assumed {
        text.push_str(&format!("; {assumed}"));
    }
    text
}

impl Collected {
    /// A line for each of the endpoints with most requests: its count, rate, statuses and sizes; then the course over
    /// time.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.recording.run.seconds().max(1.0);
        let mut text = String::from("Statuses and sizes\n");
        for endpoint in self.endpoints.iter().take(MAX_ENDPOINTS) {
            text.push_str(&format!("  {}\n", row(endpoint, seconds)));
        }
        let more = self.endpoints.len().saturating_sub(MAX_ENDPOINTS);
        if more > 0 {
            text.push_str(&format!("  ... and {more} more\n"));
        }
        text.push_str(&self.course());
        text
    }

    /// Response times and errors over time, all endpoints together.
    fn course(&self) -> String {
        let run = &self.recording.run;
        let cells =
            self.recording.latencies.iter().map(|c| u64::from(c.cell)).max().map_or(0, |last| last + 1);
        if cells < 2 {
            return String::new();
        }
        let each = cells.div_ceil(MAX_ROWS);
        let mut rows: BTreeMap<u64, (Histogram, u64)> = BTreeMap::new();
        for cell in &self.recording.latencies {
            let row = rows.entry(u64::from(cell.cell) / each).or_default();
            row.0.merge(&cell.response);
            row.1 += u64::from(cell.errors);
        }
        let length_s = each as f64 * f64::from(run.cell_ms) / 1e3;
        let mut text = String::from(
            "Over time (from the log's start)\n       from      rate       p50       p95       p99  errors\n",
        );
        for (at, (times, errors)) in rows {
            let ms = |q: f64| times.quantile_ms(q).map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
            text.push_str(&format!(
                "  {:>9} {:>7.1}/s {:>9} {:>9} {:>9} {:>6.1}%\n",
                clock(at as f64 * length_s),
                times.count() as f64 / length_s,
                ms(0.5),
                ms(0.95),
                ms(0.99),
                errors as f64 / times.count().max(1) as f64 * 100.0
            ));
        }
        text
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a log's length")]
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn row(of: &EndpointSummary, seconds: f64) -> String {
    let mut statuses: Vec<(&u16, &u64)> = of.statuses.iter().collect();
    statuses.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let shares: Vec<String> = statuses
        .iter()
        .take(5)
        .map(|(status, count)| {
            let share = **count as f64 / of.requests.max(1) as f64 * 100.0;
            let mark = if is_error(**status) { "!" } else { "" };
            format!("{mark}{status} {share:.1} %")
        })
        .collect();
    let sizes = match (of.size_p50, of.size_p95) {
        (Some(p50), Some(p95)) => format!(", size p50 {} p95 {}", bytes(p50), bytes(p95)),
        _ => String::new(),
    };
    let rate = of.requests as f64 / seconds;
    format!("{}: {} requests, {rate:.2}/s, {}{sizes}", of.name, of.requests, shares.join(", "))
}

fn bytes(count: f64) -> String {
    match count {
        1e6.. => format!("{:.1} MB", count / 1e6),
        1e3.. => format!("{:.1} kB", count / 1e3),
        // Empty bodies are counted with those of one byte.
        ..=1.0 => "at most 1 B".to_owned(),
        _ => format!("{count:.0} B"),
    }
}
