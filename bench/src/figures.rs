//! What a benchmark found: one table, targets and notes, as text, Markdown or JSON from the same cells.

use crate::machine;
use serde_json::{Map, Value, json};

/// One cell; a number keeps its value for programs and its digits for people.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Text(String),
    Number { value: f64, digits: usize },
    Missing,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn number(value: f64, digits: usize) -> Self {
        if value.is_finite() { Self::Number { value, digits } } else { Self::Missing }
    }

    pub(crate) fn maybe(value: Option<f64>, digits: usize) -> Self {
        value.map_or(Self::Missing, |value| Self::number(value, digits))
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number { value, digits } => grouped(*value, *digits),
            Self::Missing => "-".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number { value, .. } => json!(value),
            Self::Missing => Value::Null,
        }
    }
}

/// `1234567.8` as `1,234,567.8`.
fn grouped(value: f64, digits: usize) -> String {
    let plain = format!("{:.digits$}", value.abs());
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), ""), |(w, f)| (w, f));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let sign = if value < 0.0 && plain.chars().any(|c| ('1'..='9').contains(&c)) { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{text}") } else { format!("{sign}{text}.{fraction}") }
}

/// What was promised.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub what: String,
    pub measured: Option<f64>,
    pub limit: f64,
    /// `true`: at least the limit; `false`: at most.
    pub at_least: bool,
    /// Digits for people.
    pub digits: usize,
}

impl Target {
    pub(crate) fn at_least(what: &str, measured: Option<f64>, limit: f64, digits: usize) -> Self {
        Self { what: what.to_owned(), measured, limit, at_least: true, digits }
    }

    pub(crate) fn at_most(what: &str, measured: Option<f64>, limit: f64, digits: usize) -> Self {
        Self { at_least: false, ..Self::at_least(what, measured, limit, digits) }
    }

    /// Nothing measured is nothing reached.
    pub(crate) fn reached(&self) -> bool {
        self.measured.is_some_and(|m| if self.at_least { m >= self.limit } else { m <= self.limit })
    }

    fn text(&self) -> String {
        let word = if self.reached() { "reached" } else { "MISSED" };
        let relation = if self.at_least { "at least" } else { "at most" };
        let measured = Cell::maybe(self.measured, self.digits).shown();
        format!("{word}: {}: {measured}, promised {relation} {}", self.what, grouped(self.limit, self.digits))
    }
}

/// All that one benchmark found.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub name: &'static str,
    /// What was measured and how, in a sentence or two.
    pub title: String,
    pub columns: &'static [&'static str],
    pub rows: Vec<Vec<Cell>>,
    pub targets: Vec<Target>,
    pub notes: Vec<String>,
}

impl Figures {
    pub(crate) fn reached(&self) -> bool {
        self.targets.iter().all(Target::reached)
    }

    pub(crate) fn text(&self) -> String {
        let shown: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
        let width = |column: usize| {
            let cells = shown.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.columns[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let head: Vec<String> = self.columns.iter().map(|c| (*c).to_owned()).collect();
        let mut text = format!("{}\n{}\n\n", self.title, machine::line());
        for row in std::iter::once(&head).chain(&shown) {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                let width = widths[at];
                if self.is_numeric(at) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        for line in self.tail() {
            text += &format!("\n{line}");
        }
        text.push('\n');
        text
    }

    /// The table, the targets and the notes for a document.
    pub(crate) fn markdown(&self) -> String {
        let bar = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = bar(self.columns.iter().map(|c| (*c).to_owned()).collect());
        let rule = |at| if self.is_numeric(at) { "---:" } else { "---" }.to_owned();
        text += &bar((0..self.columns.len()).map(rule).collect());
        for row in &self.rows {
            text += &bar(row.iter().map(|cell| cell.shown().replace('|', "\\|")).collect());
        }
        text.push('\n');
        for line in self.tail() {
            text += &format!("- {line}\n");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let row = |cells: &Vec<Cell>| -> Value {
            let pairs = self.columns.iter().zip(cells).map(|(c, cell)| ((*c).to_owned(), cell.json()));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        let target = |t: &Target| json!({ "what": t.what, "measured": t.measured, "limit": t.limit, "at_least": t.at_least, "reached": t.reached() });
        json!({
            "bench": self.name,
            "title": self.title,
            "machine": machine::line(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "targets": self.targets.iter().map(target).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    fn tail(&self) -> Vec<String> {
        self.targets.iter().map(Target::text).chain(self.notes.iter().cloned()).collect()
    }

    fn is_numeric(&self, column: usize) -> bool {
        let cells = || self.rows.iter().filter_map(|row| row.get(column));
        cells().any(|cell| matches!(cell, Cell::Number { .. }))
            && !cells().any(|c| matches!(c, Cell::Text(_)))
    }
}

/// The middle value; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n.is_multiple_of(2) => Some(f64::midpoint(sorted[half - 1], sorted[half])),
        _ => Some(sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            name: "x",
            title: "X.".into(),
            columns: &["what", "per s"],
            rows: vec![
                vec![Cell::text("a"), Cell::number(1_234_567.8, 1)],
                vec![Cell::text("b|c"), Cell::Missing],
            ],
            targets: vec![Target::at_least("per s", Some(1.0), 2.0, 0)],
            notes: vec!["a note".into()],
        }
    }

    #[test]
    fn text_markdown_and_json_say_the_same() {
        let figures = figures();
        let text = figures.text();
        assert!(text.contains("what        per s\na     1,234,567.8\nb|c             -\n"), "{text}");
        assert!(text.contains("MISSED: per s: 1, promised at least 2\na note"), "{text}");
        let markdown = figures.markdown();
        assert!(
            markdown.starts_with("| what | per s |\n| --- | ---: |\n| a | 1,234,567.8 |\n| b\\|c | - |\n")
        );
        let json = figures.json();
        assert_eq!(json["rows"][0]["per s"], 1_234_567.8);
        assert_eq!(json["rows"][1]["per s"], Value::Null);
        assert!(!figures.reached());
    }

    #[test]
    fn a_target_that_was_not_measured_is_missed() {
        assert!(!Target::at_most("x", None, 1.0, 0).reached());
        assert!(Target::at_most("x", Some(1.0), 1.0, 0).reached());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, f64::NAN]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn thousands_are_grouped_and_nothing_is_no_negative() {
        assert_eq!(grouped(-1234.56, 1), "-1,234.6");
        assert_eq!(grouped(-0.04, 1), "0.0");
        assert_eq!(grouped(999.0, 0), "999");
    }
}
