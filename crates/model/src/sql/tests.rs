//! Pairs of text and identity. Each expectation is also checked to be its own identity.

use super::{normalise, operation_and_tables};

#[track_caller]
fn check(text: &str, expected: &str) {
    let found = normalise(text);
    assert_eq!(found, expected, "of {text}");
    assert_eq!(normalise(&found), expected, "applied twice, of {text}");
}

#[test]
fn placeholders_of_every_driver_are_one() {
    let expected = "SELECT a FROM t WHERE b = $1 AND c = $2";
    for text in [
        "SELECT a FROM t WHERE b = $1 AND c = $2",
        "SELECT a FROM t WHERE b = $7 AND c = $3",
        "SELECT a FROM t WHERE b = ? AND c = ?",
        "SELECT a FROM t WHERE b=? AND c=?",
        "SELECT a FROM t WHERE b = ?1 AND c = ?2",
        "SELECT a FROM t WHERE b = %s AND c = %s",
        "SELECT a FROM t WHERE b=%s AND c=%(two)s",
        "SELECT a FROM t WHERE b = :one AND c = :2",
        "SELECT a FROM t WHERE b = @p0 AND c=@name",
        "SELECT a FROM t WHERE b = 5 AND c = 'x'",
        "SELECT a FROM t WHERE b = -5 AND c=-1.5e-3",
        "SELECT a FROM t WHERE b = true AND c = NULL",
    ] {
        check(text, expected);
    }
}

#[test]
fn literals_of_every_form_are_placeholders() {
    check(r"SELECT 'it''s', E'it\'s', B'01', X'ff', U&'\0041', N'x'", "SELECT $1, $2, $3, $4, $5, $6");
    check("SELECT $$a 'b'$$, $tag$ $$ $tag$, 0x1F, 1_000, .5, 1e10", "SELECT $1, $2, $3, $4, $5, $6");
    check(r"SELECT '\' , 'x'", "SELECT $1, $2");
    check("SELECT a FROM t LIMIT -1", "SELECT a FROM t LIMIT $1");
    check("SELECT interval '1 day', date '2020-01-01'", "SELECT interval $1, date $2");
    check("SELECT '5'::int, x::text", "SELECT $1::int, x::text");
}

#[test]
fn names_are_no_literals() {
    check(
        r#"SELECT "Order"."5", `a b`, t1.col2, foo$1 FROM "a""b""#,
        r#"SELECT "Order"."5", `a b`, t1.col2, foo$1 FROM "a""b""#,
    );
    check("SELECT größe, x3 FROM übung", "SELECT größe, x3 FROM übung");
    check("SELECT a -5, b - 1, (c)-2", "SELECT a -$1, b - $2, (c)-$3");
    check("SELECT x WHERE a IS NOT NULL AND b IS TRUE", "SELECT x WHERE a IS NOT NULL AND b IS TRUE");
}

#[test]
fn comments_and_white_space_are_folded() {
    check("/* app */ SELECT 1 -- why\n, 2 /* a /* b */ c */ FROM  t\t;", "SELECT $1, $2 FROM t");
    check(
        "SELECT a FROM t WHERE b = $1 /*traceparent='00-ab-01',route='%2Forders'*/",
        "SELECT a FROM t WHERE b = $1",
    );
    check("select\n  count( * )\nfrom t ;\n", "select count(*) from t");
    check("SELECT a -- to the end", "SELECT a");
    check("SELECT '--', '/*' , a", "SELECT $1, $2, a");
}

#[test]
fn lists_of_values_have_no_length() {
    for list in
        ["(1)", "(1,2,3)", "( $1 , $2 )", "(?)", "(%s, %s)", "('a','b')", "(-1, 2)", "(1::int, 2::int)"]
    {
        let folded = if list.contains("::") { "$1::int, ..." } else { "$1, ..." };
        check(
            &format!("SELECT a FROM t WHERE b IN {list} AND c = 5"),
            &format!("SELECT a FROM t WHERE b IN ({folded}) AND c = $2"),
        );
    }
    check("DELETE FROM t WHERE (a, b) IN ((1, 2), (3, 4))", "DELETE FROM t WHERE (a, b) IN (($1, $2), ...)");
    check("SELECT a = ANY(ARRAY[1,2,3]) AND b", "SELECT a = ANY(ARRAY[$1, ...]) AND b");
    check("SELECT a WHERE b IN($1 /*, ... */)", "SELECT a WHERE b IN ($1, ...)");
}

#[test]
fn in_equals_and_any_stay_apart() {
    let forms = ["a = 1", "a IN (1)", "a = ANY($1)", "a IN (SELECT b FROM u WHERE c = 1)", "a IN (b, 1)"];
    let mut seen: Vec<String> =
        forms.iter().map(|f| normalise(&format!("SELECT x FROM t WHERE {f}"))).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), forms.len());
    check("SELECT a WHERE b IN (SELECT 1, 2)", "SELECT a WHERE b IN (SELECT $1, $2)");
}

