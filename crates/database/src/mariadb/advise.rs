//! From digests to indexes: the plan of each statement with values that are in the data, and for tables that are read as a
//! whole the index that leaves fewest rows to read. No server of this family shows its planner an index that is not
//! there: what is told is an estimate from rows counted by the server, until the index is made.

use super::connection::{MariaDb, Refused};
use super::digests::{Digest, Digests, SIGNAL};
use super::explain::{self, Explained};
use super::look::Look;
use super::schema::{Alike, look_up};
use super::write_cost;
use crate::index::NewIndex;
use crate::query::{
    Dialect, Known, Schema, Shape, Table, Term, Use, as_read, candidates, create, fill, shape, shortened,
    undo,
};
use anyhow::Result;
use model::{Gap, Plan, Statement, TableFigures, WhatIf, WhatIfMethod};
use std::collections::BTreeSet;

const DIALECT: Dialect = Dialect::MySql;
/// Smaller tables are read quickly whatever the plan.
const MIN_ROWS: f64 = 1_000.0;
/// Equality that leaves a greater share of the rows is served as well by reading all.
const MAX_SHARE: f64 = 0.1;
/// A range of unknown ends: with one, with two. What planners guess.
const OPEN_RANGE: f64 = 1.0 / 3.0;
const CLOSED_RANGE: f64 = 0.005;
/// Values of a list, and rows of a page, where the text does not tell.
const LIST: f64 = 10.0;
const PAGE: f64 = 20.0;
/// A row found by an index is looked up in the table: 1.2 microseconds where a scan took 0.12, on the test machine.
const LOOKUP_ROWS: f64 = 10.0;
/// What a statement takes that reads next to nothing: look-ups by primary key took 0.12 to 0.15 ms on the test machine.
const BASE_MS: f64 = 0.15;
/// Of the rows examined an index has to spare this share.
const MIN_SAVED: f64 = 0.2;
const MIN_GAIN_MS: f64 = 1.0;
const MIN_TOTAL_SHARE: f64 = 0.05;
/// Statements that could not be explained, told one by one.
const MAX_TOLD: usize = 5;
const VERBS: [&str; 6] = ["SELECT", "WITH", "UPDATE", "DELETE", "INSERT", "REPLACE"];
/// Bytes of an entry beside its columns.
const ENTRY_BYTES: f64 = 14.0;

/// An index that would help a statement.
struct Found {
    index: NewIndex,
    cost_before: f64,
    cost_after: f64,
    /// Of a call.
    gain_ms: f64,
    calls: u64,
    /// The statement's place.
    at: usize,
}

/// Much of a call, or of the time of all statements.
fn is_worth_it(gain_ms: f64, calls: u64, total_ms: f64) -> bool {
    gain_ms >= MIN_GAIN_MS || gain_ms * calls as f64 >= MIN_TOTAL_SHARE * total_ms
}

pub(super) async fn advise(
    session: &mut MariaDb,
    schema: &Schema,
    digests: &Digests,
    most: usize,
    look: &mut Look,
) -> Result<()> {
    let mut order: Vec<(&String, &Digest)> = digests.all.iter().collect();
    order.sort_by(|(a, x), (b, y)| y.counts.total_ms.total_cmp(&x.counts.total_ms).then_with(|| a.cmp(b)));
    look.statements = order.iter().map(|(text, digest)| statement(session, text, digest)).collect();
    let total_ms: f64 = look.statements.iter().map(|s| s.total_ms).sum();
    let (mut known, mut alike, mut found, mut refused) =
        (Known::new(), Alike::default(), Vec::new(), Vec::new());
    for (identity, digest) in order.into_iter().take(most) {
        let verb = identity.split_whitespace().next().unwrap_or_default();
        if !VERBS.iter().any(|v| v.eq_ignore_ascii_case(verb)) {
            continue;
        }
        if digest.raw.ends_with("...") && digest.sample.is_none() {
            refused.push((format!("its text is cut off: {}", shortened(identity)), false));
            continue;
        }
        let text = as_read(digest.sample.as_ref().unwrap_or(&digest.raw), DIALECT);
        if text.is_empty() {
            continue;
        }
        let shape = shape(&text, DIALECT, schema);
        look_up(session, schema, &shape.wanted(), &mut known).await?;
        // What is compared with nothing known is a number: it parses nearly everywhere.
        let filled = fill(&text, DIALECT, &shape, &known, Some("1")).unwrap_or(text);
        let explained = match session.one(&format!("EXPLAIN FORMAT=JSON {filled}")).await {
            Ok(plan) => plan.and_then(|plan| explain::read(&plan)),
            Err(error) => {
                let said = error.downcast::<Refused>()?;
                refused.push((format!("{}: {}", told(&said), shortened(identity)), is_denied(&said)));
                continue;
            }
        };
        let Some(explained) = explained else { continue };
        let at = look.plans.len();
        look.plans.push(plan(identity, &explained, &shape, schema));
        let written = model_written(digest, schema);
        found.extend(indexes(session, schema, digest, (&shape, &explained, &written), &mut alike, at).await?);
    }
    keep(found, schema, total_ms, &mut look.plans);
    look.observations.extend(write_cost::told(digests, schema, &look.statements, &look.plans));
    unexplained(&refused, look);
    Ok(())
}

