//! The answer in one sentence, with one more that says what follows from it. Shared by page and terminal.

use crate::number::{ms, percent, plural};
use crate::steps::{self, error_share};
use model::{Diagnosis, Finding, Recording, Step};
use serde::Serialize;
use std::collections::BTreeSet;

/// The signal of gaps that tell of statements without a plan.
const PLANS: &str = "plans";

/// How the sentence is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    Good,
    Warning,
    Bad,
    /// Nothing can be said.
    Unknown,
}

/// The verdict on the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headline {
    pub tone: Tone,
    pub sentence: String,
    /// What it rests on, or what to do next; may be empty.
    pub detail: String,
}

/// How many goals are met, missed, and not measured.
pub(crate) struct Tally {
    pub(crate) met: usize,
    pub(crate) missed: usize,
    pub(crate) unknown: usize,
}

impl Tally {
    pub(crate) fn of(diagnosis: &Diagnosis) -> Self {
        let n = |state| diagnosis.goals.iter().filter(|g| g.met == state).count();
        Self { met: n(Some(true)), missed: n(Some(false)), unknown: n(None) }
    }

    fn total(&self) -> usize {
        self.met + self.missed + self.unknown
    }
}

impl Headline {
    fn new(tone: Tone, sentence: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { tone, sentence: sentence.into(), detail: detail.into() }
    }

    /// Of a diagnosis alone.
    #[must_use]
    pub fn of_diagnosis(diagnosis: &Diagnosis) -> Self {
        let figures = &diagnosis.recording;
        if figures.endpoints.is_empty() && figures.spans == 0 {
            return Self::new(
                Tone::Unknown,
                "Nothing was measured.",
                if diagnosis.gaps.is_empty() {
                    "The recording holds no request and no span."
                } else {
                    "The recording holds no request and no span; the gaps say why."
                },
            );
        }
        if let Some(issue) = figures.validity.issues.iter().find(|i| i.invalid) {
            let detail = format!("{}: {}", sentence(&issue.reason), issue.hint);
            return Self::new(
                Tone::Bad,
                "The load's figures are not to be used.",
                detail.trim_end_matches(": "),
            );
        }
        let tally = Tally::of(diagnosis);
        let best = diagnosis.findings.iter().find(|f| f.prediction.is_some());
        if tally.missed > 0 {
            let sentence = format!("{} of {} missed.", tally.missed, plural(tally.total(), "goal"));
            return Self::new(Tone::Bad, sentence, next_change(best, diagnosis));
        }
        if tally.unknown > 0 {
            let sentence =
                format!("{} of {} could not be measured.", tally.unknown, plural(tally.total(), "goal"));
            return Self::new(
                Tone::Warning,
                sentence,
                "Does the load, or a trace, reach what they speak of?",
            );
        }
        if tally.met == 0 {
            return Self::new(Tone::Unknown, "No goals were set.", next_change(best, diagnosis));
        }
        Self::new(Tone::Good, all_met(tally.met), hold_back(diagnosis))
    }

    /// Of a database alone: nothing was asked of a service.
    pub(crate) fn of_database(recording: &Recording, state: usize) -> Self {
        let indexes: BTreeSet<&str> =
            recording.plans.iter().flat_map(|p| &p.what_ifs).map(|w| w.create.as_str()).collect();
        let (seen, looked_at) = (recording.statements.len(), recording.plans.len());
        let blind = looked_at == 0 || recording.run.gaps.iter().any(|gap| gap.signal == PLANS);
        let tone = if indexes.is_empty() && state == 0 && !blind { Tone::Good } else { Tone::Unknown };
        let helped = recording.plans.iter().filter(|p| !p.what_ifs.is_empty()).count();
        let all = plural(recording.statements.len(), "statement");
        let sentence = match indexes.len() {
            0 if looked_at == 0 && seen > 0 => format!("None of {all} of this database could be looked at."),
            0 if blind => format!("No index would help the {looked_at} of {all} that could be looked at."),
            0 => format!("No index would help: {all} of this database."),
            1 => format!("1 index would help {helped} of {all} of this database."),
            more => format!("{more} indexes would help {helped} of {all} of this database."),
        };
        let detail = match state {
            0 => "Nothing of its state stands out.".to_owned(),
            more => format!("{} of its state should be looked at.", plural(more, "thing")),
        };
        Self::new(tone, sentence, detail)
    }

