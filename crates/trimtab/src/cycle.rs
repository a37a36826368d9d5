//! The loop: measure, localize, change, verify, keep or take back, again. The same for the demo and for a user's service.
//! What is tried, and in which order, the findings alone decide.

use crate::apply::{Guard, Hands};
use crate::clock;
use crate::commands::Answer;
use crate::control;
use crate::in_force::{self, InForce};
use crate::journal::Journal;
use crate::output::Output;
use crate::session::{self, Session};
use crate::story;
use crate::trials::{self, Tried};
use anyhow::Result;
use model::{Change, Diagnosis, Finding, Recording, Step, Verdict};
use std::path::{Path, PathBuf};
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
    /// What was measured is met, but not every goal could be measured.
    GoalsUnseen,
    /// All goals are met by figures of a load that are not to be used.
    LoadInvalid,
    /// Something broke; what was done until then is told.
    Failed,
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
            Self::GoalsUnseen => "goals_unseen",
            Self::LoadInvalid => "load_invalid",
            Self::Failed => "failed",
        }
    }

    /// In a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::GoalsMet => {
                "All goals are met: hold back, further changes would buy nothing that was asked for."
            }
            Self::OnlyForPeople => {
                "Nothing is left that Trimtab can change itself and has not tried: what is missing still is for people to mend."
            }
            Self::NothingWorthIt => {
                "Goals are missed still, and no finding is left with a gain that would be worth a change."
            }
            Self::StepsDone => "As many steps as asked for are done.",
            Self::OutOfTime => "The time is used up; goals are missed still.",
            Self::Interrupted => "Interrupted: what was measured so far is kept.",
            Self::GoalsUnseen => {
                "Every goal that could be measured is met; the others could not, see the gaps."
            }
            Self::LoadInvalid => {
                "All goals are met, but the load's figures are not to be used: measure on a calmer machine or at a lower rate."
            }
            Self::Failed => "Something broke; what was done until then stands above.",
        }
    }

    /// What the program answers.
    pub fn answer(self) -> Answer {
        match self {
            Self::GoalsMet => Answer::Yes,
            Self::Interrupted | Self::GoalsUnseen | Self::LoadInvalid | Self::Failed => Answer::Unknown,
            Self::OnlyForPeople | Self::NothingWorthIt | Self::StepsDone | Self::OutOfTime => Answer::No,
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

    /// Runs until a goal state or a limit. Recordings and steps are saved as they come. Once a first measurement is
    /// there, whatever breaks ends the loop and not its story.
    pub async fn run(&mut self) -> Result<Outcome> {
        for left in in_force::list(self.journal.folder())? {
            self.output.warn(&format!(
                "`{}` of an earlier run is in force still; `trimtab change --undo` takes it back",
                left.change.name
            ));
        }
        let folder = self.new_recording()?;
        let first = Box::pin(self.look(&folder, "measuring")).await?;
        self.output.say(&story::goals(&first.1, self.output));
        let mut outcome = Outcome { first, last: None, steps: Vec::new(), ending: Ending::Failed };
        match Box::pin(self.go_round(&mut outcome)).await {
            Ok(ending) => outcome.ending = ending,
            Err(error) => self.output.warn(&format!("{error:#}")),
        }
        Ok(outcome)
    }

    async fn go_round(&mut self, outcome: &mut Outcome) -> Result<Ending> {
        let mut longest_step = Duration::ZERO;
        let mut looked_longer = false;
        loop {
            let (recording, diagnosis) = outcome.last.as_ref().unwrap_or(&outcome.first);
            let met = standing(recording, diagnosis);
            if let Some(ending) = self.limit(outcome.steps.len(), longest_step, met.is_some()) {
                return Ok(ending);
            }
            let chosen = if met.is_some() { None } else { self.choose(diagnosis) };
            let Some((finding, change)) = chosen else {
                let ending = met.unwrap_or(if worth_it(diagnosis) {
                    Ending::OnlyForPeople
                } else {
                    Ending::NothingWorthIt
                });
                // A short look met or missed a goal by chance: the last word has a longer one.
                if !std::mem::replace(&mut looked_longer, true)
                    && let Some(again) = self.look_longer().await?
                {
                    outcome.last = Some(again);
                    continue;
                }
                return Ok(ending);
            };
            let begun = Instant::now();
            let number = u32::try_from(outcome.steps.len()).unwrap_or(u32::MAX).saturating_add(1);
            let recording = recording.clone();
            let (step, after) = self.step(number, &recording, finding, change).await?;
            outcome.steps.push(step);
            if let Some(folder) = after {
                looked_longer = false;
                let again = self.look(&folder, "measuring again").await?;
                // What Ctrl-C cut short says nothing of the goals.
                if again.0.run.complete {
                    outcome.last = Some(again);
                }
            }
            longest_step = longest_step.max(begun.elapsed());
        }
    }

    /// Why no further step is begun, whatever is found. What is met needs no further step.
    fn limit(&self, steps: usize, longest_step: Duration, met: bool) -> Option<Ending> {
        if self.session.shutdown.is_triggered() {
            return Some(Ending::Interrupted);
        }
        if met {
            return None;
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
        let sql_allowed = settings.database.may_change == Some(true) && settings.database.takes_indexes();
        let best = |settled: &[String]| {
            diagnosis.findings.iter().filter(|f| is_worth_it(f)).find_map(|finding| {
                let change = control::change_for(finding, &settings.controls, sql_allowed, settled)?;
                Some((finding.clone(), change))
            })
        };
        best(&self.tried).or_else(|| best(&self.used))
    }

    /// One change: applied under a guard, judged, kept or taken back. In the journal before it is kept. Returns the
    /// folder of the measurement that is due where it was kept.
    async fn step(
        &mut self,
        number: u32,
        before: &Recording,
        mut finding: Finding,
        change: Change,
    ) -> Result<(Step, Option<PathBuf>)> {
        let started_ns = clock::now_ns();
        self.output.say(&story::proposal(number, &finding, &change, self.output));
        let allowed = self.consent.is_none_or(|ask| ask(&finding, &change));
        let note = InForce {
            change: change.clone(),
            finding: Some(finding.clone()),
            recording_before: Some(before.run.id.clone()),
            since_ns: started_ns,
        };
        let mut guard = Guard::new(self.hands.clone(), change.clone())
            .noted_in(self.journal.folder().to_path_buf(), note);
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
        let kept = tried.judgement.verdict == Verdict::Better && !self.session.shutdown.is_triggered();
        // What could not be told gets one more try.
        if tried.judgement.verdict != Verdict::Unclear || !allowed || self.tried.contains(&change.name) {
            self.used.push(change.name.clone());
        }
        self.tried.push(change.name.clone());
        let after = if kept { Some(self.new_recording()?) } else { None };
        if kept {
            guard.apply().await?;
        } else {
            guard.revert().await?;
        }
        let step = Step {
            number,
            started_ns,
            finding,
            change,
            judgement: tried.judgement,
            kept,
            recording_before: before.run.id.clone(),
            recording_after: after.as_deref().map(session::id_of),
        };
        self.journal.append(&step)?;
        if kept {
            guard.keep();
        }
        self.output.say(&report::text::step(&step, self.output.width, self.output.paint()));
        Ok((step, after))
    }

    /// Looks once more and twice as long, if there is time.
    async fn look_longer(&mut self) -> Result<Option<(Recording, Diagnosis)>> {
        let usual = self.session.settings.load.duration;
        if self.limits.deadline.is_some_and(|deadline| Instant::now() + usual * 2 > deadline) {
            return Ok(None);
        }
        let folder = self.new_recording()?;
        self.session.settings.load.duration = usual * 2;
        let looked = self.look(&folder, "measuring for longer").await;
        self.session.settings.load.duration = usual;
        looked.map(|looked| looked.0.run.complete.then_some(looked))
    }

    fn new_recording(&self) -> Result<PathBuf> {
        self.journal.new_recording(&clock::stamp(clock::now_ns()))
    }

    /// Measures, saves and judges.
    async fn look(&mut self, folder: &Path, what: &str) -> Result<(Recording, Diagnosis)> {
        let recording = self.session.measure(folder, what).await?;
        let diagnosis = diagnose(&recording, &self.session.settings.goals, self.journal);
        if let Err(error) = recording::write_findings(folder, &diagnosis) {
            self.output.warn(&format!("the findings are not saved: {error:#}"));
        }
        Ok((recording, diagnosis))
    }
}

/// How a measurement ends the loop where no goal is missed; `None` where one is, or where there are none.
fn standing(recording: &Recording, diagnosis: &Diagnosis) -> Option<Ending> {
    let met = |state| diagnosis.goals.iter().filter(|g| g.met == state).count();
    if met(Some(false)) > 0 || met(Some(true)) == 0 {
        return None;
    }
    let usable = recording.run.complete && trials::reasons_against(&recording.run.validity).is_empty();
    Some(match (met(None), usable) {
        (0, true) => Ending::GoalsMet,
        (0, false) => Ending::LoadInvalid,
        _ => Ending::GoalsUnseen,
    })
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
