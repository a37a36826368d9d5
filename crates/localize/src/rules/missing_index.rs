//! `missing_index`: a statement reads a table from end to end for few rows, and an index would serve it.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::shape::{EndpointId, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use hashbrown::HashMap;
use model::{Grade, Plan, Remedy, RemedyKind, Statement, TableFigures, WhatIf, WhatIfMethod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "missing_index",
    needs: &[Signal::Traces, Signal::Plans],
    why: "A sequential scan costs as much as the table is long; with an index the cost follows the rows that are asked for.",
    how: "The statement's plan reads a table sequentially, an index was tried (executed, hypothetical or estimated) and lowers the cost at least threefold, and the statement has at least 5 % of the database's time or of the endpoint's critical path.",
    predicts: "Each call loses the database's mean time and gets the time with the index instead: measured where the index was built in a transaction that was rolled back, else the old time scaled by the planner's cost, times and divided by three.",
    run,
};

/// Cost-only predictions are right within this factor, either way.
const COST_FACTOR: f64 = 3.0;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let total_ms: f64 = facts.recording.statements.iter().map(|s| s.total_ms).sum();
    // Of each endpoint, the statements with a plan.
    let mut planned: HashMap<EndpointId, Vec<Planned<'_>>> = HashMap::new();
    for (id, shape) in facts.shapes().filter(|(_, shape)| shape.class.is_storage()) {
        let Some(plan) = facts.plan(shape.template) else { continue };
        let statement = facts.statement(shape.template);
        let share = statement.map_or(0.0, |s| s.total_ms / total_ms.max(f64::MIN_POSITIVE));
        let one = Planned { id, shape, plan, statement, share, best: best(facts, plan) };
        planned.entry(shape.endpoint).or_default().push(one);
    }
    let mut all: Vec<(ShapeId, Candidate)> =
        planned.values().flat_map(|of_endpoint| on_endpoint(facts, of_endpoint)).collect();
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, candidate)| candidate).collect()
}

/// A statement of an endpoint.
struct Planned<'a> {
    id: ShapeId,
    shape: &'a Shape,
    plan: &'a Plan,
    statement: Option<&'a Statement>,
    /// Of the database's time.
    share: f64,
    best: Option<&'a WhatIf>,
}

impl<'a> Planned<'a> {
    fn case(&self, create: &str) -> Option<Case<'a>> {
        let what_if = self.plan.what_ifs.iter().find(|w| w.create == create)?;
        Some(Case { plan: self.plan, what_if, statement: self.statement, share: self.share })
    }
}

/// One finding for an index and an endpoint: that of the statement with most of its time.
fn on_endpoint(facts: &Facts<'_>, all: &[Planned<'_>]) -> Vec<(ShapeId, Candidate)> {
    // A statement that is little of the whole database may be most of a request that is rarely asked for.
    let counts = |p: &&Planned<'_>| p.share.max(p.shape.path_share) >= facts.thresholds.index_time_share;
    let mut first: BTreeMap<&str, &Planned<'_>> = BTreeMap::new();
    for one in all.iter().filter(counts) {
        let Some(what_if) = one.best else { continue };
        let known = first.entry(&what_if.create).or_insert(one);
        if (known.shape.path_share, known.id) < (one.shape.path_share, one.id) {
            *known = one;
        }
    }
    let told = |(create, one): (&str, &Planned<'_>)| {
        let with: Vec<(ShapeId, &Shape, Case<'_>)> = all
            .iter()
            .filter(|other| other.id != one.id)
            .filter_map(|other| Some((other.id, other.shape, other.case(create)?)))
            .collect();
        Some((one.id, candidate(facts, one.id, one.shape, &one.case(create)?, &with)))
    };
    first.into_iter().filter_map(told).collect()
}

struct Case<'a> {
    plan: &'a Plan,
    what_if: &'a WhatIf,
    statement: Option<&'a Statement>,
    share: f64,
}

