//! Drawings of reads that could run side by side, and of those that need each other.

use crate::testing::{check_rule, drawn};
use crate::{Options, localize};
use expect_test::{Expect, expect};
use model::metrics::names;
use model::{MetricKind, MetricSeries, Point, Recording};

fn check(drawing: &str, expected: &Expect) {
    check_rule("serial_calls", &drawn(drawing), expected);
}

#[test]
fn reads_by_the_requests_own_id_are_one_finding() {
    check(
        r#"
        repeat 20
        api server "GET /products/{id}" 0..70 url.path=/products/{t}
          api db "SELECT * FROM products WHERE id = $1" 1..11 db.query.parameter.0={t}
          api db "SELECT * FROM products p WHERE p.related = $1" 12..32 db.query.parameter.0={t}
          api http "GET http://stock/stock/{t}" 33..63
        "#,
        &expect![[r#"
            serial_calls GET /products/{id} | 3 independent reads one after another per GET /products/{id} | p95 70.0 -> 38.4 (38.4..38.4) B
        "#]],
    );
}

#[test]
fn what_shares_a_transaction_with_another_call_is_no_step() {
    // A write before it, and a mapper's function after it.
    check(
        r#"
        repeat 20
        api server "POST /orders/{id}" 0..90 url.path=/orders/{t}
          api db "BEGIN" 0..1
          api db "UPDATE stock SET n = n - $1 WHERE id = $2" 1..11
          api db "SELECT * FROM rates WHERE id = $1" 12..42 db.query.parameter.0={t}
          api db "COMMIT" 43..44
          api db "SELECT * FROM news WHERE id = $1" 45..75 db.query.parameter.0={t}
        "#,
        &expect![[""]],
    );
    check(
        r#"
        repeat 20
        api server "GET /orders/{id}" 0..99 url.path=/orders/{t}
          api db "SELECT * FROM a WHERE id = $1" 0..30 db.query.parameter.0={t}
          api db "BEGIN" 30..31
          api internal "repo.rates" 31..61
            api db "SELECT * FROM rates WHERE id = $1" 32..60 db.query.parameter.0={t}
          api internal "repo.news" 61..91
            api db "SELECT * FROM news WHERE id = $1" 62..90 db.query.parameter.0={t}
          api db "COMMIT" 92..93
        "#,
        &expect![[""]],
    );
}

/// Pages of `api`, each with a read of its own and two of another service.
fn pages(count: usize, first: &str, last: &str) -> String {
    let page = |n: usize| {
        format!(
            "repeat 20\napi server \"GET /page{n}/{{id}}\" 0..99 url.path=/page{n}/{{t}}\n  api db \"SELECT * FROM t{n} WHERE id = $1\" {first} db.query.parameter.0={{t}}\n  api http \"GET http://rates/rates/{{t}}\" {last}\n    rates server \"GET /rates/{{id}}\" {last}\n\n"
        )
    };
    (0..count).map(page).collect()
}

#[test]
fn what_most_endpoints_read_last_is_no_session() {
    let found = |drawing: &str| {
        let diagnosis = localize(&drawn(drawing), &Options::default());
        diagnosis.findings.iter().filter(|f| f.rule == "serial_calls").count()
    };
    assert_eq!(found(&pages(3, "1..45", "46..95")), 3);
    assert_eq!(found(&pages(3, "50..95", "1..49")), 0);
    // An endpoint of the other service makes the call no more common than it is.
    let health = "repeat 20\nrates server \"GET /health\" 0..1\n";
    assert_eq!(found(&format!("{}{health}", pages(3, "1..45", "46..95"))), 3);
}

#[test]
fn statements_on_one_connection_stay_in_order() {
    check(
        r#"
        repeat 20
        api server "GET /products/{id}" 0..70 url.path=/products/{t}
          api client "pool.acquire" 0..1
          api db "SELECT * FROM products WHERE id = $1" 1..11 db.query.parameter.0={t}
          api db "SELECT * FROM products p WHERE p.related = $1" 12..42 db.query.parameter.0={t}
          api http "GET http://stock/stock/{t}" 43..63
        "#,
        &expect![[r#"
            serial_calls GET /products/{id} | 3 independent reads one after another per GET /products/{id} | p95 70.0 -> 48.0 (38.2..48.0) B
        "#]],
    );
}

#[test]
fn a_value_that_only_an_earlier_answer_can_have_given_is_a_need() {
    check(
        r#"
        repeat 20
        api server "GET /products/{id}" 0..70 url.path=/products/{t}
          api db "SELECT category FROM products WHERE id = $1" 1..31 db.query.parameter.0={t}
          api http "GET http://shelves/shelf/9{t}" 32..63
        "#,
        &expect![[""]],
    );
}

#[test]
fn without_values_the_keys_tell_a_join_by_hand_from_two_reads_of_one_thing() {
    check(
        r#"
        repeat 20
        api server "GET /orders" 0..70
          api db "SELECT id FROM orders WHERE customer_id = $1" 1..31
          api db "SELECT * FROM items WHERE order_id = ANY($1)" 32..63

        repeat 20
        api server "GET /me" 0..70
          api db "SELECT user_id FROM sessions WHERE token = $1" 1..31
          api db "SELECT * FROM users WHERE id = $1" 32..63

        repeat 20
        api server "GET /page" 0..70
          api db "SELECT * FROM products WHERE id = $1" 1..31
          api db "SELECT * FROM reviews WHERE product_id = $1" 32..63
        "#,
        &expect![[r#"
            serial_calls GET /page | 2 independent reads one after another per GET /page | p95 70.0 -> 39.2 (39.2..69.0) B
        "#]],
    );
}

#[test]
fn services_that_do_not_tell_values_are_believed_less() {
    let recording = drawn(
        r#"
        repeat 20
        front server "GET /" 0..70
          front client "shop.Cart/GetCart" 1..31 rpc.system=grpc
          front client "shop.Ads/GetAds" 32..63 rpc.system=grpc
        "#,
    );
    check_rule(
        "serial_calls",
        &recording,
        &expect![[r#"
        serial_calls GET / | 2 independent reads one after another per GET / | p95 70.0 -> 39.2 (39.2..70.0) C
    "#]],
    );
    let finding = &localize(&recording, &Options::default()).findings[0];
    assert!(finding.confidence < 0.5 && finding.evidence.lines[2].contains("do not tell their values"));
}

#[test]
fn steps_of_the_code_that_wrap_reads_count_as_reads() {
    check(
        r#"
        repeat 20
        api server "GET /products/{id}" 0..70 url.path=/products/{t}
          api internal "details" 1..31
            api db "SELECT * FROM products WHERE id = $1" 2..30 db.query.parameter.0={t}
          api internal "stock" 32..63
            api http "GET http://stock/stock/{t}" 33..62
        "#,
        &expect![[r#"
            serial_calls GET /products/{id} | 2 independent reads one after another per GET /products/{id} | p95 70.0 -> 39.2 (39.2..39.2) B
        "#]],
    );
}

#[test]
fn overlap_transactions_writes_caches_far_calls_and_branches_are_none() {
    check(
        r#"
        repeat 20
        api server "GET /a" 0..70
          api http "GET http://x/a" 2..32
          api http "GET http://y/b" 3..63

        repeat 20
        api server "GET /b" 0..70
          api db "BEGIN" 0..1
          api db "SELECT * FROM products WHERE id = $1" 1..31 db.query.parameter.0=7
          api db "SELECT * FROM stock WHERE id = $1" 32..62 db.query.parameter.0=7
          api db "COMMIT" 63..64

        repeat 20
        api server "POST /c" 0..70
          api http "POST http://x/a" 2..32
          api http "POST http://y/b" 33..63

        repeat 20
        api server "GET /d" 0..70
          api redis "GET a:7" 2..32
          api db "SELECT * FROM a WHERE id = $1" 33..63 db.query.parameter.0=7
          api redis "SET a:7" 63..64

        repeat 20
        api server "GET /e" 0..200
          api http "GET http://x/a" 2..32
          api http "GET http://y/b" 150..180

        repeat 10
        api server "GET /f" 0..70
          api http "GET http://x/a" 2..32

        repeat 10
        api server "GET /f" 0..70
          api http "GET http://x/a" 2..32
          api http "GET http://y/b" 33..63
        "#,
        &expect![[""]],
    );
}

#[test]
fn without_traces_the_rule_does_not_run() {
    check(
        "",
        &expect![[r#"
        not run: serial_calls (traces)
    "#]],
    );
}

#[test]
fn a_page_and_the_count_of_its_list_are_one_step() {
    check(
        r#"
        repeat 20
        api server "GET /orders" 0..70
          api db "SELECT COUNT(*) AS n FROM orders" 1..31
          api db "SELECT id, total FROM orders ORDER BY id LIMIT 20" 32..63
        "#,
        &expect![[""]],
    );
}

#[test]
fn what_most_endpoints_read_first_is_waited_for_on_purpose() {
    let page = |name: &str| {
        format!(
            "repeat 20\napi server \"GET /{name}\" 0..70\n  api db \"SELECT user_id FROM sessions WHERE token = 's{{t}}'\" 1..31\n  api db \"SELECT * FROM {name} WHERE day = 'today'\" 32..63\n\n"
        )
    };
    check(&["orders", "carts", "offers"].map(page).concat(), &expect![[""]]);
}

#[test]
fn transactions_of_one_statement_each_part_nothing() {
    let each = |from: u32, text: &str| {
        format!(
            "  api db \"BEGIN\" {}..{}\n  api db \"{text}\" {}..{}\n  api db \"ROLLBACK\" {}..{}\n",
            from,
            from + 1,
            from + 1,
            from + 29,
            from + 29,
            from + 30
        )
    };
    let reads = |one: &str, other: &str| format!("repeat 20\napi server \"GET /page\" 0..70\n{one}{other}");
    let (rates, news) = ("SELECT * FROM rates WHERE day = 'now'", "SELECT * FROM news WHERE day = 'now'");
    check(
        &reads(&each(1, rates), &each(32, news)),
        &expect![[r#"
        serial_calls GET /page | 2 independent reads one after another per GET /page | p95 70.0 -> 42.0 (42.0..67.0) B
    "#]],
    );
    let one = format!(
        "  api db \"BEGIN\" 0..1\n  api db \"{rates}\" 1..30\n  api db \"{news}\" 31..63\n  api db \"COMMIT\" 63..64\n"
    );
    check(&reads(&one, ""), &expect![[""]]);
}

/// A machine, 0 to 1 busy, and the cores that the database uses of it.
fn on_a_busy_machine(busy: f64, database: f64) -> Recording {
    let mut recording = drawn(
        r#"
        repeat 20
        api server "GET /products/{id}" 0..70 url.path=/products/{t}
          api db "SELECT * FROM products WHERE id = $1" 1..31 db.query.parameter.0={t}
          api http "GET http://stock/stock/{t}" 32..63
        "#,
    );
    let series = |name: &str, value, role: &str| MetricSeries {
        name: name.into(),
        unit: "1".into(),
        kind: MetricKind::Gauge,
        attributes: [("process.role".to_owned(), role.to_owned())].into(),
        points: vec![Point { time_ns: 1, value }],
    };
    recording.metrics.push(series(names::HOST_CPU, busy, ""));
    recording.metrics.push(series(names::PROCESS_CPU, database, "database"));
    recording
}

#[test]
fn only_what_computes_is_slowed_by_a_busy_machine() {
    let told = |database| {
        let diagnosis = localize(&on_a_busy_machine(0.9, database), &Options::default());
        let finding = diagnosis.findings.iter().find(|f| f.rule == "serial_calls").expect("a finding");
        finding.prediction.clone().expect("a prediction").after_ms
    };
    let (waiting, computing) = (told(0.0), told(50.0));
    assert!((waiting - 39.2).abs() < 0.1, "{waiting}");
    assert!(computing > waiting + 5.0 && computing < 70.0, "{computing}");
}
