//! The statements to look at: SQLite keeps no statistics of its own, so they come from a file or from spans.

use crate::query::{Dialect, statements};
use std::collections::BTreeMap;

/// Different statements that are kept; more are counted only.
const MAX_STATEMENTS: usize = 2_000;
/// A longer text is counted only.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// One statement and how often it was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    /// As it was seen first, with its values if it had any.
    pub(super) sample: String,
    pub(super) calls: u64,
    /// As the caller saw it, over all calls; `None` where no call was timed.
    pub(super) total_ms: Option<f64>,
}

/// Statements by their identity, with calls and times where they are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    pub(super) statements: BTreeMap<String, Given>,
    /// Texts that were not kept.
    pub(super) left_out: u64,
}

impl Workload {
    /// The statements of a file, ended by `;`, or one a line.
    #[must_use]
    pub fn of_sql(text: &str) -> Self {
        let mut workload = Self::default();
        for statement in statements(text, Dialect::Sqlite) {
            workload.add(statement, None);
        }
        workload
    }

    /// One call, and its milliseconds where they are known. A text of several statements is taken apart.
    pub fn add(&mut self, text: &str, ms: Option<f64>) {
        let parts = statements(text, Dialect::Sqlite);
        let several = parts.len() > 1 && text.contains(';');
        for part in if several { parts } else { vec![text.trim().trim_end_matches(';')] } {
            self.add_one(part, ms.filter(|ms| ms.is_finite() && *ms >= 0.0 && !several));
        }
    }

    fn add_one(&mut self, text: &str, ms: Option<f64>) {
        let identity = model::sql::normalise(text);
        let full = self.statements.len() >= MAX_STATEMENTS && !self.statements.contains_key(&identity);
        if full || text.len() > MAX_TEXT_BYTES || identity.is_empty() {
            self.left_out += u64::from(!identity.is_empty());
            return;
        }
        let given = self.statements.entry(identity).or_default();
        if given.calls == 0 {
            text.clone_into(&mut given.sample);
        }
        given.calls += 1;
        if let Some(ms) = ms {
            *given.total_ms.get_or_insert(0.0) += ms;
        }
    }

    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn statements_are_counted_by_identity() {
        let workload = Workload::of_sql(
            "-- the shop\nSELECT a FROM t WHERE b = 1;\nselect a from t where b = 2;\n\
                                         SELECT a FROM t WHERE b = ';' ; ;",
        );
        let calls: Vec<(&str, u64)> =
            workload.statements.iter().map(|(t, g)| (t.as_str(), g.calls)).collect();
        assert_eq!(calls, [("SELECT a FROM t WHERE b = $1", 2), ("select a from t where b = $1", 1)]);
        let lines = Workload::of_sql("SELECT 1\n\n-- none\nSELECT a FROM t\n");
        assert_eq!(lines.statements.len(), 2);
        assert!(Workload::of_sql("-- nothing\n;;\n").is_empty());
    }

    #[test]
    fn times_add_up_where_they_are_known() {
        let mut workload = Workload::default();
        workload.add("SELECT a FROM t WHERE b = ?;", Some(2.0));
        workload.add("SELECT a FROM t WHERE b = ?", Some(3.0));
        workload.add("SELECT a FROM t WHERE b = ?", Some(f64::NAN));
        let given = workload.statements.values().next().unwrap();
        assert_eq!((given.calls, given.total_ms), (3, Some(5.0)));
    }

    #[test]
    fn no_text_is_kept_without_bound() {
        let mut workload = Workload::default();
        workload.add(&format!("SELECT '{}'", "x".repeat(1 << 20)), None);
        assert!(workload.is_empty() && workload.left_out == 1);
    }
}