/// The index that helps most, if it helps enough. Executed ones are believed before estimated ones.
fn best<'a>(facts: &Facts<'_>, plan: &'a Plan) -> Option<&'a WhatIf> {
    let gain = |w: &WhatIf| match (w.ms_before, w.ms_after) {
        (Some(before), Some(after)) => before / after.max(facts.thresholds.index_floor_ms),
        _ => w.cost_before / w.cost_after.max(f64::MIN_POSITIVE),
    };
    plan.what_ifs.iter().filter(|w| gain(w) >= facts.thresholds.index_cost_ratio).max_by(|a, b| {
        let executed = |w: &WhatIf| w.method == WhatIfMethod::Executed;
        executed(a).cmp(&executed(b)).then(gain(a).total_cmp(&gain(b))).then(b.create.cmp(&a.create))
    })
}

fn candidate(
    facts: &Facts<'_>,
    id: ShapeId,
    shape: &Shape,
    case: &Case<'_>,
    with: &[(ShapeId, &Shape, Case<'_>)],
) -> Candidate {
    let Case { plan, what_if, statement, share } = *case;
    let columns = what_if.columns.join(", ");
    let title = format!("no index on {} ({columns}) for: {}", what_if.table, facts.name(shape.template));
    let mut candidate = Candidate::on_shape(facts, id, title);
    // The same calls may also be too many: that is another finding with another remedy.
    candidate.claims.clear();
    candidate.place.resource = Some(format!("index {} ({columns})", what_if.table));
    let table = plan.tables.iter().find(|t| t.name == what_if.table);
    if let Some(table) = table {
        candidate.lines.push(format!(
            "reads {} sequentially ({} rows, {} blocks) in {:.0} % of the endpoint's critical path",
            table.name,
            grouped(table.rows),
            table.blocks,
            shape.path_share * 100.0
        ));
    }
    if let Some(statement) = statement {
        candidate.lines.push(format!(
            "{:.2} ms a call within the database, {} calls, {:.0} % of the database's time",
            statement.mean_ms(),
            statement.calls,
            share * 100.0
        ));
    }
    candidate.lines.push(trial_line(what_if));
    let others = with.iter().filter(|(_, other, _)| other.template != shape.template);
    let others: BTreeSet<&str> = others.map(|(_, other, _)| facts.name(other.template)).collect();
    candidate.lines.extend(others.into_iter().map(|other| format!("the same index serves {other}")));
    candidate.plan = Some(outline(plan));
    let mut fix = fix(facts, id, shape, case);
    for (other, shape, case) in with {
        let more = self::fix(facts, *other, shape, case);
        fix.point.extend(more.point);
        fix.least.extend(more.least);
        fix.most.extend(more.most);
    }
    candidate.fix = Some(fix);
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Sql,
        text: remedy(what_if, writes(facts, what_if, table)),
        patch: Some(what_if.create.clone()),
        undo: Some(what_if.undo.clone()),
    }];
    candidate.confidence = match what_if.method {
        WhatIfMethod::Executed => 0.95,
        WhatIfMethod::Hypothetical => 0.9,
        WhatIfMethod::Estimated => 0.75,
    };
    candidate
}

fn trial_line(what_if: &WhatIf) -> String {
    match (what_if.method, what_if.ms_before, what_if.ms_after) {
        (WhatIfMethod::Executed, Some(before), Some(after)) => {
            format!("built and rolled back: {before:.2} ms without the index, {after:.3} ms with it")
        }
        (method, ..) => {
            let who =
                if method == WhatIfMethod::Estimated { "estimated" } else { "the planner, shown the index" };
            format!("{who}: cost {:.0} without, {:.1} with it", what_if.cost_before, what_if.cost_after)
        }
    }
}

/// Writes a second to the table of an index: as the database counted them, else the statements that name the table;
/// `None` where neither was seen.
fn writes(facts: &Facts<'_>, what_if: &WhatIf, table: Option<&TableFigures>) -> Option<f64> {
    let counted = table.map(|t| t.writes_per_second).filter(|n| *n > 0.0);
    let plain = |name: &str| name.rsplit('.').next().unwrap_or("").trim_matches('"').to_ascii_lowercase();
    let statements = &facts.recording.statements;
    let on_table = |s: &&Statement| {
        let operation = model::sql::operation_and_tables(&s.text);
        ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"].contains(&operation.verb.as_str())
            && operation.tables.first().is_some_and(|t| plain(t) == plain(&what_if.table))
    };
    let seen = || statements.iter().filter(on_table).map(|s| s.calls).sum::<u64>() as f64 / facts.seconds();
    counted.or_else(|| (!statements.is_empty()).then(seen))
}

