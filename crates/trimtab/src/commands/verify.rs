//! `trimtab verify`: what is in force against its prediction, or two recordings, or the last one and a new measurement.

use super::{Answer, Setting};
use crate::apply::{Guard, Hands};
use crate::args::VerifyArgs;
use crate::clock;
use crate::cycle;
use crate::in_force::{self, InForce};
use crate::profiling::Wanted;
use crate::promised;
use crate::session::{self, Session};
use crate::settings::Settings;
use crate::trials::{self, one_after_the_other, reasons_against};
use anyhow::{Context, Result, bail, ensure};
use model::{Change, ChangeKind, Design, Finding, Judgement, Prediction, Recording, Step, Trial, Verdict};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Differences that do not matter, where neither flag nor settings say.
const TOLERANCE: f64 = 0.05;

pub(super) async fn run(setting: &Setting, args: &VerifyArgs) -> Result<Answer> {
    if args.tolerance.is_some_and(|share| !(share > 0.0 && share < 1.0)) {
        bail!("--tolerance is {:?}, expected a share between 0 and 1", args.tolerance.unwrap_or_default());
    }
    let judgement = match args.recordings.as_slice() {
        [before, after] => {
            let folders = [before.as_path(), after.as_path()];
            let (before, after) = (super::read_recording(before)?, super::read_recording(after)?);
            by_hand(setting, folders, (&before, &after), args.tolerance.unwrap_or(TOLERANCE))?
        }
        [] if args.aa => return nothing_changed(setting, args).await,
        [] => Box::pin(measured(setting, args)).await?,
        _ => bail!("give two recordings, the older first, or none"),
    };
    show(setting, &judgement)?;
    Ok(match judgement.verdict {
        Verdict::Better => Answer::Yes,
        Verdict::Worse | Verdict::Same => Answer::No,
        Verdict::Unclear => Answer::Unknown,
    })
}

fn settings(setting: &Setting, args: &VerifyArgs) -> Result<Settings> {
    let mut settings = setting.settings(&args.load)?;
    if let Some(tolerance) = args.tolerance {
        settings.verify.tolerance = tolerance;
    }
    Ok(settings)
}

async fn open(setting: &Setting, settings: Settings) -> Result<Session> {
    let receiver = session::open_receiver(&settings).await?;
    let session = Session::open(settings, receiver, setting.output, setting.shutdown.clone()).await?;
    session.check_target().await?;
    Ok(session)
}

/// Both arms are the service as it is: whatever differs is noise. A false alarm is a no.
async fn nothing_changed(setting: &Setting, args: &VerifyArgs) -> Result<Answer> {
    let mut session = open(setting, settings(setting, args)?).await?;
    let trial = trials::of_nothing(&mut session).await?;
    let options =
        verify::Options { tolerance: session.settings.verify.tolerance, ..verify::Options::default() };
    let judgement = verify::judge(&trial, &options);
    let noise = verify::noise(&trial, &options, session.settings.load.seed);
    let summary = noise
        .as_ref()
        .map_or("too few requests to tell this machine's noise; measure for longer", |n| n.summary.as_str());
    if setting.output.json() {
        let mut told: serde_json::Value = serde_json::from_str(&report::judgement_json(&judgement))?;
        told["noise"] = json!(summary);
        setting.output.result(&serde_json::to_string_pretty(&told)?);
    } else {
        setting.output.result(&report::text::judgement(&judgement));
        setting.output.result(summary);
    }
    let alarm = judgement.metrics.iter().any(|m| matches!(m.verdict, Verdict::Better | Verdict::Worse));
    Ok(if noise.is_some() { Answer::of(!alarm) } else { Answer::Unknown })
}

/// The change in force where there is one, else the last recording, against a measurement that is made now.
async fn measured(setting: &Setting, args: &VerifyArgs) -> Result<Judgement> {
    let settings = settings(setting, args)?;
    let journal = setting.journal();
    let noted = in_force::list(journal.folder())?.pop();
    let folder = match noted.as_ref().and_then(|noted| noted.recording_before.as_ref()) {
        Some(id) => journal.folder().join("recordings").join(id),
        None => journal
            .last_recording()
            .context("no recording to compare with; `trimtab measure` before the change makes one")?,
    };
    ensure!(
        recording::read_scaling(&folder)?.is_none(),
        "the last recording, {}, is of stepped load: run `trimtab measure` at the usual load before the change, or name two recordings",
        folder.display()
    );
    let before = super::read_recording(&folder)?;
    let mut session = open(setting, settings).await?;
    if let Some(noted) = noted
        && let Some(finding) = noted.finding.clone()
    {
        return Box::pin(of_change(setting, &mut session, noted, finding, (&before, Refuted::Stays))).await;
    }
    // The same instruments, so that what one of them found can be looked for again.
    session.profile = if before.profile.is_some() { Wanted::IfPossible } else { Wanted::No };
    let (folder_after, after) = again(setting, &mut session).await?;
    by_hand(setting, [&folder, &folder_after], (&before, &after), session.settings.verify.tolerance)
}

