//! `deferrable_work`: the request waits for mail, a webhook or analytics that its reply does not need.

use super::{Candidate, Fix, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "deferrable_work",
    needs: &[Signal::Traces],
    why: "A user waits for something that only others will read, and an order fails because a mail server is slow.",
    how: "A call whose name or callee says mail, SMS, push, webhook, notification or analytics holds 10 % or more of the critical path, within the request.",
    predicts: "The call is gone; handing the work to a queue costs 0.5 ms (0.2 to 2).",
    run,
};

/// Parts of names of calls that replies hardly ever need. Whole words, separated by anything but letters.
const WORDS: &[&str] = &[
    "mail",
    "email",
    "smtp",
    "sendmail",
    "mailer",
    "mailgun",
    "sendgrid",
    "mailchimp",
    "postmark",
    "ses",
    "sms",
    "twilio",
    "webhook",
    "webhooks",
    "hook",
    "notify",
    "notification",
    "notifications",
    "notifier",
    "push",
    "fcm",
    "apns",
    "slack",
    "analytics",
    "segment",
    "mixpanel",
    "amplitude",
    "tracking",
    "telemetry",
    "audit",
];
/// Handing over, at best and at worst, as share of `enqueue_ms`.
const BEST: f64 = 0.4;
const WORST: f64 = 4.0;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| is_one(facts, shape))
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

fn is_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    // A queue is where such work belongs: publishing to one is the remedy, not the fault.
    matches!(shape.class, Class::Http | Class::Rpc | Class::Internal)
        && shape.parent.is_some()
        && shape.path_share >= facts.thresholds.deferrable_share
        && (says_so(facts.name(shape.template)) || says_so(facts.name(shape.peer)))
}

/// `smtp.send`, `POST /webhooks/{id}`, `OrderMailer#confirm`: a word of the list, also as part of camel case.
fn says_so(name: &str) -> bool {
    let mut word = String::new();
    let mut words: Vec<String> = Vec::new();
    let mut lower_before = false;
    for c in name.chars().chain(std::iter::once(' ')) {
        if !c.is_ascii_alphabetic() || (c.is_ascii_uppercase() && lower_before) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphabetic() {
            word.push(c.to_ascii_lowercase());
        }
        lower_before = c.is_ascii_lowercase();
    }
    words.iter().any(|w| WORDS.contains(&w.as_str()))
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let name = facts.name(shape.template);
    let mut candidate =
        Candidate::on_shape(facts, id, format!("waits for {name}, which the reply does not need"));
    candidate.place.resource = Some(name.to_owned());
    candidate.lines = vec![
        format!(
            "{:.0} % of the critical path, {:.1} ms a call at the median",
            shape.path_share * 100.0,
            shape.duration_p50_ns / 1e6
        ),
        "its name says that it tells others; nothing in a trace proves that the reply does without"
            .to_owned(),
    ];
    let enqueue = facts.thresholds.enqueue_ms * 1e6;
    let to = |ns: f64| vec![Transform::Duration { of: id, to: Cost::Ns(ns) }];
    candidate.fix = Some(Fix {
        point: to(enqueue),
        least: to(enqueue * WORST),
        most: to(enqueue * BEST),
        grade: Grade::C,
        assumption: "the reply does not need the call's result, and handing it to a queue takes 0.5 ms"
            .to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "hand it to a bounded background queue with retry, in the same transaction as the data if it must not be lost"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.7;
    candidate
}

#[cfg(test)]
mod tests {
    use super::says_so;
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn mail_sent_within_the_request_is_one_finding() {
        check_rule(
            "deferrable_work",
            &drawn(
                r#"
            repeat 20
            api server "POST /orders" 0..80
              api db "INSERT INTO orders VALUES ($1)" 2..6
              api client "smtp.send" 8..78
            "#,
            ),
            &expect![[r#"
                deferrable_work POST /orders | waits for smtp.send, which the reply does not need | p95 80.0 -> 10.5 (10.2..12.0) C
            "#]],
        );
    }

    #[test]
    fn a_payment_is_none() {
        check_rule(
            "deferrable_work",
            &drawn(
                r#"
            repeat 20
            api server "POST /orders" 0..80
              api http "POST http://payments/charges" 8..78
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "deferrable_work",
            &drawn(""),
            &expect![[r#"
                not run: deferrable_work (traces)
            "#]],
        );
    }

    #[test]
    fn words_are_whole_also_in_camel_case() {
        assert!(says_so("OrderMailer#confirm") && says_so("POST /webhooks/{id}") && says_so("sendEmail"));
        assert!(!says_so("assesRisk") && !says_so("GET /sessions") && !says_so("pushdown"));
    }
}
