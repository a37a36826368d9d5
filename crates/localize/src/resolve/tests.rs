//! Tests of the pass on drawings and hostile cases.

use super::{Calls, resolve};
use crate::testing::drawn;
use expect_test::{Expect, expect};

/// One line a span: class, template, peer, and whatever else it tells.
fn check(drawing: &str, expected: &Expect) {
    let recording = drawn(drawing);
    let calls = resolve(&recording.spans);
    let lines: Vec<String> = calls.rows.iter().map(|call| line(&calls, call)).collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

fn line(calls: &Calls, call: &super::Call) -> String {
    let mut out = format!("{} {}", call.class.word(), calls.name(call.template));
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!(" {name}={value}"));
        }
    };
    add("peer", Some(calls.name(call.peer).to_owned()).filter(|p| !p.is_empty()));
    add("status", (call.status > 0).then(|| call.status.to_string()));
    add("rows", call.rows().map(|n| n.to_string()));
    add("bytes", call.bytes().map(|n| n.to_string()));
    add("batch", call.batch().map(|n| n.to_string()));
    add("busy", call.busy_ns().map(|n| n.to_string()));
    add("params", call.params().map(|_| "known".to_owned()));
    add("error", call.error.then(|| "yes".to_owned()));
    add("code", calls.code(call).map(|c| format!("{}:{}", c.function, c.line.unwrap_or(0))));
    out
}

#[test]
fn a_statement_is_read_in_every_generation() {
    check(
        r#"
        api client "q" 0..1 db.system.name=postgresql "db.query.text=SELECT a FROM t WHERE b = $1"
        api client "q" 0..1 db.system=postgresql "db.statement=SELECT a FROM t WHERE b = %s"
        api client "q" 0..1 db.type=sql "sql.query=SELECT a FROM t WHERE b = 7"
        api client "q" 0..1 db.system.name=postgresql "db.query.text=SELECT 1" db.operation=x db.sql.table=y
        api client "q" 0..1 db.system=mysql db.operation.name=SELECT db.collection.name=orders
        api client "sql.conn.query" 0..1
        "#,
        &expect![[r#"
            db SELECT a FROM t WHERE b = $1 peer=postgresql
            db SELECT a FROM t WHERE b = $1 peer=postgresql
            db SELECT a FROM t WHERE b = $1 peer=sql params=known
            db SELECT $1 peer=postgresql params=known
            db SELECT orders peer=mysql
            db sql.conn.query
        "#]],
    );
}

#[test]
fn http_is_read_in_every_generation() {
    check(
        r#"
        api client "GET" 0..1 http.request.method=GET url.full=http://stock:80/stock/7?x=1 server.address=stock
        api client "HTTP GET" 0..1 http.method=GET http.url=http://stock/stock/8 http.status_code=503
        api client "GET" 0..1 http.method=GET http.target=/stock/9 net.peer.name=stock
        api server "GET" 0..1 http.request.method=GET http.route=/a/{id} http.response.status_code=200
        api server "GET" 0..1 http.method=GET http.target=/a/17?q=1 response_size=1200
        api server "handle" 0..1
        envoy client "router stock egress" 0..1 upstream_cluster=stock http.status_code=200
        "#,
        &expect![[r#"
            http GET stock/stock/{id} peer=stock params=known
            http GET stock/stock/{id} status=503 params=known
            http GET stock/stock/{id} peer=stock params=known
            server GET /a/{id} status=200
            server GET /a/{id} bytes=1200 params=known
            server handle
            http router stock egress peer=stock status=200
        "#]],
    );
}

#[test]
fn caches_procedures_messages_and_pools_are_told_apart() {
    check(
        r#"
        api client "GET" 0..1 db.system=redis "db.statement=GET user:17"
        api client "GET" 0..1 db.system.name=redis "db.query.text=GET ?" db.redis.pipeline_length=3
        api client "x" 0..1 rpc.system=grpc rpc.service=shop.Stock rpc.method=Get
        api client "x" 0..1 rpc.system.name=grpc rpc.method=shop.Stock/Get
        api producer "orders publish" 0..1 messaging.system=kafka messaging.destination.name=orders
        api client "pg-pool.connect" 0..1 db.system=postgresql
        api internal "handle 17" 0..1 code.function=f code.namespace=m code.lineno=3 busy_ns=500
        "#,
        &expect![[r#"
            cache GET user:{id} peer=redis params=known
            cache GET ? peer=redis batch=3
            rpc shop.Stock/Get
            rpc shop.Stock/Get
            messaging orders publish
            pool pg-pool.connect
            internal handle {id} busy=500 code=m.f:3
        "#]],
    );
}

#[test]
fn parameters_rows_and_errors() {
    check(
        r#"
        api db "SELECT a FROM t WHERE b = $1" 0..1 db.query.parameter.0=7 db.response.returned_rows=3
        api db "SELECT a FROM t WHERE b = $1" 0..1
        api db "SELECT a FROM t WHERE b = 7" 0..1 error.type=timeout
        api db "SELECT a FROM t" 0..1 error=false otel.status_code=ERROR
        api db "SELECT a FROM t" 0..1 db.response.returned_rows=-5 status=error
        api db "SELECT a FROM t" 0..1 db.response.returned_rows=1e300 error.type=""
        api db "SELECT a FROM t" 0..1 db.response.returned_rows=NaN
        "#,
        &expect![[r#"
            db SELECT a FROM t WHERE b = $1 peer=postgresql rows=3 params=known
            db SELECT a FROM t WHERE b = $1 peer=postgresql
            db SELECT a FROM t WHERE b = $1 peer=postgresql params=known error=yes
            db SELECT a FROM t peer=postgresql params=known error=yes
            db SELECT a FROM t peer=postgresql params=known error=yes
            db SELECT a FROM t peer=postgresql params=known
            db SELECT a FROM t peer=postgresql params=known
        "#]],
    );
}

#[test]
fn equal_parameters_have_equal_hashes_in_whatever_order_they_come() {
    let recording = drawn(
        r#"
        api db "SELECT $1, $2" 0..1 db.query.parameter.0=1 db.query.parameter.1=2
        api db "SELECT $1, $2" 0..1 db.query.parameter.1=2 db.query.parameter.0=1
        api db "SELECT $1, $2" 0..1 db.query.parameter.0=2 db.query.parameter.1=1
        "#,
    );
    let calls = resolve(&recording.spans);
    let params: Vec<Option<u64>> = calls.rows.iter().map(super::Call::params).collect();
    assert_eq!(params[0], params[1]);
    assert_ne!(params[0], params[2]);
}
