//! What statements and their plans tell beside indexes: sorts and hashes that did not fit, estimates that are wrong, rows
//! that are read for nothing. Asks the catalog for roles and for columns that depend on each other; executes nothing.

use crate::connect::look;
use crate::expression::{Comparison, conditions};
use crate::health::{MAX_OF_A_KIND, Observation};
use crate::index::quoted;
use crate::tokens::{Kind, tokens};
use model::{Plan, PlanNode, Statement, sql};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Error};

const BLOCK_BYTES: u64 = 8192;
/// A statement that ran more rarely is somebody's own.
const MIN_SPILLS: u64 = 3;
/// More than this is never proposed for `work_mem`: every sort of every session may take it.
const MAX_WORK_MEM_MB: u64 = 256;
/// A plan that is wrong by this factor misleads what is built upon it.
const MISESTIMATE: f64 = 10.0;
/// So many times more rows than the most common values could have together, were the columns independent.
const DEPENDENT: f64 = 3.0;
/// Columns of one extended statistics object.
const MAX_STATISTICS_COLUMNS: usize = 8;
/// An identifier is cut by the server beyond this.
const MAX_NAME_BYTES: usize = 63;
/// Statistics older than this share of the rows are what should be mended first.
const MAX_STALE_SHARE: f64 = 0.1;
/// Of the rows that a scan reads, more than this share is thrown away.
const REMOVED_SHARE: f64 = 0.9;
/// A scan of fewer rows is quick whatever it throws away.
const MIN_ROWS: f64 = 10_000.0;

/// Everything that is seen in statements and plans, each kind bounded.
pub(crate) async fn observed(
    client: &mut Client,
    statements: &[Statement],
    plans: &[Plan],
) -> Vec<Observation> {
    let spilling: Vec<&Statement> = statements.iter().filter(|s| s.temp_blocks > 0).collect();
    let roles = if spilling.is_empty() { BTreeMap::new() } else { roles(client).await.unwrap_or_default() };
    let spill = |s: &&Statement| spill(s, roles.get(&s.text).map(String::as_str));
    let mut found: Vec<Observation> = spilling.iter().filter_map(spill).take(MAX_OF_A_KIND).collect();
    let mut wrong = 0;
    for plan in plans {
        let Some(statement) = statements.iter().find(|s| s.text == plan.statement && s.calls > 0) else {
            continue;
        };
        let told = from_plan(plan, statement);
        if told.iter().any(|o| o.kind == "misestimate") || wrong >= MAX_OF_A_KIND {
            found.extend(told);
            continue;
        }
        found.extend(told);
        // What cannot be asked is not told: a plan that is only wrong for some values looks the same.
        let dependent = dependent(client, plan, statement).await.ok().flatten();
        wrong += usize::from(dependent.is_some());
        found.extend(dependent);
    }
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    let kept: Vec<bool> = found
        .iter()
        .map(|o| {
            let count = of.entry(o.kind).or_default();
            *count += 1;
            *count <= MAX_OF_A_KIND
        })
        .collect();
    found.into_iter().zip(kept).filter_map(|(o, kept)| kept.then_some(o)).collect()
}

/// Who runs the statements that write temporary files, quoted, by the statement's identity.
async fn roles(client: &mut Client) -> Result<BTreeMap<String, String>, Error> {
    let sql = "SELECT /* trimtab_look */ quote_ident(r.rolname), s.query FROM pg_stat_statements s
                 JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid AND NOT r.rolsuper
                WHERE s.temp_blks_written > 0 AND d.datname = current_database()
                ORDER BY s.temp_blks_written LIMIT 1000";
    let rows = look(client).await?.query(sql, &[]).await?;
    let named = |row: &tokio_postgres::Row| {
        let (role, text): (String, String) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
        Some((sql::normalise(&text), role))
    };
    Ok(rows.iter().filter_map(named).collect())
}

/// A table's name as it can be typed whatever the search path is.
fn within(schema: &str, table: &str) -> String {
    if schema.is_empty() { quoted(table) } else { format!("{}.{}", quoted(schema), quoted(table)) }
}

/// The statement as it can be typed.
fn explain(statement: &str) -> String {
    let hint = if statement.contains("$1") { " -- with values for its parameters" } else { "" };
    format!("EXPLAIN (ANALYZE, BUFFERS) {statement}{hint}")
}

/// What a person or a job runs once: no setting of a role is worth it.
fn is_utility(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or("").to_ascii_uppercase();
    !matches!(
        first.as_str(),
        "SELECT" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "VALUES" | "TABLE"
    )
}

