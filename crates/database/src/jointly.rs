//! Chooses among the indexes that were tried: as few as serve all statements of the load. An index that serves one
//! statement best may be worth less than one that serves three.

use crate::catalog::TableName;
use crate::index::NewIndex;
use crate::what_if::{Case, MIN_GAIN};
use std::collections::{BTreeMap, BTreeSet};

/// A statement that would save less per call, and less than the share below, is fast enough.
const MIN_GAIN_MS: f64 = 1.0;
/// Of the time of all statements that were looked at.
const MIN_TIME_SHARE: f64 = 0.05;
/// Of two indexes that leave times this near, the smaller is taken.
const ALIKE: f64 = 1.25;
/// Below this share of what was there before, nobody asks how much is left.
const NEGLIGIBLE: f64 = 0.01;
/// An index that spares less than this share of each statement is weighed against what it costs the writes; one that makes
/// a statement quick is for whoever waits for it to judge.
const DECISIVE_GAIN: f64 = 0.5;
/// Indexes chosen in one look.
const MAX_CHOSEN: usize = 16;

/// The indexes worth having together, each with a statement that it alone serves well. `price_ms` is what one more index
/// on a table costs all writes of the same load.
pub(crate) fn chosen(cases: &[Case<'_>], price_ms: &BTreeMap<TableName, f64>) -> BTreeSet<NewIndex> {
    let all: BTreeSet<&NewIndex> = cases.iter().flat_map(|c| c.trials.keys()).collect();
    let total_ms: f64 = cases.iter().map(|c| c.statement.total_ms).sum();
    let mut left: Vec<f64> = vec![1.0; cases.len()];
    let mut chosen: Vec<&NewIndex> = Vec::new();
    while chosen.len() < MAX_CHOSEN {
        let offers: Vec<Offer<'_>> = all
            .iter()
            .filter(|index| !chosen.contains(index))
            .map(|index| Offer::new(index, cases, &left, total_ms))
            .filter(|offer| {
                let price_ms = price_ms.get(&offer.index.table).copied().unwrap_or(0.0);
                offer.worth && (offer.decisive || offer.saved_ms > price_ms)
            })
            .collect();
        let Some(best) = offers.iter().max_by(|a, b| a.saved_ms.total_cmp(&b.saved_ms)) else { break };
        // Of the statements that the best serves: what is left of all others hides any difference.
        let served_ms: f64 = best.serves.iter().map(|&at| left[at] * cases[at].statement.total_ms).sum();
        let bound_ms = best.left_ms(&best.serves, cases, &left).max(NEGLIGIBLE * served_ms) * ALIKE;
        let alike = |o: &&Offer<'_>| o.left_ms(&best.serves, cases, &left) <= bound_ms;
        let near = |o: &&Offer<'_>| o.index.table == best.index.table && best.serves.is_subset(&o.serves);
        let smallest = offers.iter().filter(alike).filter(near).min_by_key(|o| (o.bytes, o.index));
        let taken = smallest.unwrap_or(best).index;
        for (left, case) in left.iter_mut().zip(cases) {
            *left = case.share_left(taken).unwrap_or(1.0).min(*left);
        }
        chosen.push(taken);
    }
    let covered = |index: &&NewIndex| {
        !chosen.iter().any(|other| other.keys.len() > index.keys.len() && index.begins(other))
    };
    chosen.iter().copied().filter(covered).cloned().collect()
}

/// What one more index would bring.
struct Offer<'i> {
    index: &'i NewIndex,
    saved_ms: f64,
    bytes: u64,
    /// Statements that it serves better than what was chosen before.
    serves: BTreeSet<usize>,
    /// Somebody would notice.
    worth: bool,
    /// It spares most of a statement.
    decisive: bool,
}

