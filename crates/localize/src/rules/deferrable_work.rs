//! `deferrable_work`: the request waits for mail, a webhook or analytics that its reply does not need.

use super::patterns::effect::{Effect, effect, summary};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Group, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "deferrable_work",
    needs: &[Signal::Traces],
    why: "A user waits for something that only others will read, and an order fails because a mail server is slow.",
    how: "A call, or a function around one, whose name, callee or port (25, 465, 587, 2525) says mail, SMS, webhook, notification or analytics, or that publishes a message and takes 5 ms or more for it, holds 10 % or more of the critical path, and in 90 % of the requests nothing is read after it. Reads (`GET /emails`), look-ups by mail address, databases, what consumers of messages do and what nobody waits for are none.",
    predicts: "The call is gone; handing the work to a queue costs 0.5 ms (0.2 to 2).",
    run,
};

/// Parts of names of calls that replies hardly ever need. Whole words, see [`words`].
const TELLING: &[&str] = &[
    "mail",
    "email",
    "emails",
    "sms",
    "webhook",
    "webhooks",
    "notify",
    "notification",
    "notifications",
    "slack",
    "analytics",
    "audit",
];
/// Names of what does nothing but tell others.
const TELLERS: &[&str] = &[
    "smtp",
    "sendmail",
    "mailer",
    "mailgun",
    "sendgrid",
    "mailchimp",
    "postmark",
    "twilio",
    "notifier",
    "fcm",
    "apns",
    "mixpanel",
    "amplitude",
    "pagerduty",
];
/// What functions that tell others say that they do; without it, `email` may be checked, parsed or compared.
const SENDING: &[&str] = &[
    "send", "sends", "sending", "sent", "notify", "deliver", "dispatch", "publish", "post", "emit", "track",
    "trigger", "fire", "log", "record",
];
/// What is needed, whatever else the name says.
const NEEDED: &[&str] = &[
    "validate", "verify", "check", "parse", "find", "get", "load", "lookup", "fetch", "read", "list",
    "search", "by", "query", "render",
];
/// Of SMTP and its submission.
const MAIL_PORTS: &[f64] = &[25.0, 465.0, 587.0, 2525.0];
/// Handing over, at best and at worst, as share of `enqueue_ms`.
const BEST: f64 = 0.4;
const WORST: f64 = 4.0;
/// Handlings that are looked at for what comes after, evenly spread.
const MAX_GROUPS: usize = 200;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| is_one(facts, shape) && is_last(facts, shape))
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

fn is_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    // A consumer of messages answers nobody: it is where such work belongs.
    let awaited = facts.endpoint_of(shape).class != Class::Messaging;
    let outer = awaited && shape.parent.is_some() && shape.path_share >= facts.thresholds.deferrable_share;
    if !outer || effect(facts, shape) == Effect::Read {
        return false;
    }
    let name = words(facts.name(shape.template));
    let any = |list: &[&str], words: &[String]| words.iter().any(|w| list.contains(&w.as_str()));
    if any(NEEDED, &name) {
        return false;
    }
    let peer = words(facts.name(shape.peer));
    match shape.class {
        Class::Internal => any(TELLERS, &name) || (any(TELLING, &name) && any(SENDING, &name)),
        Class::Http | Class::Rpc => {
            any(TELLING, &name)
                || any(TELLERS, &name)
                || any(TELLERS, &peer)
                || any(TELLING, &peer)
                || is_mail_port(facts, shape)
        }
        // Handing over a message is what deferring means: only where the broker itself is slow is it worth a queue.
        Class::Messaging => {
            let slow = shape.duration_p50_ns >= facts.thresholds.slow_publish_ms * 1e6;
            slow && !any(&["receive", "process", "consume", "poll"], &name)
        }
        _ => false,
    }
}

fn is_mail_port(facts: &Facts<'_>, shape: &Shape) -> bool {
    let Some(node) = shape.groups.first().and_then(|g| facts.nodes(g).first()) else { return false };
    let port = facts.attribute(*node, &["server.port", "net.peer.port", "network.peer.port"]);
    port.and_then(|p| p.as_number()).is_some_and(|port| MAIL_PORTS.iter().any(|p| (port - p).abs() < 0.5))
}

/// The words of `smtp.send`, `POST /webhooks/{id}`, `OrderMailer#confirm`, lower case: split at anything but letters
/// and within camel case.
fn words(name: &str) -> Vec<String> {
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
    words
}

/// Nothing is read after it in nearly all requests: the reply was complete before.
fn is_last(facts: &Facts<'_>, shape: &Shape) -> bool {
    let step = shape.groups.len().div_ceil(MAX_GROUPS).max(1);
    let looked: Vec<&Group> = shape.groups.iter().step_by(step).collect();
    let last = looked.iter().filter(|group| !is_read_after(facts, group)).count();
    last as f64 >= facts.thresholds.deferrable_last_share * looked.len() as f64
}