/// A sort or hash that did not fit into memory.
fn spill(statement: &Statement, role: Option<&str>) -> Option<Observation> {
    if statement.calls < MIN_SPILLS || is_utility(&statement.text) {
        return None;
    }
    let per_call =
        statement.temp_blocks.checked_div(statement.calls).filter(|n| *n > 0)?.saturating_mul(BLOCK_BYTES);
    let megabytes = per_call as f64 / f64::from(1 << 20);
    let reason = format!("each call writes {megabytes:.1} MB of temporary files, {} calls", statement.calls);
    let look = "SELECT query, calls, temp_blks_written FROM pg_stat_statements ORDER BY temp_blks_written DESC LIMIT 10";
    let wanted = (per_call >> 19).clamp(4, MAX_WORK_MEM_MB).next_power_of_two();
    let role = role.unwrap_or("the_role_of_the_service");
    let mend = format!("ALTER ROLE {role} SET work_mem = '{wanted}MB'");
    let undo = format!("ALTER ROLE {role} RESET work_mem");
    Some(Observation::new("spill", &statement.text, reason, look).mend(mend, undo))
}

/// What a plan and the rows that came of it tell together: wrong estimates, and rows that were read for nothing.
fn from_plan(plan: &Plan, statement: &Statement) -> Vec<Observation> {
    let mut found = Vec::new();
    let nodes = plan.root.walk();
    if is_cut(&nodes) {
        return found;
    }
    let came = statement.rows as f64 / statement.calls as f64;
    if is_wrong(plan.root.rows, came) && is_estimated(&nodes) {
        let reason = format!("the planner expects {:.0} rows, {came:.0} came per call", plan.root.rows);
        let look = explain(&plan.statement);
        let stale: Vec<String> = plan
            .tables
            .iter()
            .filter(|t| t.stale_share > MAX_STALE_SHARE || t.rows <= 0.0)
            .map(|t| format!("ANALYZE {}", within(&t.schema, &t.name)))
            .collect();
        found.push(if stale.is_empty() {
            let why = "its tables' statistics are fresh: what it joins or compares depends on each other, which they do not tell";
            Observation::new("misestimate", &plan.statement, format!("{reason}; {why}"), &look)
        } else {
            Observation::new("misestimate", &plan.statement, reason, &look).mend(stale.join("; "), "")
        });
    }
    from_scan(plan, &nodes, came, found)
}

/// The rows that came are not all that the plan's top expects.
fn is_cut(nodes: &[&PlanNode]) -> bool {
    nodes.iter().any(|n| n.kind == "Limit" || n.kind == "ModifyTable" || n.kind == "LockRows")
}

fn is_wrong(planned: f64, came: f64) -> bool {
    let (most, least) = (came.max(planned).max(1.0), came.min(planned).max(1.0));
    most / least >= MISESTIMATE && most >= MIN_ROWS / MISESTIMATE
}

/// The only relation of a plan and its columns that are compared by equality, where there are two or more.
fn compared(nodes: &[&PlanNode]) -> Option<(String, BTreeSet<String>)> {
    let mut relations = nodes.iter().filter_map(|n| n.relation.clone());
    let relation = relations.next().filter(|_| relations.next().is_none())?;
    let grouped = |kind: &str| kind.contains("Aggregate") || kind == "Group" || kind == "Unique";
    if nodes.iter().any(|n| grouped(&n.kind)) {
        return None;
    }
    let texts = nodes.iter().flat_map(|n| [&n.filter, &n.index_condition]).flatten();
    let equal = texts.flat_map(|text| conditions(text)).filter(|c| {
        c.comparison == Comparison::Equal && c.column.cast.is_none() && c.column.function.is_none()
    });
    let columns: BTreeSet<String> = equal.map(|c| c.column.name).collect();
    (2..=MAX_STATISTICS_COLUMNS).contains(&columns.len()).then_some((relation, columns))
}

