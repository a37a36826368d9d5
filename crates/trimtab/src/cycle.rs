//! The loop: measure, localize, change, verify, keep or take back, again. The same for the demo and for a user's service.
//! What is tried, and in which order, the findings alone decide.

use crate::apply::{Guard, Hands};
use crate::clock;
use crate::control;
use crate::journal::Journal;
use crate::output::Output;
use crate::session::Session;
use crate::story;
use crate::trials::{self, Tried};
use anyhow::Result;
use model::{Change, Diagnosis, Finding, Recording, Step, Verdict};
use std::time::{Duration, Instant};

/// When the loop ends by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub steps: Option<u32>,
    /// No new step is begun that would end after this.
    pub deadline: Option<Instant>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    GoalsMet,
    /// Findings are left, none of which Trimtab can mend itself.
    OnlyForPeople,
    /// Nothing is left whose predicted gain is above the noise.
    NothingWorthIt,
    StepsDone,
    OutOfTime,
    Interrupted,
}

impl Ending {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::GoalsMet => "goals_met",
            Self::OnlyForPeople => "only_for_people",
            Self::NothingWorthIt => "nothing_worth_it",
            Self::StepsDone => "steps_done",
            Self::OutOfTime => "out_of_time",
            Self::Interrupted => "interrupted",
        }
    }

    /// In a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::GoalsMet => {
                "All goals are met: hold back, further changes would buy nothing that was asked for."
            }
            Self::OnlyForPeople => {
                "Goals are missed still, and no finding is left that Trimtab can mend itself."
            }
            Self::NothingWorthIt => {
                "Goals are missed still, and no finding is left whose gain would be above the noise."
            }
            Self::StepsDone => "As many steps as asked for are done.",
            Self::OutOfTime => "The time is used up; goals are missed still.",
            Self::Interrupted => "Interrupted: what was measured so far is kept.",
        }
    }
}

/// What a loop did.
pub struct Outcome {
    pub first: (Recording, Diagnosis),
    /// After the last change that was kept.
    pub last: Option<(Recording, Diagnosis)>,
    pub steps: Vec<Step>,
    pub ending: Ending,
}

/// Whether a person agrees to a change for a finding.
pub type Consent<'a> = &'a dyn Fn(&Finding, &Change) -> bool;

/// One run of the loop.
pub struct Cycle<'a> {
    pub session: &'a mut Session,
    pub journal: &'a Journal,
    pub output: Output,
    pub hands: Hands,
    pub limits: Limits,
    /// Asked before each change; `None`: every change is allowed.
    pub consent: Option<Consent<'a>>,
    /// Changes that are settled: kept, refuted, declined, or unclear twice.
    used: Vec<String>,
    /// All that were tried, those included that may be tried once more.
    tried: Vec<String>,
}

impl<'a> Cycle<'a> {
    pub fn new(
        session: &'a mut Session,
        journal: &'a Journal,
        output: Output,
        hands: Hands,
        limits: Limits,
        consent: Option<Consent<'a>>,
    ) -> Self {
        Self { session, journal, output, hands, limits, consent, used: Vec::new(), tried: Vec::new() }
    }

