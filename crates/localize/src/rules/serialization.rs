//! `serialization`: turning data into text and back takes a large part of the request.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "serialization",
    needs: &[Signal::Traces, Signal::SerializationSpans],
    why: "Every field is visited, formatted, validated and copied, also those that nobody reads.",
    how: "Spans of functions that name it (serialize, marshal, to_json, encode response, parse body ...) have 15 % or more of the endpoint's critical path as their own time, and 5 ms a request.",
    predicts: "Half of it: fewer fields, or a faster codec.",
    run,
};

/// Words of a function's name that say so.
const WORDS: &[&str] = &[
    "serialize",
    "serializer",
    "serialization",
    "deserialize",
    "deserialization",
    "serialise",
    "deserialise",
    "marshal",
    "unmarshal",
    "marshalling",
    "jsonify",
    "json",
    "tojson",
    "protobuf",
    "msgpack",
    "jbuilder",
];

/// Verbs that say so only of a message: a picture is encoded, and a tree parsed, for other reasons ...
const VERBS: &[&str] = &["encode", "encoding", "decode", "decoding", "parse", "parsing", "stringify"];
/// ... and what a message is called.
const MESSAGES: &[&str] =
    &["response", "request", "reply", "body", "payload", "message", "result", "results", "dto", "xml", "csv"];

/// Whether a span's name says that data is turned into text or back.
pub(super) fn is_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    shape.class == Class::Internal && names_it(facts.name(shape.template))
}

fn names_it(name: &str) -> bool {
    let words: Vec<String> = name.split(|c: char| !c.is_ascii_alphanumeric()).flat_map(camel).collect();
    let any = |of: &[&str]| words.iter().any(|word| of.contains(&word.as_str()));
    any(WORDS) || any(VERBS) && any(MESSAGES)
}

/// `toJSON`, `JsonSerializer`: words within a word, lower case, and the word itself.
fn camel(word: &str) -> Vec<String> {
    let mut out = vec![word.to_ascii_lowercase()];
    let mut part = String::new();
    for c in word.chars() {
        if c.is_ascii_uppercase() && part.chars().last().is_some_and(|p| p.is_ascii_lowercase()) {
            out.push(std::mem::take(&mut part).to_ascii_lowercase());
        }
        part.push(c);
    }
    out.push(part.to_ascii_lowercase());
    out
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    let named = facts.shapes().filter(|(_, shape)| is_one(facts, shape));
    named
        .filter(|(_, s)| {
            s.own_share >= t.serialization_share && crate::cpu::own_ms(facts, s) >= t.min_gain_ms
        })
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let own_ms = crate::cpu::own_ms(facts, shape);
    let title = format!("{own_ms:.1} ms a request in {}", facts.name(shape.template));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.share_of_critical_path = Some(shape.own_share);
    candidate.lines = vec![format!("{:.0} % of the critical path is its own time", shape.own_share * 100.0)];
    let to = |left: f64| vec![Transform::Own { of: id, to: Cost::Times(left) }];
    candidate.fix = Some(Fix {
        point: to(0.5),
        least: Vec::new(),
        most: to(0.1),
        grade: Grade::C,
        assumption: "half of the fields, or a codec twice as fast".to_owned(),
        load: LoadEffect::Added,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "turn only the fields into text that are asked for; skip validation of one's own data; stream instead of building the whole; take a faster codec (orjson, simd-json, a generated serializer) or a binary format between services"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.75;
    candidate
}

#[cfg(test)]
mod tests {
    use super::{camel, names_it};
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_verb_counts_with_a_message_only() {
        assert!(["encode response", "parseBody", "Response.stringify", "toJSON"].iter().all(|n| names_it(n)));
        assert!(
            !["parse and store", "encode video", "resolve request", "decode"].iter().any(|n| names_it(n))
        );
    }

    #[test]
    fn a_serializer_that_takes_long_is_one_finding() {
        check_rule(
            "serialization",
            &drawn(
                r#"
            repeat 20
            api server "GET /list" 0..100
              api db "SELECT * FROM t WHERE a = $1" 2..30
              api internal "OrderSerializer.to_json" 32..98
            "#,
            ),
            &expect![[r#"
                serialization GET /list | 66.0 ms a request in OrderSerializer.to_json | p95 100.0 -> 67.0 (40.6..100.0) C
            "#]],
        );
    }

    #[test]
    fn a_quick_one_and_one_that_calls_others_are_none() {
        check_rule(
            "serialization",
            &drawn(
                r#"
            repeat 20
            api server "GET /list" 0..100
              api db "SELECT * FROM t WHERE a = $1" 2..90
              api internal "JSON.stringify" 91..95

            repeat 20
            api server "GET /lazy" 0..100
              api internal "marshal" 2..98
                api db "SELECT * FROM t WHERE a = $1" 3..95
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_such_spans_or_a_profile_the_rule_does_not_run() {
        check_rule(
            "serialization",
            &drawn("repeat 20\napi server \"GET /list\" 0..100"),
            &expect![[r#"
                not run: serialization (spans of serializers, or a profile)
            "#]],
        );
    }

    #[test]
    fn names_are_read_by_their_words() {
        assert!(camel("JsonSerializer").contains(&"serializer".to_owned()));
        assert!(camel("toJSON").contains(&"json".to_owned()));
    }
}
