//! Tries indexes: by the planner with HypoPG, by building them in a transaction that is rolled back, or by our own
//! estimate. Statements are executed only where building was allowed, and then only reads.

use crate::candidates::{Candidate, Scan, assignments, scans};
use crate::catalog::{Costs, Table, TableName};
use crate::connect::{LIMITS, look};
use crate::estimate;
use crate::explain::{Explained, Node, explain};
use crate::index::{NewIndex, quoted};
use crate::values::{Observed, Text};
use model::{WhatIf, WhatIfMethod};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Transaction};

/// Indexes built in one call.
const MAX_BUILDS: usize = 4;
/// Time for building and executing in one call.
const MAX_TIME: Duration = Duration::from_secs(8);
/// Larger tables are not built on: it would take longer than the statement timeout.
const MAX_BUILD_BLOCKS: f64 = 200_000.0;
/// What saves less of the cost is not told.
pub(crate) const MIN_GAIN: f64 = 0.2;
/// A plan that costs less than this share of the other is faster, whatever a single noisy measurement says.
const DECISIVE: f64 = 0.1;
/// Rows that the planner expects, of those that were seen to come: beyond this it is wrong.
const MISJUDGED: f64 = 10.0;
/// A statement is executed so often with the same values; the least time has the least noise of the machine in it.
const REPEATS: usize = 3;
/// One that takes longer is executed once.
const LONG_MS: f64 = 200.0;

/// A statement with its plan and the indexes tried so far.
pub(crate) struct Case<'s> {
    pub(crate) statement: &'s model::Statement,
    pub(crate) explained: Explained,
    pub(crate) reads_only: bool,
    pub(crate) trials: BTreeMap<NewIndex, Trial>,
    /// What a call was seen to find, where the statement returns what it finds.
    pub(crate) observed: Option<Observed>,
    /// Values for its parameters, as often as they occur; `None` where they are not known.
    pub(crate) values: Option<Vec<Vec<Text>>>,
    /// Its plan with the rows that came, where it was executed.
    pub(crate) executed: Option<Node>,
}

impl<'s> Case<'s> {
    pub(crate) fn new(statement: &'s model::Statement) -> Self {
        let explained = Explained::default();
        let trials = BTreeMap::new();
        Self { statement, explained, reads_only: false, trials, observed: None, values: None, executed: None }
    }

    /// It sets a column of the index itself: each call would move its own entries.
    fn sets(&self, index: &NewIndex) -> bool {
        let set = assignments(&self.statement.text);
        set.iter()
            .any(|(table, column)| *table == index.table.1 && index.keys.iter().any(|k| k.name == *column))
    }

    pub(crate) fn touches(&self, table: &TableName) -> bool {
        self.explained.root.walk().iter().any(|n| n.schema == table.0 && n.relation == table.1)
    }

    /// The index begins with something that the statement compares or sorts by.
    fn could_use(&self, index: &NewIndex) -> bool {
        let column = index.keys.first().map(|k| k.name.as_str()).unwrap_or_default();
        let mut scans = scans(&self.explained.root).into_iter().filter(|s| s.table == index.table);
        scans.any(|s| s.names(column))
    }

    /// The figures of an index: its own, or those of the narrower one that it begins with.
    fn figures(&self, index: &NewIndex) -> Option<&Trial> {
        let narrower = || self.trials.iter().filter(|(i, _)| i.begins(index)).map(|(_, t)| t);
        self.trials.get(index).or_else(|| narrower().min_by(|a, b| a.share_left().total_cmp(&b.share_left())))
    }

    /// The planner's cost with an index. Without statistics of an expression, or beyond a histogram's end, it expects far
    /// more rows than were seen to come: then our own estimate, which knows them, is believed where it is lower.
    fn believed(&self, index: &NewIndex, before: f64, after: f64) -> f64 {
        // Of an expression nothing is known until there is an index on it and ANALYZE has run.
        let expression = index.keys.iter().any(|k| k.function.is_some());
        let misjudged = expression
            || self.observed.is_some_and(|o| self.explained.root.rows > MISJUDGED * o.rows.max(1.0));
        let taken = after <= before * (1.0 - MIN_GAIN);
        let own =
            self.trials.get(index).filter(|t| misjudged && taken && t.method == WhatIfMethod::Estimated);
        own.map_or(after, |own| own.cost_after.min(after))
    }

    /// Share of the statement's time that is left with an index; `None` where it does not serve it.
    pub(crate) fn share_left(&self, index: &NewIndex) -> Option<f64> {
        self.figures(index).map(Trial::share_left)
    }