/// Columns that the statement sets: `as_read` has taken them away.
pub(super) fn model_written(digest: &Digest, schema: &Schema) -> BTreeSet<String> {
    shape(digest.sample.as_ref().unwrap_or(&digest.raw), DIALECT, schema).written
}

/// Why a statement could not be explained. Never in the server's words: they hold pieces of the statement, and with them
/// values of the data.
fn told(said: &Refused) -> String {
    let why = match said.code {
        _ if is_denied(said) => "access denied",
        1046 | 1049 | 1146 => "a table or a database is not there",
        1054 => "a column is not known",
        1064 => "the server does not understand its text",
        1305 | 1630 => "a function is not known",
        1317 | 1969 | 3024 => "the server took too long",
        _ => "the server refused it",
    };
    format!("{why} (error {})", said.code)
}

/// Of a table, or of what is below a view.
fn is_denied(said: &Refused) -> bool {
    said.is_of_rights() || said.code == 1345
}

/// Reasons, and whether they are of rights.
fn unexplained(refused: &[(String, bool)], look: &mut Look) {
    for (reason, denied) in refused.iter().take(MAX_TOLD) {
        let hint = if *denied {
            "GRANT SELECT ON the tables to the user that Trimtab connects as; of views SHOW VIEW, too"
        } else {
            "the server keeps no text with values; those that were made up may not fit"
        };
        look.gaps.push(Gap::new(SIGNAL, format!("a statement could not be explained: {reason}"), hint));
    }
    if refused.len() > MAX_TOLD {
        let reason = format!("{} statements more could not be explained", refused.len() - MAX_TOLD);
        look.gaps.push(Gap::new(SIGNAL, reason, "see those that are named"));
    }
}

fn statement(session: &MariaDb, text: &str, digest: &Digest) -> Statement {
    let counts = &digest.counts;
    Statement {
        text: text.to_owned(),
        system: if session.is_mariadb() { "mariadb" } else { "mysql" }.to_owned(),
        calls: counts.calls,
        total_ms: counts.total_ms,
        rows: counts.sent + counts.affected,
        ..Statement::default()
    }
}

fn plan(identity: &str, explained: &Explained, shape: &Shape, schema: &Schema) -> Plan {
    let names: BTreeSet<String> = shape.uses.iter().map(|used| used.table.to_lowercase()).collect();
    let figures = names.iter().filter_map(|name| schema.get(name)).map(|table| TableFigures {
        name: table.name.clone(),
        rows: table.rows,
        indexes: table.indexes.iter().map(|index| described(table, index)).collect(),
        ..TableFigures::default()
    });
    Plan {
        statement: identity.to_owned(),
        root: explained.root.clone(),
        tables: figures.collect(),
        ..Plan::default()
    }
}

/// `by_customer (customer_id, created_at DESC)`.
pub(super) fn described(table: &Table, index: &crate::query::Index) -> String {
    let key = |(name, down): &(Option<String>, bool)| {
        format!("{}{}", name.as_deref().unwrap_or("an expression"), if *down { " DESC" } else { "" })
    };
    let keys: Vec<String> = index.keys.iter().map(key).collect();
    format!("{} ON {} ({})", index.name, table.name, keys.join(", "))
}

