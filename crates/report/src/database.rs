//! Statements, their plans as trees, and where requests spend their time: what the page shows of a database.

use crate::clip::{LABEL, SENTENCE, clip, line, without_secrets};
use crate::data::{IndexView, PlanView, Span3, StateView, StatementView, TimeView};
use crate::number::finite;
use model::{Diagnosis, Plan, PlanNode, Rate, Recording, Statement, TimeSpent, WhatIf, WhatIfMethod};
use std::collections::HashMap;

const MAX_TIMES: usize = 100;
const MAX_STATEMENTS: usize = 60;
const MAX_NODES: usize = 120;
const MAX_DEPTH: u32 = 40;
const MAX_CALLERS: usize = 12;
const MAX_INDEXES: usize = 4;
const MAX_KEYS: usize = 8;
/// An endpoint that calls a statement more rarely is not named.
const MIN_CALLS: f64 = 0.05;

/// Something that the state of a database's server shows, with SQL to look, to mend, and to take the mending back.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    pub kind: &'a str,
    /// The table, index or statement.
    pub subject: &'a str,
    pub reason: &'a str,
    pub look: &'a str,
    pub mend: Option<&'a str>,
    pub undo: Option<&'a str>,
}

pub(crate) fn state(state: &State<'_>) -> StateView {
    let sql = |text: &str| clip(&without_secrets(text), 4 * SENTENCE);
    StateView {
        kind: line(state.kind, LABEL),
        subject: clip(&without_secrets(state.subject), 4 * SENTENCE),
        reason: clip(&without_secrets(state.reason), 2 * SENTENCE),
        look: sql(state.look),
        mend: state.mend.map(sql),
        undo: state.undo.map(sql),
    }
}

/// Where the time goes, by endpoint.
pub(crate) fn time(diagnosis: &Diagnosis) -> Vec<TimeView> {
    let view = |spent: &TimeSpent| TimeView {
        endpoint: line(&spent.endpoint, LABEL),
        mean_ms: finite(spent.mean_ms),
        database: spent.database_ms.map(span),
        cache: spent.cache_ms.map(span),
        cpu: spent.cpu_ms.map(span),
        queue: spent.cpu_queue_ms.map(span),
        rest_ms: finite(spent.rest_ms),
        statements: spent.statements.map(span),
        residual: finite(spent.residual),
    };
    diagnosis.time.iter().take(MAX_TIMES).map(view).collect()
}

fn span(rate: Rate) -> Span3 {
    let number = |value: f64| finite(value).unwrap_or(0.0);
    Span3 { value: number(rate.value), low: number(rate.low), high: number(rate.high) }
}

/// Statements that are not shown.
pub(crate) fn left_out(recording: &Recording) -> usize {
    recording.statements.len().saturating_sub(MAX_STATEMENTS)
}

/// The statements with most time, each with its plan where one was taken.
pub(crate) fn statements(recording: &Recording) -> Vec<StatementView> {
    let total_ms: f64 = recording.statements.iter().map(|s| s.total_ms).sum();
    let plans: HashMap<&str, &Plan> = recording.plans.iter().map(|p| (p.statement.as_str(), p)).collect();
    let mut order: Vec<&Statement> = recording.statements.iter().collect();
    let known_ms = |s: &Statement| s.at_least_ms.map_or(s.total_ms, |ms| ms * s.calls.max(1) as f64);
    order.sort_by(|a, b| known_ms(b).total_cmp(&known_ms(a)).then_with(|| a.text.cmp(&b.text)));
    let view = |statement: &&Statement| {
        let plan = plans.get(statement.text.as_str()).copied();
        let rows = statement.rows as f64 / statement.calls.max(1) as f64;
        let timed = statement.at_least_ms.is_none();
        StatementView {
            text: clip(&without_secrets(&statement.text), 4 * SENTENCE),
            share: finite(statement.total_ms / total_ms.max(f64::MIN_POSITIVE)).filter(|_| timed),
            calls: statement.calls,
            mean_ms: finite(statement.mean_ms()).filter(|_| timed),
            at_least_ms: statement.at_least_ms.and_then(finite).filter(|ms| *ms > 0.0),
            rows_per_call: finite(rows).filter(|_| timed),
            callers: callers(recording, &statement.text),
            nodes: plan.map(|plan| nodes(plan, timed.then_some(rows))).unwrap_or_default(),
            executed: plan.is_some_and(|plan| plan.executed.is_some()),
            indexes: plan.map(|plan| indexes(plan, statement)).unwrap_or_default(),
        }
    };
    order.iter().take(MAX_STATEMENTS).map(view).collect()
}

fn callers(recording: &Recording, text: &str) -> Vec<(String, Span3)> {
    let Some(costs) = &recording.costs else { return Vec::new() };
    let Some(cost) = costs.statements.iter().find(|cost| cost.text == text) else { return Vec::new() };
    let told = costs.operations.iter().zip(&cost.calls.per_request);
    let mut all: Vec<(String, Span3)> = told
        .filter_map(|(operation, rate)| Some((operation, rate.filter(|r| r.value >= MIN_CALLS)?)))
        .map(|(operation, rate)| (line(operation, LABEL), span(rate)))
        .collect();
    all.sort_by(|a, b| b.1.value.total_cmp(&a.1.value).then_with(|| a.0.cmp(&b.0)));
    all.truncate(MAX_CALLERS);
    all
}

fn nodes(plan: &Plan, rows_per_call: Option<f64>) -> Vec<PlanView> {
    let root = plan.executed.as_ref().unwrap_or(&plan.root);
    let mut out = Vec::new();
    let whole = root.total_cost.max(f64::MIN_POSITIVE);
    walk(root, 0, whole, &mut out);
    // What the database counted is known without executing anything.
    if let (Some(first), None) = (out.first_mut(), &plan.executed) {
        first.actual = rows_per_call.and_then(finite);
    }
    out
}