    /// Of a loop: the last diagnosis, and what the steps did.
    #[must_use]
    pub fn of_loop(before: Option<&Diagnosis>, after: Option<&Diagnosis>, steps: &[Step]) -> Self {
        let Some(last) = after.or(before) else {
            return Self::new(
                Tone::Unknown,
                "Nothing was measured.",
                "There is no recording to report on; trimtab measure makes one.",
            );
        };
        let mut headline = Self::of_diagnosis(last);
        if steps.is_empty() {
            return headline;
        }
        let kept = steps.iter().filter(|s| s.kept).count();
        let done = plural(kept, "kept change");
        let tally = Tally::of(last);
        let valid = !last.recording.validity.issues.iter().any(|i| i.invalid);
        if valid && after.is_some() {
            if tally.missed > 0 {
                headline.sentence = format!(
                    "{} of {} still missed after {done}.",
                    tally.missed,
                    plural(tally.total(), "goal")
                );
            } else if tally.unknown == 0 && tally.met > 0 {
                let missed_before = before.map_or(0, |d| Tally::of(d).missed);
                headline.sentence = format!("{} after {done}.", all_met(tally.met).trim_end_matches('.'));
                headline.detail = if missed_before > 0 {
                    format!("{missed_before} of {} missed before.", plural(tally.total(), "goal"))
                } else {
                    String::new()
                };
            }
        }
        let predictions = predictions(steps);
        if !predictions.is_empty() {
            headline.detail = format!("{predictions} {}", headline.detail).trim().to_owned();
        }
        headline
    }
}

fn all_met(goals: usize) -> String {
    match goals {
        1 => "The goal is met.".to_owned(),
        2 => "Both goals are met.".to_owned(),
        n => format!("All {} are met.", plural(n, "goal")),
    }
}

/// The sentence that keeps people from changing what is good enough.
fn hold_back(diagnosis: &Diagnosis) -> String {
    match diagnosis.findings.len() {
        0 => "Nothing needs a change.".to_owned(),
        n => format!(
            "Nothing needs a change; {} below would only make a good thing better.",
            plural(n, "finding")
        ),
    }
}

fn next_change(best: Option<&Finding>, diagnosis: &Diagnosis) -> String {
    let Some((finding, p)) = best.and_then(|f| Some((f, f.prediction.as_ref()?))) else {
        return if diagnosis.findings.is_empty() {
            "No rule found a cause; the gaps say what could not be seen.".to_owned()
        } else {
            "No finding carries a prediction; see the evidence.".to_owned()
        };
    };
    format!(
        "The best single change: {} ({} {} → {}, grade {:?}).",
        crate::clip::line(&finding.title, 120),
        crate::clip::line(&p.metric, 80),
        ms(p.before_ms),
        ms(p.after_ms),
        p.grade
    )
}

/// How well the predictions did, in a sentence; empty where none was measured. Measurements that say nothing about
/// their prediction count neither way.
pub(crate) fn predictions(steps: &[Step]) -> String {
    let judged: Vec<bool> = steps.iter().filter_map(|s| s.judgement.prediction_held).collect();
    let untested = steps.iter().filter(|s| could_not_be_tested(s)).count();
    if judged.is_empty() && untested == 0 {
        return String::new();
    }
    if judged.is_empty() {
        return format!("{} could not be tested.", plural(untested, "prediction"));
    }
    let more = if untested > 0 { format!(", {untested} more could not be tested") } else { String::new() };
    let held = judged.iter().filter(|held| **held).count();
    let tested = steps.iter().filter(|s| s.judgement.prediction_held.is_some());
    let mut errors: Vec<f64> = tested.filter_map(|s| error_share(&steps::figures(s))).collect();
    errors.sort_by(f64::total_cmp);
    let median = match errors.len() {
        0 => String::new(),
        n => {
            let middle = f64::midpoint(errors[(n - 1) / 2], errors[n / 2]);
            format!("; median error {} of the value before", percent(middle))
        }
    };
    format!("{held} of {} held{more}{median}.", plural(judged.len(), "prediction"))
}

/// A prediction that was measured but not answered.
fn could_not_be_tested(step: &Step) -> bool {
    let judgement = &step.judgement;
    judgement.prediction_held.is_none() && step.finding.prediction.is_some() && !judgement.metrics.is_empty()
}

/// A reason without its full stop, so that something can follow.
fn sentence(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
