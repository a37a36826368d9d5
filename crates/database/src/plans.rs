//! Which statements are looked at, and what is told of each: its plan, its tables, and indexes that were tried. It does
//! not judge: whether an index is worth it is a rule's matter.

use crate::candidates::{assignments, scans, written_columns};
use crate::catalog::{self, Costs, Table, TableName};
use crate::connect::{Database, look};
use crate::explain::{Explained, Node, Refused, explain, reason};
use crate::index::{NewIndex, Predicate};
use crate::jointly;
use crate::repair;
use crate::search_path;
use crate::tokens::tokens;
use crate::values::{Observed, typical};
use crate::what_if::{self, Case};
use model::{Gap, Plan, Statement, sql};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Error};

const SIGNAL: &str = "plans";
/// Raw texts beyond this are not read.
const MAX_TEXTS: i64 = 20_000;
/// Indexes tried in one call, whatever the method.
const MAX_INDEXES: usize = 64;
/// Of the statements one in so many is chosen by its mean time instead of its total.
const BY_MEAN: usize = 4;
/// Beyond this share of changed rows the planner's statistics mislead.
const MAX_STALE_SHARE: f64 = 0.1;
/// An UPDATE that touched no index and then does: 15 microseconds more, as it was measured.
const HOT_LOSS_MS: f64 = 0.015;
/// Its table grows, too, and is vacuumed more often: a statement has to take so many times more than all of them lose.
const HOT_WEIGHT: f64 = 10.0;
/// A quicker statement needs no index, whatever it asks for.
const MIN_TOLD_MS: f64 = 1.0;
/// A statement's text in a gap is cut here.
const MAX_SHOWN: usize = 100;

/// What may be done to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Indexes may be built, in transactions that are rolled back, and reads executed with values from the planner's
    /// statistics. Writers of the table wait meanwhile: for a private copy only.
    pub may_build: bool,
    /// So many statements are looked at, at most.
    pub most: usize,
}

impl Database {
    /// Plans of the statements that took most time, in the order of their total time, each with the indexes that would
    /// lower its cost by a fifth or more: as few as serve all of them together. Only looks, unless `may_build`; nothing stays in any case. What could not be
    /// seen is a gap.
    pub async fn plans(&self, statements: &[Statement], options: &PlanOptions) -> (Vec<Plan>, Vec<Gap>) {
        let mut client = self.client.lock().await;
        let mut gaps = Vec::new();
        let wanted = chosen(statements, options.most);
        let (mut cases, mut failed) = explained(&mut client, &wanted).await;
        let mut wider = None;
        if failed.iter().any(|(_, refused)| refused.unresolved) {
            wider = search_path::wider(self, &client, &mut gaps).await;
        }
        let client = match &mut wider {
            Some(wider) => {
                (cases, failed) = explained(wider, &wanted).await;
                wider
            }
            None => &mut *client,
        };
        gaps.extend(not_explained(&failed, wanted.len()));
        let mut study = Study { cases, gaps, ..Study::default() };
        if let Err(error) = study.read_tables(client).await {
            study.lost(&error);
        }
        study.read_writes(&self.memory());
        study.observe();
        if let Err(error) = study.read_values(client).await {
            study.lost(&error);
        }
        let indexes = study.estimate(statements);
        study.say_what_depends_on_values();
        study.say_what_partitions_lack();
        if let Err(error) = study.ask_planner(client, &indexes).await {
            study.lost(&error);
        }
        study.chosen = jointly::chosen(&study.cases, &study.write_price_ms(statements));
        study.say_what_updates_lose(statements);
        if options.may_build {
            study.build(client).await;
        }
        study.finish()
    }
}

/// Reads and writes that find rows, by total time, and some by their mean time.
fn chosen(statements: &[Statement], most: usize) -> Vec<&Statement> {
    let mut rest: Vec<&Statement> =
        statements.iter().filter(|s| s.calls > 0 && is_of_interest(&s.text)).collect();
    let by = |figure: fn(&Statement) -> f64| {
        move |a: &&Statement, b: &&Statement| {
            figure(b).total_cmp(&figure(a)).then_with(|| a.text.cmp(&b.text))
        }
    };
    rest.sort_by(by(|s| s.total_ms));
    let mut others = rest.split_off(rest.len().min(most - most / BY_MEAN));
    others.sort_by(by(Statement::mean_ms));
    others.truncate(most - rest.len());
    rest.extend(others);
    rest.sort_by(by(|s| s.total_ms));
    rest
}

