//! `trimtab measure --levels`: stepped load, its curve and knee, what is full first, replicas for a rate.

use super::{Answer, Setting};
use crate::args::MeasureArgs;
use crate::process::Running;
use crate::session::{Session, Stepping};
use crate::window;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use model::{Level, LevelKind, LimitKind, Recording, Scaling};
use scalability::plan::{MAX_LEVELS, Plan};
use std::path::Path;
use std::time::Duration;

/// Seconds of one level where nobody says.
const LEVEL_S: f64 = 15.0;
/// A level needs cells to tell its settling and its error from.
const LEAST_LEVEL_S: f64 = 5.0;
const MOST_RATE: f64 = 1e6;
const MOST_USERS: f64 = 10_000.0;

/// What was typed for stepped load.
#[derive(Debug, Default, Args)]
pub struct LevelFlags {
    /// Stepped load: rates like 10,20,40,80, or `auto`; finds the knee and what is full first
    #[arg(long, value_name = "auto|RATES", num_args = 0..=1, default_missing_value = "auto")]
    levels: Option<String>,
    /// The levels are users that wait for their answers, not arrivals per second
    #[arg(long, requires = "levels")]
    closed: bool,
    /// Seconds of each level [default: 15]
    #[arg(long, value_name = "SECONDS", requires = "levels")]
    level_duration: Option<f64>,
    /// How many replicas this rate needs
    #[arg(long, value_name = "PER_SECOND", requires = "levels")]
    for_rate: Option<f64>,
}

impl LevelFlags {
    pub fn wanted(&self) -> bool {
        self.levels.is_some()
    }

    fn stepping(&self, session: &Session) -> Result<Stepping> {
        let text = self.levels.as_deref().unwrap_or("auto");
        let users = self.closed || (text == "auto" && session.settings.load.users.is_some());
        let kind = if users { LevelKind::Users } else { LevelKind::Rate };
        let levels = levels(text, kind)?;
        let seconds = self.level_duration.unwrap_or(LEVEL_S);
        ensure!(
            seconds >= LEAST_LEVEL_S,
            "--level-duration: {seconds} s is too short, a level takes at least {LEAST_LEVEL_S} s"
        );
        let length = Duration::try_from_secs_f64(seconds)
            .with_context(|| format!("--level-duration: {seconds} is no number of seconds"))?;
        if let Some(rate) = self.for_rate {
            ensure!(rate > 0.0 && rate.is_finite(), "--for-rate: {rate} is no rate above 0");
        }
        let goals = session.settings.goals.clone();
        Ok(Stepping { plan: Plan { kind, levels, goals }, length, for_rate: self.for_rate })
    }
}

/// Ascending, each once; empty for `auto`.
fn levels(text: &str, kind: LevelKind) -> Result<Vec<f64>> {
    if text == "auto" {
        return Ok(Vec::new());
    }
    let most = if kind == LevelKind::Rate { MOST_RATE } else { MOST_USERS };
    let mut levels = Vec::new();
    for part in text.split(',') {
        let number: f64 = part.trim().parse().with_context(|| {
            format!("--levels: `{part}` is no number; give rates like 10,20,40,80, or auto")
        })?;
        ensure!(number > 0.0 && number <= most, "--levels: {number} is not above 0 and up to {most}");
        if kind == LevelKind::Users && number.fract().abs() > 0.0 {
            bail!("--levels: {number} is no number of users");
        }
        levels.push(number);
    }
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    ensure!(
        levels.len() <= MAX_LEVELS,
        "--levels: {} levels, at most {MAX_LEVELS} are measured",
        levels.len()
    );
    Ok(levels)
}

pub(super) async fn run(
    setting: &Setting,
    args: &MeasureArgs,
    session: &mut Session,
    service: Option<Running>,
) -> Result<Answer> {
    let stepping = args.stepped.stepping(session)?;
    let mut service = service;
    let folder = super::measure::ready(setting, args, session, service.as_mut()).await?;
    let output = setting.output;
    let told = |at: usize, level: &Level| {
        if at == 0 {
            output.say(&report::text::level_titles());
        }
        output.say(&report::text::level(level));
    };
    let measured = session.measure_levels(&folder, &stepping, &told).await;
    if let Some(running) = service {
        running.stop().await;
    }
    let (mut recording, scaling) = measured?;
    if folder.join("run.json").is_file()
        && let Err(error) = recording::write_scaling(&folder, &scaling)
    {
        output.warn(&format!("what the levels showed is not saved: {error:#}"));
    }
    cut(&mut recording, &scaling);
    let diagnosis = crate::cycle::diagnose(&recording, &session.settings.goals, &setting.journal());
    super::save_findings(setting, &folder, &diagnosis);
    if output.json() {
        output.result(&report::scaling_json(&scaling));
    } else {
        output.result(&report::text::scaling(&scaling, output.width, output.paint()));
        output.result(&output.dim(&format!(
            "Recording: {}. `trimtab report` draws it; `trimtab localize` judges its reference level.",
            folder.display()
        )));
    }
    Ok(answer(&scaling))
}

/// Yes: it is known what the service answers. No: no level meets the goals, or no replicas are enough for the rate.
fn answer(scaling: &Scaling) -> Answer {
    let missed = scaling.goal_rate.as_ref().is_some_and(|g| g.rate.is_none());
    let too_much = scaling.replicas.as_ref().is_some_and(|r| r.count.is_none());
    let nothing = scaling.reference.is_none();
    if nothing || matches!(scaling.limit.kind, LimitKind::Generator | LimitKind::Machine) {
        Answer::Unknown
    } else if missed || too_much {
        Answer::No
    } else {
        Answer::Yes
    }
}

/// A recording of stepped load is judged at its reference level. One whose `levels.json` is damaged stays whole.
pub(super) fn cut_to_reference(folder: &Path, recording: &mut Recording) {
    match recording::read_scaling(folder) {
        Ok(Some(scaling)) => cut(recording, &scaling),
        Ok(None) => {}
        Err(error) => recording.run.gaps.push(model::Gap::new(
            "load",
            format!("{error:#}"),
            "the levels of this recording are judged as one; measure again",
        )),
    }
}

fn cut(recording: &mut Recording, scaling: &Scaling) {
    let level = scaling.reference.and_then(|at| scaling.levels.get(at as usize));
    if let Some(level) = level {
        window::cut_to_level(recording, level.start_ns, level.end_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_sorted_rates_or_found() {
        assert_eq!(levels("40, 10,20,10", LevelKind::Rate).expect("levels"), [10.0, 20.0, 40.0]);
        assert!(levels("auto", LevelKind::Users).expect("levels").is_empty());
    }

    #[test]
    fn what_is_no_level_is_named() {
        for (text, kind, part) in [
            ("10,x", LevelKind::Rate, "`x` is no number"),
            ("0", LevelKind::Rate, "0 is not above 0"),
            ("-5", LevelKind::Rate, "-5"),
            ("inf", LevelKind::Rate, "inf"),
            ("NaN", LevelKind::Rate, "NaN"),
            ("1.5", LevelKind::Users, "no number of users"),
            ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", LevelKind::Users, "17 levels"),
        ] {
            let error = format!("{:#}", levels(text, kind).expect_err(text));
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