/// Columns of which one follows from the other: the planner multiplies their shares, and more rows come than even their
/// most common values could have together.
async fn dependent(
    client: &mut Client,
    plan: &Plan,
    statement: &Statement,
) -> Result<Option<Observation>, Error> {
    let nodes = plan.root.walk();
    let came = statement.rows as f64 / statement.calls as f64;
    let Some((relation, columns)) = compared(&nodes) else { return Ok(None) };
    if is_cut(&nodes) || came < MISESTIMATE * plan.root.rows.max(1.0) || came < 100.0 {
        return Ok(None);
    }
    let sql = "SELECT /* trimtab_look */ s.schemaname::text, c.reltuples::float8,
                      coalesce(s.most_common_freqs[1]::float8, 0),
                      CASE WHEN s.n_distinct > 0 THEN 1 / s.n_distinct::float8
                           WHEN s.n_distinct < 0 THEN 1 / greatest(-s.n_distinct * c.reltuples, 1)::float8
                           ELSE 1 END,
                      EXISTS (SELECT FROM pg_statistic_ext e WHERE e.stxrelid = c.oid
                                 AND e.stxkeys::int2[] @> (SELECT array_agg(a.attnum) FROM pg_attribute a
                                                            WHERE a.attrelid = c.oid AND a.attname = ANY ($2)))
                 FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
                WHERE s.tablename = $1 AND s.attname = ANY ($2) AND NOT s.inherited";
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = look(client).await?.query(sql, &[&relation, &names]).await?;
    let mut possible = 1.0;
    let mut place: Option<(String, f64)> = None;
    for row in &rows {
        let (schema, tuples): (String, f64) = (row.try_get(0)?, row.try_get(1)?);
        let (common, alike): (f64, f64) = (row.try_get(2)?, row.try_get(3)?);
        if place.as_ref().is_some_and(|(known, _)| *known != schema) || row.try_get::<_, bool>(4)? {
            return Ok(None);
        }
        possible *= common.max(alike).min(1.0);
        place = Some((schema, tuples));
    }
    let Some((schema, tuples)) = place.filter(|_| rows.len() == columns.len()) else { return Ok(None) };
    if came < DEPENDENT * possible * tuples {
        return Ok(None);
    }
    let schema = if schema == "public" { String::new() } else { format!("{}.", quoted(&schema)) };
    let mut name = format!("trimtab_{relation}_{}", names.join("_"));
    while name.len() > MAX_NAME_BYTES {
        name.pop();
    }
    let (name, table) = (format!("{schema}{}", quoted(&name)), format!("{schema}{}", quoted(&relation)));
    let list = names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ");
    let reason = format!(
        "the planner expects {:.0} rows, {came:.0} came per call: {list} depend on each other, and it takes them for independent",
        plan.root.rows
    );
    let mend = format!(
        "CREATE STATISTICS {name} (dependencies, ndistinct, mcv) ON {list} FROM {table}; ANALYZE {table}"
    );
    let observation = Observation::new("misestimate", &plan.statement, reason, &explain(&plan.statement));
    Ok(Some(observation.mend(mend, format!("DROP STATISTICS {name}"))))
}

/// Whether statistics could make it right: what a plan for any value expects of a range, of a key of a document or of one
/// value of a skewed column is no estimate of what this service asks for.
fn is_estimated(nodes: &[&PlanNode]) -> bool {
    let conditions = || nodes.iter().flat_map(|n| [&n.filter, &n.index_condition]).flatten();
    let open = conditions().any(|text| {
        let all = tokens(text);
        let parameter = all.iter().any(|t| t.parameter().is_some());
        parameter
            && all.iter().any(|t| t.kind == Kind::Operator && !["=", "::", ".", ","].iter().any(|o| t.is(o)))
    });
    let parameters = conditions().any(|text| tokens(text).iter().any(|t| t.parameter().is_some()));
    let relations = nodes.iter().filter(|n| n.relation.is_some()).count();
    !open && relations > 0 && (!parameters || relations > 1)
}

/// Rows that a sequential scan of the statement's only table reads for nothing.
fn from_scan(plan: &Plan, nodes: &[&PlanNode], came: f64, mut found: Vec<Observation>) -> Vec<Observation> {
    let [scan] = nodes.iter().filter(|n| n.relation.is_some()).collect::<Vec<_>>()[..] else { return found };
    let grouped =
        nodes.iter().any(|n| n.kind.contains("Aggregate") || n.kind == "Group" || n.kind == "Unique");
    let table = plan.tables.iter().find(|t| Some(&t.name) == scan.relation.as_ref());
    if let Some(table) = table.filter(|t| scan.kind == "Seq Scan" && !grouped && t.rows >= MIN_ROWS) {
        let removed = 1.0 - came / table.rows;
        if removed > REMOVED_SHARE {
            let reason = format!(
                "each call reads {:.0} rows of {} and throws {:.2} % of them away",
                table.rows,
                table.name,
                removed * 100.0
            );
            let look = explain(&plan.statement);
            let mut observation = Observation::new("rows_removed", &plan.statement, reason, &look);
            if let Some(index) = plan.what_ifs.first() {
                observation = observation.mend(index.create.clone(), index.undo.clone());
            } else if let Some(why) = unserved(scan.filter.as_deref().unwrap_or_default()) {
                observation.reason = format!("{}; {why}", observation.reason);
            }
            found.push(observation);
        }
    }
    found
}