fn is_of_interest(text: &str) -> bool {
    let text = repair::inner(text);
    let operation = sql::operation_and_tables(text);
    let internal = |t: &String| t.starts_with("pg_") || t.starts_with("information_schema.");
    let finds_rows = match operation.verb.as_str() {
        "SELECT" => true,
        "UPDATE" | "DELETE" => tokens(text).iter().any(|t| t.is_word("where")),
        _ => false,
    };
    finds_rows && !operation.tables.is_empty() && !operation.tables.iter().any(internal)
}

/// Executable texts by identity: of several, the one that took most time. Without access the identity itself serves.
async fn raw_texts(client: &Client) -> BTreeMap<String, String> {
    let look = "SELECT s.query FROM pg_stat_statements(true) s JOIN pg_database d ON d.oid = s.dbid
                 WHERE d.datname = current_database() AND s.query NOT LIKE '%trimtab_%'
                 ORDER BY s.total_exec_time DESC, s.query LIMIT $1";
    let mut texts = BTreeMap::new();
    for row in client.query(look, &[&MAX_TEXTS]).await.unwrap_or_default() {
        if let Ok(raw) = row.try_get::<_, String>(0) {
            texts.entry(sql::normalise(&raw)).or_insert(raw);
        }
    }
    texts
}

/// The statements with their plans, and those that have none.
async fn explained<'s>(
    client: &mut Client,
    chosen: &[&'s Statement],
) -> (Vec<Case<'s>>, Vec<(&'s Statement, Refused)>) {
    let raw = if chosen.is_empty() { BTreeMap::new() } else { raw_texts(client).await };
    let mut cases = Vec::new();
    let mut failed = Vec::new();
    for statement in chosen {
        let text = raw.get(&statement.text).unwrap_or(&statement.text);
        match explain(client, text).await {
            Ok(explained) => {
                let reads_only = reads_only(&explained);
                cases.push(Case { explained, reads_only, ..Case::new(statement) });
            }
            Err(refused) => failed.push((*statement, refused)),
        }
    }
    (cases, failed)
}

/// Those that have no plan, counted.
fn not_explained(failed: &[(&Statement, Refused)], of: usize) -> Option<Gap> {
    let (statement, refused) = failed.first()?;
    let shown: String = statement.text.chars().take(MAX_SHOWN).collect();
    let reason = format!(
        "{} of {of} statements could not be explained: first `{shown}`: {}",
        failed.len(),
        refused.reason
    );
    let hint = if refused.unresolved {
        "connect with the service's search path (`?options=-csearch_path%3Done,other`), and to the server itself \
         rather than a pooler; tables that were dropped or temporary cannot be explained"
    } else {
        "GRANT SELECT on their tables to the role that Trimtab connects as, and USAGE on their schemas"
    };
    Some(Gap::new(SIGNAL, reason, hint))
}

/// A plan without writes or row locks.
fn reads_only(explained: &Explained) -> bool {
    !explained.root.walk().iter().any(|n| n.kind == "ModifyTable" || n.kind == "LockRows")
}

#[derive(Default)]
struct Study<'s> {
    cases: Vec<Case<'s>>,
    tables: BTreeMap<TableName, Table>,
    costs: Costs,
    chosen: BTreeSet<NewIndex>,
    gaps: Vec<Gap>,
}

/// Nodes through which a scan's rows pass as they are.
const PASSING: [&str; 9] = [
    "Seq Scan",
    "Index Scan",
    "Index Only Scan",
    "Bitmap Heap Scan",
    "Bitmap Index Scan",
    "Sort",
    "Gather",
    "Gather Merge",
    "ModifyTable",
];