    /// Runs until a goal state or a limit. Recordings and steps are saved as they come.
    pub async fn run(&mut self) -> Result<Outcome> {
        let first = self.look("measuring").await?;
        self.output.say(&story::goals(&first.1, self.output));
        let mut last: Option<(Recording, Diagnosis)> = None;
        let mut steps: Vec<Step> = Vec::new();
        let mut longest_step = Duration::ZERO;
        let mut longer = false;
        let ending = loop {
            let (recording, diagnosis) = last.as_ref().unwrap_or(&first);
            if let Some(ending) = self.ending(diagnosis, steps.len(), longest_step) {
                break ending;
            }
            let Some((finding, change)) = self.choose(diagnosis) else {
                if let Some(again) = self.look_longer(&mut longer).await? {
                    last = Some(again);
                    continue;
                }
                break if worth_it(diagnosis) { Ending::OnlyForPeople } else { Ending::NothingWorthIt };
            };
            let begun = Instant::now();
            let number = u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1);
            let (step, after) = self.step(number, recording, finding, change).await?;
            steps.push(step);
            last = after.or(last);
            longest_step = longest_step.max(begun.elapsed());
        };
        Ok(Outcome { first, last, steps, ending })
    }

    fn ending(&self, diagnosis: &Diagnosis, steps: usize, longest_step: Duration) -> Option<Ending> {
        if self.session.shutdown.is_triggered() {
            return Some(Ending::Interrupted);
        }
        let measured: Vec<bool> = diagnosis.goals.iter().filter_map(|g| g.met).collect();
        if !measured.is_empty() && measured.iter().all(|met| *met) {
            return Some(Ending::GoalsMet);
        }
        if self.limits.steps.is_some_and(|most| steps >= most as usize) {
            return Some(Ending::StepsDone);
        }
        let late = self.limits.deadline.is_some_and(|deadline| Instant::now() + longest_step > deadline);
        late.then_some(Ending::OutOfTime)
    }

    /// The best finding that can be mended from here, with its change. What was unclear comes again after all others.
    fn choose(&self, diagnosis: &Diagnosis) -> Option<(Finding, Change)> {
        let settings = &self.session.settings;
        let sql_allowed = settings.database.may_change && settings.database.url.is_some();
        let best = |settled: &[String]| {
            diagnosis.findings.iter().filter(|f| is_worth_it(f)).find_map(|finding| {
                let change = control::change_for(finding, &settings.controls, sql_allowed, settled)?;
                Some((finding.clone(), change))
            })
        };
        best(&self.tried).or_else(|| best(&self.used))
    }

    /// One change: applied under a guard, judged, kept or taken back.
    async fn step(
        &mut self,
        number: u32,
        before: &Recording,
        mut finding: Finding,
        change: Change,
    ) -> Result<(Step, Option<(Recording, Diagnosis)>)> {
        let started_ns = clock::now_ns();
        self.output.say(&story::proposal(number, &finding, &change, self.output));
        let allowed = self.consent.is_none_or(|ask| ask(&finding, &change));
        let mut guard = Guard::new(self.hands.clone(), change.clone());
        let tried = if allowed {
            trials::run(self.session, &mut guard, &finding, &change, before).await
        } else {
            Ok(Tried::declined())
        };
        let tried = match tried {
            Ok(tried) => tried,
            Err(error) => {
                guard.revert().await?;
                self.output.warn(&format!("{error:#}"));
                Tried::failed(&error)
            }
        };
        // The step tells of the metric that was judged.
        if let Some(judged) = tried.prediction {
            finding.prediction = Some(judged);
        }
        let kept = tried.judgement.verdict == Verdict::Better;
        // What could not be told gets one more try.
        if tried.judgement.verdict != Verdict::Unclear || !allowed || self.tried.contains(&change.name) {
            self.used.push(change.name.clone());
        }
        self.tried.push(change.name.clone());
        let after = if kept {
            guard.apply().await?;
            guard.keep();
            Some(self.look("measuring again").await?)
        } else {
            guard.revert().await?;
            None
        };
        let step = Step {
            number,
            started_ns,
            finding,
            change,
            judgement: tried.judgement,
            kept,
            recording_before: before.run.id.clone(),
            recording_after: after.as_ref().map(|(recording, _)| recording.run.id.clone()),
        };
        self.journal.append(&step)?;
        self.output.say(&report::text::step(&step, self.output.width, self.output.paint()));
        Ok((step, after))
    }

    /// Before it gives up, the loop looks once more and twice as long: a goal that is missed by little may have been
    /// missed by chance.
    async fn look_longer(&mut self, done: &mut bool) -> Result<Option<(Recording, Diagnosis)>> {
        let usual = self.session.settings.load.duration;
        let late = self.limits.deadline.is_some_and(|deadline| Instant::now() + usual * 2 > deadline);
        if std::mem::replace(done, true) || late {
            return Ok(None);
        }
        self.session.settings.load.duration = usual * 2;
        let looked = self.look("measuring for longer").await;
        self.session.settings.load.duration = usual;
        looked.map(Some)
    }

    /// Measures, saves and judges.
    async fn look(&mut self, what: &str) -> Result<(Recording, Diagnosis)> {
        let folder = self.journal.new_recording(&clock::stamp(clock::now_ns()))?;
        let recording = self.session.measure(&folder, what).await?;
        let diagnosis = diagnose(&recording, &self.session.settings.goals, self.journal);
        if let Err(error) = recording::write_findings(&folder, &diagnosis) {
            self.output.warn(&format!("the findings are not saved: {error:#}"));
        }
        Ok((recording, diagnosis))
    }
}

/// Judges with what past predictions taught.
pub fn diagnose(recording: &Recording, goals: &[model::Goal], journal: &Journal) -> Diagnosis {
    let steps = journal.steps().map(|(steps, _)| steps).unwrap_or_default();
    let options = localize::Options {
        goals: goals.to_vec(),
        calibration: crate::calibration::factors(&steps),
        ..localize::Options::default()
    };
    localize::localize(recording, &options)
}

/// A finding above information with a predicted gain.
fn is_worth_it(finding: &Finding) -> bool {
    finding.prediction.as_ref().is_some_and(|p| p.gain_ms() > 0.0) && finding.severity > model::Severity::Info
}

fn worth_it(diagnosis: &Diagnosis) -> bool {
    diagnosis.findings.iter().any(is_worth_it)
}
