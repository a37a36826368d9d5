//! Values for a statement's parameters, drawn from the planner's statistics of the columns that they are compared with,
//! as often as they occur. They are bound, never written into a text, and go nowhere but back to the server.

use crate::catalog::{Table, TableName};
use crate::explain::{Explained, Node};
use crate::expression::{Comparison, Operand, conditions};
use crate::index::quoted;
use crate::tokens::tokens;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{Error, Transaction};

/// Where in the distribution of a column the values are taken.
const POINTS: [f64; 3] = [1.0 / 6.0, 0.5, 5.0 / 6.0];
/// Rows that a `LIMIT $n` asks for.
const PAGE_ROWS: &str = "20";
/// Values of a list whose length is not known.
const LIST_LENGTH: usize = 10;

/// A value in the server's own text form, for a parameter of any type.
#[derive(Clone)]
pub(crate) struct Text(String);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }
}

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.to_sql(kind, out)
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }
}

/// What a parameter is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Use {
    Column { table: TableName, column: String, function: Option<String>, asked: Asked },
    Limit,
    Offset,
    Interval,
}

/// How a column is compared with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    One,
    List,
    Below,
    Above,
}

/// What a call was seen to find in a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) rows: f64,
    /// Of the table's rows.
    pub(crate) share: f64,
}

/// Spans of time that may be asked for.
const INTERVALS: [&str; 8] =
    ["1 minute", "10 minutes", "1 hour", "1 day", "7 days", "30 days", "180 days", "1 year"];
/// Values taken from a column without statistics.
const SAMPLED_VALUES: i64 = 30;

const STATISTICS: &str = "
SELECT /* trimtab_look */ most_common_vals::text::text[], most_common_freqs, histogram_bounds::text::text[], null_frac::float8
  FROM pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3 AND NOT inherited";

/// Typical values for all parameters, one set per point of the distribution; `None` if one of the parameters is compared
/// with nothing that we know. Where it was `observed` which share of the table's rows a call finds, values that find
/// about as many are preferred.
///
/// # Errors
/// The statistics cannot be read.
pub(crate) async fn typical(
    transaction: &Transaction<'_>,
    explained: &Explained,
    tables: &BTreeMap<TableName, Table>,
    observed: Option<Observed>,
) -> Result<Option<Vec<Vec<Text>>>, Error> {
    let uses = uses(explained);
    let spans = uses.values().any(|u| *u == Use::Interval);
    // How long a span is asked for shows in nothing but the rows that come.
    if spans && observed.is_none() {
        return Ok(None);
    }
    let mut columns: Vec<Vec<Text>> = Vec::new();
    for number in 1..=explained.parameters {
        let Some(kind) = u32::try_from(number).ok().and_then(|n| uses.get(&n)) else { return Ok(None) };
        let values = match kind {
            Use::Limit => vec![PAGE_ROWS.to_owned(); POINTS.len()],
            Use::Offset => vec!["0".to_owned(); POINTS.len()],
            Use::Interval => INTERVALS.map(str::to_owned).to_vec(),
            Use::Column { table, column, function, asked } => {
                let Some(mut distribution) = distribution(transaction, table, column, tables).await? else {
                    return Ok(None);
                };
                if matches!(asked, Asked::Below | Asked::Above) {
                    let kind = tables.get(table).and_then(|t| t.columns.get(column)).map(|c| c.kind.as_str());
                    let Some(kind) = kind else { return Ok(None) };
                    distribution = in_order(transaction, distribution, kind).await?;
                }
                let Some(values) = chosen(&distribution, *asked, observed.map(|o| o.share)) else {
                    return Ok(None);
                };
                match function.as_deref() {
                    None => values,
                    Some("lower") => values.iter().map(|v| v.to_lowercase()).collect(),
                    Some("upper") => values.iter().map(|v| v.to_uppercase()).collect(),
                    Some(_) => return Ok(None),
                }
            }
        };
        columns.push(values.into_iter().map(Text).collect());
    }
    let sets = if columns.is_empty() { 1 } else { columns.iter().map(Vec::len).max().unwrap_or(1) };
    // A column has fewer points than there are spans: its middle stands for it.
    let value = |column: &Vec<Text>, set: usize| {
        let middle = column.get(POINTS.len() / 2);
        column.get(set).filter(|_| column.len() == sets).or(middle).cloned()
    };
    let all: Option<Vec<Vec<Text>>> =
        (0..sets).map(|set| columns.iter().map(|c| value(c, set)).collect()).collect();
    match (all, observed.filter(|_| spans)) {
        (Some(all), Some(observed)) => nearest_in_rows(transaction, explained, all, observed.rows).await,
        (all, _) => Ok(all),
    }
}

