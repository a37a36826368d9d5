//! Tries indexes: by the planner with HypoPG, by building them in a transaction that is rolled back, or by our own
//! estimate. Statements are executed only where building was allowed, and then only reads.

use crate::candidates::{Candidate, Scan};
use crate::catalog::{Costs, Table, TableName};
use crate::estimate;
use crate::explain::{Explained, LIMITS, explain};
use crate::index::{NewIndex, quoted};
use crate::values::{Text, typical};
use model::{WhatIf, WhatIfMethod};
use serde_json::Value;
use std::collections::BTreeMap;
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
const MIN_GAIN: f64 = 0.2;
/// A wider index has to be better than a narrower one by this share.
const MIN_WIDER_GAIN: f64 = 0.2;
/// Times below this differ by chance.
const FLOOR_MS: f64 = 0.05;

/// A statement with its plan and the indexes tried so far.
pub(crate) struct Case<'s> {
    pub(crate) statement: &'s model::Statement,
    pub(crate) explained: Explained,
    pub(crate) reads_only: bool,
    pub(crate) trials: BTreeMap<NewIndex, Trial>,
}

impl Case<'_> {
    pub(crate) fn touches(&self, table: &TableName) -> bool {
        self.explained.root.walk().iter().any(|n| n.schema == table.0 && n.relation == table.1)
    }

    /// What is worth telling: what helps, and of two that help alike the narrower one.
    pub(crate) fn what_ifs(&self) -> Vec<WhatIf> {
        let helps = |t: &Trial| {
            let cost = t.cost_after <= t.cost_before * (1.0 - MIN_GAIN);
            cost && t.ms.is_none_or(|(before, after)| after <= before * (1.0 - MIN_GAIN))
        };
        let mut kept: Vec<(&NewIndex, &Trial)> = Vec::new();
        let mut all: Vec<_> = self.trials.iter().filter(|(_, t)| helps(t)).collect();
        all.sort_by_key(|(index, _)| (index.keys.len(), *index));
        for (index, trial) in all {
            let beaten = kept.iter().any(|(narrow, other)| {
                narrow.table == index.table
                    && narrow.keys.len() < index.keys.len()
                    && trial.after_like(other) > other.after_like(trial) * (1.0 - MIN_WIDER_GAIN)
            });
            if !beaten {
                kept.push((index, trial));
            }
        }
        kept.into_iter().map(|(index, trial)| trial.what_if(index)).collect()
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
    bytes: u64,
}

