//! Drawings of reads that a cache would have answered, and of those that it must not.

use crate::testing::{check_rule, drawn};
use crate::{Options, localize};
use expect_test::{Expect, expect};

fn check(drawing: &str, expected: &Expect) {
    check_rule("uncached_read", &drawn(drawing), expected);
}

#[test]
fn the_same_key_in_every_request_is_one_finding_and_its_connection_goes_with_it() {
    check(
        r#"
        repeat 40
        api server "GET /products/{id}" 0..40
          api client "connect" 1..11
          api db "SELECT * FROM products WHERE id = $1" 12..37 db.query.parameter.0=7
        "#,
        &expect![[r#"
            uncached_read GET /products/{id} | SELECT ... FROM products in GET /products/{id}: 100 % repeat one of the last 30 s | p95 40.0 -> 5.0 (5.0..40.0) B
        "#]],
    );
}

#[test]
fn a_mapper_and_the_driver_below_it_are_one_read() {
    let drawing = r#"
        repeat 40
        api server "GET /products/{id}" 0..40
          api db "SELECT * FROM products WHERE id = $1" 12..37 db.query.parameter.0=7
            api db "SELECT * FROM products WHERE id = $1" 13..36 db.query.parameter.0=7
        "#;
    let found = localize(&drawn(drawing), &Options::default()).findings;
    assert_eq!(found.iter().filter(|f| f.rule == "uncached_read").count(), 1, "{found:#?}");
}

#[test]
fn a_connection_that_serves_another_statement_as_well_stays() {
    check(
        r#"
        repeat 40
        api server "GET /products/{id}" 0..60
          api client "connect" 1..11
          api db "SELECT * FROM products WHERE id = $1" 12..37 db.query.parameter.0=7
          api db "SELECT * FROM carts WHERE id = $1" 38..48 db.query.parameter.0={t}
        "#,
        &expect![[r#"
            uncached_read GET /products/{id} | SELECT ... FROM products in GET /products/{id}: 100 % repeat one of the last 30 s | p95 60.0 -> 35.0 (35.0..60.0) B
        "#]],
    );
}

#[test]
fn a_read_of_another_service_by_url_counts_and_one_personal_url_does_not() {
    check(
        r#"
        repeat 20
        api server "GET /a" 0..40
          api http "GET http://rates/rate/17" 2..37

        repeat 20
        api server "GET /a" 0..40
          api http "GET http://rates/rate/18" 2..37

        repeat 40
        api server "GET /b" 0..40
          api http "GET http://users/me" 2..37
        "#,
        &expect![[r#"
            uncached_read GET /a | GET rates/rate/{id} in GET /a: 95 % repeat one of the last 30 s | p95 40.0 -> 5.0 (5.0..40.0) B
        "#]],
    );
}

#[test]
fn one_url_for_requests_of_all_kinds_is_one_finding_and_a_momentary_one_or_one_of_equal_requests_is_none() {
    check(
        r#"
        repeat 40
        api server "GET /a/{id}" 0..40 url.path=/a/{t}
          api http "GET http://config/banners" 2..37

        repeat 40
        api server "GET /b/{id}" 0..40 url.path=/b/{t}
          api http "GET http://config/health" 2..37

        repeat 40
        api server "GET /c" 0..40 url.path=/c
          api http "GET http://config/flags" 2..37

        repeat 40
        api server "GET /d/{id}" 0..40 url.path=/d/{t} http.request.header.cookie=["a=1"]
          api http "GET http://config/themes" 2..37
        "#,
        &expect![[r#"
            uncached_read GET /a/{id} | GET config/banners in GET /a/{id}: 100 % repeat one of the last 30 s | p95 40.0 -> 5.0 (5.0..40.0) B
        "#]],
    );
}

#[test]
fn p95_stays_where_too_many_miss_and_the_finding_is_dropped() {
    let mut drawing = String::new();
    for key in 0..10 {
        drawing.push_str(&format!(
            "repeat 4\napi server \"GET /p\" 0..40\n  api db \"SELECT * FROM p WHERE id = $1\" 2..37 db.query.parameter.0={key}\n\nrepeat 4\napi server \"GET /p\" 0..40\n  api db \"SELECT * FROM p WHERE id = $1\" 2..37 db.query.parameter.0=x{{t}}\n\n"
        ));
    }
    check(&drawing, &expect![[""]]);
}

#[test]
fn other_keys_unknown_keys_written_tables_transactions_and_health_checks_are_none() {
    check(
        r#"
        repeat 40
        api server "GET /a" 0..40
          api db "SELECT * FROM a WHERE id = $1" 2..37 db.query.parameter.0={t}

        repeat 40
        api server "GET /b" 0..40
          api db "SELECT * FROM b WHERE id = $1" 2..37

        repeat 40
        api server "GET /c" 0..40
          api db "SELECT * FROM c WHERE id = $1" 2..37 db.query.parameter.0=7

        repeat 20
        api server "PUT /c" 0..40
          api db "UPDATE c SET price = $1 WHERE id = $2" 2..37

        repeat 40
        api server "GET /d" 0..40
          api db "BEGIN" 1..2
          api db "SELECT * FROM d WHERE id = $1" 2..37 db.query.parameter.0=7
          api db "COMMIT" 38..39

        repeat 40
        api server "GET /health" 0..40
          api db "SELECT 1" 2..37
        "#,
        &expect![[""]],
    );
}

#[test]
fn the_assumption_tells_age_hits_and_what_moves_p95() {
    let recording = drawn(
        "repeat 40\napi server \"GET /p\" 0..40\n  api db \"SELECT * FROM p WHERE id = $1\" 2..37 db.query.parameter.0=7",
    );
    let diagnosis = localize(&recording, &Options::default());
    let found = diagnosis.findings.iter().find(|f| f.rule == "uncached_read").expect("a finding");
    expect!["answers may be up to 30 s old; 100 % hits, as the keys repeated in the recording; p95 moves only where fewer than 5 % of the requests miss"].assert_eq(&found.prediction.as_ref().expect("a prediction").assumption);
}

#[test]
fn without_traces_the_rule_does_not_run() {
    check(
        "",
        &expect![[r#"
        not run: uncached_read (traces)
    "#]],
    );
}
