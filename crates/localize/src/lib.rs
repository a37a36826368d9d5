//! Recording in, diagnosis out: where the time goes, what single change buys most, how much it will buy, and what
//! could not be seen. Pure: no files, sockets, clock or chance; the same recording gives the same bytes.

pub mod coverage;
pub mod cpu;
pub mod critical;
pub mod depend;
pub mod differential;
pub mod docs;
pub mod facts;
mod goals;
pub mod load;
pub mod load_model;
pub mod predict;
pub mod rank;
pub mod resolve;
pub mod rules;
pub mod saturation;
pub mod shape;
pub mod simulate;
pub mod standing;
mod summary;
#[cfg(test)]
mod testing;
pub mod thresholds;
pub mod tree;

pub use resolve::ATTRIBUTES;

use facts::Facts;
use model::{Diagnosis, Goal, Recording, RuleNotRun, SCHEMA_VERSION};
use rank::Claim;
use std::collections::BTreeMap;
use thresholds::Thresholds;

/// How to judge.
#[derive(Clone, Default)]
pub struct Options<'a> {
    pub goals: Vec<Goal>,
    /// Judge traces one by one: no rule asks for several. A recording of one trace is judged so anyway.
    pub single_trace: bool,
    /// The same service when it was well: what became slower since is looked for first.
    pub baseline: Option<&'a Recording>,
    /// By rule: actual gain over predicted gain of the past; 1 where absent.
    pub calibration: BTreeMap<String, f64>,
    pub thresholds: Thresholds,
}

/// What became slower than in the baseline, if there is one.
fn compared(facts: &Facts<'_>, options: &Options<'_>) -> Vec<Claim> {
    let Some(baseline) = options.baseline else { return Vec::new() };
    let base = Facts::gather(baseline, &options.thresholds, options.single_trace);
    let suspects = differential::candidates(facts, &base).into_iter().enumerate();
    suspects.map(|(n, (rule, candidate))| Claim { rule, candidate, suspect: Some(n) }).collect()
}

/// Every rule's name, as findings bear it, in order of precedence.
#[must_use]
pub fn rule_names() -> Vec<&'static str> {
    rules::RULES.iter().map(|rule| rule.name).collect()
}

/// Judges a recording.
#[must_use]
pub fn localize(recording: &Recording, options: &Options<'_>) -> Diagnosis {
    let facts = Facts::gather(recording, &options.thresholds, options.single_trace);
    let (goals, mut gaps) = goals::judge(&facts, &options.goals);
    let mut claims = compared(&facts, options);
    let mut rules_not_run = Vec::new();
    for rule in rules::RULES {
        match rule.needs.iter().find(|signal| !signal.is_there(&facts)) {
            Some(missing) => rules_not_run
                .push(RuleNotRun { rule: rule.name.to_owned(), missing_signal: missing.word().to_owned() }),
            None => {
                let candidates = (rule.run)(&facts);
                claims.extend(candidates.into_iter().map(|candidate| Claim {
                    rule: rule.name,
                    candidate,
                    suspect: None,
                }));
            }
        }
    }
    let findings = rank::rank(&facts, options, &goals, claims);
    gaps.extend(recording.run.gaps.iter().cloned());
    gaps.extend(summary::gaps(&facts));
    gaps.sort();
    gaps.dedup();
    rules_not_run.sort();
    Diagnosis {
        version: SCHEMA_VERSION,
        recording: summary::recording(&facts),
        goals,
        findings,
        gaps,
        rules_not_run,
    }
}
