//! What the terminal shows.

use crate::sample;
use expect_test::expect;
use report::text::{self, Colour};

#[test]
fn a_diagnosis_with_missed_goals() {
    expect![[r#"
        3 of 4 goals missed.
        The best single change: 53 queries for the items of the orders, one after another (p95(GET
        /customers/{id}/orders) 438 ms → 95 ms, grade B).
        doubtful: the generator used 0.71 of a core, more than 0.5; run it on another machine

        Goals
          goal                                      measured
          p95(GET /customers/{id}/orders) < 150 ms    528 ms  missed
          p95(GET /products/{id}) < 50 ms            80.2 ms  missed
          p95(POST /orders) < 120 ms                  301 ms  missed
          errors(*) < 1 %                             0.04 %  met

        Endpoints
          endpoint                      rate      p50       p95      p99  errors  traces
          GET /customers/{id}/orders  22.2/s   222 ms    528 ms   628 ms     0 %      20
          GET /products/{id}          41.5/s  40.1 ms   80.2 ms   112 ms     0 %      20
          POST /orders                 9.1/s   128 ms    301 ms   374 ms   1.1 %      20
          GET /reports/sales          1.52/s   558 ms    649 ms   1.68 s     0 %      20
          GET /health                    2/s  0.51 ms  0.527 ms  1.34 ms     0 %      20

        Findings
          1. 53 queries for the items of the orders, one after another
             n_plus_one · GET /customers/{id}/orders
             statement: SELECT product_id, quantity, price FROM order_items WHERE order_id = $1
             - the same statement runs 53 times in a typical request, never two at once
             - 82 % of the critical path; 22 of 22 traces show it
             predicted p95(GET /customers/{id}/orders) 438 ms -> 95 ms (79.8..130 ms), grade B
             do: fetch the items of all orders in one query
                 SELECT order_id, product_id, quantity, price FROM order_items WHERE order_id = ANY($1)
          2. The sales report computes for 480 ms on an async thread
             cpu_self_time · GET /reports/sales
             - 89 % of the request is spent on the CPU, in one span
             - the endpoint has no goal
             predicted p95(GET /reports/sales) 741 ms -> 690 ms (580..945 ms), grade C

        Not seen
          - statements: pg_stat_statements is not loaded on this server
            Add it to shared_preload_libraries and restart Postgres.
          - 2 rules could not run: lock_wait (database waits), cache_stampede (cache metrics)

        Next
          apply finding 1 with trimtab change 1; trimtab verify says whether it came as predicted
    "#]]
    .assert_eq(&text::diagnosis(&sample::diagnosis(false), 100, Colour::Off));
}

#[test]
fn all_goals_met_says_to_hold_back() {
    expect![[r#"
        All 4 goals are met.
        Nothing needs a change; 1 finding below would only make a good thing better.
        doubtful: the generator used 0.71 of a core, more than 0.5; run it on another machine

        Goals
          goal                                      measured
          p95(GET /customers/{id}/orders) < 150 ms   77.7 ms  met
          p95(GET /products/{id}) < 50 ms            19.4 ms  met
          p95(POST /orders) < 120 ms                 44.7 ms  met
          errors(*) < 1 %                             0.04 %  met

        Endpoints
          endpoint                      rate       p50       p95      p99  errors  traces
          GET /reports/sales          1.52/s    517 ms    608 ms   1.58 s     0 %      20
          GET /customers/{id}/orders  22.2/s   32.7 ms   77.7 ms  92.4 ms     0 %      20
          GET /products/{id}          41.5/s   9.71 ms   19.4 ms  27.2 ms     0 %      20
          POST /orders                 9.1/s     19 ms   44.7 ms  55.5 ms     0 %      20
          GET /health                    2/s  0.494 ms  0.516 ms  1.31 ms     0 %      20

        Findings
          1. The sales report computes for 480 ms on an async thread
             cpu_self_time · GET /reports/sales
             - 89 % of the request is spent on the CPU, in one span
             - the endpoint has no goal
             predicted p95(GET /reports/sales) 741 ms -> 690 ms (580..945 ms), grade C

        Not seen
          - statements: pg_stat_statements is not loaded on this server
            Add it to shared_preload_libraries and restart Postgres.
          - 2 rules could not run: lock_wait (database waits), cache_stampede (cache metrics)

        Next
          hold back: every goal is met; measure again after the next release
    "#]]
    .assert_eq(&text::diagnosis(&sample::diagnosis(true), 100, Colour::Off));
}

#[test]
fn an_empty_diagnosis_says_what_is_missing() {
    expect![[r#"
        Nothing was measured.
        The recording holds no request and no span.

        Goals
          none set; write some into trimtab.toml: p95(GET /orders) < 250 ms

        Endpoints
          no request was seen

        Findings
          none

        Next
          run trimtab measure while the service is under load
    "#]]
    .assert_eq(&text::diagnosis(&sample::nothing().1, 80, Colour::Off));
}

#[test]
fn a_step_and_the_table_of_steps() {
    let steps = sample::steps();
    expect![[r#"
        step 1: 53 queries for the items of the orders, one after another
          - the same statement runs 53 times in a typical request, never two at once
          - 82 % of the critical path; 22 of 22 traces show it
          change     batched items: the items of all orders in one query
          predicted  p95(GET /customers/{id}/orders) 438 ms -> 95 ms (79.8..130 ms), grade B
          actual     p95(GET /customers/{id}/orders) 438 ms -> 102 ms (93.8..111 ms)
          verdict    better, prediction held, kept: the 95 % interval of the ratio lies below 1
    "#]]
    .assert_eq(&text::step(&steps[0], 100, Colour::Off));
    expect![[r#"
        steps
          step                            metric                           before           predicted              actual  verdict
          1. batched items                p95(GET /customers/{id}/orders)  438 ms   95 ms (79.8..130)  102 ms (93.8..111)  better, kept
          2. queued mail                  p95(POST /orders)                291 ms  41 ms (34.4..56.2)  36 ms (33.1..39.2)  better, kept
          3. gathered calls               p95(GET /products/{id})           71 ms  26 ms (21.8..35.6)  31 ms (28.5..33.8)  better, kept
          4. index order_items(order_id)  p95(GET /customers/{id}/orders)   95 ms  62 ms (52.1..84.9)    78 ms (71.8..85)  better, kept
          5. off-loaded report            p95(GET /reports/sales)          741 ms   690 ms (580..945)   731 ms (672..797)  unclear, reverted
          4 of 5 predictions held; median error 5.5 % of the value before.
    "#]].assert_eq(&format!("steps\n{}", text::steps_table(&steps, 140)));
    expect![[r#"
        steps
          step                          predicted              actual  verdict
          1. batched items      95 ms (79.8..130)  102 ms (93.8..111)  better, kept
          2. queued mail       41 ms (34.4..56.2)  36 ms (33.1..39.2)  better, kept
          3. gathered calls    26 ms (21.8..35.6)  31 ms (28.5..33.8)  better, kept
          4. index order_ite…  62 ms (52.1..84.9)    78 ms (71.8..85)  better, kept
          5. off-loaded repo…   690 ms (580..945)   731 ms (672..797)  unclear, reverted
          4 of 5 predictions held; median error 5.5 % of the value before.
    "#]]
    .assert_eq(&format!("steps\n{}", text::steps_table(&steps, 80)));
    assert_eq!(text::steps_table(&[], 80), "no change was tried\n");
}

#[test]
fn a_judgement_says_why_and_how_long_is_still_needed() {
    let unclear = sample::judgement("p95(GET /orders)", 100.0, 99.0, Some(true));
    expect![[r#"
        unclear: p95(GET /orders); the prediction held
          metric            before    after          change (95 %)  visible from  verdict
          p50(GET /orders)   50 ms  49.5 ms  -1 % (-8.9 %..+7.9 %)           6 %  unclear
          p95(GET /orders)  100 ms    99 ms  -1 % (-8.9 %..+7.9 %)           6 %  unclear
          - the 95 % interval of the ratio holds 1
          - clear after 84 s more of measuring
    "#]]
    .assert_eq(&text::judgement(&unclear));
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_text_steers_it() {
    let (_, mut diagnosis, mut steps) = sample::hostile();
    diagnosis.findings[0].title.push_str("\u{1b}[2J\u{7}");
    steps[0].finding.title.push_str("\u{1b}[2J\u{7}");
    for width in [10, 40, 60, 100, 400] {
        let texts =
            [text::diagnosis(&diagnosis, width, Colour::Off), text::step(&steps[0], width, Colour::Off)];
        for text in texts {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("NaN"), "{text}");
            let widest = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
            assert!(widest <= width.clamp(40, 160), "{widest} at {width}: {text}");
        }
    }
}

#[test]
fn colour_only_adds_escape_sequences() {
    let diagnosis = sample::diagnosis(false);
    let coloured = text::diagnosis(&diagnosis, 100, Colour::On);
    assert!(coloured.contains("\u{1b}[31m"));
    let mut plain = coloured;
    for code in ["0", "1", "2", "31", "32", "33"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, text::diagnosis(&diagnosis, 100, Colour::Off));
}
