//! Ends before the end: a service that dies, Ctrl-C, and a demo that is killed.

use crate::service::{NO_TRACES, Service, write};
use crate::support::{Ran, program, run};
use model::ErrorClass;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

const GOALS: &str = "\"p95(GET /items) < 10 s\", \"errors(*) < 1 %\"";

/// Waits for a fact of another process, which has no event of its own.
pub(crate) async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    while !fact() {
        assert!(Instant::now() < deadline, "{what}");
        poll.tick().await;
    }
}

pub(crate) fn send(signal: Signal, pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_service_that_dies_is_measured_to_the_end_and_its_errors_are_classed() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::dying_after(30));
    write(folder.path(), &service.settings(GOALS, NO_TRACES));
    let ran = run(folder.path(), &["measure", "-o", "recording"]);
    assert_eq!(ran.code, Some(1), "the goal for errors is missed: {ran:?}");
    assert!(ran.out.contains("missed errors(*)"), "{}", ran.out);
    let recording = recording::read(&folder.path().join("recording")).unwrap();
    assert!(recording.run.complete);
    let refused = recording.requests.iter().filter(|r| r.error == Some(ErrorClass::Connect)).count();
    let answered = recording.requests.iter().filter(|r| r.status == 200).count();
    assert!(refused > 5 && answered > 5, "{refused} refused, {answered} answered");
    let judged = run(folder.path(), &["localize", "recording"]);
    assert_eq!(judged.code, Some(1), "{judged:?}");
}

#[test]
fn a_command_that_ends_at_its_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &crate::service::settings(crate::support::free_port(), GOALS, NO_TRACES));
    let ran = run(folder.path(), &["measure", "--", "sh", "-c", "echo no such database >&2; exit 3"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("no such database") && ran.err.contains("exit status: 3"), "{}", ran.err);
    let absent = run(folder.path(), &["measure", "--", "no-such-program"]);
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.err.contains("no-such-program"), "{}", absent.err);
}

#[tokio::test]
async fn ctrl_c_ends_a_measurement_early_and_keeps_it() {
    for signal in [Signal::INT, Signal::TERM] {
        let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
        write(folder.path(), &service.settings(GOALS, NO_TRACES));
        let began = Instant::now();
        let child =
            program(folder.path()).args(["measure", "-o", "recording", "--duration", "300"]).spawn().unwrap();
        until("no requests came", || service.answered() > 40).await;
        send(signal, child.id());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert!(began.elapsed() < Duration::from_secs(60));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains("met    p95(GET /items)"), "{}", ran.out);
        let recording = recording::read(&folder.path().join("recording")).unwrap();
        assert!(!recording.run.complete && !recording.latencies.is_empty());
    }
}

/// Process ids of all that descends from a process.
fn descendants(of: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name in parentheses: state, then parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut family = vec![of];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family.split_off(1)
}

fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A demo with its temporary files in a folder, after it has said a line that begins so.
fn demo(folder: &Path, said: &str) -> (Child, Vec<u32>) {
    let temporary = folder.join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    // The database runs as another user where we are root.
    for place in [folder, &temporary] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut child = program(folder)
        .args(["demo", "--steps", "1"])
        .env("TMPDIR", &temporary)
        .stderr(std::process::Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let heard = lines.map_while(Result::ok).any(|line| line.starts_with(said));
    assert!(heard, "the demo never said `{said}`");
    let family = descendants(child.id());
    (child, family)
}

#[tokio::test]
async fn a_demo_that_is_ended_early_leaves_no_process_and_no_folder() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let (child, family) = demo(folder.path(), "The shop answers");
        assert!(family.len() > 3, "shop, shell and database: {family:?}");
        send(signal, child.id());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert!(ran.code.is_some(), "it ended by itself: {ran:?}");
        until("a process of the demo lives on", || !family.iter().any(|pid| lives(*pid))).await;
        let left: Vec<_> = std::fs::read_dir(folder.path().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_demo_that_is_killed_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, family) = demo(folder.path(), "The shop answers");
    assert!(family.len() > 3, "shop, shell and database: {family:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    until("a process of the demo outlives it", || !family.iter().any(|pid| lives(*pid))).await;
}
