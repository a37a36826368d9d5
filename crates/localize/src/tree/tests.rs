//! Tests of the pass on drawings and hostile cases.

use crate::testing::check_trees;
use expect_test::expect;
use model::{SpanTable, fixture};

fn draw(drawing: &str) -> SpanTable {
    fixture::spans(drawing).unwrap_or_else(|problem| panic!("{problem}"))
}

#[test]
fn a_clean_trace_is_kept_as_it_is() {
    let spans = draw(
        r#"
        api server "GET /orders" 0..100
          api db "SELECT 1" 10..20 x2 gap 5
          api http "GET http://stock:80/stock/7" 60..90
            stock server "GET /stock/{id}" 65..85
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
        api server GET /orders 0..100
          api db SELECT $1 10..20
          api db SELECT $1 25..35
          api http GET stock/stock/{id} 60..90
            stock server GET /stock/{id} 65..85
    "#]],
    );
}

/// A mapper's calls and, a little within each, what the driver below says of them.
fn two_layers(scopes: [&str; 2]) -> SpanTable {
    let mut spans = draw(
        r#"
        api server "GET /orders" 0..100
          api db "SELECT 1" 10..20
          api db "SELECT 1" 11..19
          api db "SELECT 1" 30..40
          api db "SELECT 1" 31..39
        "#,
    );
    for row in 1..5 {
        spans.scopes[row] = spans.strings.intern(scopes[(row + 1) % 2]);
    }
    spans
}

