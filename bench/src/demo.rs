//! The demo, several times with other seeds: does it reach its goals, how long does it take, was its first change a
//! large one, and does it leave a process behind.

use crate::args::{DemoArgs, PROGRAM};
use crate::figures::{Cell, Figures, Target, median};
use crate::process;
use anyhow::{Context, Result};
use model::{Step, Verdict};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use serde::Deserialize;
use std::path::Path;
use std::time::{Duration, Instant};
use trimtab::output;

/// Of all runs, so many reach the goals.
const GOALS_MET_SHARE: f64 = 0.9;
/// The first change is among so many with the largest actual effect.
const LARGEST: usize = 2;
/// The demo ends by itself.
const MAX_SECONDS: f64 = 180.0;
/// Processes that are ending get so long to end.
const GRACE: Duration = Duration::from_secs(3);

/// What the demo prints.
#[derive(Deserialize)]
struct Told {
    ending: String,
    steps: Vec<Step>,
}

struct Run {
    seed: u64,
    ending: String,
    seconds: f64,
    steps: usize,
    kept: usize,
    first: Option<First>,
    left: usize,
}

struct First {
    name: String,
    /// What its trial judged: a p95, or a median where there were few requests.
    metric: String,
    gain_ms: f64,
    /// 1: the largest actual gain of the run.
    rank: usize,
}

pub(crate) fn run(args: &DemoArgs) -> Result<Figures> {
    // Whoever loses its parent becomes a child of ours: so nobody that is left behind is overlooked.
    set_child_subreaper(Some(rustix::process::getpid())).context("cannot adopt orphaned processes")?;
    let mut runs = Vec::new();
    for n in 0..args.runs.max(1) {
        runs.push(once(args, args.seed + n)?);
    }
    let count = runs.len() as f64;
    let goals = runs.iter().filter(|run| run.ending == "goals_met").count() as f64;
    let firsts: Vec<&First> = runs.iter().filter_map(|run| run.first.as_ref()).collect();
    let large = firsts.iter().filter(|first| first.rank <= LARGEST).count() as f64;
    let seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
    let longest = seconds.iter().copied().fold(0.0, f64::max);
    let left = runs.iter().map(|run| run.left).sum::<usize>() as f64;
    Ok(Figures {
        name: "demo",
        title: format!(
            "{count} runs of the demo, seeds {} to {}.",
            args.seed,
            args.seed + args.runs.max(1) - 1
        ),
        columns: &[
            "seed",
            "ended with",
            "seconds",
            "changes",
            "kept",
            "first change",
            "judged by",
            "its gain ms",
            "rank of its gain",
            "left behind",
        ],
        rows: runs.iter().map(row).collect(),
        targets: vec![
            Target::at_least("share of runs that reach the goals", Some(goals / count), GOALS_MET_SHARE, 2),
            Target::at_least(
                &format!("share of first changes among the {LARGEST} with the largest actual effect"),
                (!firsts.is_empty()).then(|| large / firsts.len() as f64),
                1.0,
                2,
            ),
            Target::at_most("seconds of the longest run", Some(longest), MAX_SECONDS, 0),
            Target::at_most("processes left behind", Some(left), 0.0, 0),
        ],
        notes: vec![
            format!("seconds, median: {:.0}", median(&seconds).unwrap_or(f64::NAN)),
            "a gain is what the trial measured on the metric that it judged; gains that are unclear have no rank"
                .to_owned(),
        ],
    })
}

fn row(run: &Run) -> Vec<Cell> {
    let first = run.first.as_ref();
    vec![
        Cell::text(run.seed.to_string()),
        Cell::text(run.ending.clone()),
        Cell::number(run.seconds, 0),
        Cell::number(run.steps as f64, 0),
        Cell::number(run.kept as f64, 0),
        first.map_or(Cell::Missing, |first| Cell::text(first.name.clone())),
        first.map_or(Cell::Missing, |first| Cell::text(first.metric.clone())),
        Cell::maybe(first.map(|first| first.gain_ms), 1),
        Cell::maybe(first.map(|first| first.rank as f64), 0),
        Cell::number(run.left as f64, 0),
    ]
}