/// Why no index of the ordinary kind serves a condition, and what would.
fn unserved(filter: &str) -> Option<&'static str> {
    let all = tokens(filter);
    let has = |operators: &[&str]| all.iter().any(|t| operators.iter().any(|o| t.is(o)));
    if has(&["~~", "~~*"]) {
        Some(
            "where the pattern is known to begin with letters, an index with text_pattern_ops serves LIKE; for any other, and for ILIKE, one by gin with gin_trgm_ops (extension pg_trgm)",
        )
    } else if has(&["@>", "<@", "&&", "?", "@@"]) {
        Some("an index by gin on that column serves this operator")
    } else if has(&["->>", "->", "#>>"]) {
        Some("an index on the expression, with the key that the service asks for: ((column ->> 'key'))")
    } else if all.iter().any(|t| t.is_word("or")) {
        Some("each side of OR needs an index of its own")
    } else if all.iter().any(|t| t.is("::")) && all.iter().any(|t| t.is_word("date")) {
        Some("compare the column itself with a range (at >= day AND at < day + 1), which an index serves")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{compared, from_plan, spill};
    use model::{Plan, PlanNode, Statement, TableFigures};

    #[test]
    fn a_spill_asks_for_as_much_memory_as_it_wrote() {
        let text = "SELECT * FROM t ORDER BY x".to_owned();
        let statement =
            Statement { text: text.clone(), calls: 4, temp_blocks: 4 * 1280, ..Statement::default() };
        let found = spill(&statement, None).unwrap();
        assert!(found.reason.starts_with("each call writes 10.0 MB"), "{}", found.reason);
        assert!(found.mend.unwrap().contains("work_mem = '32MB'"));
        assert!(found.undo.unwrap().contains("RESET work_mem"));
        assert_eq!(spill(&Statement { text: text.clone(), calls: 4, ..Statement::default() }, None), None);
        // What somebody ran once, or an index that was built, is no reason to change a role.
        assert_eq!(spill(&Statement { calls: 1, ..statement.clone() }, None), None);
        assert_eq!(
            spill(&Statement { text: "CREATE TABLE u AS SELECT 1".to_owned(), ..statement }, None),
            None
        );
        let huge = Statement { text, calls: 3, temp_blocks: u64::MAX / 8192, ..Statement::default() };
        assert!(
            spill(&huge, Some("api"))
                .unwrap()
                .mend
                .unwrap()
                .contains("ALTER ROLE api SET work_mem = '256MB'")
        );
    }

    fn kinds(planned: f64, rows: u64, scan: &str) -> Vec<&'static str> {
        let statement = Statement { text: "SELECT $1".to_owned(), calls: 10, rows, ..Statement::default() };
        let table = TableFigures { name: "t".to_owned(), rows: 200_000.0, ..TableFigures::default() };
        let root = PlanNode {
            kind: scan.to_owned(),
            relation: Some("t".to_owned()),
            rows: planned,
            ..PlanNode::default()
        };
        let plan = Plan {
            statement: "SELECT $1".to_owned(),
            root,
            executed: None,
            tables: vec![table],
            what_ifs: vec![],
        };
        from_plan(&plan, &statement).iter().map(|o| o.kind).collect()
    }

    #[test]
    fn plans_are_compared_with_what_came() {
        assert_eq!(kinds(10.0, 100, "Seq Scan"), ["rows_removed"]);
        assert_eq!(kinds(10.0, 100, "Index Scan"), [""; 0]);
        assert_eq!(kinds(50_000.0, 100, "Index Scan"), ["misestimate"]);
        assert_eq!(kinds(150_000.0, 1_500_000, "Seq Scan"), [""; 0]);
    }

    #[test]
    fn two_columns_of_one_table_may_depend_on_each_other() {
        let scan = |filter: &str| PlanNode {
            kind: "Seq Scan".to_owned(),
            relation: Some("sales".to_owned()),
            filter: Some(filter.to_owned()),
            ..PlanNode::default()
        };
        let of = |filter: &str| compared(&scan(filter).walk()).map(|(_, columns)| columns.len());
        assert_eq!(of("((sales.city = $1) AND (sales.region = $2))"), Some(2));
        assert_eq!(of("((sales.city = $1) AND (sales.region > $2))"), None);
        assert_eq!(of("((lower(sales.city) = $1) AND (sales.region = $2))"), None);
        assert_eq!(of("(sales.city = $1)"), None);
    }
}
