//! `over_fetch`: far more rows are read than the reply can hold.

use super::patterns::frameworks::{self, Advice};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::Grade;

pub(super) const RULE: Rule = Rule {
    name: "over_fetch",
    needs: &[Signal::Traces, Signal::Statements, Signal::RowCounts],
    why: "Rows that nobody sees are read, sent, parsed and thrown away; their number grows with the customer's history.",
    how: "A statement returns 20 rows or more and the reply has fewer than 8 bytes for each; or, where the reply's size is not known, 200 rows or more: for information, without a prediction. An endpoint whose reply is as large as its rows (an export) is none.",
    predicts: "Rows that the reply can hold at 40 bytes each: the statement beyond its round trip, and half of the code's own time, shrink with the number of rows.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| shape.class == Class::Db)
        .filter_map(|(id, shape)| {
            let rows = shape.rows_mean? * shape.calls as f64 / f64::from(shape.traces.max(1));
            let bytes = reply_bytes(facts, shape);
            is_one(facts, shape, rows, bytes).then(|| candidate(facts, id, shape, rows, bytes))
        })
        .collect()
}

/// Bytes of the reply of the service's entry above the statement, mean.
fn reply_bytes(facts: &Facts<'_>, shape: &Shape) -> Option<f64> {
    let mut at = shape.parent;
    while let Some(above) = at.map(|id| facts.shape(id)) {
        if above.class == Class::Server {
            return above.bytes_mean;
        }
        at = above.parent;
    }
    None
}

fn is_one(facts: &Facts<'_>, shape: &Shape, rows: f64, bytes: Option<f64>) -> bool {
    let t = facts.thresholds;
    let reads =
        facts.name(shape.template).trim_start().get(..6).is_some_and(|w| w.eq_ignore_ascii_case("select"));
    match bytes {
        Some(bytes) => reads && rows >= t.over_fetch_rows_sized && bytes / rows < t.over_fetch_bytes_per_row,
        None => reads && rows >= t.over_fetch_rows,
    }
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape, rows: f64, bytes: Option<f64>) -> Candidate {
    let t = facts.thresholds;
    let mut candidate = Candidate::on_shape(
        facts,
        id,
        format!("reads {rows:.0} rows per request: {}", facts.name(shape.template)),
    );
    candidate.claims.clear();
    candidate.lines = vec![match bytes {
        Some(bytes) => format!(
            "{rows:.0} rows are read for a reply of {bytes:.0} bytes: {:.1} bytes a row",
            bytes / rows.max(1.0)
        ),
        None => format!(
            "{rows:.0} rows are read; the reply's size is not on the spans: look how many of them it holds"
        ),
    }];
    candidate.lines.push(format!(
        "the statement holds {:.0} % of the critical path, {:.2} ms a call at the median",
        shape.path_share * 100.0,
        shape.duration_p50_ns / 1e6
    ));
    let needed = bytes.map_or(rows, |b| (b / t.reply_bytes_per_row).max(1.0));
    // How many of them nobody needs is a guess where the reply's size is not told.
    candidate.fix = bytes.map(|_| fix(id, shape, (needed / rows.max(1.0)).min(1.0)));
    let generic = "ask for what the reply needs: aggregate in SQL (count, sum, max), name the columns, LIMIT with keyset pagination";
    candidate.remedies = frameworks::remedies(facts, &candidate.nodes, Advice::Narrow, generic);
    candidate.confidence = if bytes.is_some() { 0.8 } else { 0.5 };
    candidate
}

fn fix(id: ShapeId, shape: &Shape, kept: f64) -> Fix {
    let floor = shape.duration_p5_ns * 0.2;
    let to = |kept: f64, own: f64| {
        let cost = Cost::Each(std::sync::Arc::new(move |case| {
            let floor = floor.min(case.ns);
            floor + (case.ns - floor) * kept
        }));
        let mut transforms = vec![Transform::Duration { of: id, to: cost }];
        if let Some(parent) = shape.parent {
            transforms.push(Transform::Own { of: parent, to: Cost::Times(own) });
        }
        transforms
    };
    Fix {
        point: to(kept, 1.0 - 0.5 * (1.0 - kept)),
        least: to(f64::midpoint(kept, 1.0), 1.0),
        most: to(0.0, kept),
        grade: Grade::C,
        assumption: "time falls with the rows; the reply holds 40 bytes a row, and half of the code's own time is spent on rows"
            .to_owned(),
        load: LoadEffect::Added,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_history_read_for_a_small_reply_is_one_finding() {
        check_rule(
            "over_fetch",
            &drawn(
                r#"
            repeat 20
            api server "GET /account" 0..60 http.response.body.size=400
              api db "SELECT * FROM orders WHERE customer_id = $1" 5..45 db.response.returned_rows=500
            "#,
            ),
            &expect![[r#"
                over_fetch GET /account | reads 500 rows per request: SELECT * FROM orders WHERE customer_id = $1 | p95 60.0 -> 18.8 (8.4..44.3) C
            "#]],
        );
    }

    #[test]
    fn an_export_is_none() {
        check_rule(
            "over_fetch",
            &drawn(
                r#"
            repeat 20
            api server "GET /export" 0..60 http.response.body.size=90000
              api db "SELECT * FROM orders WHERE customer_id = $1" 5..45 db.response.returned_rows=500
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_the_replys_size_many_rows_are_for_information() {
        check_rule(
            "over_fetch",
            &drawn(
                r#"
            repeat 20
            api server "GET /account" 0..60
              api db "SELECT * FROM orders WHERE customer_id = $1" 5..45 db.response.returned_rows=500
            "#,
            ),
            &expect![[r#"
                over_fetch GET /account | reads 500 rows per request: SELECT * FROM orders WHERE customer_id = $1 | no prediction
            "#]],
        );
    }

    #[test]
    fn without_row_counts_it_says_nothing() {
        check_rule(
            "over_fetch",
            &drawn(
                r#"
            repeat 20
            api server "GET /account" 0..60 http.response.body.size=400
              api db "SELECT * FROM orders WHERE customer_id = $1" 5..45
            "#,
            ),
            &expect![[r#"
                not run: over_fetch (row counts on database spans)
            "#]],
        );
    }
}