impl<'i> Offer<'i> {
    fn new(index: &'i NewIndex, cases: &[Case<'_>], left: &[f64], total_ms: f64) -> Self {
        let mut offer = Self {
            index,
            saved_ms: 0.0,
            bytes: u64::MAX,
            serves: BTreeSet::new(),
            worth: false,
            decisive: false,
        };
        for (at, case) in cases.iter().enumerate() {
            let Some(share) = case.share_left(index) else { continue };
            let gain = (left[at] - share).max(0.0);
            offer.bytes = offer.bytes.min(case.trials.get(index).map_or(u64::MAX, |t| t.bytes));
            if gain < MIN_GAIN * left[at] {
                continue;
            }
            offer.saved_ms += gain * case.statement.total_ms;
            offer.serves.insert(at);
            offer.decisive |= gain >= DECISIVE_GAIN * left[at];
            let per_call = gain * case.statement.mean_ms();
            let much = gain * case.statement.total_ms >= MIN_TIME_SHARE * total_ms;
            offer.worth |= per_call >= MIN_GAIN_MS || much && total_ms > 0.0;
        }
        offer
    }

    /// What is left of these statements with it and all that was chosen before.
    fn left_ms(&self, of: &BTreeSet<usize>, cases: &[Case<'_>], left: &[f64]) -> f64 {
        let share = |at: usize| cases[at].share_left(self.index).unwrap_or(1.0).min(left[at]);
        of.iter().map(|&at| share(at) * cases[at].statement.total_ms).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::chosen;
    use crate::index::{Key, NewIndex};
    use crate::what_if::{Case, Trial};
    use model::{Statement, WhatIfMethod};
    use std::collections::BTreeMap;

    fn index(columns: &str) -> NewIndex {
        let key = |name: &str| Key { name: name.to_owned(), ..Key::default() };
        let keys = columns.split(',').map(key).collect();
        NewIndex { table: ("public".to_owned(), "t".to_owned()), keys, predicate: None }
    }

    fn statement(mean_ms: f64) -> Statement {
        Statement { calls: 10, total_ms: mean_ms * 10.0, ..Statement::default() }
    }

    /// Statements of 100 cost units with what each index leaves of them.
    fn check(statements: &[(f64, &[(&str, f64)])], expected: &[&str]) {
        check_priced(statements, &BTreeMap::new(), expected);
    }

    fn check_priced(
        statements: &[(f64, &[(&str, f64)])],
        price_ms: &BTreeMap<(String, String), f64>,
        expected: &[&str],
    ) {
        let known: Vec<Statement> = statements.iter().map(|(ms, _)| statement(*ms)).collect();
        let cases: Vec<Case<'_>> = known
            .iter()
            .zip(statements)
            .map(|(statement, (_, tried))| {
                let trial = |(columns, cost_after): &(&str, f64)| {
                    let bytes = 100 * columns.len() as u64;
                    (index(columns), Trial::new(WhatIfMethod::Estimated, 100.0, *cost_after, bytes))
                };
                let trials: BTreeMap<NewIndex, Trial> = tried.iter().map(trial).collect();
                Case { trials, ..Case::new(statement) }
            })
            .collect();
        let names: Vec<String> = chosen(&cases, price_ms).iter().map(|i| i.columns().join(",")).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn one_index_that_serves_two_is_enough() {
        check(&[(50.0, &[("a", 5.0), ("a,b", 5.0)]), (50.0, &[("a", 60.0), ("a,b", 1.0)])], &["a,b"]);
    }

    #[test]
    fn of_two_that_serve_alike_the_smaller_is_taken() {
        check(&[(50.0, &[("a", 5.0), ("a,b", 4.9)])], &["a"]);
        check(&[(50.0, &[("a", 30.0), ("a,b", 1.0)])], &["a,b"]);
    }

    #[test]
    fn a_small_index_that_brings_little_is_not_alike_beside_much_other_work() {
        check(&[(50.0, &[("a", 80.0), ("b,c,d", 1.0)]), (5000.0, &[])], &["b,c,d"]);
    }

    #[test]
    fn what_nobody_would_notice_is_not_chosen() {
        check(&[(0.9, &[("a", 5.0)]), (500.0, &[])], &[]);
        check(&[(50.0, &[("a", 85.0)])], &[]);
        // A quick statement that is most of the load counts.
        check(&[(0.9, &[("a", 5.0)])], &["a"]);
    }

    #[test]
    fn an_index_that_costs_the_writes_more_than_it_spares_has_to_be_decisive() {
        let price = BTreeMap::from([(("public".to_owned(), "t".to_owned()), 200.0)]);
        check_priced(&[(50.0, &[("a", 75.0)])], &price, &[]);
        check_priced(&[(50.0, &[("a", 75.0)]), (30.0, &[("a", 70.0)])], &price, &["a"]);
        check_priced(&[(5.0, &[("a", 1.0)])], &price, &["a"]);
    }

    #[test]
    fn indexes_for_different_statements_are_all_chosen() {
        check(&[(50.0, &[("a", 5.0)]), (40.0, &[("b", 5.0)])], &["a", "b"]);
    }
}
