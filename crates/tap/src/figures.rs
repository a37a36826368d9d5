//! Sums by statement, exact however many spans are kept: calls, time, rows, errors, and how often one follows itself.

use crate::units::{Shape, Unit, What};
use model::Histogram;
use std::collections::HashMap;
use std::sync::Arc;

/// Statements that are told apart; those beyond are summed as one.
const MAX_STATEMENTS: usize = 4_096;
/// Bytes of their texts.
const MAX_TEXT_BYTES: usize = 16 << 20;
const OTHERS: &str = "(other statements)";

/// What one statement did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatementFigures {
    /// Normalised.
    pub text: String,
    pub calls: u64,
    pub total_ns: u64,
    pub times: Histogram,
    /// Returned or affected.
    pub rows: u64,
    pub errors: u64,
    /// Calls that were sent when one of the same statement had just been answered, in one unit: in a pipeline there are
    /// none, nor does a cursor that goes on count.
    pub repeats: u64,
    /// Most calls in a row.
    pub longest_run: u64,
    /// Times that it was parsed in a round trip of its own.
    pub prepares: u64,
    pub prepare_ns: u64,
}

/// Calls of one statement, one after the other.
struct Run<'a> {
    shape: &'a Arc<Shape>,
    length: u64,
    end_ns: u64,
    suspended: bool,
}

impl Run<'_> {
    /// How long it is with one more call.
    fn length_with(&self, shape: &Shape, start_ns: u64) -> u64 {
        if self.shape.text != shape.text {
            return 1;
        }
        // Sent before the answer to the one before: it began when that ended.
        let in_pipeline = start_ns <= self.end_ns;
        let goes_on = self.suspended || matches!(shape.verb.as_str(), "FETCH" | "MOVE");
        self.length + u64::from(!in_pipeline && !goes_on)
    }
}

#[derive(Default)]
pub(crate) struct Figures {
    /// By text, which the figures do not repeat.
    of: HashMap<String, StatementFigures>,
    /// Of the texts.
    bytes: usize,
    ids: u64,
}

impl Figures {
    /// Numbers that differ.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn count(&mut self, unit: &Unit) {
        let mut previous: Option<Run<'_>> = None;
        for done in &unit.spans {
            let took_ns = done.end_ns.saturating_sub(done.start_ns);
            match &done.what {
                What::Statement { shape, rows, suspended, .. } => {
                    let length = previous.as_ref().map_or(1, |run| run.length_with(shape, done.start_ns));
                    let repeats = length > 1 && previous.is_some_and(|run| run.length < length);
                    previous = Some(Run { shape, length, end_ns: done.end_ns, suspended: *suspended });
                    let figures = self.figures(&shape.text);
                    figures.calls += 1;
                    figures.total_ns = figures.total_ns.saturating_add(took_ns);
                    figures.times.record(took_ns);
                    figures.rows = figures.rows.saturating_add(*rows);
                    figures.errors += u64::from(done.error.is_some());
                    figures.repeats += u64::from(repeats);
                    figures.longest_run = figures.longest_run.max(length);
                }
                // A statement that is prepared each time still follows itself.
                What::Prepare { shape } => {
                    let figures = self.figures(&shape.text);
                    figures.prepares += 1;
                    figures.prepare_ns = figures.prepare_ns.saturating_add(took_ns);
                }
                What::Connect | What::Call => previous = None,
            }
        }
    }

    fn figures(&mut self, text: &str) -> &mut StatementFigures {
        let fits = self.of.len() < MAX_STATEMENTS && self.bytes + text.len() <= MAX_TEXT_BYTES;
        let text = if fits || self.of.contains_key(text) { text } else { OTHERS };
        if !self.of.contains_key(text) {
            self.bytes += text.len();
        }
        self.of.entry(text.to_owned()).or_default()
    }

    /// The largest total time first.
    pub(crate) fn sorted(&self) -> Vec<StatementFigures> {
        let mut all: Vec<StatementFigures> = self
            .of
            .iter()
            .map(|(text, figures)| StatementFigures { text: text.clone(), ..figures.clone() })
            .collect();
        let cost = |figures: &StatementFigures| figures.total_ns.saturating_add(figures.prepare_ns);
        all.sort_by(|a, b| cost(b).cmp(&cost(a)).then_with(|| a.text.cmp(&b.text)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Done;
    use crate::units::tests::statement;

    #[test]
    fn a_statement_that_follows_itself_is_counted_as_a_run() {
        let mut figures = Figures::default();
        let texts = ["parent", "item", "item", "item", "other", "item"];
        let unit = Unit { transaction: false, spans: in_turn(&texts, 11) };
        figures.count(&unit);
        figures.count(&unit);
        let all = figures.sorted();
        let item = all.iter().find(|f| f.text == "item").unwrap();
        assert_eq!((item.calls, item.repeats, item.longest_run, item.rows), (8, 4, 3, 8));
        assert_eq!(all[0].text, "item");
        assert_eq!(item.total_ns, 8 * 10);
    }

    /// Statements of 10 ns, one every so many.
    fn in_turn(texts: &[&str], every_ns: u64) -> Vec<Done> {
        let at = |(number, text): (usize, &&str)| {
            let from_ns = number as u64 * every_ns;
            Done { start_ns: from_ns, end_ns: from_ns + 10, ..statement(text) }
        };
        texts.iter().enumerate().map(at).collect()
    }

    #[test]
    fn a_pipeline_and_a_cursor_that_goes_on_are_no_runs() {
        let mut figures = Figures::default();
        figures.count(&Unit { transaction: false, spans: in_turn(&["piped"; 5], 10) });
        let mut cursor = in_turn(&["cursor"; 5], 11);
        for done in &mut cursor {
            let What::Statement { suspended, .. } = &mut done.what else { continue };
            *suspended = true;
        }
        figures.count(&Unit { transaction: false, spans: cursor });
        let runs: Vec<_> = figures.sorted().iter().map(|f| (f.calls, f.repeats, f.longest_run)).collect();
        assert_eq!(runs, [(5, 0, 1), (5, 0, 1)]);
    }

    #[test]
    fn statements_beyond_the_bound_are_summed_as_one() {
        let mut figures = Figures::default();
        for n in 0..MAX_STATEMENTS + 10 {
            figures.count(&Unit { transaction: false, spans: vec![statement(&n.to_string())] });
        }
        let all = figures.sorted();
        assert_eq!(all.len(), MAX_STATEMENTS + 1);
        assert_eq!(all[0].text, OTHERS);
        assert_eq!(all[0].calls, 10);

        let mut figures = Figures::default();
        for n in 0..400 {
            let long = format!("{n}{}", "x".repeat(64 << 10));
            figures.count(&Unit { transaction: false, spans: vec![statement(&long)] });
        }
        let all = figures.sorted();
        assert_eq!((all.len(), all[0].text.as_str(), all[0].calls), (256, OTHERS, 145));
    }
}
