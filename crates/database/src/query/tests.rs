//! Statements in, indexes and values out.

use super::shape::{Asked, Use};
use super::{
    Column, Dialect, Index, Known, Schema, Table, as_read, candidates, create, fill, shape, statements, undo,
    without_values,
};

/// `orders(id*, customer_id, status, created_at, note)`, `items(id*, order_id, product_id, qty)`, `Order Lines(Id, Email)`.
fn schema() -> Schema {
    let table = |name: &str, columns: &[(&str, &str)], keys: &[(&str, &[&str], bool)]| {
        let column =
            |(name, kind): &(&str, &str)| Column { name: (*name).to_owned(), kind: (*kind).to_owned() };
        let index = |(name, keys, primary): &(&str, &[&str], bool)| Index {
            name: (*name).to_owned(),
            keys: keys.iter().map(|k| (Some((*k).to_owned()), false)).collect(),
            primary: *primary,
            unique: *primary,
            ..Index::default()
        };
        let (columns, indexes) = (columns.iter().map(column).collect(), keys.iter().map(index).collect());
        let table = Table { name: name.to_owned(), rows: 1e5, columns, indexes, ..Table::default() };
        (name.to_lowercase(), table)
    };
    let orders = [
        ("id", "int"),
        ("customer_id", "int"),
        ("status", "varchar(10)"),
        ("created_at", "datetime"),
        ("note", "text"),
    ];
    [
        table("orders", &orders, &[("pk", &["id"], true)]),
        table(
            "items",
            &[("id", "int"), ("order_id", "int"), ("product_id", "int"), ("qty", "int")],
            &[("pk", &["id"], true), ("by_product", &["product_id", "qty"], false)],
        ),
        table("Order Lines", &[("Id", "int"), ("Email", "text")], &[]),
    ]
    .into()
}

/// `table(columns)` of each candidate.
fn found(text: &str, dialect: Dialect) -> Vec<String> {
    let schema = schema();
    let shape = shape(text, dialect, &schema);
    let of = |used: &Use| candidates(used, &schema[&used.table.to_lowercase()], &shape.written, dialect);
    let all = shape.uses.iter().flat_map(of);
    all.map(|index| format!("{}({})", index.table.1, index.columns().join(", "))).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(found(text, Dialect::Sqlite), expected, "{text}");
}

#[test]
fn equality_comes_first_then_a_range_or_the_order() {
    check("SELECT * FROM orders WHERE customer_id = 5", &["orders(customer_id)"]);
    check(
        "SELECT * FROM orders o WHERE o.customer_id = ? AND o.created_at > ?",
        &["orders(customer_id)", "orders(customer_id, created_at)"],
    );
    check(
        "SELECT id FROM orders WHERE customer_id=?1 ORDER BY created_at DESC LIMIT 20",
        &["orders(customer_id)", "orders(customer_id, created_at DESC)"],
    );
    check("SELECT * FROM orders ORDER BY created_at DESC, id LIMIT 5", &["orders(created_at DESC, id)"]);
    check("SELECT * FROM orders ORDER BY created_at", &[]);
    check(
        "SELECT * FROM orders WHERE created_at BETWEEN ? AND ? AND status = 'x'",
        &["orders(status)", "orders(status, created_at)"],
    );
    check(
        "SELECT status, count(*) FROM orders WHERE customer_id IN (1, 2) GROUP BY status",
        &["orders(customer_id)"],
    );
}

#[test]
fn joins_are_looked_up_from_either_side() {
    check(
        "SELECT * FROM orders o JOIN items i ON i.order_id = o.id WHERE o.customer_id = 5",
        &["orders(customer_id)", "items(order_id)"],
    );
    check(
        "SELECT * FROM orders, items AS i WHERE order_id = orders.id AND qty > 2",
        &["items(qty)", "items(order_id)"],
    );
    check("SELECT * FROM orders LEFT JOIN items USING (id) WHERE product_id = 4", &[]);
}

#[test]
fn subqueries_and_unions_are_blocks_of_their_own() {
    check("SELECT * FROM orders WHERE id IN (SELECT order_id FROM items WHERE qty = 3)", &["items(qty)"]);
    check(
        "SELECT (SELECT max(qty) FROM items i WHERE i.order_id = o.id) FROM orders o",
        &["items(order_id)"],
    );
    check(
        "WITH big AS (SELECT * FROM items WHERE qty = 9) SELECT * FROM big WHERE order_id = 1",
        &["items(qty)"],
    );
    check(
        "SELECT id FROM orders WHERE status = 'a' UNION ALL SELECT id FROM orders WHERE note = 'b' ORDER BY id",
        &["orders(status)", "orders(note)"],
    );
    check(
        "SELECT * FROM (SELECT * FROM orders WHERE status = 'a') x JOIN items ON items.order_id = x.id",
        &["orders(status)", "items(order_id)"],
    );
    check("INSERT INTO items SELECT * FROM orders WHERE status = 'a'", &["orders(status)"]);
}

