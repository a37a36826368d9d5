//! Repeated look-ups whose parameters were not sent. That they ask the same cannot be proven, so they are told only
//! where one trace is looked at closely, and as information.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::rules::patterns::effect::summary;
use crate::rules::patterns::nodes;
use crate::rules::patterns::values;
use crate::rules::{Candidate, Fix, LoadEffect};
use crate::shape::{Group, Shape, ShapeId};
use crate::tree::NodeId;
use hashbrown::HashSet;
use model::{Grade, Remedy, RemedyKind, Severity};

/// Look-ups of one row by one key, several times in one handling.
pub(super) fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    if !facts.single_trace {
        return Vec::new();
    }
    facts.shapes().filter(|(_, s)| is_look_up(facts, s)).map(|(id, s)| candidate(facts, id, s)).collect()
}

fn is_look_up(facts: &Facts<'_>, shape: &Shape) -> bool {
    let template = facts.name(shape.template);
    let lists = template.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| {
        ["IN", "ANY", "BETWEEN", "LIMIT", "OFFSET", "LIKE"].iter().any(|list| w.eq_ignore_ascii_case(list))
    });
    shape.class == Class::Db
        && shape.params_known == 0
        && shape.calls_max >= facts.thresholds.redundant_hidden_calls
        && shape.overlap_share < 0.5
        && super::is_read(facts, shape)
        && !lists
        && values::keys(template).is_some_and(|keys| !keys.is_empty())
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let many = |group: &&Group| group.calls() >= facts.thresholds.redundant_hidden_calls;
    let again: HashSet<NodeId> =
        shape.groups.iter().filter(many).flat_map(|g| &facts.nodes(g)[1..]).copied().collect();
    let name = facts.load.name(shape.endpoint);
    let title = format!("{} x {} in one handling of {name}", shape.calls_max, summary(facts, id));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = Some(shape.calls_max as f64);
    candidate.lines = vec![
        "their parameters were not sent: they may all ask the same".to_owned(),
        format!("a call takes {:.2} ms at the median", shape.duration_p50_ns / 1e6),
    ];
    candidate.fix = Some(Fix {
        point: nodes::take(facts, again, 0.0),
        least: Vec::new(),
        most: Vec::new(),
        grade: Grade::C,
        assumption: "all of them ask for the same row".to_owned(),
        load: LoadEffect::Added,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "look whether the code asks for the same row again: keep the first answer for the length of the request; let the instrumentation send parameters to be sure"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Info);
    candidate.confidence = 0.4;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    const DRAWING: &str = r#"
        api server "POST /check" 0..60
          api db "SELECT * FROM tokens WHERE token = ?" 5..15 x3 gap 2
        "#;

    #[test]
    fn look_ups_with_hidden_parameters_are_told_of_a_single_trace() {
        check_rule(
            "redundant_call",
            &drawn(DRAWING),
            &expect![[r#"
                redundant_call POST /check | 3 x SELECT ... FROM tokens in one handling of POST /check | p95 60.0 -> 40.0 (40.0..60.0) C
            "#]],
        );
    }

    #[test]
    fn of_many_traces_lists_and_two_calls_nothing_is_said() {
        check_rule("redundant_call", &drawn(&format!("repeat 20\n{DRAWING}")), &expect![[""]]);
        check_rule("redundant_call", &drawn(&DRAWING.replace("= ?", "IN (?)")), &expect![[""]]);
        check_rule("redundant_call", &drawn(&DRAWING.replace("x3", "x2")), &expect![[""]]);
    }
}