/// The set of values for which the planner expects about as many rows as were seen.
async fn nearest_in_rows(
    transaction: &Transaction<'_>,
    explained: &Explained,
    sets: Vec<Vec<Text>>,
    rows: f64,
) -> Result<Option<Vec<Vec<Text>>>, Error> {
    let sql = format!("EXPLAIN (FORMAT JSON) /* trimtab_look */ {}", explained.text);
    let statement = transaction.prepare(&sql).await?;
    let mut best: Option<(f64, Vec<Text>)> = None;
    for set in sets {
        let bound: Vec<&(dyn ToSql + Sync)> = set.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let json: Value = transaction.query_one(&statement, &bound).await?.try_get(0)?;
        let expected = json[0]["Plan"]["Plan Rows"].as_f64().unwrap_or(0.0);
        let distance = (expected.max(1.0) / rows.max(1.0)).ln().abs();
        if best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, set));
        }
    }
    Ok(best.map(|(_, set)| vec![set]))
}

/// What each parameter is compared with, by its number.
fn uses(explained: &Explained) -> BTreeMap<u32, Use> {
    let nodes = explained.root.walk();
    let tables: BTreeMap<&str, TableName> = nodes
        .iter()
        .filter(|n| !n.relation.is_empty())
        .map(|n| (n.alias.as_str(), (n.schema.clone(), n.relation.clone())))
        .collect();
    let mut uses = BTreeMap::new();
    for condition in nodes.iter().flat_map(|n| conditions_of(n)) {
        let (Operand::Parameters(numbers), Some(table)) =
            (condition.operand, tables.get(condition.column.alias.as_str()))
        else {
            continue;
        };
        let asked = match condition.comparison {
            Comparison::AnyOf if numbers.len() == 1 => Asked::List,
            Comparison::Less => Asked::Below,
            Comparison::Greater => Asked::Above,
            _ => Asked::One,
        };
        for number in numbers {
            let (column, function) = (condition.column.name.clone(), condition.column.function.clone());
            let kind = Use::Column { table: table.clone(), column, function, asked };
            uses.entry(number).or_insert(kind);
        }
    }
    // The server numbers what subqueries return in the same way: those are none of ours.
    for node in &nodes {
        let returned = tokens(&node.subplan);
        for number in returned.iter().filter_map(|t| t.parameter()) {
            uses.remove(&number);
        }
    }
    for cast in tokens(&explained.text).windows(3) {
        if let Some(number) = cast[0].parameter().filter(|_| cast[1].is("::") && cast[2].is_word("interval"))
        {
            uses.insert(number, Use::Interval);
        }
    }
    for pair in tokens(&explained.text).windows(2) {
        if let Some(number) = pair[1].parameter() {
            if pair[0].is_word("limit") {
                uses.insert(number, Use::Limit);
            } else if pair[0].is_word("offset") {
                uses.insert(number, Use::Offset);
            }
        }
    }
    uses
}

fn conditions_of(node: &Node) -> Vec<crate::expression::Condition> {
    let texts = [&node.filter, &node.index_condition].into_iter().chain(&node.join_conditions);
    texts.flat_map(|text| conditions(text)).collect()
}

/// Values with the share of the rows that each stands for.
async fn distribution(
    transaction: &Transaction<'_>,
    name: &TableName,
    column: &str,
    tables: &BTreeMap<TableName, Table>,
) -> Result<Option<Vec<(String, f64)>>, Error> {
    let (schema, table) = name;
    let Some(row) = transaction.query_opt(STATISTICS, &[schema, table, &column]).await? else {
        return match tables.get(name).filter(|t| t.sampled) {
            Some(known) => sampled(transaction, name, column, known.sample_percent()).await,
            None => Ok(None),
        };
    };
    let common: Vec<String> = row.try_get::<_, Option<_>>(0)?.unwrap_or_default();
    let shares: Vec<f32> = row.try_get::<_, Option<_>>(1)?.unwrap_or_default();
    let bounds: Vec<String> = row.try_get::<_, Option<_>>(2)?.unwrap_or_default();
    let nulls: f64 = row.try_get::<_, Option<_>>(3)?.unwrap_or(0.0);
    let mut all: Vec<(String, f64)> = common.into_iter().zip(shares.into_iter().map(f64::from)).collect();
    let rest = (1.0 - nulls - all.iter().map(|v| v.1).sum::<f64>()).max(0.0);
    let each = rest / bounds.len().max(1) as f64;
    all.extend(bounds.into_iter().map(|value| (value, each)));
    Ok((!all.is_empty()).then_some(all))
}

/// In the order of their type, as a range sees them: the statistics list the most frequent values first.
async fn in_order(
    transaction: &Transaction<'_>,
    distribution: Vec<(String, f64)>,
    kind: &str,
) -> Result<Vec<(String, f64)>, Error> {
    let sql = format!(
        "SELECT /* trimtab_look */ o FROM unnest($1::text[]) WITH ORDINALITY AS u(v, o) ORDER BY v::{kind}, o"
    );
    let values: Vec<&str> = distribution.iter().map(|v| v.0.as_str()).collect();
    let rows = transaction.query(&sql, &[&values]).await?;
    let place =
        |row: &tokio_postgres::Row| row.try_get::<_, i64>(0).ok().and_then(|o| usize::try_from(o - 1).ok());
    Ok(rows.iter().filter_map(place).filter_map(|at| distribution.get(at).cloned()).collect())
}