/// A change that was made outside of Trimtab, against what the findings before it promised.
fn by_hand(
    setting: &Setting,
    folders: [&Path; 2],
    (before, after): (&Recording, &Recording),
    tolerance: f64,
) -> Result<Judgement> {
    let mut judgement = sequential(before, after, None, tolerance)?;
    if !differences(before, after).is_empty() {
        return Ok(judgement);
    }
    let [promised_before, left] = [(folders[0], before), (folders[1], after)].map(|(folder, recording)| {
        recording::read_findings(folder).ok().flatten().unwrap_or_else(|| {
            let goals: Vec<_> = recording.run.goals.iter().filter_map(|goal| goal.parse().ok()).collect();
            cycle::diagnose(recording, &goals, &setting.journal())
        })
    });
    promised::hold(&promised_before, &left, tolerance, &mut judgement);
    Ok(judgement)
}

/// What becomes of a change that is not better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refuted {
    Stays,
    IsTakenBack,
}

/// Measures what was just put in force against its prediction. What is not better is taken back.
pub(super) async fn prove(setting: &Setting, settings: Settings, noted: InForce) -> Result<Judgement> {
    let id = noted.recording_before.as_ref().context("no recording from before the change")?;
    let before = super::read_recording(&setting.journal().folder().join("recordings").join(id))?;
    let finding = noted.finding.clone().context("the change belongs to no finding")?;
    let mut session = open(setting, settings).await?;
    Box::pin(of_change(setting, &mut session, noted, finding, (&before, Refuted::IsTakenBack))).await
}

async fn again(setting: &Setting, session: &mut Session) -> Result<(PathBuf, Recording)> {
    let folder = setting.journal().new_recording(&clock::stamp(clock::now_ns()))?;
    let recording = session.measure(&folder, "measuring").await?;
    let diagnosis = cycle::diagnose(&recording, &session.settings.goals, &setting.journal());
    super::save_findings(setting, &folder, &diagnosis);
    Ok((folder, recording))
}

/// A change that `trimtab change` made, against its prediction: in turns with the old form where it can be switched
/// while the service runs. It goes into the journal; one that is better is settled, any other waits for its undo.
async fn of_change(
    setting: &Setting,
    session: &mut Session,
    noted: InForce,
    mut finding: Finding,
    (before, refuted): (&Recording, Refuted),
) -> Result<Judgement> {
    let journal = setting.journal();
    let hands = hands(&session.settings);
    let change = noted.change.clone();
    let started_ns = clock::now_ns();
    let mut guard =
        Guard::new(hands, change.clone()).noted_in(journal.folder().to_path_buf(), noted).in_force();
    let (judgement, after) = if change.toggles_at_run_time() {
        let tried = trials::run(session, &mut guard, &finding, &change, before).await?;
        finding.prediction = tried.prediction.or(finding.prediction);
        guard.apply().await?;
        (tried.judgement, None)
    } else {
        let (folder, after) = again(setting, session).await?;
        let trial = trial(before, &after)?;
        finding.prediction = finding.prediction.as_ref().map(|p| trials::judgeable(p, &trial));
        let tolerance = session.settings.verify.tolerance;
        (sequential(before, &after, finding.prediction.as_ref(), tolerance)?, Some(folder))
    };
    let kept = judgement.verdict == Verdict::Better;
    let step = Step {
        number: u32::try_from(journal.steps()?.0.len()).unwrap_or(u32::MAX).saturating_add(1),
        started_ns,
        finding,
        change,
        judgement: judgement.clone(),
        kept,
        recording_before: before.run.id.clone(),
        recording_after: after.as_deref().map(session::id_of),
    };
    journal.append(&step)?;
    let not_better = matches!(judgement.verdict, Verdict::Worse | Verdict::Same);
    if kept {
        guard.keep();
    } else if not_better && refuted == Refuted::IsTakenBack {
        guard.revert().await?;
    } else if refuted == Refuted::IsTakenBack {
        guard.leave();
    } else {
        guard.leave();
        setting.output.say("The change is in force still; `trimtab change --undo` takes it back.");
    }
    Ok(judgement)
}

