//! Drawings of calls that are an N+1, and of all that only look like one.

use crate::testing::{check_rule, drawn};
use crate::{Options, localize};
use expect_test::{Expect, expect};
use model::Statement;

fn check(drawing: &str, expected: &Expect) {
    check_rule("n_plus_one", &drawn(drawing), expected);
}

#[test]
fn a_query_per_order_is_one_finding() {
    check(
        r#"
        repeat 20
        api server "GET /orders" 0..120
          api db "SELECT id FROM orders WHERE customer_id = $1" 5..10
          api db "SELECT * FROM items WHERE order_id = $1" 10..18 x10 gap 2
        "#,
        &expect![[r#"
            n_plus_one GET /orders | 10 x SELECT ... FROM items per GET /orders | p95 120.0 -> 39.0 (30.0..48.0) B
        "#]],
    );
}

#[test]
fn four_queries_are_none() {
    check(
        r#"
        repeat 20
        api server "GET /orders" 0..120
          api db "SELECT * FROM items WHERE order_id = $1" 10..30 x4 gap 2
        "#,
        &expect![[""]],
    );
}

#[test]
fn without_traces_the_rule_does_not_run() {
    check(
        "",
        &expect![[r#"
        not run: n_plus_one (traces)
    "#]],
    );
}

#[test]
fn calls_that_grow_with_the_rows_of_a_query_name_it_even_where_they_are_rare() {
    let recording = drawn(
        r#"
        repeat 16
        api server "GET /orders" 0..20
          api db "SELECT id FROM orders WHERE customer_id = $1" 5..10 db.response.returned_rows=2
          api db "SELECT * FROM items WHERE order_id = $1" 11..13 x2 gap 1

        repeat 2
        api server "GET /orders" 0..60
          api db "SELECT id FROM orders WHERE customer_id = $1" 5..10 db.response.returned_rows=12
          api db "SELECT * FROM items WHERE order_id = $1" 11..14 x12 gap 1

        repeat 2
        api server "GET /orders" 0..90
          api db "SELECT id FROM orders WHERE customer_id = $1" 5..10 db.response.returned_rows=20
          api db "SELECT * FROM items WHERE order_id = $1" 11..14 x20 gap 1
        "#,
    );
    let finding = &localize(&recording, &Options::default()).findings[0];
    assert_eq!(finding.rule, "n_plus_one");
    expect![[r#"
        4.8 calls per request (at most 20), 29 % of the critical path
        a call takes 3.00 ms at the median, 1.00 ms lie between two
        one for each row of SELECT ... FROM orders: in 100 % of the groups
        spans explain 57 % of this endpoint's time only: the rest is not judged"#]]
    .assert_eq(&finding.evidence.lines.join("\n"));
}

#[test]
fn connections_and_transactions_between_the_calls_do_not_hide_them_and_go_with_them() {
    check(
        r#"
        repeat 20
        api server "GET /orders" 0..120
          api internal "orders" 0..120
            api internal "item" 10..20 x10
              api client "pg-pool.connect" 10..12
              api db "BEGIN" 12..13
              api db "SELECT * FROM items WHERE order_id = $1" 13..18
              api db "COMMIT" 18..19
        "#,
        &expect![[r#"
            n_plus_one GET /orders | 10 x SELECT ... FROM items per GET /orders | p95 120.0 -> 39.0 (39.0..39.0) B
        "#]],
    );
}

#[test]
fn calls_of_another_service_and_keys_of_a_cache_count_too() {
    check(
        r#"
        repeat 20
        api server "GET /basket" 0..120
          api http "GET http://prices/price/{n}" 10..18 x10 gap 2
            prices server "GET /price/{id}" 11..17

        repeat 20
        api server "GET /users" 0..60
          api redis "GET user:{n}" 1..4 x10 gap 1
        "#,
        &expect![[r#"
            n_plus_one GET /basket | 10 x GET prices/price/{id} per GET /basket | p95 120.0 -> 39.0 (30.0..102.0) B
            n_plus_one GET /users | 10 x GET user:{id} per GET /users | p95 60.0 -> 28.5 (24.0..33.0) B
        "#]],
    );
}

#[test]
fn pipelines_retries_writes_and_equal_calls_are_none() {
    check(
        r#"
        repeat 20
        api server "GET /a" 0..60
          api redis "GET user:{n}" 1..40 x10 par

        repeat 20
        api server "GET /b" 0..60
          api redis "GET" 1..5 x10 gap 1 db.redis.pipeline_length=10

        repeat 20
        api server "GET /c" 0..60
          api http "GET http://flaky/x" 1..5 x10 gap 1 status=error

        repeat 20
        api server "POST /d" 0..60
          api db "INSERT INTO a VALUES ($1)" 1..5 x10 gap 1

        repeat 20
        api server "GET /e" 0..60
          api db "SELECT * FROM a WHERE id = $1" 1..5 x10 gap 1 db.query.parameter.0=7
        "#,
        &expect![[""]],
    );
}

#[test]
fn a_job_of_ten_thousand_calls_is_none_but_an_unmarked_request_is_judged() {
    check(
        r#"
        jobs internal "nightly" 0..60000
          jobs db "SELECT * FROM a WHERE id = $1" 1..5 x10000 gap 1

        app internal "handle" 0..400
          app db "SELECT * FROM a WHERE id = $1" 1..5 x53 gap 1
        "#,
        &expect![[r#"
            n_plus_one handle | 53 x SELECT ... FROM a per handle | p95 400.0 -> 166.0 (140.0..192.0) B
        "#]],
    );
}

#[test]
fn a_root_of_a_service_that_marks_its_requests_is_a_job() {
    check(
        r#"
        repeat 20
        api server "GET /a" 0..5

        repeat 20
        api internal "warm cache" 0..400
          api redis "GET user:{n}" 1..5 x30 gap 1
        "#,
        &expect![[""]],
    );
}

#[test]
fn what_runs_side_by_side_already_is_predicted_by_its_makespan() {
    check(
        r#"
        repeat 20
        api server "GET /a" 0..120
          api http "GET http://parts/{n}" 10..50 x10 par
        "#,
        &expect![[""]],
    );
}

#[test]
fn the_databases_own_time_tells_the_round_trip() {
    let mut recording = drawn(
        r#"
        repeat 20
        api server "GET /orders" 0..220
          api db "SELECT * FROM items WHERE order_id = $1" 10..20 x20 gap 0
        "#,
    );
    let text = "SELECT * FROM items WHERE order_id = $1".to_owned();
    recording.statements = vec![Statement { text, calls: 400, total_ms: 3200.0, ..Statement::default() }];
    check_rule(
        "n_plus_one",
        &recording,
        &expect![[r#"
        n_plus_one GET /orders | 20 x SELECT ... FROM items per GET /orders | p95 220.0 -> 30.0 (30.0..182.0) B
    "#]],
    );
}

#[test]
fn resolvers_that_bear_their_position_in_a_list_are_one_shape() {
    check(
        r#"
        repeat 20
        api server "POST /graphql" 0..120
          api internal "graphql.resolve orders.{n}.items" 10..18 x10 gap 2
            api db "SELECT * FROM items WHERE order_id = $1" 10..18
        "#,
        &expect![[r#"
            n_plus_one POST /graphql | 10 x SELECT ... FROM items per POST /graphql | p95 120.0 -> 48.0 (48.0..48.0) B
        "#]],
    );
}

#[test]
fn a_mappers_own_words_come_first() {
    let mut recording = drawn(
        "repeat 20\napi server \"GET /a\" 0..120\n  api db \"SELECT * FROM b WHERE id = %s\" 1..9 x10 gap 1",
    );
    let scope = recording.spans.strings.intern("opentelemetry.instrumentation.sqlalchemy");
    recording.spans.scopes.fill(scope);
    let finding = &localize(&recording, &Options::default()).findings[0];
    assert!(finding.remedies[0].text.starts_with("SQLAlchemy: `selectinload"), "{:?}", finding.remedies);
    assert_eq!(finding.remedies.len(), 2);
}