impl Trial {
    /// A figure that can be compared with the other's: the time if both were executed.
    fn after_like(&self, other: &Self) -> f64 {
        match (self.ms, other.ms) {
            (Some((_, after)), Some(_)) => after.max(FLOOR_MS),
            _ => self.cost_after,
        }
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
    let trial = Trial {
        method: WhatIfMethod::Estimated,
        cost_before: root.total_cost,
        cost_after: estimate::cost_after(&case.explained, scan, candidate, table, costs).min(root.total_cost),
        ms: None,
        bytes: candidate.index.bytes(table),
    };
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

/// Shows the planner each index, and asks again for the plans of the statements that touch its table.
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
    // Also forgets what a look that was cut off left in this session.
    let reset = format!("SELECT {schema}.hypopg_reset()");
    client.execute(&reset, &[]).await?;
    for index in indexes {
        let create = format!(
            "SELECT {schema}.hypopg_relation_size(h.indexrelid)::int8 FROM {schema}.hypopg_create_index($1) h"
        );
        let sql = format!("CREATE INDEX ON {}", index.on());
        let row = client.query_one(&create, &[&sql]).await?;
        let bytes = u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
        for case in cases.iter_mut().filter(|c| c.touches(&index.table)) {
            let Ok(after) = explain(client, &case.explained.text).await else { continue };
            let trial = Trial {
                method: WhatIfMethod::Hypothetical,
                cost_before: case.explained.root.total_cost,
                cost_after: after.root.total_cost,
                ms: None,
                bytes,
            };
            case.trials.insert(index.clone(), trial);
        }
        client.execute(&reset, &[]).await?;
    }
    Ok(())
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
) -> LeftOut {
    let started = Instant::now();
    let wanted = promising(cases, tables);
    let mut left_out = LeftOut { wanted: wanted.len(), ..LeftOut::default() };
    let mut before: BTreeMap<usize, Option<Measured>> = BTreeMap::new();
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
                entry.insert(measure_before(client, &cases[at].explained).await.ok().flatten());
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

/// The indexes by the database time that they may save; those on tables too large are not among them.
fn promising(cases: &[Case<'_>], tables: &BTreeMap<TableName, Table>) -> Vec<NewIndex> {
    let mut saved: BTreeMap<&NewIndex, f64> = BTreeMap::new();
    for case in cases.iter().filter(|c| c.reads_only) {
        let useful = case.what_ifs();
        for (index, trial) in &case.trials {
            let gain = 1.0 - trial.cost_after / trial.cost_before.max(f64::MIN_POSITIVE);
            let buildable = tables.get(&index.table).is_some_and(|t| t.blocks <= MAX_BUILD_BLOCKS);
            if buildable && useful.iter().any(|w| w.create == index.create()) {
                *saved.entry(index).or_default() += case.statement.total_ms * gain;
            }
        }
    }
    let mut all: Vec<(&NewIndex, f64)> = saved.into_iter().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    all.into_iter().map(|(index, _)| index.clone()).collect()
}

/// Parameters that were tried, and what came out.
struct Measured {
    sets: Vec<Vec<Text>>,
    ms: f64,
    cost: f64,
}

async fn measure_before(client: &mut Client, explained: &Explained) -> Result<Option<Measured>, Error> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(LIMITS).await?;
    let Some(sets) = typical(&transaction, explained).await? else { return Ok(None) };
    let (ms, cost) = execute(&transaction, &explained.text, &sets).await?;
    Ok(Some(Measured { sets, ms, cost }))
}

async fn with_index(
    client: &mut Client,
    cases: &mut [Case<'_>],
    index: &NewIndex,
    touching: &[usize],
    before: &BTreeMap<usize, Option<Measured>>,
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
        let Some(Some(measured)) = before.get(&at) else { continue };
        // A statement that fails ends this transaction only.
        let (ms, cost) = execute(&transaction, &cases[at].explained.text, &measured.sets).await?;
        let trial = Trial {
            method: WhatIfMethod::Executed,
            cost_before: measured.cost,
            cost_after: cost,
            ms: Some((measured.ms, ms)),
            bytes,
        };
        cases[at].trials.insert(index.clone(), trial);
    }
    transaction.rollback().await
}

/// Median execution time (milliseconds) and its plan's cost over the sets of parameters. The first runs twice: it warms
/// the cache for the others.
async fn execute(transaction: &Transaction<'_>, text: &str, sets: &[Vec<Text>]) -> Result<(f64, f64), Error> {
    let sql = format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) /* trimtab_what_if */ {text}");
    let statement = transaction.prepare(&sql).await?;
    let mut runs: Vec<(f64, f64)> = Vec::new();
    for (place, set) in sets.iter().take(1).chain(sets).enumerate() {
        let values: Vec<&(dyn ToSql + Sync)> = set.iter().map(|v| v as &(dyn ToSql + Sync)).collect();
        let json: Value = transaction.query_one(&statement, &values).await?.try_get(0)?;
        let ms = json[0]["Execution Time"].as_f64().unwrap_or(0.0);
        if place > 0 {
            runs.push((ms, json[0]["Plan"]["Total Cost"].as_f64().unwrap_or(0.0)));
        }
    }
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(runs.get(runs.len() / 2).copied().unwrap_or_default())
}
