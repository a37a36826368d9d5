//! Reading a recording. Only `run.json` can make it fail; whatever else is missing or broken becomes a gap that names
//! the file and what is wrong with it, and the rest is read.

use crate::write::{COSTS, FINDINGS, LATENCIES, METRICS, PLANS, PROFILE, REQUESTS, RUN, SCALING, STATEMENTS};
use crate::{FORMAT, disk, metrics, requests, spans_read, table};
use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use model::{
    COSTS_VERSION, Costs, Diagnosis, Gap, PROFILE_VERSION, Plan, Profile, Recording, Run, SCALING_VERSION,
    Scaling,
};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The recording of a folder. One without `run.json` was not finished: it comes with `complete` false and a gap.
///
/// # Errors
/// The folder is no recording, `run.json` cannot be read, or a newer version wrote it.
pub fn read(folder: &Path) -> Result<Recording> {
    read_wanted(folder, None)
}

/// As [`read`], with only those span attributes whose keys are wanted; a key that ends in `.` is a prefix. For judging
/// a large recording: attributes are most of its memory.
///
/// # Errors
/// As [`read`].
pub fn read_wanted(folder: &Path, attributes: Option<&[&str]>) -> Result<Recording> {
    let run = read_run(folder)?;
    let finished = folder.join(RUN).exists();
    let (spans, mut gaps) = spans_read::read_spans(folder, attributes)?;
    let mut recording = Recording { run, spans, ..Recording::default() };
    let mut keep = |signal: &str, file: &Path, error: anyhow::Error| {
        if finished || file.exists() {
            gaps.push(Gap::new(
                signal,
                format!("{} cannot be read: {error:#}", file.display()),
                "that part of the recording is missing; copy the file again or measure again",
            ));
        }
    };
    let at = |name: &str| folder.join(name);
    match columns(&at(METRICS), metrics::decode) {
        Ok(metrics) => recording.metrics = metrics,
        Err(error) => keep("metrics", &at(METRICS), error),
    }
    match columns(&at(LATENCIES), requests::decode_latencies) {
        Ok(latencies) => recording.latencies = latencies,
        Err(error) => keep("load", &at(LATENCIES), error),
    }
    match columns(&at(REQUESTS), requests::decode_requests) {
        Ok(requests) => recording.requests = requests,
        Err(error) => keep("load", &at(REQUESTS), error),
    }
    match json(&at(STATEMENTS)) {
        Ok(statements) => recording.statements = statements,
        Err(error) => keep("statements", &at(STATEMENTS), error),
    }
    if at(COSTS).exists() {
        match costs(&at(COSTS)) {
            Ok(costs) => recording.costs = Some(costs),
            Err(error) => keep("attribution", &at(COSTS), error),
        }
    }
    if at(PROFILE).exists() {
        match profile(&at(PROFILE)) {
            Ok(profile) => recording.profile = Some(profile),
            Err(error) => keep("profile", &at(PROFILE), error),
        }
    }
    for path in plans(folder) {
        match json::<Plan>(&path) {
            Ok(plan) => recording.plans.push(plan),
            Err(error) => keep("plans", &path, error),
        }
    }
    recording.run.gaps.extend(gaps);
    Ok(recording)
}

/// What stepped load showed, where the recording is of one.
///
/// # Errors
/// `levels.json` is there and cannot be read, or a newer version wrote it.
pub fn read_scaling(folder: &Path) -> Result<Option<Scaling>> {
    let path = folder.join(SCALING);
    if !path.exists() {
        return Ok(None);
    }
    let raw: serde_json::Value = json(&path)?;
    let version = raw.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    ensure!(
        version <= u64::from(SCALING_VERSION),
        "{}: field `version` is {version}, this version reads up to {SCALING_VERSION}; use a newer trimtab",
        path.display()
    );
    json(&path).map(Some)
}

/// What the diagnosis found when it was last saved beside the recording, if it was.
///
/// # Errors
/// `findings.json` is there and cannot be read.
pub fn read_findings(folder: &Path) -> Result<Option<Diagnosis>> {
    let path = folder.join(FINDINGS);
    if path.exists() { json(&path).map(Some) } else { Ok(None) }
}

/// `run.json` alone, or what stands for it in an unfinished recording.
///
/// # Errors
/// As [`read`].
pub fn read_run(folder: &Path) -> Result<Run> {
    let path = folder.join(RUN);
    if !path.exists() {
        let any = folder.is_dir() && !spans_read::files(folder)?.is_empty();
        ensure!(any, "{} is no recording: it holds neither run.json nor spans.parquet", folder.display());
        return Ok(unfinished());
    }
    // The format first: a newer one may have other fields.
    let raw: serde_json::Value = json(&path)?;
    let format = raw.get("format").and_then(serde_json::Value::as_u64);
    let format = format.with_context(|| format!("{}: field `format` is missing", path.display()))?;
    ensure!(
        format <= u64::from(FORMAT),
        "{}: field `format` is {format}, this version reads up to {FORMAT}; use a newer trimtab",
        path.display()
    );
    json(&path)
}

fn unfinished() -> Run {
    let gap = Gap::new(
        "traces",
        "the run was not finished: run.json is missing, there are only spans",
        "measure again; these spans can be read, but have no goals, load or metrics beside them",
    );
    Run { format: FORMAT, gaps: vec![gap], ..Run::default() }
}

fn columns<T>(path: &Path, decode: impl Fn(&[RecordBatch]) -> Result<T>) -> Result<T> {
    let bytes = disk::get(path)?;
    table::guarded(|| decode(&table::decode(bytes.into())?))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&disk::get(path)?).with_context(|| format!("cannot read {}", path.display()))
}

/// The version first: a newer one may have other fields.
fn costs(path: &Path) -> Result<Costs> {
    let raw: serde_json::Value = json(path)?;
    let version = raw.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    ensure!(
        version <= u64::from(COSTS_VERSION),
        "field `version` is {version}, this version reads up to {COSTS_VERSION}; use a newer trimtab"
    );
    serde_json::from_value(raw).context("as costs")
}

/// The version first, here as well.
fn profile(path: &Path) -> Result<Profile> {
    let raw: serde_json::Value = json(path)?;
    let version = raw.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
    ensure!(
        version <= u64::from(PROFILE_VERSION),
        "field `version` is {version}, this version reads up to {PROFILE_VERSION}; use a newer trimtab"
    );
    let profile: Profile = serde_json::from_value(raw).context("as a profile")?;
    ensure!(is_tree(&profile), "a node stands before its parent, or names a frame that is not there");
    Ok(profile)
}

/// Files come from anywhere: what walks the tree may trust it.
fn is_tree(profile: &Profile) -> bool {
    let sound = |(at, node): (usize, &model::CallNode)| {
        at == 0 || ((node.parent as usize) < at && (node.frame as usize) < profile.frames.len())
    };
    profile.nodes.iter().enumerate().all(sound)
}

fn plans(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join(PLANS)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}
