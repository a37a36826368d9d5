//! `slow_query`: a statement is slow and no index that was tried would serve it.

use super::{Candidate, Rule, Signal};
use crate::facts::Facts;
use crate::shape::{Shape, ShapeId};
use model::{Remedy, RemedyKind, Severity, Statement};

pub(super) const RULE: Rule = Rule {
    name: "slow_query",
    needs: &[Signal::Traces, Signal::DatabaseStatements],
    why: "Time within the database is shared by all: a slow statement slows its neighbours too.",
    how: "The statement takes 10 ms or more within the database at the mean and 10 % or more of the endpoint's critical path, and no index that was tried lowers its cost threefold. Where no plan was taken it says so: an index may be what it lacks.",
    predicts: "Nothing: what a rewrite would bring is not known before it is written.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    facts
        .shapes()
        .filter(|(_, shape)| shape.class.is_storage() && shape.path_share >= t.slow_query_share)
        .filter_map(|(id, shape)| {
            let statement = facts.statement(shape.template)?;
            let slow = statement.mean_ms() >= t.slow_query_ms && !index_helps(facts, shape);
            slow.then(|| candidate(facts, id, shape, statement))
        })
        .collect()
}

fn index_helps(facts: &Facts<'_>, shape: &Shape) -> bool {
    let ratio = facts.thresholds.index_cost_ratio;
    let tried = facts.plan(shape.template).map_or(&[][..], |p| &p.what_ifs);
    tried.iter().any(|w| w.cost_before >= ratio * w.cost_after)
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape, statement: &Statement) -> Candidate {
    let title = format!("{:.1} ms within the database: {}", statement.mean_ms(), facts.name(shape.template));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    let calls = statement.calls.max(1) as f64;
    let (rows, blocks) =
        (statement.rows as f64 / calls, (statement.blocks_hit + statement.blocks_read) as f64 / calls);
    candidate.lines = vec![format!(
        "{} calls, {rows:.1} rows and {blocks:.0} blocks a call, {:.0} % of the endpoint's critical path",
        statement.calls,
        shape.path_share * 100.0
    )];
    let text = if statement.temp_blocks > 0 {
        candidate.lines.push(format!(
            "{:.0} blocks a call are written to temporary files: a sort or hash does not fit work_mem",
            statement.temp_blocks as f64 / calls
        ));
        "give the statement more work_mem, or sort and join fewer rows: LIMIT with keyset pagination, narrower columns"
    } else if blocks > rows.max(1.0) * 100.0 {
        "it reads far more than it returns: filter earlier, or keep the aggregate in a table of its own"
    } else {
        "look at EXPLAIN (ANALYZE, BUFFERS): rewrite it, return fewer rows, or run ANALYZE if estimates are off"
    };
    let text = match facts.plan(shape.template) {
        None => format!("no plan was taken, so an index may be what it lacks; {text}"),
        Some(plan) if plan.what_ifs.is_empty() => format!("no index was tried for it; {text}"),
        Some(_) => format!("no index that was tried helps; {text}"),
    };
    candidate.remedies = vec![Remedy { kind: RemedyKind::Code, text, patch: None, undo: None }];
    candidate.confidence = 0.7;
    candidate.severity = Some(Severity::Warning);
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;
    use model::{Recording, Statement};

    fn recording(total_ms: f64, temp_blocks: u64) -> Recording {
        let mut recording =
            drawn("repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT * FROM t ORDER BY x\" 5..90");
        let text = "SELECT * FROM t ORDER BY x".to_owned();
        recording.statements =
            vec![Statement { text, calls: 20, total_ms, rows: 20, temp_blocks, ..Statement::default() }];
        recording
    }

    #[test]
    fn a_slow_statement_that_no_index_serves_is_one_finding() {
        check_rule(
            "slow_query",
            &recording(1600.0, 400),
            &expect![[r#"
                slow_query GET /a | 80.0 ms within the database: SELECT * FROM t ORDER BY x | no prediction
            "#]],
        );
    }

    #[test]
    fn without_a_plan_nothing_is_said_about_indexes_that_were_not_tried() {
        let mut recording = recording(1600.0, 0);
        let text = |r: &Recording| {
            let found = crate::localize(r, &crate::Options::default()).findings;
            found.iter().find(|f| f.rule == "slow_query").expect("a finding").remedies[0].text.clone()
        };
        assert!(text(&recording).starts_with("no plan was taken"));
        let statement = recording.statements[0].text.clone();
        recording.plans = vec![model::Plan { statement, ..model::Plan::default() }];
        assert!(text(&recording).starts_with("no index was tried"));
    }

    #[test]
    fn a_statement_that_only_waits_outside_the_database_is_none() {
        check_rule("slow_query", &recording(16.0, 0), &expect![[""]]);
    }

    #[test]
    fn without_figures_of_the_database_the_rule_does_not_run() {
        let mut blind = recording(1.0, 0);
        blind.statements.clear();
        check_rule(
            "slow_query",
            &blind,
            &expect![[r#"
                not run: slow_query (statement statistics of the database)
            "#]],
        );
    }
}