fn walk(node: &PlanNode, depth: u32, whole: f64, out: &mut Vec<PlanView>) {
    if out.len() >= MAX_NODES || depth >= MAX_DEPTH {
        return;
    }
    let below: f64 = node.children.iter().map(|child| child.total_cost).sum();
    let on = node.relation.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let by = node.index.as_ref().map(|name| format!(" by {name}")).unwrap_or_default();
    let mut detail = Vec::new();
    let parts = [("filter", &node.filter), ("condition", &node.index_condition)];
    for (name, text) in parts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
        detail.push(clip(&without_secrets(&format!("{name}: {text}")), SENTENCE));
    }
    if !node.sort_keys.is_empty() {
        let keys: Vec<&str> = node.sort_keys.iter().take(MAX_KEYS).map(String::as_str).collect();
        detail.push(clip(&format!("sorted by {}", keys.join(", ")), SENTENCE));
    }
    out.push(PlanView {
        depth,
        title: line(&format!("{}{on}{by}", node.kind), LABEL),
        detail,
        cost_share: finite(((node.total_cost - below) / whole).clamp(0.0, 1.0)),
        // SQLite and parts of MariaDB's plans tell none.
        estimated: finite(node.rows).filter(|rows| *rows > 0.0),
        actual: node.actual_rows.and_then(finite),
    });
    for child in &node.children {
        walk(child, depth + 1, whole, out);
    }
}

fn indexes(plan: &Plan, statement: &Statement) -> Vec<IndexView> {
    let view = |what_if: &WhatIf| {
        let (before, after) = match (what_if.ms_before, what_if.ms_after) {
            (Some(before), Some(after)) => (before, after),
            _ => (what_if.cost_before, what_if.cost_after),
        };
        let left = (after / before.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        IndexView {
            create: clip(&what_if.create, SENTENCE),
            undo: clip(&what_if.undo, SENTENCE),
            method: match what_if.method {
                WhatIfMethod::Executed if statement.system == "sqlite" => "built on a copy and measured",
                WhatIfMethod::Executed => "built, measured and rolled back",
                WhatIfMethod::Hypothetical => "shown to the planner",
                WhatIfMethod::Estimated => "estimated",
            },
            before_ms: finite(statement.mean_ms()).filter(|_| statement.at_least_ms.is_none()),
            after_ms: finite(statement.mean_ms() * left).filter(|_| statement.at_least_ms.is_none()),
        }
    };
    plan.what_ifs.iter().take(MAX_INDEXES).map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::statements;
    use model::{Plan, PlanNode, Recording, Statement};

    #[test]
    fn a_planner_that_tells_no_rows_is_not_wrong_about_them() {
        let root = PlanNode { kind: "SCAN".to_owned(), ..PlanNode::default() };
        let plan = Plan { statement: "q".to_owned(), root, ..Plan::default() };
        let statement = Statement { text: "q".to_owned(), calls: 1, rows: 50, ..Statement::default() };
        let recording = Recording { statements: vec![statement], plans: vec![plan], ..Recording::default() };
        let seen = statements(&recording);
        assert_eq!((seen[0].nodes[0].estimated, seen[0].nodes[0].actual), (None, Some(50.0)));
    }

    #[test]
    fn a_statement_that_nobody_timed_is_not_told_as_instant() {
        let statement = |text: &str, total_ms, at_least_ms| Statement {
            text: text.to_owned(),
            calls: 2,
            rows: 0,
            total_ms,
            at_least_ms,
            ..Statement::default()
        };
        let statements_seen = vec![
            statement("quick", 8.0, None),
            statement("cut off", 0.0, Some(5_000.0)),
            statement("unknown", 0.0, Some(0.0)),
        ];
        let recording = Recording { statements: statements_seen, ..Recording::default() };
        let told: Vec<_> = statements(&recording)
            .iter()
            .map(|s| (s.text.clone(), s.share, s.mean_ms, s.at_least_ms, s.rows_per_call))
            .collect();
        assert_eq!(told[0], ("cut off".to_owned(), None, None, Some(5_000.0), None));
        assert_eq!(told[1], ("quick".to_owned(), Some(1.0), Some(4.0), None, Some(0.0)));
        assert_eq!(told[2], ("unknown".to_owned(), None, None, None, None));
    }

    #[test]
    fn estimates_stand_beside_the_rows_that_came() {
        let scan = PlanNode {
            kind: "Seq Scan".to_owned(),
            relation: Some("t".to_owned()),
            total_cost: 90.0,
            rows: 7.0,
            actual_rows: Some(700.0),
            ..PlanNode::default()
        };
        let root = PlanNode {
            kind: "Sort".to_owned(),
            total_cost: 100.0,
            rows: 7.0,
            children: vec![scan],
            ..PlanNode::default()
        };
        let statement = Statement {
            text: "SELECT".to_owned(),
            calls: 2,
            rows: 1400,
            total_ms: 8.0,
            ..Statement::default()
        };
        let plan = Plan { statement: "SELECT".to_owned(), root, ..Plan::default() };
        let recording =
            Recording { statements: vec![statement], plans: vec![plan.clone()], ..Recording::default() };
        let shown = &statements(&recording)[0];
        let titles: Vec<(u32, &str)> = shown.nodes.iter().map(|n| (n.depth, n.title.as_str())).collect();
        assert_eq!(titles, [(0, "Sort"), (1, "Seq Scan on t")]);
        assert_eq!((shown.nodes[0].estimated, shown.nodes[0].actual), (Some(7.0), Some(700.0)));
        assert_eq!(shown.nodes[1].cost_share, Some(0.9));
        assert!(!shown.executed);
    }
}
