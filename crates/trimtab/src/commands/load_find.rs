//! `trimtab load find`: the highest rate that meets the goals.

use super::{Answer, Setting};
use crate::args::LoadFindArgs;
use crate::clock;
use crate::full::{Used, Witness};
use crate::one_request;
use crate::session;
use crate::settings::Settings;
use anyhow::{Context, Result, ensure};
use load::find::{FindOptions, Range, capacity_json, capacity_text, find, window_text};
use load::{Clock, Pace};
use model::{Goal, GoalMetric};
use std::time::{Duration, Instant};

/// Of a URL, where no rate is given: requests per second.
const FIRST_RATE: f64 = 10.0;

pub(super) async fn run(setting: &Setting, args: &LoadFindArgs) -> Result<Answer> {
    let file = args.file.as_ref().unwrap_or(&setting.common.config);
    let pace = (args.load.rate.or(args.start).or(Some(FIRST_RATE)), None);
    let settings = one_request::settings(file, &args.request, pace, &setting.environment, &args.load)?;
    ensure!(
        settings.load.workloads.is_empty(),
        "{}: [[load.scenario]]: load find looks for one rate, name a file with load.rate",
        file.display()
    );
    let goals = goals(&args.goals, &settings)?;
    let options = FindOptions {
        goals,
        range: Range {
            start: args.start.unwrap_or(settings.load.rate),
            most: args.most,
            precision: args.precision,
        },
        window: seconds(args.window, "--window")?,
        budget: seconds(args.budget, "--budget")?,
        spacing: settings.load.arrivals,
    };
    check(&options)?;
    session::check_target(&settings).await?;
    let mut witness = Witness::of(&settings.scenario.base_url);
    let mut too_much: Option<(f64, Used)> = None;
    let told = |window: &load::find::Window| {
        setting.output.say(&window_text(window));
        let used = witness.as_mut().map(Witness::look);
        let lower = too_much.as_ref().is_none_or(|(rate, _)| window.rate < *rate);
        if let Some(used) = used.filter(|_| !window.met && lower) {
            too_much = Some((window.rate, used));
        }
    };
    let base = base(&settings, &options);
    let capacity = Box::pin(find(&settings.scenario, &base, &options, &setting.shutdown, told)).await?;
    if setting.output.json() {
        let mut json = capacity_json(&capacity);
        json["used"] = too_much.map_or(serde_json::Value::Null, |(rate, used)| used.json(rate));
        setting.output.result(&serde_json::to_string_pretty(&json)?);
    } else {
        let full = too_much.map(|(rate, used)| format!("  at {rate:.1}/s {}\n", used.sentence()));
        setting.output.result(&format!("\n{}{}", capacity_text(&capacity), full.unwrap_or_default()));
    }
    Ok(match (capacity.bracket.met, capacity.bracket.missed) {
        (Some(_), _) => Answer::Yes,
        (None, Some(_)) => Answer::No,
        (None, None) => Answer::Unknown,
    })
}

fn base(settings: &Settings, options: &FindOptions) -> load::Options {
    let load = &settings.load;
    let now = Clock { unix_ns: clock::now_ns(), at: Instant::now() };
    let pace = Pace::constant(options.range.start, load.arrivals);
    let mut base = load::Options::new(pace, options.window, load.seed, now);
    base.timeout = load.timeout;
    session::connect_as_set(&mut base, load);
    base
}

fn check(options: &FindOptions) -> Result<()> {
    let range = &options.range;
    ensure!(range.start > 0.0 && range.start.is_finite(), "--start: {} is no rate above 0", range.start);
    ensure!(
        range.most >= range.start && range.most <= 1e6,
        "--most: {} is not between --start ({}) and a million",
        range.most,
        range.start
    );
    ensure!((0.005..=1.0).contains(&range.precision), "--precision: {} is not 0.005 to 1", range.precision);
    ensure!(options.window >= Duration::from_secs(1), "--window: a window takes at least 1 s");
    Ok(())
}

fn seconds(number: f64, flag: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(number).with_context(|| format!("{flag}: {number} is no number of seconds"))
}

/// From the flags, else those of the settings that the load sees.
fn goals(written: &[String], settings: &Settings) -> Result<Vec<Goal>> {
    let mut goals = Vec::new();
    for text in written {
        goals.push(with_subject(text).parse::<Goal>().with_context(|| format!("--goal `{text}`"))?);
    }
    if goals.is_empty() {
        let seen = |goal: &&Goal| {
            matches!(goal.metric, GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Errors)
        };
        goals.extend(settings.goals.iter().filter(seen).cloned());
    }
    ensure!(!goals.is_empty(), "no goal: give one like --goal \"p95 < 250 ms\"");
    Ok(goals)
}

/// `p95 < 250 ms` means every endpoint.
fn with_subject(text: &str) -> String {
    match text.find(['<', '>', '(']) {
        Some(at) if !text[at..].starts_with('(') => format!("{}(*) {}", text[..at].trim(), &text[at..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_without_a_subject_means_every_endpoint() {
        assert_eq!(
            with_subject("p95 < 250 ms").parse::<Goal>().expect("goal").to_string(),
            "p95(*) < 250 ms"
        );
        assert_eq!(with_subject("p95(GET /a) < 1 s"), "p95(GET /a) < 1 s");
        assert_eq!(with_subject("nonsense"), "nonsense");
    }
}
