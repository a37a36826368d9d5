//! Values for a statement's parameters, drawn from the planner's statistics of the columns that they are compared with,
//! as often as they occur. They are bound, never written into a text, and go nowhere but back to the server.

use crate::catalog::TableName;
use crate::explain::{Explained, Node};
use crate::expression::{Comparison, Operand, conditions};
use crate::tokens::tokens;
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
    Column { table: TableName, column: String, list: bool },
    Limit,
    Offset,
}

const STATISTICS: &str = "
SELECT most_common_vals::text::text[], most_common_freqs, histogram_bounds::text::text[], null_frac::float8
  FROM pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3 AND NOT inherited";

/// Typical values for all parameters, one set per point of the distribution; `None` if one of the parameters is compared
/// with nothing that we know.
///
/// # Errors
/// The statistics cannot be read.
pub(crate) async fn typical(
    transaction: &Transaction<'_>,
    explained: &Explained,
) -> Result<Option<Vec<Vec<Text>>>, Error> {
    let uses = uses(explained);
    let mut columns: Vec<Vec<Text>> = Vec::new();
    for number in 1..=explained.parameters {
        let Some(kind) = u32::try_from(number).ok().and_then(|n| uses.get(&n)) else { return Ok(None) };
        let values = match kind {
            Use::Limit => vec![PAGE_ROWS.to_owned(); POINTS.len()],
            Use::Offset => vec!["0".to_owned(); POINTS.len()],
            Use::Column { table, column, list } => {
                let Some(distribution) = distribution(transaction, table, column).await? else {
                    return Ok(None);
                };
                POINTS
                    .iter()
                    .map(|p| if *list { list_at(&distribution, *p) } else { at(&distribution, *p) })
                    .collect()
            }
        };
        columns.push(values.into_iter().map(Text).collect());
    }
    let sets = if columns.is_empty() { 1 } else { POINTS.len() };
    Ok(Some((0..sets).map(|set| columns.iter().map(|c| c[set].clone()).collect()).collect()))
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
        let list = condition.comparison == Comparison::AnyOf && numbers.len() == 1;
        for number in numbers {
            let kind = Use::Column { table: table.clone(), column: condition.column.name.clone(), list };
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
    (schema, table): &TableName,
    column: &str,
) -> Result<Option<Vec<(String, f64)>>, Error> {
    let Some(row) = transaction.query_opt(STATISTICS, &[schema, table, &column]).await? else {
        return Ok(None);
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
    use super::{at, list_at, uses};
    use crate::explain::{Explained, Node};

    #[test]
    fn values_are_taken_as_often_as_they_occur() {
        let skewed = [("common".to_owned(), 0.6), ("rare".to_owned(), 0.2), ("last".to_owned(), 0.1)];
        assert_eq!(at(&skewed, 1.0 / 6.0), "common");
        assert_eq!(at(&skewed, 5.0 / 6.0), "rare");
        assert_eq!(at(&skewed, 1.0), "last");
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