fn hands(settings: &Settings) -> Hands {
    Hands { service_url: settings.scenario.base_url.clone(), database_url: settings.database.url.clone() }
}

/// Two recordings, one after the other. What differs beside the change gives no verdict.
fn sequential(
    before: &Recording,
    after: &Recording,
    prediction: Option<&Prediction>,
    tolerance: f64,
) -> Result<Judgement> {
    let mut trial = trial(before, after)?;
    trial.prediction = prediction.cloned();
    let judgement = verify::judge(&trial, &verify::Options { tolerance, ..verify::Options::default() });
    Ok(unlike(before, after, judgement))
}

/// Unclear where the runs cannot be compared.
fn unlike(before: &Recording, after: &Recording, mut judgement: Judgement) -> Judgement {
    let reasons = differences(before, after);
    if !reasons.is_empty() {
        judgement.verdict = Verdict::Unclear;
        judgement.prediction_held = None;
        judgement.reasons.splice(0..0, reasons);
    }
    judgement
}

/// Why two runs cannot be compared: other load, another machine, cut short, or arrivals that never started.
fn differences(before: &Recording, after: &Recording) -> Vec<String> {
    let mut reasons = Vec::new();
    for (recording, name) in [(before, "the run before"), (after, "the run after")] {
        if !recording.run.complete {
            reasons.push(format!("{name} was ended early"));
        }
        reasons.extend(reasons_against(&recording.run.validity));
    }
    let rates = [before, after].map(offered_per_s);
    if (rates[0] / rates[1]).ln().abs() > MAX_RATE_DIFFERENCE.ln() {
        reasons.push(format!(
            "the loads differ: {:.1} requests per second before, {:.1} after; measure both at one rate",
            rates[0], rates[1]
        ));
    }
    if before.run.environment.cpus != after.run.environment.cpus {
        reasons.push("the runs were made on machines with different numbers of CPUs".to_owned());
    }
    reasons
}

/// Rates of two runs may differ by chance; beyond this factor they are not the same load.
const MAX_RATE_DIFFERENCE: f64 = 1.25;

fn offered_per_s(recording: &Recording) -> f64 {
    let responses: u64 = recording.latencies.iter().map(|cell| cell.response.count()).sum();
    responses as f64 / recording.run.seconds().max(f64::MIN_POSITIVE)
}

/// Two recordings as a sequential trial; operations are matched by name.
fn trial(before: &Recording, after: &Recording) -> Result<Trial> {
    if before.run.cell_ms != after.run.cell_ms {
        bail!(
            "the recordings have cells of {} and {} ms and cannot be compared",
            before.run.cell_ms,
            after.run.cell_ms
        );
    }
    let operations = after.run.operations.clone();
    let matched: Vec<model::LatencyCell> = before
        .latencies
        .iter()
        .filter_map(|cell| {
            let name = before.run.operations.get(cell.operation as usize)?;
            let at = operations.iter().position(|o| o == name)?;
            Some(model::LatencyCell { operation: u32::try_from(at).ok()?, ..cell.clone() })
        })
        .collect();
    if matched.is_empty() || after.latencies.is_empty() {
        bail!("the recordings have no load on the same operation, so there is nothing to compare");
    }
    let (cells, windows) = one_after_the_other(&matched, &after.latencies);
    let cells_of_one = windows.first().map_or(0, |window| window.to_cell - window.from_cell);
    Ok(Trial {
        change: Change {
            name: "change".to_owned(),
            description: format!("what was changed between {} and {}", before.run.id, after.run.id),
            kind: ChangeKind::Manual { text: "made outside of Trimtab".to_owned() },
        },
        prediction: None,
        design: Design::Sequential,
        window_s: f64::from(cells_of_one) * f64::from(before.run.cell_ms) / 1e3,
        operations: verify::pair_up(&cells, &operations, &windows),
    })
}

fn show(setting: &Setting, judgement: &Judgement) -> Result<()> {
    if setting.output.json() {
        setting.output.result(&report::judgement_json(judgement));
    } else {
        setting.output.result(&report::text::judgement(judgement));
    }
    Ok(())
}