/// Values of a column that nobody has analysed, from a sample of its blocks.
async fn sampled(
    transaction: &Transaction<'_>,
    (schema, table): &TableName,
    column: &str,
    percent: f64,
) -> Result<Option<Vec<(String, f64)>>, Error> {
    let column = quoted(column);
    let sql = format!(
        "SELECT DISTINCT /* trimtab_look */ v FROM (SELECT {column}::text AS v FROM {}.{}
            TABLESAMPLE SYSTEM ({percent}) WHERE {column} IS NOT NULL LIMIT {SAMPLED_VALUES}) AS found",
        quoted(schema),
        quoted(table)
    );
    let mut all: Vec<(String, f64)> = Vec::new();
    for row in transaction.query(&sql, &[]).await? {
        all.push((row.try_get(0)?, 1.0));
    }
    Ok((!all.is_empty()).then_some(all))
}

/// One value per point. `None` for a distribution that has none.
fn chosen(distribution: &[(String, f64)], asked: Asked, observed: Option<f64>) -> Option<Vec<String>> {
    if distribution.is_empty() {
        return None;
    }
    let points = POINTS.iter();
    Some(match (asked, observed) {
        (Asked::List, _) => points.map(|p| list_at(distribution, *p)).collect(),
        (Asked::One, Some(share)) if distribution.iter().any(|v| v.1 > 2.0 * share) => {
            vec![nearest(distribution, share); POINTS.len()]
        }
        // The ends of a range that holds what was seen.
        (Asked::Below, Some(share)) => points.map(|p| at(distribution, (p - 0.5).max(0.0) + share)).collect(),
        (Asked::Above, Some(share)) => {
            points.map(|p| at(distribution, 1.0 - share - (p - 0.5).max(0.0))).collect()
        }
        _ => points.map(|p| at(distribution, *p)).collect(),
    })
}

/// The value whose share of the rows is nearest to what a call was seen to find.
fn nearest(distribution: &[(String, f64)], share: f64) -> String {
    let distance = |v: &&(String, f64)| (v.1.max(1e-9).ln() - share.max(1e-9).ln()).abs();
    let best = distribution.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    best.map(|v| v.0.clone()).unwrap_or_default()
}

/// The value at a point of the cumulated shares.
fn at(distribution: &[(String, f64)], point: f64) -> String {
    let mut left = point * distribution.iter().map(|v| v.1).sum::<f64>();
    for (value, share) in distribution {
        left -= share;
        if left <= 0.0 {
            return value.clone();
        }
    }
    distribution.last().map(|v| v.0.clone()).unwrap_or_default()
}

/// A list of neighbouring points, as an array's text.
fn list_at(distribution: &[(String, f64)], point: f64) -> String {
    let spread = |i: usize| (point + i as f64 / LIST_LENGTH as f64).fract();
    let quoted = |value: String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
    let values: Vec<String> = (0..LIST_LENGTH).map(|i| quoted(at(distribution, spread(i)))).collect();
    format!("{{{}}}", values.join(","))
}

#[cfg(test)]
mod tests {
    use super::{Asked, at, chosen, list_at, uses};
    use crate::explain::{Explained, Node};

    #[test]
    fn values_are_taken_as_often_as_they_occur() {
        let skewed = [("common".to_owned(), 0.6), ("rare".to_owned(), 0.2), ("last".to_owned(), 0.1)];
        assert_eq!(at(&skewed, 1.0 / 6.0), "common");
        assert_eq!(at(&skewed, 5.0 / 6.0), "rare");
        assert_eq!(at(&skewed, 1.0), "last");
    }

    #[test]
    fn values_find_as_many_rows_as_calls_were_seen_to_find() {
        let skewed = [("common".to_owned(), 0.99), ("rare".to_owned(), 0.01)];
        assert_eq!(chosen(&skewed, Asked::One, Some(0.012)).unwrap(), ["rare"; 3]);
        assert_eq!(chosen(&skewed, Asked::One, Some(0.9)).unwrap(), ["common"; 3]);
        let numbers: Vec<(String, f64)> = (0..100).map(|n| (n.to_string(), 0.01)).collect();
        assert_eq!(chosen(&numbers, Asked::Above, Some(0.05)).unwrap()[0], "94");
        assert!(chosen(&[], Asked::One, None).is_none());
    }

    #[test]
    fn lists_are_quoted() {
        let odd = [("a\"b\\".to_owned(), 1.0)];
        assert!(list_at(&odd, 0.5).starts_with("{\"a\\\"b\\\\\",\"a"), "{}", list_at(&odd, 0.5));
    }

    #[test]
    fn what_a_subquery_returns_is_no_parameter() {
        let scan = |subplan: &str| Node {
            relation: "t".to_owned(),
            alias: "t".to_owned(),
            filter: "((t.a = $1) AND (t.b = $2))".to_owned(),
            subplan: subplan.to_owned(),
            ..Node::default()
        };
        let uses_of = |node: Node| {
            let text = "SELECT 1 FROM t LIMIT $3".to_owned();
            uses(&Explained { text, parameters: 3, root: node }).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(uses_of(scan("")), [1, 2, 3]);
        assert_eq!(uses_of(scan("InitPlan 1 (returns $1)")), [2, 3]);
    }
}