fn remedy(what_if: &WhatIf, writes_per_second: Option<f64>) -> String {
    let size = what_if.bytes as f64 / f64::from(1 << 20);
    let price = match writes_per_second {
        Some(writes) if writes > 0.0 => format!("each of {writes:.1} writes a second will maintain it"),
        Some(_) => "no statement wrote to the table while this was recorded".to_owned(),
        None => "how often the table is written to was not seen: each write will maintain it".to_owned(),
    };
    format!(
        "create an index on {} ({}), about {size:.0} MiB; {price}",
        what_if.table,
        what_if.columns.join(", ")
    )
}

fn fix(facts: &Facts<'_>, id: ShapeId, shape: &Shape, case: &Case<'_>) -> Fix {
    let floor = facts.thresholds.index_floor_ms;
    // Time within the database; without its figures, of the call less a round trip.
    let within_ms = case
        .statement
        .map(Statement::mean_ms)
        .or(case.what_if.ms_before)
        .unwrap_or(shape.duration_p50_ns / 1e6)
        .min(shape.duration_p50_ns / 1e6);
    let (after, least, most, grade) = match (case.what_if.ms_before, case.what_if.ms_after) {
        (Some(before), Some(after)) => {
            let ratio = (after / before.max(f64::MIN_POSITIVE)).min(1.0);
            let after = (within_ms * ratio).max(floor);
            (after, after * 2.0, floor.min(after), Grade::A)
        }
        _ => {
            let ratio = case.what_if.cost_after / case.what_if.cost_before.max(f64::MIN_POSITIVE);
            let after = (within_ms * ratio).max(floor);
            (
                after,
                (after * COST_FACTOR).min(within_ms),
                (after / COST_FACTOR).max(floor.min(after)),
                Grade::B,
            )
        }
    };
    // A call that took longer than the mean waited for CPU or locks in proportion: its database share shrinks alike.
    let share = (within_ms / (shape.duration_p50_ns / 1e6).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    let to = |ms: f64| {
        let factor = 1.0 - share + share * (ms / within_ms.max(f64::MIN_POSITIVE)).min(1.0);
        vec![Transform::Duration { of: id, to: Cost::Each(Arc::new(move |case| case.ns * factor)) }]
    };
    Fix {
        point: to(after),
        least: to(least),
        most: to(most),
        grade,
        assumption: match grade {
            Grade::A => "the statement was executed with and without the index".to_owned(),
            _ => "the time falls as the planner's cost does".to_owned(),
        },
        load: LoadEffect::Added,
    }
}

/// `Limit > Sort > Seq Scan on orders (filter)`: the plan in one line.
fn outline(plan: &Plan) -> String {
    let node = |n: &model::PlanNode| {
        let on = n.relation.as_ref().map(|r| format!(" on {r}")).unwrap_or_default();
        let filter = n.filter.as_ref().map(|f| format!(" filter {f}")).unwrap_or_default();
        format!("{}{on}{filter}", n.kind)
    };
    plan.root.walk().into_iter().map(node).collect::<Vec<_>>().join(" > ")
}

fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;
    use model::{Plan, PlanNode, Recording, Statement, TableFigures, WhatIf, WhatIfMethod};

    const TEXT: &str = "SELECT * FROM items WHERE order_id = $1";

    fn recording(cost_after: f64, ms_after: Option<f64>) -> Recording {
        let mut recording = drawn(
            r#"
            repeat 20
            api server "GET /orders" 0..120
              api db "SELECT * FROM items WHERE order_id = $1" 10..110
            "#,
        );
        recording.statements =
            vec![Statement { text: TEXT.to_owned(), calls: 20, total_ms: 1960.0, ..Statement::default() }];
        recording.plans = vec![Plan {
            statement: TEXT.to_owned(),
            executed: None,
            root: PlanNode { kind: "Seq Scan".into(), relation: Some("items".into()), ..PlanNode::default() },
            tables: vec![TableFigures {
                name: "items".into(),
                rows: 8e5,
                blocks: 5000,
                ..TableFigures::default()
            }],
            what_ifs: vec![WhatIf {
                table: "items".into(),
                columns: vec!["order_id".into()],
                create: "CREATE INDEX i ON items (order_id)".into(),
                undo: "DROP INDEX i".into(),
                method: if ms_after.is_some() { WhatIfMethod::Executed } else { WhatIfMethod::Hypothetical },
                cost_before: 11_834.0,
                cost_after,
                ms_before: ms_after.map(|_| 98.0),
                ms_after,
                bytes: 18 << 20,
            }],
        }];
        recording
    }

    #[test]
    fn an_index_that_serves_two_statements_of_an_endpoint_is_one_finding_with_both_gains() {
        const OTHER: &str = "SELECT count(*) FROM items WHERE order_id = $1";
        let mut both = drawn(
            r#"
            repeat 20
            api server "GET /orders" 0..220
              api db "SELECT * FROM items WHERE order_id = $1" 10..110
              api db "SELECT count(*) FROM items WHERE order_id = $1" 110..210
            "#,
        );
        let one = recording(23.7, None);
        both.statements = [TEXT, OTHER]
            .map(|text| Statement { text: text.to_owned(), ..one.statements[0].clone() })
            .to_vec();
        both.plans =
            [TEXT, OTHER].map(|text| Plan { statement: text.to_owned(), ..one.plans[0].clone() }).to_vec();
        let found = crate::localize(&both, &crate::Options::default()).findings;
        let found: Vec<_> = found.iter().filter(|f| f.rule == "missing_index").collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        let gain = found[0].prediction.as_ref().unwrap();
        assert!(gain.after_ms < 40.0 && gain.before_ms > 200.0, "{gain:?}");
    }

    #[test]
    fn a_sequential_scan_that_an_index_would_serve_is_one() {
        check_rule(
            "missing_index",
            &recording(23.7, Some(0.06)),
            &expect![[r#"
                missing_index GET /orders | no index on items (order_id) for: SELECT * FROM items WHERE order_id = $1 | p95 120.0 -> 22.1 (22.1..22.1) A
            "#]],
        );
    }

    #[test]
    fn a_cost_alone_predicts_with_a_wide_interval() {
        check_rule(
            "missing_index",
            &recording(1183.4, None),
            &expect![[r#"
                missing_index GET /orders | no index on items (order_id) for: SELECT * FROM items WHERE order_id = $1 | p95 120.0 -> 31.8 (25.3..51.4) B
            "#]],
        );
    }

    #[test]
    fn an_index_that_halves_the_cost_is_none() {
        check_rule("missing_index", &recording(6000.0, None), &expect![[""]]);
    }

    #[test]
    fn writes_are_told_as_far_as_they_were_seen() {
        let text = |recording: &Recording| {
            let found = crate::localize(recording, &crate::Options::default()).findings;
            found.iter().find(|f| f.rule == "missing_index").expect("a finding").remedies[0].text.clone()
        };
        let mut seen = recording(23.7, Some(0.06));
        assert!(text(&seen).ends_with("no statement wrote to the table while this was recorded"));
        let insert = "INSERT INTO items (order_id) VALUES ($1)".to_owned();
        seen.statements.push(Statement { text: insert, calls: 19, ..Statement::default() });
        assert!(text(&seen).ends_with("each of 10.0 writes a second will maintain it"), "{}", text(&seen));
        seen.statements.clear();
        assert!(text(&seen).contains("was not seen"));
    }

    #[test]
    fn without_plans_the_rule_does_not_run() {
        let mut blind = recording(23.7, None);
        blind.plans.clear();
        check_rule(
            "missing_index",
            &blind,
            &expect![[r#"
                not run: missing_index (plans)
            "#]],
        );
    }
}
