//! Asks for a statement's generic plan without executing it: `PREPARE` and `EXPLAIN EXECUTE` in a read-only transaction
//! with time limits. Statement texts go through the extended protocol, which refuses more than one statement.

use crate::connect::{format_error, look};
use crate::repair;
use crate::tokens::without_values;
use model::PlanNode;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::{Client, Error, Transaction};

/// A text is mended at most so many times.
const MAX_REPAIRS: usize = 5;

/// Names of prepared statements are never used twice: one may be left over from a look that was cut off.
static PREPARED: AtomicU64 = AtomicU64::new(0);

/// SQLSTATE of names that the search path does not find: a table, a function, a type, a schema.
const UNRESOLVED: [&str; 4] = ["42P01", "42883", "42704", "3F000"];

/// Why there is no plan.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    /// A name was not found: that of the service's own search path, maybe.
    pub(crate) unresolved: bool,
}

/// A plan, and the text that could be prepared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explained {
    pub(crate) text: String,
    pub(crate) parameters: usize,
    pub(crate) root: Node,
}

/// A plan's node with what the candidates are read from. Strings are empty where the plan has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: String,
    pub(crate) schema: String,
    pub(crate) relation: String,
    pub(crate) alias: String,
    pub(crate) index: String,
    pub(crate) filter: String,
    pub(crate) index_condition: String,
    pub(crate) join_conditions: Vec<String>,
    pub(crate) sort_keys: Vec<String>,
    /// `Outer`, `Inner`, `SubPlan`, `InitPlan` ...
    pub(crate) role: String,
    /// `SubPlan 1`, `InitPlan 1 (returns $0)`.
    pub(crate) subplan: String,
    pub(crate) total_cost: f64,
    pub(crate) rows: f64,
    pub(crate) width: u32,
    pub(crate) actual_rows: Option<f64>,
    /// Partitions were left out for the parameters' values.
    pub(crate) pruned: bool,
    pub(crate) children: Vec<Self>,
}

impl Node {
    pub(crate) fn read(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| json[name].as_f64().unwrap_or(0.0);
        let list = |name: &str| json[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let conditions = ["Hash Cond", "Merge Cond", "Join Filter"].map(text);
        let index = [text("Index Cond"), text("Recheck Cond")].into_iter().find(|c| !c.is_empty());
        Self {
            kind: text("Node Type"),
            schema: text("Schema"),
            relation: text("Relation Name"),
            alias: text("Alias"),
            index: text("Index Name"),
            filter: text("Filter"),
            index_condition: index.unwrap_or_default(),
            join_conditions: conditions.into_iter().filter(|c| !c.is_empty()).collect(),
            sort_keys: list("Sort Key").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            role: text("Parent Relationship"),
            subplan: text("Subplan Name"),
            total_cost: number("Total Cost"),
            rows: number("Plan Rows"),
            width: json["Plan Width"].as_u64().and_then(|w| u32::try_from(w).ok()).unwrap_or(0),
            actual_rows: json["Actual Rows"].as_f64(),
            pruned: number("Subplans Removed") > 0.0,
            children: list("Plans").iter().map(Self::read).collect(),
        }
    }

    /// The node and all below it, parents first.
    pub(crate) fn walk(&self) -> Vec<&Self> {
        let mut nodes = vec![self];
        let mut at = 0;
        while at < nodes.len() {
            let node = nodes[at];
            nodes.extend(&node.children);
            at += 1;
        }
        nodes
    }

    /// The node as the recording keeps it: without values.
    pub(crate) fn model(&self) -> PlanNode {
        let shown = |text: &String| (!text.is_empty()).then(|| without_values(text));
        let name = |text: &String| (!text.is_empty()).then(|| text.clone());
        PlanNode {
            kind: self.kind.clone(),
            relation: name(&self.relation),
            index: name(&self.index),
            filter: shown(&self.filter),
            index_condition: shown(&self.index_condition),
            sort_keys: self.sort_keys.iter().map(|k| without_values(k)).collect(),
            total_cost: self.total_cost,
            rows: self.rows,
            width: self.width,
            actual_rows: self.actual_rows,
            children: self.children.iter().map(Self::model).collect(),
        }
    }
}

/// The generic plan of a text of `pg_stat_statements`, mended where that is needed.
///
/// # Errors
/// The server's reason.
pub(crate) async fn explain(client: &mut Client, raw: &str) -> Result<Explained, Refused> {
    let mut text = repair::executable(raw);
    let mut repairs = 0;
    loop {
        let error = match attempt(client, &text).await {
            Ok((root, parameters)) => return Ok(Explained { text, parameters, root }),
            Err(error) => error,
        };
        let code = error.code().map_or("", |c| c.code());
        let mended = repair::repaired(&text, code, &format_error(&error));
        match mended.filter(|_| repairs < MAX_REPAIRS) {
            Some(mended) => text = mended,
            None => {
                return Err(Refused { reason: reason(&error), unresolved: UNRESOLVED.contains(&code) });
            }
        }
        repairs += 1;
    }
}

async fn attempt(client: &mut Client, text: &str) -> Result<(Node, usize), Error> {
    let name = format!("trimtab_{}", PREPARED.fetch_add(1, Ordering::Relaxed));
    let transaction = look(client).await?;
    transaction.batch_execute("SET LOCAL /* trimtab_look */ plan_cache_mode = force_generic_plan").await?;
    transaction.execute(&format!("PREPARE {name} AS {text}"), &[]).await?;
    let mut planned = plan_of(&transaction, &name).await;
    if planned.as_ref().is_ok_and(|(root, _)| root.walk().iter().any(|n| n.pruned)) {
        // For NULL no partition is left: a value would leave some.
        transaction.batch_execute("SET LOCAL /* trimtab_look */ enable_partition_pruning = off").await?;
        // The plan is kept with the prepared statement.
        transaction.batch_execute(&format!("DEALLOCATE {name}")).await?;
        transaction.execute(&format!("PREPARE {name} AS {text}"), &[]).await?;
        planned = plan_of(&transaction, &name).await;
    }
    drop(transaction);
    // What is prepared outlives the transaction.
    client.batch_execute(&format!("DEALLOCATE {name}")).await?;
    planned
}

async fn plan_of(transaction: &Transaction<'_>, name: &str) -> Result<(Node, usize), Error> {
    let count = "SELECT /* trimtab_look */ coalesce(cardinality(parameter_types), 0) FROM pg_prepared_statements WHERE name = $1";
    let parameters: i32 = transaction.query_one(count, &[&name]).await?.try_get(0)?;
    let parameters = usize::try_from(parameters).unwrap_or(0);
    let nulls = vec!["NULL"; parameters].join(", ");
    let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let explain = format!("EXPLAIN (FORMAT JSON, VERBOSE) EXECUTE {name}{arguments}");
    let json: Value = transaction.query_one(&explain, &[]).await?.try_get(0)?;
    Ok((Node::read(&json[0]["Plan"]), parameters))
}

/// What the server said, without the values that it may quote.
pub(crate) fn reason(error: &Error) -> String {
    let data = error.code().is_some_and(|c| c.code().starts_with("22"));
    if data { "a value did not fit its type".to_owned() } else { format_error(error) }
}
