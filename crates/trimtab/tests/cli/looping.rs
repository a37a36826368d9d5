//! The loop on a service that can be switched: to its end, interrupted, killed, and with a service that dies at a switch.

use crate::endings::{send, until};
use crate::service::write;
use crate::shelves::Shelves;
use crate::support::{Ran, free_port, program, run};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;

/// What the journal holds, oldest first.
fn steps(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(".trimtab/journal.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn started() -> (tempfile::TempDir, Shelves) {
    let (folder, service) = (tempfile::tempdir().unwrap(), Shelves::start(free_port()));
    write(folder.path(), &service.settings());
    (folder, service)
}

#[test]
fn a_missed_goal_is_met_by_the_one_change_that_the_finding_names() {
    let (folder, service) = started();
    let ran = run(folder.path(), &["loop", "--yes", "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["ending"], "goals_met", "{told:#}");
    assert!(service.is_fast(), "what was kept is in force");
    let steps = steps(folder.path());
    assert_eq!(steps.len(), 1, "{steps:#?}");
    assert_eq!((&steps[0]["kept"], &steps[0]["change"]["name"]), (&true.into(), &"items=once".into()));
    // Whether it held is a matter of the machine's noise; that it was put to the test is not.
    assert!(steps[0]["judgement"]["prediction_held"].is_boolean(), "{}", steps[0]["judgement"]);
    assert!(!folder.path().join(".trimtab/change.json").exists(), "nothing is left to be settled");
    let undone = run(folder.path(), &["change", "--undo"]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert!(!service.is_fast(), "a kept change can be taken back");
}

#[tokio::test]
async fn an_interrupted_trial_is_taken_back() {
    for signal in [Signal::INT, Signal::TERM] {
        let (folder, service) = started();
        let child = program(folder.path()).args(["loop", "--yes"]).spawn().unwrap();
        until("the change was never tried", || service.is_fast()).await;
        send(signal, child.id());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(!service.is_fast(), "{ran:?}");
        assert!(ran.out.contains("Interrupted"), "{ran:?}");
        assert!(!folder.path().join(".trimtab/change.json").exists());
        assert!(steps(folder.path()).iter().all(|step| step["kept"] == false));
    }
}

#[tokio::test]
async fn a_change_whose_program_was_killed_is_known_and_can_be_taken_back() {
    let (folder, service) = started();
    let mut child = program(folder.path()).args(["loop", "--yes"]).spawn().unwrap();
    until("the change was never tried", || service.is_fast()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = std::fs::read_to_string(folder.path().join(".trimtab/change.json")).unwrap();
    assert!(noted.contains("items=once"), "{noted}");
    let another = run(folder.path(), &["change", "--yes"]);
    assert_eq!(another.code, Some(2), "{another:?}");
    assert!(another.err.contains("`items=once` is in force"), "{}", another.err);
    let undone = run(folder.path(), &["change", "--undo"]);
    assert_eq!(undone.code, Some(0), "{undone:?}");
    assert!(!service.is_fast());
    assert!(!folder.path().join(".trimtab/change.json").exists());
}

#[test]
fn a_service_that_dies_at_a_switch_leaves_the_change_noted() {
    let folder = tempfile::tempdir().unwrap();
    let service = Shelves::dying_at_switch(free_port(), 3);
    write(folder.path(), &service.settings());
    let ran = run(folder.path(), &["loop", "--yes"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(service.switched(), 3);
    let noted = std::fs::read_to_string(folder.path().join(".trimtab/change.json")).unwrap();
    assert!(noted.contains("items=once"), "nobody knows in which form it died: {noted}");
    assert!(ran.err.contains("items=once"), "{}", ran.err);
}

#[test]
fn a_change_by_hand_is_verified_against_its_prediction() {
    let (folder, service) = started();
    let measured = run(folder.path(), &["measure"]);
    assert_eq!(measured.code, Some(1), "the goal is missed: {measured:?}");
    let changed = run(folder.path(), &["change", "--yes"]);
    assert_eq!(changed.code, Some(0), "{changed:?}");
    assert!(service.is_fast());
    let verified = run(folder.path(), &["verify", "--format", "json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let judgement: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(judgement["verdict"], "better", "{judgement:#}");
    // Whether it held is a matter of the machine's noise; that it was put to the test is not.
    assert!(judgement["prediction_held"].is_boolean(), "{judgement:#}");
    assert!(service.is_fast(), "better is kept");
    let steps = steps(folder.path());
    assert_eq!((steps.len(), &steps[0]["kept"]), (1, &true.into()), "{steps:#?}");
}