    /// The chosen indexes that help it, best first.
    pub(crate) fn what_ifs(&self, chosen: &BTreeSet<NewIndex>) -> Vec<WhatIf> {
        let mut all: Vec<(&NewIndex, &Trial)> = chosen
            .iter()
            .filter_map(|index| Some((index, self.figures(index)?)))
            .filter(|(_, trial)| trial.share_left() <= 1.0 - MIN_GAIN)
            .collect();
        all.sort_by(|a, b| a.1.share_left().total_cmp(&b.1.share_left()).then_with(|| a.0.cmp(b.0)));
        all.into_iter().map(|(index, trial)| trial.what_if(index)).collect()
    }
}

/// One index tried for one statement.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    method: WhatIfMethod,
    cost_before: f64,
    cost_after: f64,
    /// Before and after, where it was executed.
    ms: Option<(f64, f64)>,
    pub(crate) bytes: u64,
}

impl Trial {
    pub(crate) fn new(method: WhatIfMethod, cost_before: f64, cost_after: f64, bytes: u64) -> Self {
        Self { method, cost_before, cost_after, ms: None, bytes }
    }

    /// Of the times where it was executed, else of the costs.
    fn share_left(&self) -> f64 {
        let (before, after) = self.ms.unwrap_or((self.cost_before, self.cost_after));
        (after / before.max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// The planner is sure of a gain that the clock does not show.
    fn is_contradicted(&self) -> bool {
        let decisive = self.cost_after <= self.cost_before * DECISIVE;
        decisive && self.ms.is_some_and(|(before, after)| after > before * (1.0 - MIN_GAIN))
    }

    fn what_if(&self, index: &NewIndex) -> WhatIf {
        WhatIf {
            table: index.table.1.clone(),
            columns: index.columns(),
            create: index.create(),
            undo: index.undo(),
            method: self.method,
            cost_before: self.cost_before,
            cost_after: self.cost_after,
            ms_before: self.ms.map(|ms| ms.0),
            ms_after: self.ms.map(|ms| ms.1),
            bytes: self.bytes,
        }
    }
}

/// Our own estimate.
pub(crate) fn estimated(
    case: &mut Case<'_>,
    scan: &Scan<'_>,
    candidate: &Candidate,
    table: &Table,
    costs: &Costs,
) {
    let root = &case.explained.root;
    let after = estimate::cost_after(&case.explained, scan, candidate, table, costs).min(root.total_cost);
    let bytes = candidate.index.bytes(table);
    let trial = Trial::new(WhatIfMethod::Estimated, root.total_cost, after, bytes);
    // A table may be scanned twice in one statement: the index serves the better of the two.
    let known = case.trials.get(&candidate.index).is_some_and(|t| t.cost_after <= trial.cost_after);
    if !known {
        case.trials.insert(candidate.index.clone(), trial);
    }
}

/// The schema that HypoPG's functions are in, if it is there.
pub(crate) async fn hypopg(client: &Client) -> Option<String> {
    let sql = "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                WHERE e.extname = 'hypopg'";
    let row = client.query_opt(sql, &[]).await.ok()??;
    row.try_get(0).ok()
}

/// Shows the planner each index, and asks again for the plans of the statements that touch its table: with values where
/// they are known, else for any. Nothing is written; the index is one of this session's memory.
///
/// # Errors
/// The server's reason.
pub(crate) async fn hypothetical(
    client: &mut Client,
    schema: &str,
    cases: &mut [Case<'_>],
    indexes: &[NewIndex],
) -> Result<(), Error> {
    let schema = quoted(schema);
    let mut before: BTreeMap<usize, f64> = BTreeMap::new();
    // Also forgets what a look that was cut off left in this session.
    let reset = format!("SELECT {schema}.hypopg_reset() /* trimtab_what_if */");
    look(client).await?.execute(&reset, &[]).await?;
    for (at, case) in cases.iter().enumerate() {
        if let Some(cost) = cost_with_values(client, case).await {
            before.insert(at, cost);
        }
    }
    for index in indexes {
        let create = format!(
            "SELECT {schema}.hypopg_relation_size(h.indexrelid)::int8 /* trimtab_what_if */
               FROM {schema}.hypopg_create_index($1) h"
        );
        let sql = format!("CREATE INDEX ON {}", index.on());
        // What it cannot show (an expression of the wrong kind) is left to our own estimate.
        let made =
            look(client).await?.query_one(&create, &[&sql]).await.and_then(|row| row.try_get::<_, i64>(0));
        let Ok(bytes) = made.map(|bytes| u64::try_from(bytes).unwrap_or(0)) else { continue };
        for (at, case) in cases.iter_mut().enumerate().filter(|(_, c)| c.could_use(index) && !c.sets(index)) {
            let (known, generic) = (before.get(&at), case.explained.root.total_cost);
            let (before, after) = match known {
                Some(before) => (*before, cost_with_values(client, case).await),
                None => {
                    let explained = explain(client, &case.explained.text).await;
                    (generic, explained.ok().map(|e| e.root.total_cost))
                }
            };
            if let Some(after) = after {
                let after = case.believed(index, before, after);
                let trial = Trial::new(WhatIfMethod::Hypothetical, before, after, bytes);
                case.trials.insert(index.clone(), trial);
            }
        }
        look(client).await?.execute(&reset, &[]).await?;
    }
    Ok(())
}

/// The plan's cost with the statement's values, the mean over their sets; `None` where they are not known or do not fit.
async fn cost_with_values(client: &mut Client, case: &Case<'_>) -> Option<f64> {
    let values = case.values.as_ref().filter(|_| case.explained.parameters > 0)?;
    let transaction = look(client).await.ok()?;
    let sql = format!("EXPLAIN (FORMAT JSON) /* trimtab_what_if */ {}", case.explained.text);
    let statement = transaction.prepare(&sql).await.ok()?;
    let mut sum = 0.0;
    for set in values {
        let bound: Vec<&(dyn ToSql + Sync)> = set.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let json: Value = transaction.query_one(&statement, &bound).await.ok()?.try_get(0).ok()?;
        sum += json[0]["Plan"]["Total Cost"].as_f64()?;
    }
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// What was not built, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) built: usize,
    pub(crate) wanted: usize,
    pub(crate) reason: Option<String>,
}

/// Builds the most promising indexes, each in a transaction that is rolled back, and executes the reads that touch its
/// table with and without it.
pub(crate) async fn executed(
    client: &mut Client,
    cases: &mut [Case<'_>],
    tables: &BTreeMap<TableName, Table>,
    chosen: &BTreeSet<NewIndex>,
) -> LeftOut {
    let started = Instant::now();
    let wanted = promising(cases, tables, chosen);
    let mut left_out = LeftOut { wanted: wanted.len(), ..LeftOut::default() };
    let mut before: BTreeMap<usize, Option<(f64, f64)>> = BTreeMap::new();
    for (place, index) in wanted.iter().enumerate() {
        if place >= MAX_BUILDS || started.elapsed() >= MAX_TIME {
            left_out.reason.get_or_insert_with(|| {
                format!("at most {MAX_BUILDS} indexes and {} s are spent on it", MAX_TIME.as_secs())
            });
            break;
        }
        let touching: Vec<usize> =
            (0..cases.len()).filter(|&i| cases[i].reads_only && cases[i].touches(&index.table)).collect();
        for &at in touching.iter().filter(|_| started.elapsed() < MAX_TIME) {
            if let std::collections::btree_map::Entry::Vacant(entry) = before.entry(at) {
                entry.insert(measure_before(client, &cases[at]).await.ok().flatten());
            }
        }
        match with_index(client, cases, index, &touching, &before).await {
            Ok(()) => left_out.built += 1,
            Err(error) => {
                left_out.reason.get_or_insert(crate::explain::reason(&error));
            }
        }
    }
    left_out
}

/// The chosen indexes by the database time that they may save; those on tables too large are not among them.
fn promising(
    cases: &[Case<'_>],
    tables: &BTreeMap<TableName, Table>,
    chosen: &BTreeSet<NewIndex>,
) -> Vec<NewIndex> {
    let mut saved: BTreeMap<&NewIndex, f64> = BTreeMap::new();
    for case in cases.iter().filter(|c| c.reads_only) {
        for index in chosen {
            let buildable = tables.get(&index.table).is_some_and(|t| t.blocks <= MAX_BUILD_BLOCKS);
            let Some(left) = case.share_left(index).filter(|left| buildable && *left <= 1.0 - MIN_GAIN)
            else {
                continue;
            };
            *saved.entry(index).or_default() += case.statement.total_ms * (1.0 - left);
        }
    }
    let mut all: Vec<(&NewIndex, f64)> = saved.into_iter().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    all.into_iter().map(|(index, _)| index.clone()).collect()
}

/// Time and cost without any new index; `None` where no values are known.
async fn measure_before(client: &mut Client, case: &Case<'_>) -> Result<Option<(f64, f64)>, Error> {
    let Some(values) = &case.values else { return Ok(None) };
    let transaction = look(client).await?;
    execute(&transaction, &case.explained.text, values).await.map(Some)
}

async fn with_index(
    client: &mut Client,
    cases: &mut [Case<'_>],
    index: &NewIndex,
    touching: &[usize],
    before: &BTreeMap<usize, Option<(f64, f64)>>,
) -> Result<(), Error> {
    // Dropped on the way out, it rolls back, also if this is cut off.
    let transaction = client.build_transaction().start().await?;
    transaction.batch_execute(LIMITS).await?;
    transaction.batch_execute(&format!("CREATE INDEX trimtab_what_if ON {}", index.on())).await?;
    // From here on nothing can be written.
    transaction.batch_execute("SET LOCAL transaction_read_only = on").await?;
    let made = "SELECT i.indcheckxmin, pg_relation_size(i.indexrelid) FROM pg_index i
                  JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
                  JOIN pg_namespace n ON n.oid = t.relnamespace
                 WHERE c.relname = 'trimtab_what_if' AND n.nspname = $1 AND t.relname = $2";
    let row = transaction.query_one(made, &[&index.table.0, &index.table.1]).await?;
    // Rows were changed in place: this transaction may not use its own index yet, so it would show nothing.
    if row.try_get(0)? {
        return Ok(());
    }
    let bytes = u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0);
    for &at in touching {
        let Some(Some((ms_before, cost_before))) = before.get(&at) else { continue };
        let Some(values) = &cases[at].values else { continue };
        // A statement that fails ends this transaction only.
        let (mut ms, cost) = execute(&transaction, &cases[at].explained.text, values).await?;
        let mut trial = Trial::new(WhatIfMethod::Executed, *cost_before, cost, bytes);
        trial.ms = Some((*ms_before, ms));
        if trial.is_contradicted() {
            ms = ms.min(execute(&transaction, &cases[at].explained.text, values).await?.0);
            trial.ms = Some((*ms_before, ms));
        }
        if trial.is_contradicted() {
            // The machine is too busy to measure on: what the planner says of the real index remains.
            trial = Trial::new(WhatIfMethod::Hypothetical, *cost_before, cost, bytes);
        }
        cases[at].trials.insert(index.clone(), trial);
    }
    transaction.rollback().await
}

/// Executes the reads once each, with the first of their sets of values, to see the rows that each node really gives.
/// What fails, or finds no time, keeps its estimates only.
pub(crate) async fn execute_plans(client: &mut Client, cases: &mut [Case<'_>]) {
    let started = Instant::now();
    for case in cases.iter_mut().filter(|c| c.reads_only) {
        let set = case.values.as_ref().and_then(|sets| sets.first()).map_or(&[][..], Vec::as_slice);
        if set.len() != case.explained.parameters || started.elapsed() > MAX_TIME {
            continue;
        }
        let Ok(transaction) = look(client).await else { return };
        let sql = format!(
            "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) /* trimtab_what_if */ {}",
            case.explained.text
        );
        let Ok(statement) = transaction.prepare(&sql).await else { continue };
        let values: Vec<&(dyn ToSql + Sync)> = set.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let row = transaction.query_one(&statement, &values).await;
        if let Ok(json) = row.and_then(|row| row.try_get::<_, Value>(0)) {
            case.executed = Some(Node::read(&json[0]["Plan"]));
        }
    }
}

/// Median execution time (milliseconds) and its plan's cost over the sets of parameters, of each set the least time.
async fn execute(transaction: &Transaction<'_>, text: &str, sets: &[Vec<Text>]) -> Result<(f64, f64), Error> {
    let sql = format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) /* trimtab_what_if */ {text}");
    let statement = transaction.prepare(&sql).await?;
    let mut runs: Vec<(f64, f64)> = Vec::new();
    for set in sets {
        let values: Vec<&(dyn ToSql + Sync)> = set.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let mut least = (f64::INFINITY, 0.0);
        for _ in 0..REPEATS {
            let json: Value = transaction.query_one(&statement, &values).await?.try_get(0)?;
            let ms = json[0]["Execution Time"].as_f64().unwrap_or(0.0);
            if ms < least.0 {
                least = (ms, json[0]["Plan"]["Total Cost"].as_f64().unwrap_or(0.0));
            }
            if ms > LONG_MS {
                break;
            }
        }
        runs.push(least);
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(runs.get(runs.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Trial;
    use model::WhatIfMethod;

    #[test]
    fn a_noisy_clock_does_not_overrule_a_decisive_plan() {
        let executed = |cost_after: f64, ms_after: f64| Trial {
            ms: Some((10.0, ms_after)),
            ..Trial::new(WhatIfMethod::Executed, 1000.0, cost_after, 0)
        };
        assert!(executed(10.0, 11.0).is_contradicted());
        assert!(!executed(10.0, 0.1).is_contradicted());
        assert!(!executed(500.0, 11.0).is_contradicted());
    }
}