/// The best index for each table that is read as a whole.
async fn indexes(
    session: &mut MariaDb,
    schema: &Schema,
    digest: &Digest,
    (shape, explained, written): (&Shape, &Explained, &BTreeSet<String>),
    alike: &mut Alike,
    at: usize,
) -> Result<Vec<Found>> {
    let examined = digest.counts.each(digest.counts.examined);
    let mut found = Vec::new();
    for (place, used) in shape.uses.iter().enumerate() {
        let Some(table) = schema.get(&used.table.to_lowercase()).filter(|t| t.rows >= MIN_ROWS) else {
            continue;
        };
        let access = explained.tables.iter().find(|a| a.alias.eq_ignore_ascii_case(&used.alias));
        let whole = access.is_some_and(|a| a.whole);
        let sorted = explained.sorts && !used.order.is_empty();
        if !whole && !sorted {
            continue;
        }
        // What the table's scan examines; the rest is of the others.
        let scanned = access.map_or(table.rows, |a| if a.whole { table.rows.max(a.rows) } else { a.rows });
        let before = examined.max(1.0);
        let others = (before - scanned).max(0.0);
        // A joined table is looked up once for each row that is left of the one that leaves fewest.
        let mut partners = f64::INFINITY;
        for (_, other) in shape.uses.iter().enumerate().filter(|(n, _)| *n != place && !used.joins.is_empty())
        {
            partners = partners.min(rows_left(session, schema, other, alike).await?);
        }
        let counts = &digest.counts;
        // What was seen is believed where each row found is one that is sent or changed.
        let observed = shape.plain.then(|| counts.each(counts.sent + counts.affected).max(1.0));
        // Rows in order are thrown away by conditions on other tables: a limit does not end the search early.
        let filtered = shape
            .uses
            .iter()
            .enumerate()
            .any(|(n, other)| n != place && !(other.equal.is_empty() && other.ranges.is_empty()));
        let asked = Asked { used, partners, observed, ends_early: used.limited && !filtered };
        let base = before * (BASE_MS / counts.mean_ms().max(BASE_MS));
        let mut best: Option<(NewIndex, f64)> = None;
        for index in candidates(used, table, written, DIALECT) {
            let Some(rows) = rows_after(session, schema, &index, &asked, alike).await? else { continue };
            let after = (others + LOOKUP_ROWS * rows + base).min(before);
            let fewer = best.as_ref().is_none_or(|(known, least)| {
                after < 0.8 * least || after <= *least && index.keys.len() < known.keys.len()
            });
            if fewer {
                best = Some((index, after));
            }
        }
        if let Some((index, after)) = best.filter(|(_, after)| *after <= (1.0 - MIN_SAVED) * before) {
            let gain_ms = digest.counts.mean_ms() * (1.0 - after / before);
            let calls = counts.calls;
            found.push(Found { index, cost_before: before, cost_after: after, gain_ms, calls, at });
        }
    }
    Ok(found)
}

/// Rows that the use's equalities leave of its table.
async fn rows_left(session: &mut MariaDb, schema: &Schema, used: &Use, alike: &mut Alike) -> Result<f64> {
    let Some(table) = schema.get(&used.table.to_lowercase()) else { return Ok(f64::INFINITY) };
    let mut rows = table.rows.max(1.0);
    for term in used.equal.iter().filter(|t| t.function.is_none()) {
        if let Some(each) = alike.rows(session, schema, &table.name, &term.column).await? {
            let values = if term.list { LIST } else { 1.0 };
            rows *= (values * each / table.rows.max(1.0)).min(1.0);
        }
    }
    Ok(rows.max(1.0))
}

/// How a statement uses a table.
struct Asked<'u> {
    used: &'u Use,
    /// Rows that are left of the tables that it is joined to.
    partners: f64,
    /// Rows that a call was seen to find, where that can be told.
    observed: Option<f64>,
    /// A page of rows in order is all that is read.
    ends_early: bool,
}

