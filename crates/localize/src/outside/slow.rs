//! `slow_endpoint`: the endpoints that take the time, where nothing within their requests was seen. It says where to
//! look, and from the course over time whether it grows with the load; never a cause.

use super::{Endpoint, Outside, OutsideRule, Told, duration, quantile_ms};
use model::{Histogram, RequestSample, Severity};

pub(super) const RULE: OutsideRule = OutsideRule {
    name: "slow_endpoint",
    why: "An access log or a load without traces still tells where the time goes, and so where to look first.",
    how: "Nothing within the endpoint's requests was seen, and it misses a goal on response time, or nobody set one, its p95 is over 50 ms and it takes 10 % or more of the time of all requests. Told with it: how it stands in the busiest quarter of the time against the quietest, and what a proxy's upstream takes of it.",
    is_pointer: true,
    run,
};

/// The busiest quarter of the time has this many times the requests of the quietest, or nothing is compared ...
const LEAST_RATE_RATIO: f64 = 1.5;
/// ... and so many requests of the endpoint lie in each.
const LEAST_REQUESTS: u64 = 100;
/// A p95 that grows so many times grows with the load ...
const GROWS: f64 = 1.5;
/// ... and one that grows less does not.
const STAYS: f64 = 1.15;

/// Share of the requests beyond the p95.
const TAIL: f64 = 0.05;
/// Failed requests that take this share of the p95, where others do not, make it.
const ALIKE: f64 = 0.8;

fn run(outside: &Outside<'_>, of: &Endpoint<'_>) -> Option<Told> {
    let t = outside.facts.thresholds;
    let at = |q: f64| of.responses.quantile_ms(q);
    let (p50, p95, p99) = (at(0.5)?, at(0.95)?, at(0.99)?);
    let share = if outside.busy_ms > 0.0 { of.busy_ms() / outside.busy_ms } else { 0.0 };
    let missed = of.excess_ms.is_some_and(|ms| ms > 0.0);
    let takes_much = of.excess_ms.is_none() && p95 > t.quick_p95_ms && share >= t.slow_endpoint_share;
    if !of.is_dark || !(missed || takes_much) || is_by_failures(of, p95) {
        return None;
    }
    let pressure = pressure(outside, of);
    let mut lines = vec![format!(
        "p50 {}, p95 {}, p99 {}; {:.0} % of the time that all requests take",
        duration(p50),
        duration(p95),
        duration(p99),
        share * 100.0
    )];
    lines.extend(pressure.as_ref().map(|pressure| pressure.words.clone()));
    lines.extend(upstream(outside, of, p95));
    Some(Told {
        title: format!("slow, and nothing within it was seen: p95 {}", duration(p95)),
        lines,
        share,
        severity: if missed { Severity::Critical } else { Severity::Warning },
        remedy: if pressure.is_some_and(|pressure| pressure.grows) {
            "it grows with the load: see with `trimtab load find` what one instance carries and what is full then; traces or a profile (`trimtab profile`) name what it waits for"
        } else {
            "send traces of the service to trimtab (OTLP), or profile it (`trimtab profile`): they name the step or the function"
        },
        confidence: 0.7,
        requests: of
            .samples
            .iter()
            .filter(|request| request.slowest)
            .map(|request| request.trace_id)
            .collect(),
    })
}

/// The tail is those that fail: told with the failures.
fn is_by_failures(of: &Endpoint<'_>, p95: f64) -> bool {
    let drawn = of.samples.iter().copied().filter(|request| !request.slowest);
    let (failed, fine): (Vec<&RequestSample>, Vec<&RequestSample>) =
        drawn.partition(|request| request.error.is_some());
    of.error_share() >= TAIL
        && !failed.is_empty()
        && quantile_ms(&failed, 0.5) >= p95 * ALIKE
        && quantile_ms(&fine, 0.95) < p95 * ALIKE
}

struct Pressure {
    grows: bool,
    words: String,
}