fn once(args: &DemoArgs, seed: u64) -> Result<Run> {
    let folder = tempfile::tempdir().context("could not make a folder")?;
    let report = folder.path().join("report.html").to_string_lossy().into_owned();
    let seed_word = seed.to_string();
    let mut words = ["--quiet", "--format", "json", "demo", "--seed", &seed_word, "--report", &report]
        .map(str::to_owned)
        .to_vec();
    words.extend(args.offline.then(|| "--offline".to_owned()));
    words.extend(args.steps.iter().flat_map(|n| ["--steps".to_owned(), n.to_string()]));
    let itself = std::env::current_exe().context("could not find this program's own file")?;
    let program: &Path = match &args.program {
        Some(program) => program,
        None => {
            words.insert(0, PROGRAM.to_owned());
            &itself
        }
    };
    let begun = Instant::now();
    let ran = process::run(program, &words)?;
    let seconds = begun.elapsed().as_secs_f64();
    let left = left_behind();
    let told: Option<Told> = serde_json::from_slice(&ran.stdout).ok();
    let ending = told.as_ref().map_or_else(|| format!("broken: {}", ran.status), |t| t.ending.clone());
    let steps = told.map(|told| told.steps).unwrap_or_default();
    Ok(Run {
        seed,
        ending,
        seconds,
        steps: steps.len(),
        kept: steps.iter().filter(|step| step.kept).count(),
        first: first(&steps),
        left,
    })
}

/// The first change and where its actual gain stands among those of all steps.
fn first(steps: &[Step]) -> Option<First> {
    let gains: Vec<Option<(&str, f64)>> = steps.iter().map(gain_ms).collect();
    let first = steps.first()?;
    let (metric, own) = gains.first().copied().flatten().unwrap_or(("none", f64::NEG_INFINITY));
    let gains = gains.iter().flatten().map(|(_, gain)| gain);
    Some(First {
        name: first.change.name.clone(),
        metric: metric.to_owned(),
        gain_ms: own,
        rank: 1 + gains.filter(|gain| **gain > own).count(),
    })
}

/// The metric that the step's trial judged, and the milliseconds that came off it; `None` where that is unclear.
fn gain_ms(step: &Step) -> Option<(&str, f64)> {
    let metric = &step.finding.prediction.as_ref()?.metric;
    let actual = step.judgement.metrics.iter().find(|m| m.metric == *metric)?;
    let clear = step.judgement.verdict != Verdict::Unclear;
    clear.then_some((metric.as_str(), actual.before_ms - actual.after_ms))
}

/// Counts the processes that the run left to us, and ends them.
fn left_behind() -> usize {
    let deadline = Instant::now() + GRACE;
    loop {
        // Who has ended is reaped and does not count; an error means that there is nobody.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left = children();
        if left.is_empty() || Instant::now() >= deadline {
            for pid in &left {
                if let Err(error) = kill_process(*pid, Signal::KILL) {
                    output::alarm(&format!("process {} cannot be ended: {error}", pid.as_raw_nonzero()));
                }
            }
            return left.len();
        }
        std::thread::yield_now();
    }
}

/// The processes whose parent we are.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            if parent == own { Pid::from_raw(pid) } else { None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a step that counts here, in the shape that the demo prints.
    fn step(name: &str, before_ms: f64, after_ms: f64) -> Step {
        let text = format!(
            r#"{{ "number": 1, "started_ns": 0, "kept": true, "recording_before": "a", "recording_after": null,
            "change": {{ "name": "{name}", "description": "", "kind": {{ "kind": "manual", "text": "" }} }},
            "finding": {{ "rule": "n_plus_one", "severity": "warning", "fingerprint": "v1:0", "title": "", "service": "",
              "endpoint": "GET /", "place": {{}}, "remedies": [], "confidence": 1.0,
              "evidence": {{ "lines": [], "trace_ids": [], "traces": 0, "traces_of": 0, "span_ids": [] }},
              "prediction": {{ "metric": "p95(GET /)", "before_ms": 1.0, "after_ms": 1.0, "low_ms": 1.0, "high_ms": 1.0,
                "grade": "B", "assumption": "", "quantiles": [] }} }},
            "judgement": {{ "version": 1, "verdict": "better", "metric": "", "prediction_held": null, "reasons": [],
              "metrics": [{{ "metric": "p95(GET /)", "operation": "GET /", "quantile": 0.95, "before_ms": {before_ms},
                "after_ms": {after_ms}, "ratio": 1.0, "low": 1.0, "high": 1.0, "detectable": 0.1, "verdict": "better",
                "requests_before": 1, "requests_after": 1 }}] }} }}"#
        );
        serde_json::from_str(&text).expect("a step")
    }

    #[test]
    fn the_first_change_is_ranked_by_what_it_gained() {
        let found =
            first(&[step("a", 100.0, 60.0), step("b", 90.0, 10.0), step("c", 9.0, 10.0)]).expect("one");
        assert_eq!((found.name.as_str(), found.rank), ("a", 2));
        assert!((found.gain_ms - 40.0).abs() < 1e-9);
        assert!(first(&[]).is_none());
    }
}