impl Study<'_> {
    fn lost(&mut self, error: &Error) {
        let hint = "check the connection and the rights of the role that Trimtab connects as";
        self.gaps.push(Gap::new(SIGNAL, format!("indexes could not be tried: {}", reason(error)), hint));
    }

    async fn read_tables(&mut self, client: &mut Client) -> Result<(), Error> {
        if self.cases.is_empty() {
            return Ok(());
        }
        self.costs = catalog::costs(client).await?;
        let names: BTreeSet<TableName> = self
            .cases
            .iter()
            .flat_map(|c| c.explained.root.walk())
            .filter(|n| !n.relation.is_empty() && n.schema != "pg_catalog")
            .map(|n| (n.schema.clone(), n.relation.clone()))
            .collect();
        for name in names {
            if let Some(mut table) = catalog::table(client, &name).await? {
                let compared = self.compared(&name);
                if table.lacks_statistics(&compared) {
                    catalog::sample(client, &name, &mut table, &compared).await?;
                }
                self.tables.insert(name, table);
            }
        }
        Ok(())
    }

    /// Columns that a scan of the table compares.
    fn compared(&self, table: &TableName) -> BTreeSet<String> {
        let all = self.cases.iter().flat_map(|c| scans(&c.explained.root));
        let of_it = all.filter(|s| s.table == *table);
        of_it.flat_map(|s| s.conditions).map(|c| c.column.name).collect()
    }

    /// Writes between the last two snapshots, else since the server counts.
    fn read_writes(&mut self, memory: &crate::snapshot::Memory) {
        for table in self.tables.values_mut() {
            if let Some(writes) = memory.writes_per_second(table.oid) {
                table.writes = writes;
            }
        }
    }

    /// What one more index on each table would cost the rows that these statements wrote, in milliseconds. Updates that
    /// touch no index stay as they are.
    fn write_price_ms(&self, statements: &[Statement]) -> BTreeMap<TableName, f64> {
        let mut price = BTreeMap::new();
        for statement in statements {
            let operation = sql::operation_and_tables(&statement.text);
            if !matches!(operation.verb.as_str(), "INSERT" | "UPDATE" | "DELETE") {
                continue;
            }
            let name = operation.table().rsplit('.').next().unwrap_or_default().trim_matches('"');
            for (full, table) in self.tables.iter().filter(|(full, _)| full.1 == name) {
                let figures = table.figures();
                let share = match operation.verb.as_str() {
                    "INSERT" => 1.0,
                    "UPDATE" => 1.0 - figures.hot_update_share,
                    // The index is left as it is until the row is removed for good.
                    _ => 0.0,
                };
                let ms = statement.rows as f64 * share * figures.index_write_us / 1e3;
                *price.entry(full.clone()).or_insert(0.0) += ms;
            }
        }
        price
    }

    /// What share of a table a call was seen to find: where its rows are neither grouped nor cut.
    fn observe(&mut self) {
        for case in &mut self.cases {
            let nodes = case.explained.root.walk();
            let scan = nodes.iter().find(|n| !n.relation.is_empty() && n.kind != "ModifyTable");
            let passing = nodes.iter().all(|n| PASSING.contains(&n.kind.as_str()));
            let table = scan.and_then(|n| self.tables.get(&(n.schema.clone(), n.relation.clone())));
            if let Some(table) = table.filter(|t| passing && t.rows > 0.0 && case.statement.rows > 0) {
                let per_call = case.statement.rows as f64 / case.statement.calls.max(1) as f64;
                let share = (per_call / table.rows).min(1.0);
                case.observed = Some(Observed { rows: per_call, share });
            }
        }
    }

    async fn read_values(&mut self, client: &mut Client) -> Result<(), Error> {
        for case in &mut self.cases {
            let transaction = look(client).await?;
            // A column whose statistics cannot be read leaves the statement without values.
            case.values =
                typical(&transaction, &case.explained, &self.tables, case.observed).await.unwrap_or_default();
        }
        Ok(())
    }

    /// Estimates every candidate for the statement that it comes from.
    fn estimate(&mut self, statements: &[Statement]) -> Vec<NewIndex> {
        let written = written_columns(statements);
        let mut indexes = BTreeSet::new();
        let mut stale = BTreeSet::new();
        for case in &mut self.cases {
            let root = case.explained.root.clone();
            for scan in scans(&root) {
                let Some(table) = self.tables.get(&scan.table) else { continue };
                let kept_out = written_often(&written, &table.name, case.statement);
                for candidate in scan.candidates(table, &kept_out, case.observed.map(|o| o.share)) {
                    what_if::estimated(case, &scan, &candidate, table, &self.costs);
                    indexes.insert(candidate.index);
                    if table.stale_share > MAX_STALE_SHARE || table.sampled {
                        stale.insert(table.name.clone());
                    }
                }
            }
        }
        if !stale.is_empty() {
            let names: Vec<String> = stale.into_iter().collect();
            self.gaps.push(Gap::new(
                SIGNAL,
                format!(
                    "the planner's statistics are stale or missing for {}: costs may mislead",
                    names.join(", ")
                ),
                "run ANALYZE on them and measure again",
            ));
        }
        indexes.into_iter().take(MAX_INDEXES).collect()
    }

    /// Statements whose result does not show which value they ask for, where that decides whether an index helps.
    fn say_what_depends_on_values(&mut self) {
        let unseen = self.cases.iter().filter(|c| c.observed.is_none() && c.trials.is_empty());
        let told = unseen.filter(|c| c.statement.mean_ms() >= MIN_TOLD_MS).filter_map(|case| {
            let found = scans(&case.explained.root);
            let index = found.iter().find_map(|s| s.for_rare_values(self.tables.get(&s.table)?))?;
            let shown: String = case.statement.text.chars().take(MAX_SHOWN).collect();
            let reason = format!(
                "whether an index helps depends on the value that is asked for, which the rows of `{shown}` do not show"
            );
            Some(Gap::new(SIGNAL, reason, format!("if it asks for a rare value: {}", index.create())))
        });
        let told: Vec<Gap> = told.take(MAX_INDEXES).collect();
        self.gaps.extend(told);
    }

    /// Chosen indexes that hold what updates set.
    fn say_what_updates_lose(&mut self, statements: &[Statement]) {
        let written = written_columns(statements);
        for index in &self.chosen {
            let columns = index.keys.iter().map(|k| k.name.as_str());
            let held: BTreeSet<&str> = columns.chain(index.predicate.iter().map(Predicate::column)).collect();
            let of_table = written.get(&index.table.1).into_iter().flatten();
            let Some((column, calls)) =
                of_table.filter(|(name, _)| held.contains(name.as_str())).max_by_key(|(_, calls)| **calls)
            else {
                continue;
            };
            let reason = format!(
                "the index on {} ({}) holds {column}, which {calls} calls of updates set: each of them would write the index, \
                 and be no longer HOT",
                index.table.1,
                index.columns().join(", ")
            );
            let hint = "what the statement saves is more; look at these updates, and at the table's size, when it is there";
            self.gaps.push(Gap::new(SIGNAL, reason, hint));
        }
    }

    /// Indexes for partitioned tables: they are made part by part, and nothing shows them to the planner.
    fn say_what_partitions_lack(&mut self) {
        let mut lacking: BTreeMap<NewIndex, &str> = BTreeMap::new();
        for case in self.cases.iter().filter(|c| c.statement.mean_ms() >= MIN_TOLD_MS) {
            for scan in scans(&case.explained.root) {
                let Some(table) = self.tables.get(&scan.table) else { continue };
                let Some(parent) = table.parent.clone() else { continue };
                let part = Table { plain: true, ..table.clone() };
                let none = BTreeSet::new();
                let found = scan.candidates(&part, &none, None).into_iter().filter(|c| !c.joined);
                if let Some(best) = found.min_by(|a, b| a.selectivity.total_cmp(&b.selectivity)) {
                    lacking.entry(NewIndex { table: parent, ..best.index }).or_insert(&case.statement.text);
                }
            }
        }
        let told = lacking.into_iter().take(MAX_INDEXES).map(|(index, text)| {
            let shown: String = text.chars().take(MAX_SHOWN).collect();
            let reason = format!(
                "{} is partitioned: what an index would bring `{shown}` cannot be tried",
                index.table.1
            );
            let hint = format!(
                "it may be ({}): CREATE INDEX ON ONLY {}, the same CONCURRENTLY on each partition, then ALTER INDEX ... ATTACH PARTITION",
                index.columns().join(", "),
                index.on()
            );
            Gap::new(SIGNAL, reason, hint)
        });
        let told: Vec<Gap> = told.collect();
        self.gaps.extend(told);
    }

    async fn ask_planner(&mut self, client: &mut Client, indexes: &[NewIndex]) -> Result<(), Error> {
        if indexes.is_empty() {
            return Ok(());
        }
        // A planner without statistics takes every value for one in two hundred: our own sample knows better.
        let sampled = |i: &&NewIndex| self.tables.get(&i.table).is_some_and(|t| t.sampled);
        let indexes: Vec<NewIndex> = indexes.iter().filter(|i| !sampled(i)).cloned().collect();
        let indexes = indexes.as_slice();
        match what_if::hypopg(client).await {
            Some(schema) => what_if::hypothetical(client, &schema, &mut self.cases, indexes).await,
            None => Ok(()),
        }
    }

    async fn build(&mut self, client: &mut Client) {
        let left_out = what_if::executed(client, &mut self.cases, &self.tables, &self.chosen).await;
        what_if::execute_plans(client, &mut self.cases).await;
        if let Some(reason) = left_out.reason {
            self.gaps.push(Gap::new(
                SIGNAL,
                format!(
                    "{} of {} candidate indexes were not built: {reason}",
                    left_out.wanted - left_out.built,
                    left_out.wanted
                ),
                "apply the first and measure again: the others come up then",
            ));
        }
    }

    fn finish(self) -> (Vec<Plan>, Vec<Gap>) {
        let tables = |case: &Case<'_>| {
            let touched = self.tables.iter().filter(|(name, _)| case.touches(name));
            touched.map(|(_, table)| table.figures()).collect()
        };
        let plan = |case: &Case<'_>| Plan {
            statement: case.statement.text.clone(),
            root: case.explained.root.model(),
            executed: case.executed.as_ref().map(Node::model),
            tables: tables(case),
            what_ifs: case.what_ifs(&self.chosen),
        };
        (self.cases.iter().map(plan).collect(), self.gaps)
    }
}

