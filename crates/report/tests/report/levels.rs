//! Stepped load: its JSON, its text, and its section of the page.

use crate::chromium::{assert_well, drawn};
use crate::sample;
use crate::schema::paths;
use expect_test::{expect, expect_file};
use model::{Scaling, StopKind};
use report::text::Colour;
use report::{Inputs, Measured, ReportData, html};

/// A study with every field filled.
fn scaling() -> Scaling {
    serde_json::from_str(include_str!("levels.json")).expect("a study")
}

fn page(scaling: &Scaling) -> String {
    let (recording, diagnosis) = (sample::recording(false), sample::diagnosis(false));
    let before = Some(Measured { recording: &recording, diagnosis: &diagnosis });
    html(&ReportData::new(&Inputs { before, scaling: Some(scaling), ..Inputs::default() }))
}

#[test]
fn the_study_has_the_keys_and_types_that_others_rely_on() {
    let json = report::scaling_json(&scaling());
    expect_file!["../../../../docs/schema/scaling.json"].assert_eq(&paths(&json));
    assert_eq!(serde_json::from_str::<Scaling>(&json).ok(), Some(scaling()));
}

#[test]
fn a_terminal_is_told_the_answers_with_their_doubt() {
    let levels = scaling().levels;
    let lines: Vec<String> = levels.iter().skip(5).map(report::text::level).collect();
    expect![[r#""#]].assert_eq(&format!("{}\n{}\n", report::text::level_titles(), lines.join("\n")));
    expect![[r#""#]].assert_eq(&report::text::scaling(&scaling(), 100, Colour::Off));
}

#[test]
fn what_is_not_known_is_said_and_not_drawn() {
    let mut little = scaling();
    little.levels.truncate(1);
    little.resources.clear();
    little.curve.points.clear();
    (little.ceiling, little.bounds, little.replicas) = (None, None, None);
    little.knee.seen = false;
    little.knee.reason = "no knee seen up to 1.0 requests at once, 48.0/s".to_owned();
    if let Some(goals) = &mut little.goal_rate {
        goals.rate = None;
        goals.reason = "p95(*) < 250 ms is missed at the lowest level already".to_owned();
    }
    little.stop.kind = StopKind::Done;
    expect![[r#""#]].assert_eq(&report::text::scaling(&little, 80, Colour::Off));
    let opened = assert_well(&page(&little), &["How much it can take", "never", "no knee seen"]);
    assert!(!drawn(&opened).contains("id=\"levels-throughput\""));
}

#[test]
fn the_page_draws_throughput_response_times_and_use() {
    let opened = assert_well(
        &page(&scaling()),
        &[
            "How much it can take",
            "id=\"levels-throughput\"",
            "id=\"levels-response\"",
            "id=\"levels-use\"",
            "goals met to here",
            "What is full was not watched",
            "CPU of database is shared by all of them",
            "overloaded",
        ],
    );
    assert!(drawn(&opened).matches("c-predicted band").count() >= 1, "the curve has its band");
}

#[test]
fn hostile_texts_of_a_study_are_text() {
    let mut bad = scaling();
    bad.limit.reason = format!("{} postgres://u:hunter2@h/", sample::HOSTILE);
    bad.resources[0].name = sample::HOSTILE.to_owned();
    bad.levels[0].doubts = vec![sample::HOSTILE.to_owned()];
    let opened = assert_well(&page(&bad), &["&lt;/script&gt;"]);
    assert!(!opened.dom.contains("hunter2"), "a password is on the page");
    let text = report::text::scaling(&bad, 100, Colour::Off);
    assert!(!text.contains('\u{202e}') && !text.contains('\u{2028}'), "{text:?}");
}