/// The endpoint in the busiest and in the quietest quarter of the time.
fn pressure(outside: &Outside<'_>, of: &Endpoint<'_>) -> Option<Pressure> {
    let mut cells: Vec<(u64, &Histogram)> = of
        .cells
        .iter()
        .filter(|cell| !cell.response.is_empty())
        .map(|cell| (outside.rates.get(&cell.cell).copied().unwrap_or(0), &cell.response))
        .collect();
    cells.sort_by_key(|(rate, _)| *rate);
    let quarter = cells.len() / 4;
    let (quiet, busy) = (cells.get(..quarter)?, cells.get(cells.len() - quarter..)?);
    let (quiet_rate, quiet) = together(quiet, outside.cell_seconds())?;
    let (busy_rate, busy) = together(busy, outside.cell_seconds())?;
    let enough = quiet.count().min(busy.count()) >= LEAST_REQUESTS;
    if !enough || busy_rate < quiet_rate * LEAST_RATE_RATIO {
        return None;
    }
    let (quiet, busy) = (quiet.quantile_ms(0.95)?, busy.quantile_ms(0.95)?);
    let both = format!(
        "p95 {} in the busiest quarter of the time ({busy_rate:.1} requests/s in all), {} in the quietest ({quiet_rate:.1}/s)",
        duration(busy),
        duration(quiet)
    );
    let grows = busy >= quiet * GROWS;
    let words = match busy / quiet {
        ratio if ratio >= GROWS => format!("{both}: it grows with the load"),
        ratio if ratio < STAYS => format!("{both}: it does not grow with the load"),
        _ => both,
    };
    Some(Pressure { grows, words })
}

/// Requests per second and the response times of several cells.
fn together(cells: &[(u64, &Histogram)], seconds: f64) -> Option<(f64, Histogram)> {
    let mut all = Histogram::default();
    cells.iter().for_each(|(_, response)| all.merge(response));
    let requests: u64 = cells.iter().map(|(rate, _)| rate).sum();
    (!cells.is_empty()).then(|| (requests as f64 / (cells.len() as f64 * seconds), all))
}

/// What the service behind a proxy takes of it, where its log tells.
fn upstream(outside: &Outside<'_>, of: &Endpoint<'_>, p95: f64) -> Option<String> {
    if !outside.facts.only_outside || of.service.count() * 2 < of.responses.count() {
        return None;
    }
    let upstream = of.service.quantile_ms(0.95)?;
    Some(if upstream < p95 * 0.8 {
        format!(
            "the upstream takes {} of it at p95: the rest is the proxy, or clients that read slowly",
            duration(upstream)
        )
    } else {
        format!("the upstream takes it: {} at p95", duration(upstream))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, log};
    use expect_test::expect;

    #[test]
    fn the_endpoint_that_takes_the_time_is_told_as_work() {
        check(
            &log("GET /search 400 s: 2/s 300 ms; 0..200 4/s 300 ms\nGET /health 400 s: 3/s 4 ms"),
            &[],
            "slow_endpoint",
            &expect![[r#"
                Warning slow_endpoint GET /search | slow, and nothing within it was seen: p95 301 ms | no prediction
                  p50 301 ms, p95 301 ms, p99 301 ms; 99 % of the time that all requests take
                  p95 301 ms in the busiest quarter of the time (9.0 requests/s in all), 301 ms in the quietest (5.0/s): it does not grow with the load
            "#]],
        );
    }

    #[test]
    fn one_that_is_slow_when_there_is_much_to_do_waits() {
        check(
            &log("GET /search 400 s: 2/s 80 ms; 0..100 4/s 700 ms"),
            &["p95(*) < 200 ms"],
            "slow_endpoint",
            &expect![""],
        );
    }

    #[test]
    fn one_that_meets_its_goal_or_takes_little_time_is_none() {
        let recording = log("GET /search 400 s: 2/s 300 ms\nGET /rare 400 s: 1/s 60 ms");
        check(&recording, &["p95(*) < 400 ms"], "slow_endpoint", &expect![[""]]);
        check(&recording, &[], "slow_endpoint", &expect![""]);
    }

    #[test]
    fn a_tail_of_failures_is_told_as_failures() {
        let recording = log("GET /login 400 s: 9/s 20 ms; 0..400 1/s 3000 ms 502");
        check(&recording, &["p95(*) < 200 ms"], "slow_endpoint", &expect![[""]]);
    }

    #[test]
    fn a_service_that_was_traced_is_judged_by_its_traces() {
        let recording =
            crate::testing::drawn("repeat 20\napi server \"GET /a\" 0..300\n  api db \"SELECT 1\" 5..290");
        check(&recording, &[], "slow_endpoint", &expect![[""]]);
    }
}