#[test]
fn one_row_and_many_rows_stay_apart() {
    check("INSERT INTO t (a,b) VALUES ($1,$2)", "INSERT INTO t (a, b) VALUES ($1, $2)");
    for rows in ["(1,2),(3,4)", "($1, $2), ($3, $4), ($5, $6)", "(?, ?) , (?, ?)"] {
        check(
            &format!("INSERT INTO t (a,b) VALUES{rows} RETURNING id"),
            "INSERT INTO t (a, b) VALUES ($1, $2), ... RETURNING id",
        );
    }
    check("INSERT INTO t VALUES (1, now()), (2, now())", "INSERT INTO t VALUES ($1, now()), ...");
    check(
        "SELECT * FROM (VALUES (1),(2)) v(x), u WHERE x = 3",
        "SELECT * FROM (VALUES ($1), ...) v(x), u WHERE x = $2",
    );
}

#[test]
fn operators_that_look_like_placeholders_stay() {
    check(
        "SELECT a WHERE b ? 'k' AND c ?| array['x'] AND d = ?",
        "SELECT a WHERE b ? $1 AND c ?| array[$2, ...] AND d = $3",
    );
    check("SELECT a WHERE b @> '{}' AND c <@ d AND e @@ f", "SELECT a WHERE b @> $1 AND c <@ d AND e @@ f");
    check(
        "SELECT a % 2, a %% 3, b->>'k', c::text, d[1:2]",
        "SELECT a % $1, a % $2, b->>$3, c::text, d[$4:$5]",
    );
    check("SELECT f(a := 1, b => 2)", "SELECT f(a := $1, b => $2)");
}

#[test]
fn hostile_texts_do_not_panic_and_stay_linear() {
    for text in [
        "",
        "'",
        "$",
        "$$",
        "$a",
        "/*",
        "--",
        "E'\\",
        "\"",
        "(",
        ")))",
        "IN (",
        "?",
        "%(",
        ":",
        "::",
        "@",
        "é'ü",
        "VALUES",
        "VALUES (1), (",
        "....",
        "-",
        "-.",
        "IN ()",
        "[]]",
    ] {
        let once = normalise(text);
        assert_eq!(normalise(&once), once, "of {text}");
        assert!(operation_and_tables(text).tables.len() <= 1, "of {text}");
    }
    for part in ["(", "IN (", "$a$", "/*", "'a", "? ", "- ", "ARRAY[", "VALUES ("] {
        let text = part.repeat(40_000);
        assert!(normalise(&text).len() <= 4 * text.len());
        assert!(operation_and_tables(&text).tables.len() <= super::MAX_TABLES);
    }
}

#[track_caller]
fn check_operation(text: &str, verb: &str, tables: &[&str]) {
    let found = operation_and_tables(text);
    assert_eq!(
        (found.verb.as_str(), found.tables.iter().map(String::as_str).collect::<Vec<_>>()),
        (verb, tables.to_vec()),
        "of {text}"
    );
}

#[test]
fn verb_and_tables() {
    check_operation("select a from orders o where x = 1", "SELECT", &["orders"]);
    check_operation(
        "SELECT * FROM public.orders, \"Items\" i JOIN ONLY c ON true",
        "SELECT",
        &["public.orders", "Items", "c"],
    );
    check_operation("INSERT INTO events (a) VALUES ($1)", "INSERT", &["events"]);
    check_operation("INSERT INTO events(a) SELECT b FROM u", "INSERT", &["events", "u"]);
    check_operation("UPDATE orders SET a = 1 WHERE b IN (SELECT c FROM d)", "UPDATE", &["orders", "d"]);
    check_operation("DELETE FROM orders USING x WHERE a = 1", "DELETE", &["orders", "x"]);
    check_operation("SELECT * FROM (SELECT a FROM inner_t) x, outer_t", "SELECT", &["inner_t", "outer_t"]);
    check_operation("SELECT extract(epoch FROM at) FROM t", "SELECT", &["t"]);
    check_operation("SELECT a FROM t WHERE b IS DISTINCT FROM c FOR UPDATE", "SELECT", &["t"]);
    check_operation("SELECT a FROM generate_series(1, 2) g JOIN t ON t.a = g", "SELECT", &["t"]);
    check_operation("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2", "INSERT", &["t"]);
    check_operation("BEGIN", "BEGIN", &[]);
    check_operation("", "", &[]);
}

#[test]
fn common_table_expressions_are_no_tables() {
    check_operation(
        "WITH x AS (SELECT a FROM t), y (b) AS MATERIALIZED (SELECT 1) UPDATE u SET a = 1 FROM x, y",
        "UPDATE",
        &["t", "u"],
    );
    check_operation(
        "WITH RECURSIVE r AS (SELECT a FROM t UNION SELECT a FROM r) SELECT * FROM r",
        "SELECT",
        &["t"],
    );
}

#[test]
fn any_mixture_of_pieces_has_one_identity() {
    const PIECES: [&str; 23] = [
        "SELECT ",
        "IN ",
        "(",
        ")",
        ",",
        "VALUES ",
        "1",
        "'x'",
        "$1",
        "?",
        "ARRAY",
        "[",
        "]",
        "a",
        "::int",
        "-",
        "=",
        " ",
        "NULL ",
        "IS ",
        "IN ($1, ...)",
        ";",
        "\"q\"",
    ];
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push(' ');
            text.push_str(PIECES[usize::try_from(state >> 33).unwrap() % PIECES.len()]);
        }
        let once = normalise(&text);
        assert_eq!(normalise(&once), once, "of {text}");
    }
}
