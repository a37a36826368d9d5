//! Profiles as text, for tests of the rules: a line is an endpoint (or `-`), a state, milliseconds over the whole run,
//! and frames `kind:function@file:line`, outermost first; `= NAME REQUESTS MS` tells an endpoint's response times.

use crate::testing::lines;
use crate::{Options, localize};
use expect_test::Expect;
use model::{
    CallNode, CodeFrame, CodeKind, LatencyCell, OperationTime, PROFILE_VERSION, Profile, Recording,
    ThreadGroup, states,
};

/// A recording of ten seconds with nothing but this profile and its load.
pub(super) fn profiled(text: &str) -> Recording {
    let mut recording = Recording::default();
    recording.run.environment.cpus = 4;
    recording.run.end_ns = 10_000_000_000;
    let mut profile = Profile {
        version: PROFILE_VERSION,
        title: "server".into(),
        wall_ms: 10_000.0,
        nodes: vec![CallNode::default()],
        ..Profile::default()
    };
    let rows = || text.lines().map(str::trim).filter(|l| !l.is_empty());
    for (operation, row) in (0..).zip(rows().filter_map(|l| l.strip_prefix("= "))) {
        let fields: Vec<&str> = row.rsplitn(3, ' ').collect();
        let (ms, requests): (f64, u32) =
            (fields[0].parse().expect("ms"), fields[1].parse().expect("requests"));
        let mut cell = LatencyCell { operation, ..LatencyCell::default() };
        (0..requests).for_each(|_| cell.response.record((ms * 1e6) as u64));
        recording.latencies.push(cell);
        recording.run.operations.push(fields[2].to_owned());
        profile.operations.push(fields[2].to_owned());
        profile.times.push(OperationTime { requests: f64::from(requests), cpu_ms: None });
    }
    let width = profile.operations.len() + 1;
    let unit = |at: usize| (0..width).map(|o| if o == at { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    profile.splits = std::iter::once(unit(width - 1)).chain((0..width).map(unit)).collect();
    for row in rows().filter(|l| !l.starts_with("= ")) {
        add(&mut profile, row);
    }
    recording.profile = Some(profile);
    recording
}

fn add(profile: &mut Profile, row: &str) {
    let (head, path) = row.split_once(" | ").expect("frames");
    let fields: Vec<&str> = head.rsplitn(3, ' ').collect();
    let ms: f64 = fields[0].parse().expect("ms");
    let state = ["cpu", "queued", "blocked", "gil"].iter().position(|s| *s == fields[1]).expect("a state");
    let operation =
        profile.operations.iter().position(|o| o == fields[2]).unwrap_or(profile.operations.len());
    let mut parent = 0;
    for text in path.split(';') {
        let frame = frame(text);
        let at = profile.frames.iter().position(|f| *f == frame).unwrap_or_else(|| {
            profile.frames.push(frame.clone());
            profile.frames.len() - 1
        });
        if frame.kind == CodeKind::Threads && profile.groups.iter().all(|g| g.name != frame.function) {
            profile.groups.push(ThreadGroup {
                name: frame.function.clone(),
                threads: 1,
                ..ThreadGroup::default()
            });
        }
        profile.nodes.push(CallNode {
            parent,
            frame: at as u32,
            split: [operation as u32 + 1; 4],
            ..CallNode::default()
        });
        parent = (profile.nodes.len() - 1) as u32;
    }
    profile.nodes[parent as usize].own_ms[state] += ms;
    profile.ledger_ms[state] += ms;
    if state == states::ON_CPU
        && let Some(group) = profile.groups.last_mut()
    {
        group.own_ms[state] += ms;
    }
}

fn frame(text: &str) -> CodeFrame {
    let (kind, rest) = text.split_once(':').expect("a kind");
    let kind = match kind {
        "p" => CodeKind::Python,
        "j" => CodeKind::JavaScript,
        "k" => CodeKind::Kernel,
        "l" => CodeKind::Label,
        "t" => CodeKind::Threads,
        _ => CodeKind::Native,
    };
    let (function, place) = rest.split_once('@').unwrap_or((rest, ""));
    let (file, line) = place.rsplit_once(':').unwrap_or((place, "0"));
    CodeFrame {
        kind,
        function: function.into(),
        file: file.into(),
        line: line.parse().unwrap_or(0),
        ..CodeFrame::default()
    }
}

/// The findings of one rule, and whether it could run.
pub(super) fn check(rule: &str, recording: &Recording, expected: &Expect) {
    let mut diagnosis = localize(recording, &Options::default());
    diagnosis.findings.retain(|f| f.rule == rule);
    diagnosis.rules_not_run.retain(|r| r.rule == rule);
    expected.assert_eq(&lines(&diagnosis));
}