#[test]
fn what_is_no_lookup_gives_no_index() {
    for text in [
        "SELECT * FROM orders WHERE id = 5 AND status = 'x'",
        "SELECT * FROM orders WHERE status = 'x' OR note = 'y'",
        "SELECT * FROM orders WHERE customer_id + 1 = 5",
        "SELECT * FROM orders WHERE customer_id = id",
        "SELECT * FROM orders WHERE NOT status = 'x'",
        "SELECT * FROM orders WHERE note LIKE '%x%' AND status IS NOT NULL AND customer_id <> 4",
        "SELECT * FROM items WHERE product_id = 3",
        "SELECT * FROM nothing WHERE a = 3",
        "SELECT * FROM orders WHERE lost = 3",
        "UPDATE orders SET status = 'b' WHERE status = 'a'",
        "SELECT",
        "",
        "((((",
        "SELECT * FROM",
        "SELECT * FROM orders WHERE",
        "))) FROM orders WHERE = =",
        "WITH",
        "SELECT * FROM orders ORDER BY",
        "UPDATE orders SET",
        "SELECT * FROM orders JOIN items ON",
        "SELECT * FROM orders LIMIT",
    ] {
        check(text, &[]);
    }
}

#[test]
fn writes_are_searches_too() {
    check("DELETE FROM orders WHERE created_at < '2020'", &["orders(created_at)"]);
    check(
        "UPDATE orders SET status = 'b', note = ? WHERE customer_id = ? AND status = 'a'",
        &["orders(customer_id)"],
    );
    check("UPDATE orders SET status = 'b' WHERE customer_id = 3", &["orders(customer_id)"]);
}

#[test]
fn functions_are_indexed_where_the_server_can() {
    let text = "SELECT * FROM \"Order Lines\" WHERE lower(Email) = 'a@b.c'";
    check(text, &["Order Lines(lower(Email))"]);
    assert_eq!(found(&text.replace('"', "`"), Dialect::MySql), [""; 0]);
    check("SELECT * FROM [Order Lines] l WHERE random(Email) = 'a@b.c'", &[]);
}

#[test]
fn digests_of_mysql_are_read() {
    let text = "SELECT `o` . `id` , `o` . `note` FROM `shop` . `orders` `o` WHERE `o` . `customer_id` = ? ORDER BY `o` . `created_at` DESC LIMIT ?";
    assert_eq!(found(text, Dialect::MySql), ["orders(customer_id)", "orders(customer_id, created_at DESC)"]);
    let text = "SELECT * FROM `orders` WHERE `status` IN (...) AND `note` = ?";
    assert_eq!(found(text, Dialect::MySql), ["orders(note, status)"]);
}

#[test]
fn sql_is_that_of_the_server() {
    let schema = schema();
    let text = "SELECT * FROM orders WHERE note = 'x' AND status = 'y'";
    let shape = shape(text, Dialect::MySql, &schema);
    let index = &candidates(&shape.uses[0], &schema["orders"], &shape.written, Dialect::MySql)[0];
    let table = &schema["orders"];
    assert_eq!(
        create(index, table, Dialect::MySql),
        "ALTER TABLE `orders` ADD INDEX `trimtab_orders_note_status_idx` (`note`(64), `status`), ALGORITHM=INPLACE, LOCK=NONE"
    );
    assert_eq!(
        undo(index, Dialect::MySql),
        "ALTER TABLE `orders` DROP INDEX `trimtab_orders_note_status_idx`"
    );
    assert_eq!(
        create(index, table, Dialect::Sqlite),
        "CREATE INDEX IF NOT EXISTS trimtab_orders_note_status_idx ON orders (note, status)"
    );
    assert_eq!(undo(index, Dialect::Sqlite), "DROP INDEX IF EXISTS trimtab_orders_note_status_idx");
}

#[test]
fn places_get_values_of_their_columns() {
    let schema = schema();
    let known: Known = [
        (("orders".to_owned(), "customer_id".to_owned()), "42".to_owned()),
        (("orders".to_owned(), "status".to_owned()), "'paid'".to_owned()),
    ]
    .into();
    let filled =
        |text: &str| fill(text, Dialect::Sqlite, &shape(text, Dialect::Sqlite, &schema), &known, None);
    assert_eq!(
        filled("SELECT * FROM orders WHERE customer_id = ? AND upper(status) = :s LIMIT ? OFFSET ?").unwrap(),
        "SELECT * FROM orders WHERE customer_id = 42 AND upper(status) = upper('paid') LIMIT 20 OFFSET 0"
    );
    assert_eq!(
        filled("SELECT * FROM orders WHERE customer_id = 7 -- ?").unwrap(),
        "SELECT * FROM orders WHERE customer_id = 7 -- ?"
    );
    assert_eq!(filled("SELECT * FROM orders WHERE customer_id + ? = 5"), None);
    assert_eq!(filled("SELECT * FROM orders WHERE note = %s"), None, "no value of it is known");
    let update = "UPDATE orders SET status = ? WHERE customer_id IN (%s, %s)";
    assert_eq!(filled(update).unwrap(), "UPDATE orders SET status = 'paid' WHERE customer_id IN (42, 42)");
    let asked = shape("SELECT 1 FROM orders LIMIT 5, 10", Dialect::Sqlite, &schema).asked;
    assert_eq!(asked.values().cloned().collect::<Vec<_>>(), [Asked::Offset, Asked::Limit, Asked::Limit]);
}

