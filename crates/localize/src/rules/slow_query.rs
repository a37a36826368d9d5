//! `slow_query`: a statement is slow and no index that was tried would serve it.

use super::patterns::effect::{Effect, effect, subjects};
use super::{Candidate, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use hashbrown::{HashMap, HashSet};
use model::{Remedy, RemedyKind, Severity, Statement, Sym};

pub(super) const RULE: Rule = Rule {
    name: "slow_query",
    needs: &[Signal::Traces, Signal::Statements],
    why: "Time within the database is shared by all: a slow statement slows its neighbours too.",
    how: "The statement takes 10 ms or more within the database at the mean and 10 % or more of the endpoint's critical path, and no index that was tried lowers its cost threefold. Where no plan was taken it says so: an index may be what it lacks. Of a statement that the database has no figures of, the spans must do: a read of 10 ms or more at the median, 5 ms or more in the fastest twentieth, eight times as long as the service's other reads (three or more), that holds half of the critical path.",
    predicts: "Nothing: what a rewrite would bring is not known before it is written.",
    run,
};

/// Other reads of a service that show how quick its statements are.
const MIN_OTHERS: usize = 3;
/// As many are looked at.
const MANY: usize = 200;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    let reads = Reads::of(facts);
    facts
        .shapes()
        .filter(|(_, shape)| shape.class.is_storage() && shape.path_share >= t.slow_query_share)
        .filter_map(|(id, shape)| {
            let Some(statement) = facts.statement(shape.template) else {
                let slow = is_slow_outside(facts, shape).then(|| reads.others_ns(shape)).flatten()?;
                let contrast = shape.duration_p50_ns / slow.max(1.0) >= t.slow_query_contrast;
                return contrast.then(|| outside(facts, id, shape, slow));
            };
            let slow = statement.mean_ms() >= t.slow_query_ms && !index_helps(facts, shape);
            slow.then(|| candidate(facts, id, shape, statement))
        })
        .collect()
}

/// The services' reads, to tell a slow statement from a busy machine, on which every statement is slow.
struct Reads {
    /// By service: each statement with its median duration.
    by_service: HashMap<Sym, Vec<(Sym, f64)>>,
}

impl Reads {
    fn of(facts: &Facts<'_>) -> Self {
        let mut by_service: HashMap<Sym, Vec<(Sym, f64)>> = HashMap::new();
        let reads = |shape: &Shape| shape.class == Class::Db && effect(facts, shape) == Effect::Read;
        for (_, shape) in facts.shapes().filter(|(_, shape)| reads(shape)) {
            by_service.entry(shape.service).or_default().push((shape.template, shape.duration_p50_ns));
        }
        for known in by_service.values_mut() {
            let mut seen = HashSet::new();
            known.retain(|(template, _)| seen.insert(*template));
            if known.len() > MANY {
                // Evenly, so that the median stays.
                known.sort_by(|a, b| a.1.total_cmp(&b.1));
                let step = known.len().div_ceil(MANY);
                *known = known.iter().copied().step_by(step).collect();
            }
            known.sort_by(|a, b| a.1.total_cmp(&b.1));
        }
        Self { by_service }
    }

    /// Median of what the service's other statements take; `None` where there are too few.
    fn others_ns(&self, shape: &Shape) -> Option<f64> {
        let all = self.by_service.get(&shape.service)?;
        let others: Vec<f64> = all
            .iter()
            .filter(|(template, _)| *template != shape.template)
            .map(|(_, ns)| *ns)
            .take(MANY)
            .collect();
        (others.len() >= MIN_OTHERS).then(|| others[others.len() / 2])
    }
}

/// What only spans tell of: slow also when it is quickest, since a busy client makes any span long now and then.
fn is_slow_outside(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let text = facts.name(shape.template);
    shape.class == Class::Db
        && effect(facts, shape) == Effect::Read
        && !subjects(Class::Db, text).is_empty()
        && !text.to_ascii_uppercase().contains(" FOR UPDATE")
        && shape.calls_mean < f64::from(t.n_plus_one_calls)
        && shape.path_share >= t.slow_query_own_share
        && shape.duration_p50_ns >= t.slow_query_ms * 1e6
        && shape.duration_p5_ns >= t.slow_query_ms * 1e6 / 2.0
}

fn outside(facts: &Facts<'_>, id: ShapeId, shape: &Shape, others_ns: f64) -> Candidate {
    let median_ms = shape.duration_p50_ns / 1e6;
    let mut candidate =
        Candidate::on_shape(facts, id, format!("{median_ms:.1} ms a call: {}", facts.name(shape.template)));
    candidate.lines = vec![
        format!(
            "{:.0} % of the endpoint's critical path; a call takes {:.1} ms at the least, {:.1} ms at p95",
            shape.path_share * 100.0,
            shape.duration_p5_ns / 1e6,
            shape.duration_p95_ns / 1e6
        ),
        format!(
            "the service's other reads take {:.1} ms; whether this one reads too much, sorts or waits, the database can tell",
            others_ns / 1e6
        ),
    ];
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "look at EXPLAIN (ANALYZE, BUFFERS) of it, or measure with the database's URL, which tells its plan and the index that it lacks"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.5;
    candidate.severity = Some(Severity::Info);
    candidate
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

    /// Three quick statements of the service, and what is drawn beside them.
    fn beside_quick_ones(drawing: &str) -> Recording {
        let quick = |table: &str| {
            format!(
                "repeat 20\napi server \"GET /{table}\" 0..5\n  api db \"SELECT x FROM {table}\" 1..2\n\n"
            )
        };
        drawn(&format!("{}{}{}{drawing}", quick("a"), quick("b"), quick("c")))
    }

    #[test]
    fn without_figures_of_the_database_the_spans_tell_beside_others() {
        let slow =
            "repeat 20\napi server \"GET /slow\" 0..100\n  api db \"SELECT * FROM t ORDER BY x\" 5..90";
        check_rule(
            "slow_query",
            &beside_quick_ones(slow),
            &expect![[r#"
                slow_query GET /slow | 85.0 ms a call: SELECT * FROM t ORDER BY x | no prediction
            "#]],
        );
        // Where nothing quick was seen, the machine may be what is slow.
        check_rule("slow_query", &drawn(slow), &expect![[""]]);
        // What waits for a row's lock is no slow read, what is slow only at times is the machine's.
        let locked = slow.replace("* FROM t ORDER BY x", "x FROM t WHERE id = $1 FOR UPDATE");
        check_rule("slow_query", &beside_quick_ones(&locked), &expect![[""]]);
        let at_times = "repeat 10\napi server \"GET /s\" 0..20\n  api db \"SELECT x FROM t\" 5..7\n\nrepeat 12\napi server \"GET /s\" 0..60\n  api db \"SELECT x FROM t\" 5..55";
        check_rule("slow_query", &beside_quick_ones(at_times), &expect![[""]]);
    }

    #[test]
    fn without_statements_the_rule_does_not_run() {
        check_rule(
            "slow_query",
            &drawn("repeat 20\napi server \"GET /a\" 0..100\n  api http \"GET http://x/y\" 5..90"),
            &expect![[r#"
                not run: slow_query (statement text on database spans)
            "#]],
        );
    }
}
