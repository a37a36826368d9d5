//! `io_pressure`: the disk is what is waited for.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::ShapeId;
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind, Severity, Statement};

pub(super) const RULE: Rule = Rule {
    name: "io_pressure",
    needs: &[Signal::Traces, Signal::IoMetrics],
    why: "A disk that is waited for slows every statement that misses memory, and every commit.",
    how: "Some task waited for the disk 10 % of the time or more (PSI), and database calls hold 30 % of an endpoint's critical path. Told on the endpoint where they hold the most time; its evidence names the statements that read the most from disk.",
    predicts: "The database calls shrink by the share of time that was waited for the disk.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    let Some(pressure) = facts.saturation.io_pressure.filter(|p| *p >= t.io_pressure) else {
        return Vec::new();
    };
    // Milliseconds that requests spend in database calls, a second, by endpoint.
    let held = facts.endpoints().map(|(id, endpoint)| {
        let calls = facts.shapes().filter(|(_, s)| s.endpoint == id && s.class == Class::Db);
        let share: f64 = calls.map(|(_, s)| s.path_share).sum();
        (id, share, share * endpoint.root_ns as f64)
    });
    let worst =
        held.filter(|h| h.1 >= t.io_path_share).max_by(|a, b| a.2.total_cmp(&b.2).then(b.0.cmp(&a.0)));
    let Some((endpoint, share, _)) = worst else { return Vec::new() };
    let root = facts.shapes().find(|(_, s)| s.endpoint == endpoint && s.parent.is_none());
    root.map(|(id, _)| candidate(facts, id, pressure, share)).into_iter().collect()
}

fn candidate(facts: &Facts<'_>, root: ShapeId, pressure: f64, share: f64) -> Candidate {
    let title = format!("{:.0} % of the time something waited for the disk", pressure * 100.0);
    let mut candidate = Candidate::on_shape(facts, root, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = Some(share);
    candidate.place.resource = Some("disk".to_owned());
    candidate.lines = vec![format!("database calls hold {:.0} % of the critical path", share * 100.0)];
    let mut readers: Vec<&Statement> =
        facts.recording.statements.iter().filter(|s| s.blocks_read + s.temp_blocks > 0).collect();
    readers.sort_by(|a, b| {
        (b.blocks_read + b.temp_blocks, &a.text).cmp(&(a.blocks_read + a.temp_blocks, &b.text))
    });
    candidate.lines.extend(readers.first().map(|s| {
        format!(
            "most from disk: {} blocks read and {} written to temporary files by {}",
            s.blocks_read, s.temp_blocks, s.text
        )
    }));
    let endpoint = candidate.endpoint;
    let calls: Vec<ShapeId> = facts
        .shapes()
        .filter(|(_, s)| s.endpoint == endpoint && s.class == Class::Db)
        .map(|(id, _)| id)
        .collect();
    let to = |left: f64| {
        let shrunk = |of: &ShapeId| Transform::Duration { of: *of, to: Cost::Times(left) };
        calls.iter().map(shrunk).collect::<Vec<_>>()
    };
    candidate.fix = Some(Fix {
        point: to(1.0 - pressure),
        least: Vec::new(),
        most: to((1.0 - 2.0 * pressure).max(0.0)),
        grade: Grade::C,
        assumption: "database calls waited for the disk as large a share of their time as some task did"
            .to_owned(),
        load: LoadEffect::Included,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Configuration,
        text: "read less (an index, fewer rows), let more of the data fit into memory (shared buffers, work_mem for sorts), move bulk jobs and backups out of these hours, or take a faster disk"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Info);
    candidate.confidence = if readers.is_empty() { 0.5 } else { 0.7 };
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn, gauge_series};
    use expect_test::expect;
    use model::metrics::names;
    use model::{Recording, Statement};

    fn recording(pressure: f64, until: u32) -> Recording {
        let drawing = format!(
            "repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT * FROM t WHERE a = $1\" 5..{until}"
        );
        let mut recording = drawn(&drawing);
        recording.metrics.push(gauge_series(names::HOST_IO_PRESSURE, &[], &[(0, pressure)]));
        recording
    }

    #[test]
    fn a_disk_that_is_waited_for_is_one_finding() {
        let mut recording = recording(0.3, 95);
        let text = "SELECT * FROM t WHERE a = $1".to_owned();
        recording.statements = vec![Statement { text, calls: 20, blocks_read: 9000, ..Statement::default() }];
        check_rule(
            "io_pressure",
            &recording,
            &expect![[r#"
                io_pressure GET /a | 30 % of the time something waited for the disk | p95 100.0 -> 73.0 (46.0..100.0) C
            "#]],
        );
    }

    #[test]
    fn a_quiet_disk_and_requests_without_a_database_are_none() {
        check_rule("io_pressure", &recording(0.02, 95), &expect![[""]]);
        check_rule("io_pressure", &recording(0.3, 10), &expect![[""]]);
    }

    #[test]
    fn without_disk_figures_the_rule_does_not_run() {
        check_rule(
            "io_pressure",
            &drawn("api server \"GET /a\" 0..100"),
            &expect![[r#"
                not run: io_pressure (disk metrics)
            "#]],
        );
    }
}