#[test]
fn redundant_indexes_are_those_that_another_begins_with() {
    let mut table = schema()["items"].clone();
    let index = |name: &str, keys: &[&str], unique: bool| Index {
        name: name.to_owned(),
        keys: keys.iter().map(|k| (Some((*k).to_owned()), false)).collect(),
        unique,
        ..Index::default()
    };
    table.indexes.push(index("product", &["product_id"], false));
    table.indexes.push(index("product_unique", &["product_id"], true));
    table.indexes.push(index("twin", &["product_id", "qty"], false));
    let found: Vec<(&str, &str)> =
        table.redundant().iter().map(|(i, o)| (i.name.as_str(), o.name.as_str())).collect();
    assert_eq!(found, [("product", "by_product"), ("twin", "by_product")]);
}

#[test]
fn files_are_taken_apart() {
    let parts = statements("SELECT ';' ; -- ; \n UPDATE t SET a = \";\" ;\n/* ; */", Dialect::Sqlite);
    assert_eq!(parts, ["SELECT ';'", "UPDATE t SET a = \";\""]);
    assert_eq!(statements("SELECT 'a", Dialect::Sqlite), ["SELECT 'a"]);
}

#[test]
fn broken_texts_end() {
    let schema = schema();
    for text in [
        "'",
        "`",
        "[",
        "%(",
        ":",
        "$",
        "@",
        "é'\\",
        "\\",
        "1e",
        "0x",
        "?",
        "#",
        "SELECT (",
        ") (",
        "a.b.c.d.e",
        "\"é",
    ] {
        for dialect in [Dialect::MySql, Dialect::Sqlite] {
            for whole in [
                text.to_owned(),
                format!("SELECT * FROM orders WHERE {text}"),
                format!("SELECT * FROM {text}"),
            ] {
                drop(shape(&whole, dialect, &schema));
            }
        }
    }
    let deep = format!("SELECT * FROM orders WHERE {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    drop(shape(&deep, Dialect::Sqlite, &schema));
    let nested = "SELECT * FROM orders WHERE id IN (".repeat(200);
    drop(shape(&nested, Dialect::Sqlite, &schema));
}

#[test]
fn writes_are_explained_as_reads() {
    let read = |text| as_read(text, Dialect::MySql);
    assert_eq!(read("DELETE FROM t WHERE a = 1 LIMIT 5"), "SELECT * FROM t WHERE a = 1 LIMIT 5");
    assert_eq!(read("DELETE a FROM t a JOIN u ON a.i = u.i"), "SELECT * FROM t a JOIN u ON a.i = u.i");
    let joined = "DELETE a FROM a JOIN u USING (i) WHERE a.b = 1";
    assert_eq!(read(joined), "SELECT * FROM a JOIN u USING (i) WHERE a.b = 1");
    assert_eq!(
        read("DELETE FROM a, s.`b`.* USING a JOIN b USING (i) WHERE a.c = 'x'"),
        "SELECT * FROM a JOIN b USING (i) WHERE a.c = 'x'"
    );
    assert_eq!(
        read("UPDATE IGNORE `t` SET a = (SELECT 1 WHERE 2), b = 3 WHERE c = 4"),
        "SELECT * FROM `t` WHERE c = 4"
    );
    assert_eq!(read("UPDATE t SET a = 1"), "SELECT * FROM t ");
    for text in ["SELECT 1", "UPDATE", "DELETE", "", "UPDATE SET"] {
        drop(read(text));
    }
    assert_eq!(read("SELECT a FROM t"), "SELECT a FROM t");
    assert_eq!(read("INSERT INTO t (a) VALUES (1)"), "");
    let upsert = "INSERT INTO t SELECT a FROM u WHERE b = 1 ON DUPLICATE KEY UPDATE a = 2";
    assert_eq!(read(upsert), "SELECT a FROM u WHERE b = 1 ");
}

#[test]
fn values_do_not_survive() {
    assert_eq!(without_values("o.a = 5 and o.b = 'x\\'y' # z", Dialect::MySql), "o.a = ? and o.b = ? # z");
}