fn is_read_after(facts: &Facts<'_>, group: &Group) -> bool {
    let ends = facts.nodes(group).iter().map(|n| facts.node(*n).end_ns).max().unwrap_or(0);
    let reads = |node: NodeId| {
        let this = facts.node(node);
        let shape = facts.shapes.of_node[node as usize];
        this.start_ns >= ends
            && !this.detached
            && this.class.is_call()
            && shape != crate::shape::NO_SHAPE
            && effect(facts, facts.shape(shape)) == Effect::Read
    };
    (group.entry..facts.node(group.entry).subtree_end).any(reads)
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let name = summary(facts, id);
    let endpoint = facts.load.name(shape.endpoint);
    let mut candidate =
        Candidate::on_shape(facts, id, format!("{endpoint} waits for {name}, which its reply does not need"));
    candidate.place.resource = Some(name);
    candidate.lines = vec![
        format!(
            "{:.0} % of the critical path, {:.1} ms a call at the median",
            shape.path_share * 100.0,
            shape.duration_p50_ns / 1e6
        ),
        "nothing is read after it; its name says that it tells others, which no trace can prove".to_owned(),
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
        load: LoadEffect::Included,
    });
    let text = if shape.class == Class::Messaging {
        "do not wait for the broker within the request: send through a bounded buffer in the background, or an outbox table in the same transaction as the data"
    } else {
        "hand it to a bounded background queue with retry, in the same transaction as the data (an outbox) if it must not be lost; the reply then no longer tells whether it succeeded"
    };
    candidate.remedies =
        vec![Remedy { kind: RemedyKind::Code, text: text.to_owned(), patch: None, undo: None }];
    candidate.confidence = if shape.class == Class::Messaging { 0.5 } else { 0.7 };
    candidate
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn mail_that_a_consumer_sends_is_none() {
        check_rule(
            "deferrable_work",
            &drawn(
                r#"
            repeat 20
            api consumer "process confirmation_mail" 0..62
              api client "smtp.send" 1..61 server.port=25
            "#,
            ),
            &expect![[""]],
        );
    }

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
                deferrable_work POST /orders | POST /orders waits for smtp.send, which its reply does not need | p95 80.0 -> 10.5 (10.2..12.0) C
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
    fn a_mail_port_a_function_that_sends_and_a_publisher_count_too() {
        check_rule(
            "deferrable_work",
            &drawn(
                r#"
            repeat 20
            api server "POST /a" 0..80
              api client "relay" 8..78 net.peer.port=587

            repeat 20
            api server "POST /b" 0..80
              api internal "sendConfirmationEmail" 8..78
                api internal "template" 8..20

            repeat 20
            api server "POST /c" 0..80
              api producer "orders publish" 8..78 messaging.system=kafka

            repeat 20
            api server "POST /d" 0..80
              api client "shop.EmailService/SendOrderConfirmation" 8..78 rpc.system=grpc
                mail server "shop.EmailService/SendOrderConfirmation" 10..76
            "#,
            ),
            &expect![[r#"
                deferrable_work POST /d | POST /d waits for shop.EmailService/SendOrderConfirmation, which its reply does not need | p95 80.0 -> 10.5 (10.2..12.0) C
                deferrable_work POST /c | POST /c waits for orders publish, which its reply does not need | p95 80.0 -> 10.5 (10.2..12.0) C
                deferrable_work POST /b | POST /b waits for sendConfirmationEmail, which its reply does not need | p95 80.0 -> 10.5 (10.2..12.0) C
                deferrable_work POST /a | POST /a waits for relay, which its reply does not need | p95 80.0 -> 10.5 (10.2..12.0) C
            "#]],
        );
    }

    #[test]
    fn look_ups_reads_data_needed_later_and_work_behind_the_reply_are_none() {
        check_rule(
            "deferrable_work",
            &drawn(
                r#"
            repeat 20
            api server "GET /a" 0..80
              api internal "find user by email" 8..78

            repeat 20
            api server "GET /b" 0..80
              api http "GET http://mails/emails" 8..78

            repeat 20
            api server "POST /c" 0..80
              api http "POST http://mails/emails" 8..58
              api db "SELECT state FROM mails WHERE id = $1" 60..78

            repeat 20
            api server "POST /d" 0..80
              api http "POST http://mails/emails" 70..180

            repeat 20
            api server "GET /e" 0..80
              api db "SELECT * FROM notifications WHERE id = $1" 8..78
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn words_are_whole_also_in_camel_case() {
        assert_eq!(words("OrderMailer#confirm").join(" ").trim(), "order mailer confirm");
        assert_eq!(words("sendEmail").join(" "), "send email");
    }
}