/// Rows that a call would find by the index; `None` where that is not known, or too many.
async fn rows_after(
    session: &mut MariaDb,
    schema: &Schema,
    index: &NewIndex,
    asked: &Asked<'_>,
    alike: &mut Alike,
) -> Result<Option<f64>> {
    let &Asked { used, partners, observed, ends_early } = asked;
    let Some(table) = schema.get(&used.table.to_lowercase()) else { return Ok(None) };
    let (mut share, mut lookups, mut equal) = (1.0, 1.0, false);
    for key in &index.keys {
        let same = |name: &String| name.eq_ignore_ascii_case(&key.name);
        let term = used.equal.iter().find(|t| same(&t.column));
        let joined = used.joins.iter().any(|t| same(&t.column));
        if term.is_some() || joined {
            let Some(rows) = alike.rows(session, schema, &table.name, &key.name).await? else {
                return Ok(None);
            };
            let values = if term.is_some_and(|t| t.list) { LIST } else { 1.0 };
            share *= (values * rows / table.rows.max(1.0)).min(1.0);
            equal = true;
            if term.is_none() {
                lookups = partners;
            }
        } else if used.order.iter().any(|(name, _)| same(name)) {
            // The order ends the search early.
            let found = table.rows * share;
            let rest = used
                .equal
                .iter()
                .filter(|t| !index.keys.iter().any(|k| k.name.eq_ignore_ascii_case(&t.column)));
            let page = if ends_early && rest.count() == 0 && used.ranges.is_empty() { PAGE } else { found };
            return Ok(
                (equal && share <= MAX_SHARE || page < MAX_SHARE * table.rows).then_some(found.min(page))
            );
        } else {
            let closed = used.ranges.iter().any(|t| same(&t.column) && t.closed);
            share *= if closed { CLOSED_RANGE } else { OPEN_RANGE };
        }
    }
    let has = |t: &&Term| index.keys.iter().any(|k| k.name.eq_ignore_ascii_case(&t.column));
    let conditions = used.equal.len() + used.ranges.len();
    let whole = used.equal.iter().chain(&used.ranges).filter(has).count() == conditions;
    if let Some(observed) = observed.filter(|_| whole) {
        return Ok((observed <= MAX_SHARE * table.rows).then_some(observed));
    }
    let rows = table.rows * share * lookups;
    Ok((share <= MAX_SHARE).then_some(rows.max(1.0)))
}

/// Gives each plan the indexes that are worth it: none that another one begins with.
fn keep(mut found: Vec<Found>, schema: &Schema, total_ms: f64, plans: &mut [Plan]) {
    found.retain(|f| is_worth_it(f.gain_ms, f.calls, total_ms));
    let all: BTreeSet<NewIndex> = found.iter().map(|f| f.index.clone()).collect();
    for one in found {
        let longer = all.iter().find(|other| **other != one.index && one.index.begins(other));
        let index = longer.unwrap_or(&one.index);
        let Some(table) = schema.get(&index.table.1.to_lowercase()) else { continue };
        let width: f64 = index.keys.iter().map(|k| width(table, &k.name)).sum();
        plans[one.at].what_ifs.push(WhatIf {
            table: table.name.clone(),
            columns: index.columns(),
            create: create(index, table, DIALECT),
            undo: undo(index, DIALECT),
            method: WhatIfMethod::Estimated,
            cost_before: one.cost_before,
            cost_after: one.cost_after,
            ms_before: None,
            ms_after: None,
            bytes: (table.rows * (width + ENTRY_BYTES)) as u64,
        });
    }
}

/// Bytes of a column, by its type.
fn width(table: &Table, column: &str) -> f64 {
    let kind = table.column(column).map_or("", |c| c.kind.as_str());
    match kind.split(['(', ' ']).next().unwrap_or_default() {
        "tinyint" | "year" => 1.0,
        "smallint" => 2.0,
        "int" | "mediumint" | "float" | "date" | "time" => 4.0,
        "bigint" | "double" | "decimal" | "datetime" | "timestamp" => 8.0,
        _ => 20.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Refused, is_worth_it, told};

    #[test]
    fn a_little_of_many_calls_is_much() {
        assert!(is_worth_it(0.5, 1_000_000, 1e6) && is_worth_it(2.0, 1, 1e6));
        assert!(!is_worth_it(0.5, 10, 1e6));
    }

    #[test]
    fn why_is_told_without_the_servers_words() {
        let message = "You have an error in your SQL syntax near 'USING t WHERE email = 'u1251@x'' at line 1"
            .to_owned();
        assert_eq!(
            told(&Refused { code: 1064, message }),
            "the server does not understand its text (error 1064)"
        );
        for (code, why) in [(1142, "access denied"), (1345, "access denied"), (1, "the server refused it")] {
            let said = told(&Refused { code, message: "near 'u1251@x'".to_owned() });
            assert_eq!(said, format!("{why} (error {code})"));
        }
    }
}