/// Columns that no index for the statement may hold: those that it sets itself, and those that updates set so often that
/// what each of them would lose outweighs the statement.
fn written_often(
    written: &BTreeMap<String, BTreeMap<String, u64>>,
    table: &str,
    statement: &Statement,
) -> BTreeSet<String> {
    let own = assignments(&statement.text).into_iter().map(|(_, column)| column);
    let columns = written.get(table).into_iter().flatten();
    let dear = |calls: u64| calls as f64 * HOT_LOSS_MS * HOT_WEIGHT >= statement.total_ms;
    own.chain(columns.filter(|(_, calls)| dear(**calls)).map(|(name, _)| name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::{chosen, is_of_interest, written_often};
    use model::Statement;
    use std::collections::BTreeMap;

    fn statement(text: &str, calls: u64, total_ms: f64) -> Statement {
        Statement { text: text.to_owned(), calls, total_ms, ..Statement::default() }
    }

    #[test]
    fn only_what_finds_rows_is_looked_at() {
        for text in [
            "SELECT * FROM t WHERE a = $1",
            "WITH x AS (SELECT 1) SELECT * FROM t, x",
            "UPDATE t SET a = $1 WHERE b = $2",
            "DELETE FROM t WHERE b = $1",
            "DECLARE c CURSOR FOR SELECT * FROM t",
        ] {
            assert!(is_of_interest(text), "{text}");
        }
        for text in [
            "INSERT INTO t VALUES ($1)",
            "UPDATE t SET a = $1",
            "SELECT 1",
            "SELECT * FROM pg_class",
            "BEGIN",
            "CREATE INDEX ON t (a)",
            "",
        ] {
            assert!(!is_of_interest(text), "{text}");
        }
    }

    #[test]
    fn a_rare_slow_statement_is_among_the_chosen() {
        let mut all: Vec<Statement> =
            (0..9).map(|i| statement(&format!("SELECT {i} FROM t"), 1000, 100.0 + f64::from(i))).collect();
        all.push(statement("SELECT slow FROM t", 1, 50.0));
        let texts: Vec<&str> = chosen(&all, 4).iter().map(|s| s.text.as_str()).collect();
        assert_eq!(texts, ["SELECT 8 FROM t", "SELECT 7 FROM t", "SELECT 6 FROM t", "SELECT slow FROM t"]);
        assert!(chosen(&all, 0).is_empty());
    }

    #[test]
    fn columns_that_updates_set_are_kept_out_by_what_the_updates_lose() {
        let written =
            |calls| BTreeMap::from([("t".to_owned(), BTreeMap::from([("status".to_owned(), calls)]))]);
        let read = statement("SELECT a FROM t WHERE status = $1", 10, 100.0);
        assert!(written_often(&written(100), "t", &read).is_empty());
        assert!(written_often(&written(1_000), "t", &read).contains("status"));
        let own = statement("UPDATE t SET status = $1 WHERE status = $2", 10, 100.0);
        assert!(written_often(&written(10), "t", &own).contains("status"));
    }
}
