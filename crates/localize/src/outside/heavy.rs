//! `large_payload`, by the sizes of a log alone: endpoints that make up much of what is sent. Whether their time goes
//! with it, the rule on timed requests says.

use super::{Endpoint, Outside, OutsideRule, Told};
use model::Severity;

pub(super) const RULE: OutsideRule = OutsideRule {
    name: "large_payload",
    why: "Bytes are time on a phone and money at the provider, also where the server has them ready.",
    how: "A log tells replies of 100 kB or more at the median, and 10 % or more of all bytes are this endpoint's.",
    is_pointer: false,
    run,
};

fn run(outside: &Outside<'_>, of: &Endpoint<'_>) -> Option<Told> {
    let t = outside.facts.thresholds;
    let (median, p95) = of.size.filter(|(median, _)| *median >= t.payload_bytes)?;
    let share = if outside.bytes > 0.0 { of.bytes() / outside.bytes } else { 0.0 };
    (share >= t.payload_share).then(|| Told {
        title: format!("replies with {:.0} kB", median / 1e3),
        lines: vec![format!(
            "{:.0} kB a reply at the median, {:.0} kB at p95; about {:.0} % of all bytes that are sent",
            median / 1e3,
            p95 / 1e3,
            share * 100.0
        )],
        share,
        severity: Severity::Info,
        remedy: "send less, and less often: compress text, images in the size that is shown and in a newer format, pages and only the fields that are asked for in data; let browsers and a CDN keep what does not change (Cache-Control, ETag)",
        confidence: 0.7,
        requests: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, log, sized};
    use expect_test::expect;

    #[test]
    fn what_makes_up_the_bytes_is_told() {
        let recording = sized(
            log("GET /img 400 s: 2/s 4 ms\nGET /a 400 s: 3/s 4 ms"),
            &[("GET /img", 350_000.0), ("GET /a", 800.0)],
        );
        check(
            &recording,
            &[],
            "large_payload",
            &expect![[r#"
            Info large_payload GET /img | replies with 350 kB | no prediction
              350 kB a reply at the median, 350 kB at p95; about 100 % of all bytes that are sent
        "#]],
        );
    }

    #[test]
    fn small_replies_and_rare_ones_are_not() {
        let recording = sized(
            log("GET /img 400 s: 9/s 4 ms\nGET /rare 30 s: 1/s 4 ms"),
            &[("GET /img", 90_000.0), ("GET /rare", 150_000.0)],
        );
        check(&recording, &[], "large_payload", &expect![[""]]);
    }

    #[test]
    fn sizes_that_are_no_numbers_are_none() {
        let recording = sized(log("GET /img 400 s: 9/s 4 ms"), &[("GET /img", f64::NAN)]);
        check(&recording, &[], "large_payload", &expect![[""]]);
    }
}
