//! Recording in, diagnosis out: where the time goes, what single change buys most, how much it will buy, and what
//! could not be seen. Pure: no files, sockets, clock or chance; the same recording gives the same bytes.

mod attributed;
pub mod code;
pub mod coverage;
pub mod cpu;
pub mod critical;
pub mod depend;
pub mod differential;
pub mod docs;
pub mod facts;
mod goals;
mod hold;
pub mod links;
pub mod load;
pub mod load_model;
pub mod outside;
pub mod predict;
pub mod rank;
pub mod rerun;
pub mod resolve;
pub mod rules;
pub mod runtime;
pub mod saturation;
pub mod shape;
pub mod simulate;
pub mod standing;
mod summary;
#[cfg(test)]
mod testing;
pub mod thresholds;
pub mod tree;
mod variants;
mod wrappers;

pub use resolve::ATTRIBUTES;

use facts::Facts;
use model::{Diagnosis, Goal, Prediction, Recording, RecordingFigures, RuleNotRun, SCHEMA_VERSION};
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
    let mut names: Vec<&str> =
        rules::RULES.iter().map(|rule| rule.name).chain(rules_of_code_alone()).collect();
    let outside = outside::RULES.iter().map(|rule| rule.name).filter(|name| !names.contains(name));
    let outside: Vec<&str> = outside.collect();
    names.extend(outside);
    names
}

/// Rules that read nothing but a profile.
fn rules_of_code_alone() -> impl Iterator<Item = &'static str> {
    let of_code = code::RULES.iter().map(|rule| rule.name);
    of_code.filter(|name| rules::RULES.iter().all(|rule| rule.name != *name))
}

/// Judges a recording.
#[must_use]
pub fn localize(recording: &Recording, options: &Options<'_>) -> Diagnosis {
    let seen = Facts::gather(recording, &options.thresholds, options.single_trace);
    let traces = seen.forest.traces;
    let drawn = attributed::draw(&seen);
    let facts = match &drawn {
        Some(drawn) => drawn.facts(options),
        None => seen,
    };
    let (goals, mut gaps) = goals::judge(&facts, &options.goals);
    if let Some(thresholds) = options.thresholds.fitted(&options.goals, &goals) {
        return localize(recording, &Options { thresholds, ..options.clone() });
    }
    let (claims, rules_not_run) = claims(&facts, options);
    let findings = rank::rank(&facts, options, &goals, claims).findings;
    let findings = code::merged(&facts, options, &goals, findings);
    let mut findings = outside::merged(&facts, options, findings);
    attributed::restate(&facts, &mut findings);
    gaps.extend(recording.run.gaps.iter().cloned());
    gaps.extend(summary::gaps(&facts));
    gaps.extend(attributed::disagreements(&facts));
    gaps.extend(hold::too_few(&facts));
    gaps.sort();
    gaps.dedup();
    Diagnosis {
        version: SCHEMA_VERSION,
        recording: RecordingFigures {
            spans: recording.spans.len() as u64,
            traces,
            ..summary::recording(&facts)
        },
        goals,
        time: attributed::time_spent(recording),
        findings,
        gaps,
        rules_not_run,
    }
}

/// What mending several findings at once brings, by endpoint: every request is run again with all of their fixes. It
/// is less than the sum where they mend the same time. Findings without a prediction, and fingerprints that the
/// diagnosis of the recording does not have, add nothing.
#[must_use]
pub fn predict_together(
    recording: &Recording,
    options: &Options<'_>,
    fingerprints: &[&str],
) -> Vec<Prediction> {
    let seen = Facts::gather(recording, &options.thresholds, options.single_trace);
    let drawn = attributed::draw(&seen);
    let facts = match &drawn {
        Some(drawn) => drawn.facts(options),
        None => seen,
    };
    let (goals, _) = goals::judge(&facts, &options.goals);
    if let Some(thresholds) = options.thresholds.fitted(&options.goals, &goals) {
        return predict_together(recording, &Options { thresholds, ..options.clone() }, fingerprints);
    }
    let ranked = rank::rank(&facts, options, &goals, claims(&facts, options).0);
    let mut by_endpoint: BTreeMap<shape::EndpointId, Vec<&rules::Fix>> = BTreeMap::new();
    for fingerprint in fingerprints {
        if let Some((endpoint, fix)) = ranked.fixes.get(*fingerprint) {
            by_endpoint.entry(*endpoint).or_default().push(fix);
        }
    }
    let predicted = by_endpoint.into_iter().filter_map(|(endpoint, fixes)| {
        let sample = predict::Sample::take(&facts, endpoint);
        predict::predict(&facts, endpoint, &sample, &predict::together(&fixes)?, 1.0)
    });
    predicted.collect()
}

/// What the rules claim, in their order, and those that could not run.
fn claims(facts: &Facts<'_>, options: &Options<'_>) -> (Vec<Claim>, Vec<RuleNotRun>) {
    let mut claims = compared(facts, options);
    let mut not_run = Vec::new();
    for rule in rules::RULES {
        match rule.needs.iter().find(|signal| !signal.is_there(facts)) {
            Some(missing) => not_run
                .push(RuleNotRun { rule: rule.name.to_owned(), missing_signal: missing.word().to_owned() }),
            None => {
                let may = |candidate: &rules::Candidate| {
                    attributed::may_claim(facts, rule.name, candidate.endpoint)
                };
                let candidates = (rule.run)(facts).into_iter().filter(may);
                claims.extend(candidates.map(|candidate| Claim {
                    rule: rule.name,
                    candidate,
                    suspect: None,
                }));
            }
        }
    }
    match &facts.recording.profile {
        // A rule that has a profile needs no traces.
        Some(_) => not_run.retain(|r| code::RULES.iter().all(|rule| rule.name != r.rule)),
        None => not_run.extend(
            rules_of_code_alone()
                .map(|rule| RuleNotRun { rule: rule.to_owned(), missing_signal: "a profile".to_owned() }),
        ),
    }
    not_run.sort();
    (claims, not_run)
}
