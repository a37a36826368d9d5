//! Stepped load: its JSON, its text, and its section of the page.

use crate::chromium::{assert_well, drawn};
use crate::sample::{self, scaling};
use crate::schema::paths;
use expect_test::{expect, expect_file};
use model::{Scaling, StopKind};
use report::text::Colour;
use report::{Inputs, Measured, ReportData, html};

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
    expect![[r#"
               level    answered       p50       p95       p99   at once   errors  state
               161/s       161/s     55 ms    101 ms    142 ms       9.5      0 %  steady
               179/s       179/s    104 ms    190 ms    269 ms        20      0 %  not settled
               230/s       175/s    318 ms    582 ms    822 ms        60    1.2 %  overloaded, misses p95(*) < 250 ms
    "#]].assert_eq(&flush(&format!("{}\n{}\n", report::text::level_titles(), lines.join("\n"))));
    expect![[r#"

          meets the goals         up to 118/s (112 to 124); beyond it p95(*) < 250 ms is missed
          knee                    88/s (81.8 to 94.2), 3.4 requests at once (2.99 to 3.81); beyond it a
                                  further request waits longer than it adds to throughput
          most it answers         183/s (177 to 188); beyond 29.6 requests at once it answers fewer
          what is full            the service answers no more than 168.1/s, and all that was watched had
                                  room: CPU 61 %, pool of connections of api 44 %. Something that nobody
                                  watches is held for 5.95 ms a request, or k of it for k times as long: a
                                  lock, a pool, a limit of concurrent requests, another service
                                  -> `trimtab localize` judges the waits inside requests; `trimtab profile`
                                  shows what threads wait for
          bounds                  no request takes less than 20.9 ms, no more than 290/s are answered; from
                                  6.06 requests at once on they queue
          replicas for 500/s      5: 500.0/s over 118.0/s each
                                  assumes: each replica has a machine like this one to itself and is planned
                                  at the rate that meets the goals; the load is spread evenly; the replicas
                                  slow each other down in nothing but what they share; CPU of database is
                                  shared by all of them and stays as it is
          curve                   USL fits: all 8 levels lie within 2.1 % of the curve; one at a time 48/s
                                  (46.6 to 49.4); contention sigma 21 % (19.3 to 22.7); coherence kappa 0.09
                                  % (0.07 to 0.11)
          ended                   from 230.0/s on more is due than is answered

          answered a second
                183 |                                            .o .. .. ..
                    |                                     o.. ..             .o .
                    |                                 . ..
                    |                             o. .
                    |                          ..
                    |                     .o..
                    |                 .. .
                    |            oo..
                    |     .. .. .
                    |. ..o
                  0 |
                    +------------------------------------------------------------
                     0.35  requests at once (logarithmic); o level, . curve  68.8

          resource                         used at most  a request costs               full at
          CPU                          2.54 cores, 64 %      13.1 ms CPU    290/s (267 to 313)
          pool of connections of api               46 %           2.6 ms    385/s (346 to 424)
          CPU of database             0.751 cores, 19 %       4.2 ms CPU  952/s (857 to 1,047)
          CPU of service               1.32 cores, 33 %       7.1 ms CPU    556/s (500 to 612)
          response bodies of service          319 KiB/s         1.79 KiB                     –

          ! at 230/s: the generator waited for a CPU 14 % of the time, the limit is 10 %
    "#]]
    .assert_eq(&flush(&report::text::scaling(&scaling(), 100, Colour::Off)));
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
    expect![[r#"

          meets the goals         never: p95(*) < 250 ms is missed at the lowest level
                                  already
          knee                    no knee seen up to 1.0 requests at once, 48.0/s
          what is full            the service answers no more than 168.1/s, and all that
                                  was watched had room: CPU 61 %, pool of connections of
                                  api 44 %. Something that nobody watches is held for
                                  5.95 ms a request, or k of it for k times as long: a
                                  lock, a pool, a limit of concurrent requests, another
                                  service
                                  -> `trimtab localize` judges the waits inside
                                  requests; `trimtab profile` shows what threads wait
                                  for
          curve                   USL fits: all 8 levels lie within 2.1 % of the curve;
                                  one at a time 48/s (46.6 to 49.4); contention sigma 21
                                  % (19.3 to 22.7); coherence kappa 0.09 % (0.07 to
                                  0.11)

    "#]]
    .assert_eq(&flush(&report::text::scaling(&little, 80, Colour::Off)));
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

/// A text whose every line is indented, without what all lines share: an expectation in a test cannot hold that.
fn flush(text: &str) -> String {
    let filled = text.lines().filter(|line| !line.is_empty());
    let shared = filled.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    text.lines().flat_map(|line| [line.get(shared..).unwrap_or(""), "\n"]).collect()
}
