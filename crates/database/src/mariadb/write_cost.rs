//! What the advised indexes cost the rows that the same counters saw written, beside what they spare.

use super::advise::model_written;
use super::digests::{Digest, Digests};
use crate::health::Observation;
use crate::query::Schema;
use model::{Plan, Statement, sql};
use std::collections::{BTreeMap, BTreeSet};

/// What one more index adds to a row that is written by itself. Measured on MariaDB 10.11: 26 to 68 more on an INSERT of
/// 117 to 141, 22 to 133 more on an UPDATE of the column of 133 to 175, on a busy machine.
const INDEX_WRITE_US: f64 = 45.0;
/// Of what the indexes spare; less is not worth a line.
const MIN_SHARE: f64 = 0.01;

/// One line for each table whose writes pay for an index.
pub(super) fn told(
    digests: &Digests,
    schema: &Schema,
    statements: &[Statement],
    plans: &[Plan],
) -> Vec<Observation> {
    let mut advised: BTreeMap<&str, BTreeMap<&str, &[String]>> = BTreeMap::new();
    let mut spared_ms: BTreeMap<&str, f64> = BTreeMap::new();
    for plan in plans {
        let total_ms = statements.iter().find(|s| s.text == plan.statement).map_or(0.0, |s| s.total_ms);
        // What several indexes of a table leave of one statement is not known: at least what the best of them spares.
        let mut left: BTreeMap<&str, f64> = BTreeMap::new();
        for what_if in &plan.what_ifs {
            advised.entry(&what_if.table).or_default().insert(&what_if.create, &what_if.columns);
            let of_this = (what_if.cost_after / what_if.cost_before.max(f64::MIN_POSITIVE)).min(1.0);
            let least = left.entry(&what_if.table).or_insert(1.0);
            *least = least.min(of_this);
        }
        for (table, left) in left {
            *spared_ms.entry(table).or_default() += total_ms * (1.0 - left);
        }
    }
    let told = advised.into_iter().filter_map(|(table, indexes)| {
        let columns: Vec<&[String]> = indexes.into_values().collect();
        let rows = entries(digests, schema, table, &columns);
        let (cost_ms, spared_ms) = (rows * INDEX_WRITE_US / 1e3, spared_ms.get(table).copied()?);
        let count = columns.len();
        let name = if count == 1 { "the index".to_owned() } else { format!("the {count} indexes") };
        let reason = format!(
            "{name} advised for {table} would cost its writes about {cost_ms:.0} ms ({rows:.0} entries of {INDEX_WRITE_US:.0} us, \
             22 to 133 were seen) and spare its readers {spared_ms:.0} ms"
        );
        let look = "SELECT DIGEST_TEXT, COUNT_STAR, SUM_ROWS_AFFECTED FROM performance_schema.events_statements_summary_by_digest ORDER BY SUM_ROWS_AFFECTED DESC LIMIT 10";
        (cost_ms >= MIN_SHARE * spared_ms && rows >= 1.0)
            .then(|| Observation::new("write_cost", table, reason, look))
    });
    told.collect()
}

/// Entries that the writes of a table would have made in these indexes.
fn entries(digests: &Digests, schema: &Schema, table: &str, indexes: &[&[String]]) -> f64 {
    digests.all.iter().map(|(text, digest)| of_statement(text, digest, schema, table, indexes)).sum()
}

fn of_statement(text: &str, digest: &Digest, schema: &Schema, table: &str, indexes: &[&[String]]) -> f64 {
    let operation = sql::operation_and_tables(text);
    let name = operation.table().rsplit('.').next().unwrap_or_default().trim_matches('`');
    if !name.eq_ignore_ascii_case(table) {
        return 0.0;
    }
    let rows = digest.counts.affected as f64;
    match operation.verb.as_str() {
        // Rows that came by the thousand are loaded, not served: their entries are made together.
        "INSERT" | "REPLACE" if digest.counts.each(digest.counts.affected) < 1_000.0 => {
            rows * indexes.len() as f64
        }
        "UPDATE" => {
            let set: BTreeSet<String> =
                model_written(digest, schema).into_iter().map(|c| c.to_lowercase()).collect();
            let touched = |columns: &&&[String]| columns.iter().any(|c| set.contains(&first_word(c)));
            rows * indexes.iter().filter(touched).count() as f64
        }
        _ => 0.0,
    }
}

/// A column of an index without its direction.
fn first_word(column: &str) -> String {
    column.split_whitespace().next().unwrap_or_default().trim_matches('`').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{of_statement, told};
    use crate::mariadb::digests::{Counts, Digest, Digests};
    use crate::query::{Column, Schema, Table};
    use model::{Plan, Statement, WhatIf, WhatIfMethod};

    fn digest(raw: &str, calls: u64, affected: u64) -> Digest {
        Digest { raw: raw.to_owned(), counts: Counts { calls, affected, ..Counts::default() }, sample: None }
    }

    #[test]
    fn inserts_pay_for_each_index_and_updates_for_those_that_hold_what_they_set() {
        let columns = ["order_id".to_owned(), "qty DESC".to_owned()];
        let column = |name: &str| Column { name: name.to_owned(), kind: "int".to_owned() };
        let known = ["id", "order_id", "qty", "note"].map(column).to_vec();
        let items = Table { name: "items".to_owned(), columns: known, ..Table::default() };
        let schema = Schema::from([("items".to_owned(), items)]);
        let of = |text: &str, calls, affected| {
            let cost = of_statement(text, &digest(text, calls, affected), &schema, "items", &[&columns]);
            format!("{cost:.0}")
        };
        assert_eq!(of("INSERT INTO `items` (`order_id`) VALUES (?)", 500, 500), "500");
        assert_eq!(of("INSERT INTO `items` SELECT 1", 1, 360_000), "0");
        assert_eq!(of("INSERT INTO `orders` (`order_id`) VALUES (?)", 500, 500), "0");
        assert_eq!(of("DELETE FROM `items` WHERE `id` = ?", 9, 9), "0");
        assert_eq!(of("UPDATE `items` SET `note` = ? WHERE `id` = ?", 7, 7), "0");
        assert_eq!(of("UPDATE `items` SET `qty` = ? WHERE `id` = ?", 7, 7), "7");
    }

    #[test]
    fn what_writes_pay_stands_beside_what_readers_are_spared() {
        let insert = "INSERT INTO `items` (`order_id`) VALUES (?)";
        let mut digests = Digests::default();
        digests.all.insert(insert.to_owned(), digest(insert, 1_000, 1_000));
        let what_if = WhatIf {
            table: "items".to_owned(),
            columns: vec!["order_id".to_owned()],
            create: "ALTER TABLE".to_owned(),
            undo: String::new(),
            method: WhatIfMethod::Estimated,
            cost_before: 100.0,
            cost_after: 50.0,
            ms_before: None,
            ms_after: None,
            bytes: 1,
        };
        let plan = Plan { statement: "read".to_owned(), what_ifs: vec![what_if], ..Plan::default() };
        let check = |total_ms| {
            let read = Statement { text: "read".to_owned(), calls: 10, total_ms, ..Statement::default() };
            told(&digests, &Schema::default(), &[read], std::slice::from_ref(&plan))
        };
        assert_eq!(
            check(200.0)[0].reason,
            "the index advised for items would cost its writes about 45 ms (1000 entries of 45 us, 22 to 133 were seen) and spare its readers 100 ms"
        );
        assert_eq!(check(20_000.0), []);
    }
}