#[test]
fn a_mapper_and_its_driver_are_one_call() {
    check_trees(
        &two_layers(["sqlalchemy", "psycopg"]),
        &expect![[r#"
        api server GET /orders 0..100
          api db SELECT $1 10..20
          api db SELECT $1 30..40
        mended: second_layers: 2
    "#]],
    );
}

#[test]
fn equal_calls_at_the_same_time_of_one_instrumentation_are_several() {
    for scopes in [["pg", "pg"], ["", "pg"]] {
        check_trees(
            &two_layers(scopes),
            &expect![[r#"
            api server GET /orders 0..100
              api db SELECT $1 10..20
              api db SELECT $1 11..19
              api db SELECT $1 30..40
              api db SELECT $1 31..39
        "#]],
        );
    }
}

#[test]
fn halves_that_share_an_id_are_client_and_server() {
    let mut spans = draw(
        r#"
        api server "GET /orders" 0..100
          api client "get stock" 10..60
          stock server "GET /stock/{id}" 15..55
            stock db "SELECT 1" 20..30
        "#,
    );
    // Zipkin: the server's half has the client's id and parent.
    spans.span_ids[2] = spans.span_ids[1];
    spans.parent_ids[3] = spans.span_ids[1];
    check_trees(
        &spans,
        &expect![[r#"
        api server GET /orders 0..100
          api http get stock 10..60
            stock server GET /stock/{id} 15..55
              stock db SELECT $1 20..30
        mended: joined_halves: 1
    "#]],
    );
}

#[test]
fn a_leaf_that_covers_a_sibling_of_another_service_is_its_parent() {
    let spans = draw(
        r#"
        gateway server "GET /orders" 0..100
          gateway http "GET http://api/orders" 5..95
          api server "GET /orders" 10..90
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
        gateway server GET /orders 0..100
          gateway http GET api/orders 5..95
            api server GET /orders 10..90
        mended: adopted: 1
    "#]],
    );
}

#[test]
fn calls_side_by_side_do_not_adopt_each_other() {
    let spans = draw(
        r#"
        api server "GET /orders" 0..100
          api http "GET http://slow/a" 5..95
          api http "GET http://quick/b" 10..30
          api internal "render" 5..50
          api internal "count" 5.1..30
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
        api server GET /orders 0..100
          api internal render 5..50
          api http GET slow/a 5..95
          api internal count 5.1..30
          api http GET quick/b 10..30
    "#]],
    );
}

#[test]
fn a_clock_that_is_wrong_is_aligned_with_all_below_it() {
    let spans = draw(
        r#"
        api server "GET /orders" 0..100
          api http "GET http://stock/7" 10..60
            stock server "GET /stock/{id}" 510..550
              stock db "SELECT 1" 520..530
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
        api server GET /orders 0..100
          api http GET stock/{id} 10..60
            stock server GET /stock/{id} 15..55
              stock db SELECT $1 25..35
        mended: realigned: 1
    "#]],
    );
}

#[test]
fn work_that_goes_on_after_its_parent_is_detached() {
    let spans = draw(
        r#"
        api server "POST /orders" 0..50
          api internal "send mail" 40..400
            api http "POST http://mail/send" 45..390
          api internal "late" 60..70
          api db "INSERT" 10..50.2
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
            api server POST /orders 0..50
              api db INSERT 9.8..50
              api internal send mail 39.8..399.8 detached
                api http POST mail/send 44.8..389.8 detached
              api internal late 59.8..69.8 detached
            mended: clamped: 1, detached: 2
        "#]],
    );
}

#[test]
fn a_clock_of_whole_milliseconds_detaches_nothing() {
    // As a Node service tells it: starts cut to milliseconds, durations exact.
    let spans = draw(
        r#"
        api server "GET /orders" 0..18.4
          api internal "request handler" 1..19.1
            api db "SELECT" 2..18.9
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
            api server GET /orders 0..18.4
              api internal request handler 0.3..18.4
                api db SELECT 1.3..18.2
            mended: clamped: 1
        "#]],
    );
}

/// The parent's start was cut by more than its children's: the statement seems to end after it, and to have begun before
/// its connection was there when it is put back.
#[test]
fn siblings_keep_their_order_where_a_cut_start_is_put_right() {
    check_trees(
        &draw(
            r#"
            api server "GET /orders" 0..57.4
              api client "pg-pool.connect" 1..1.1
              api db "SELECT 1" 1..57.8
            "#,
        ),
        &expect![[r#"
            api server GET /orders 0..57.4
              api pool pg-pool.connect 0.6..0.7
              api db SELECT $1 0.7..57.4
            mended: clamped: 1
        "#]],
    );
}

#[test]
fn a_handler_that_ends_a_little_after_the_frameworks_span_was_waited_for_and_a_task_was_not() {
    check_trees(
        &draw(
            r#"
            api server "GET /orders" 0..110
              api internal "request" 0..100
                api internal "handler" 1..106
            "#,
        ),
        &expect![[r#"
            api server GET /orders 0..110
              api internal request 0..100
                api internal handler 1..100
            mended: clamped: 1
        "#]],
    );
    check_trees(
        &draw(
            r#"
            api server "GET /orders" 0..110
              api internal "request" 0..100
                api internal "send mail" 30..106
            "#,
        ),
        &expect![[r#"
            api server GET /orders 0..110
              api internal request 0..100
                api internal send mail 30..106 detached
            mended: detached: 1
        "#]],
    );
}

/// Starts cut to milliseconds: the second statement seems to begin before the first one's answer, and did not.
#[test]
fn what_seems_to_overlap_by_less_than_the_clock_tells_is_one_after_the_other() {
    check_trees(
        &draw(
            r#"
            api server "GET /orders" 0..100
              api db "SELECT 1" 1..40.6
                api internal "rows" 39..40.5
              api db "SELECT 2" 40..70.4
              api db "SELECT 3" 50..60
            "#,
        ),
        &expect![[r#"
            api server GET /orders 0..100
              api db SELECT $1 1..40.6
                api internal rows 39..40.5
              api db SELECT $1 40.6..71
              api db SELECT $1 50..60
        "#]],
    );
    check_trees(
        &draw(
            r#"
            api server "GET /orders" 0.1..100
              api db "SELECT 1" 1.1..40.6
              api db "SELECT 2" 40.2..70.4
            "#,
        ),
        &expect![[r#"
            api server GET /orders 0..99.9
              api db SELECT $1 1..40.5
              api db SELECT $1 40.1..70.3
        "#]],
    );
}

#[test]
fn cycles_missing_parents_copies_and_bad_times_are_counted() {
    let mut spans = draw(
        r#"
        api server "GET /a" 0..50
          api internal "one" 10..30
            api internal "two" 12..28
          api internal "self" 31..32
          api db "SELECT 1" 40..45
          api db "SELECT 2" 46..47
          api db "SELECT 2" 46..47
          api internal "backwards" 48..49
          api internal "no start" 0..3
        "#,
    );
    spans.parent_ids[1] = spans.span_ids[2];
    spans.parent_ids[3] = spans.span_ids[3];
    spans.parent_ids[4] = 0xdead;
    spans.span_ids[6] = spans.span_ids[5];
    spans.durations_ns[7] = -5;
    spans.starts_ns[8] = 0;
    check_trees(
        &spans,
        &expect![[r#"
        api server GET /a 0..50
          api internal no start 0..3
          api db SELECT $1 46..47
          api internal backwards 48..48
        api internal two 0..16
          api internal one -2..18 detached
        api internal self 0..1
        api db SELECT $1 0..5
        mended: orphans: 3, cycles: 1, negative_durations: 1, missing_times: 1, duplicates: 1, detached: 1
    "#]],
    );
}

#[test]
fn several_roots_of_a_trace_are_several_trees_and_an_entry_with_a_remote_parent_is_no_orphan() {
    let mut spans = draw(
        r#"
        api server "GET /a" 0..50
        api server "GET /b" 60..70
        "#,
    );
    spans.trace_ids[1] = spans.trace_ids[0];
    spans.parent_ids[1] = 0xbeef;
    check_trees(
        &spans,
        &expect![[r#"
        api server GET /a 0..50
        api server GET /b 0..10
    "#]],
    );
}

#[test]
fn spans_without_a_kind_are_told_by_their_neighbours() {
    let spans = draw(
        r#"
        web none "shop.Web/Recv." 0..50
          web none "shop.Stock/Get" 10..40
            stock none "shop.Stock/Get" 15..35
              stock none "shop.Stock/Parse" 16..20
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
        web server shop.Web/Recv. 0..50
          web rpc shop.Stock/Get 10..40
            stock server shop.Stock/Get 15..35
              stock internal shop.Stock/Parse 16..20
    "#]],
    );
}

#[test]
fn extreme_times_and_ids_do_not_panic() {
    let mut spans = draw("repeat 3\napi server \"GET /a\" 0..50\n  api db \"SELECT 1\" 10..20 x3");
    let last = spans.len() - 1;
    (spans.starts_ns[1], spans.durations_ns[1]) = (u64::MAX, i64::MAX);
    (spans.starts_ns[2], spans.durations_ns[2]) = (1, i64::MIN);
    spans.span_ids[3] = 0;
    spans.trace_ids[last] = 0;
    let recording = model::Recording { spans, ..model::Recording::default() };
    let diagnosis = crate::localize(&recording, &crate::Options::default());
    assert_eq!(diagnosis.recording.spans, 12);
}

#[test]
fn an_entry_after_its_caller_ended_is_a_request_of_its_own() {
    let spans = draw(
        r#"
        web server "GET /login" 0..10
          web client "redirect" 9..10
            web server "GET /home" 100..140
              web db "SELECT 1" 105..130
          web http "GET http://stock:80/stock/7" 2..8
            stock server "GET /stock/{id}" 3..7
        "#,
    );
    check_trees(
        &spans,
        &expect![[r#"
        web server GET /login 0..10
          web http GET stock/stock/{id} 2..8
            stock server GET /stock/{id} 3..7
          web http redirect 9..10
        web server GET /home 0..40
          web db SELECT $1 5..30
        mended: detached: 1, apart: 1
    "#]],
    );
}
