//! `failing_requests`: requests that end in an error. Whoever tunes response times while requests fail tunes the wrong
//! thing, and failures that take long are part of the tail.

use super::{Endpoint, Outside, OutsideRule, Told, duration, quantile_ms};
use model::{ErrorClass, Goal, GoalMetric, RequestSample, Severity};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const RULE: OutsideRule = OutsideRule {
    name: "failing_requests",
    why: "A request that fails is worse than a slow one, and what fails after a time limit is the tail.",
    how: "At least 1 % of an endpoint's requests, and 5, end in a 5xx, without a reply, or with a client that went away. Told with it: which statuses, whether in one burst, several or all the time, and whether the failed ones take long (a time limit) or no time (turned away).",
    is_pointer: false,
    run,
};

/// A burst holds this share of the failures ...
const BURST_FAILURES: f64 = 0.8;
/// ... in at most this share of the time.
const BURST_TIME: f64 = 0.2;
/// Failures in so many tenths of the time come all the time.
const ALL_THE_TIME: u64 = 8;
const TENTHS: u64 = 10;
/// Fewer failures, or cells of time, tell no burst.
const BURST_LEAST: usize = 20;
/// Fewer kept requests of a kind tell no typical time.
const LEAST_KEPT: usize = 5;
/// Failed requests that take so many times what others take are held up ...
const MUCH_SLOWER: f64 = 5.0;
/// ... and those that take this share of it are turned away.
const MUCH_QUICKER: f64 = 0.2;
/// Times that spread less than this, as share of their median, come from a time limit.
const TIME_LIMIT_SPREAD: f64 = 0.1;
/// Kinds of failures in the title.
const MAX_KINDS: usize = 2;

/// Whether a status in a log is a failure: none, the server's errors, and nginx's 499.
pub(super) fn is_failure(status: u16) -> bool {
    status >= 500 || status == 499 || status < 100
}

/// Whether a goal on errors is missed.
pub(super) fn misses_goal(goals: &[Goal], of: &Endpoint<'_>) -> bool {
    let concerned = goals.iter().filter(|goal| goal.metric == GoalMetric::Errors && goal.concerns(of.name));
    concerned.into_iter().any(|goal| !goal.is_met_by(of.error_share()))
}

fn run(outside: &Outside<'_>, of: &Endpoint<'_>) -> Option<Told> {
    let t = outside.facts.thresholds;
    if of.errors < t.failing_requests || of.error_share() < t.failing_share {
        return None;
    }
    let (failed, fine): (Vec<&RequestSample>, Vec<&RequestSample>) =
        of.samples.iter().copied().partition(|request| request.error.is_some());
    let kinds = kinds(of, &failed);
    // What the generator did not send, the service did not fail.
    if kinds.first().is_some_and(|kind| kind.0 == Kind::Class(ErrorClass::NotStarted)) {
        return None;
    }
    let share = format!("{:.1} % of the requests fail", of.error_share() * 100.0);
    let words: Vec<String> = kinds.iter().take(MAX_KINDS).map(|(kind, _)| kind.word()).collect();
    let mut lines = vec![counts(of, &kinds)];
    lines.extend(burst(outside, of));
    lines.extend(times(&failed, &fine));
    Some(Told {
        title: if words.is_empty() { share } else { format!("{share}: {}", words.join(" and ")) },
        lines,
        share: of.error_share(),
        severity: if of.fails_goal { Severity::Critical } else { Severity::Warning },
        remedy: kinds.first().map_or(Kind::Status(500), |kind| kind.0).remedy(),
        confidence: 0.9,
        requests: failed.iter().map(|request| request.trace_id).collect(),
    })
}

/// How a request failed, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Status(u16),
    Class(ErrorClass),
}

impl Kind {
    fn of(request: &RequestSample) -> Option<Self> {
        let class = request.error?;
        let by_status =
            matches!(class, ErrorClass::ServerStatus | ErrorClass::ClientStatus) && request.status > 0;
        Some(if by_status { Self::Status(request.status) } else { Self::Class(class) })
    }

    fn word(self) -> String {
        match self {
            Self::Status(499) => "clients went away (499)".to_owned(),
            Self::Status(0..100) => "no reply".to_owned(),
            Self::Status(status) => status.to_string(),
            Self::Class(class) => match class {
                ErrorClass::Dns => "no address for the name",
                ErrorClass::Connect => "no connection",
                ErrorClass::Tls => "no TLS session",
                ErrorClass::Timeout => "no reply in time",
                ErrorClass::Closed => "the connection ended before the reply",
                ErrorClass::Protocol => "replies that are no HTTP",
                ErrorClass::ClientStatus => "a status 4xx",
                ErrorClass::ServerStatus => "a status 5xx",
                ErrorClass::Check => "a check of the scenario",
                ErrorClass::NotStarted => "never sent",
            }
            .to_owned(),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Status(502 | 504) | Self::Class(ErrorClass::Timeout) => {
                "the service behind the proxy ends, restarts or is too slow: look into its own log at these times, and set a time limit in it that is shorter than the caller's, so that it says what it waited for"
            }
            Self::Status(503 | 429) | Self::Class(ErrorClass::Connect) => {
                "requests are turned away: see with `trimtab load find` what one instance carries before a limit is raised"
            }
            Self::Status(499 | 0..100) | Self::Class(ErrorClass::Closed) => {
                "clients give up, or connections are cut: make the endpoint quicker than their patience, and compare keep-alive and time limits of proxy and service"
            }
            Self::Class(ErrorClass::Check | ErrorClass::ClientStatus) => {
                "the service answers otherwise than the scenario expects: look at one reply, and mend the scenario or the service"
            }
            Self::Class(
                ErrorClass::Dns | ErrorClass::Tls | ErrorClass::Protocol | ErrorClass::NotStarted,
            ) => "requests do not reach the service: check name, certificate and protocol of the address",
            Self::Status(_) | Self::Class(ErrorClass::ServerStatus) => {
                "the handler fails: the service's error log at these times names the exception"
            }
        }
    }
}

/// Most frequent first: as a log counted them, else of the kept requests.
fn kinds(of: &Endpoint<'_>, failed: &[&RequestSample]) -> Vec<(Kind, u64)> {
    let counted = of.statuses.iter().filter(|(status, _)| is_failure(**status));
    let mut kinds: Vec<(Kind, u64)> =
        counted.map(|(status, count)| (Kind::Status(*status), *count)).collect();
    if kinds.is_empty() {
        let mut kept: BTreeMap<Kind, u64> = BTreeMap::new();
        for kind in failed.iter().filter_map(|request| Kind::of(request)) {
            *kept.entry(kind).or_default() += 1;
        }
        kinds = kept.into_iter().collect();
    }
    kinds.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    kinds
}

fn counts(of: &Endpoint<'_>, kinds: &[(Kind, u64)]) -> String {
    let all = format!("{} of {} requests", of.errors, of.requests);
    let each: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} x {}", kind.word())).collect();
    match (each.is_empty(), of.statuses.is_empty()) {
        (true, _) => all,
        (false, true) => format!("{all}; of those kept: {}", each.join(", ")),
        (false, false) => format!("{all}: {}", each.join(", ")),
    }
}

/// Whether they came in one stretch of the time, or all the time.
fn burst(outside: &Outside<'_>, of: &Endpoint<'_>) -> Option<String> {
    let (first, last) = outside.rates.first_key_value().zip(outside.rates.last_key_value())?;
    let cells = f64::from(last.0 - first.0) + 1.0;
    let failures: u64 = of.cells.iter().map(|cell| u64::from(cell.errors)).sum();
    if cells < BURST_LEAST as f64 || failures < BURST_LEAST as u64 {
        return None;
    }
    let mut by_cell: BTreeMap<u32, u64> = BTreeMap::new();
    for cell in of.cells.iter().filter(|cell| cell.errors > 0) {
        *by_cell.entry(cell.cell).or_default() += u64::from(cell.errors);
    }
    let wanted = (failures as f64 * BURST_FAILURES).ceil();
    let (from, to, held) = shortest(&by_cell, wanted)?;
    let seconds = outside.cell_seconds();
    if f64::from(to - from) + 1.0 > cells * BURST_TIME {
        let tenth = |cell: &u32| (u64::from(cell - first.0) * TENTHS) / (u64::from(last.0 - first.0) + 1);
        let tenths: BTreeSet<u64> = by_cell.keys().map(tenth).collect();
        let (begin, end) = (by_cell.first_key_value()?.0, by_cell.last_key_value()?.0);
        let at = |cell: u32| clock(f64::from(cell - first.0) * seconds);
        return Some(if tenths.len() as u64 >= ALL_THE_TIME {
            "they come all the time, not in one burst".to_owned()
        } else {
            format!(
                "they come in several bursts, the first {} after the start, the last {}",
                at(*begin),
                at(*end)
            )
        });
    }
    Some(format!(
        "{:.0} % of them came between {} and {} after the start",
        held as f64 / failures as f64 * 100.0,
        clock(f64::from(from - first.0) * seconds),
        clock((f64::from(to - first.0) + 1.0) * seconds),
    ))
}

/// The shortest run of cells that holds so many failures: first and last cell, and what it holds.
fn shortest(by_cell: &BTreeMap<u32, u64>, wanted: f64) -> Option<(u32, u32, u64)> {
    let cells: Vec<(u32, u64)> = by_cell.iter().map(|(cell, count)| (*cell, *count)).collect();
    let mut best: Option<(u32, u32, u64)> = None;
    let (mut from, mut held) = (0, 0);
    for to in 0..cells.len() {
        held += cells[to].1;
        while held as f64 - cells[from].1 as f64 >= wanted {
            held -= cells[from].1;
            from += 1;
        }
        let (a, b) = (cells[from].0, cells[to].0);
        if held as f64 >= wanted && best.is_none_or(|(x, y, _)| b - a < y - x) {
            best = Some((a, b, held));
        }
    }
    best
}

/// `0:10:05`.
fn clock(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
    let seconds = seconds.round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Whether failing takes long or no time.
fn times(failed: &[&RequestSample], fine: &[&RequestSample]) -> Option<String> {
    // The slowest are kept besides: they are not typical.
    let typical = |of: &[&RequestSample]| {
        let drawn: Vec<&RequestSample> = of.iter().copied().filter(|request| !request.slowest).collect();
        (drawn.len() >= LEAST_KEPT)
            .then(|| (quantile_ms(&drawn, 0.5), quantile_ms(&drawn, 0.9) - quantile_ms(&drawn, 0.1)))
    };
    let ((bad, spread), (good, _)) = typical(failed).zip(typical(fine))?;
    let both = format!("the failed ones take {} at the median, the others {}", duration(bad), duration(good));
    Some(if bad > good * MUCH_SLOWER && spread < bad * TIME_LIMIT_SPREAD {
        format!("{both}: they run into a time limit")
    } else if bad < good * MUCH_QUICKER {
        format!("{both}: they are turned away at once")
    } else {
        both
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, log};
    use expect_test::expect;

    #[test]
    fn a_burst_of_time_limits_is_told_as_one() {
        check(
            &log("GET /login 400 s: 2/s 20 ms; 100..120 1/s 3000 ms 502"),
            &[],
            "failing_requests",
            &expect![[r#"
                Warning failing_requests GET /login | 2.4 % of the requests fail: 502 | no prediction
                  20 of 820 requests: 20 x 502
                  80 % of them came between 0:01:40 and 0:01:56 after the start
                  the failed ones take 3.00 s at the median, the others 20 ms: they run into a time limit
            "#]],
        );
    }

    #[test]
    fn what_fails_all_the_time_at_once_is_turned_away() {
        check(
            &log("GET /a 400 s: 2/s 100 ms; 0..400 1/s 2 ms 503"),
            &["errors(GET /a) < 1 %"],
            "failing_requests",
            &expect![[r#"
                Critical failing_requests GET /a | 33.3 % of the requests fail: 503 | no prediction
                  400 of 1200 requests: 400 x 503
                  they come all the time, not in one burst
                  the failed ones take 2 ms at the median, the others 100 ms: they are turned away at once
            "#]],
        );
    }

    #[test]
    fn two_bursts_are_told_as_such() {
        check(
            &log("GET /a 400 s: 2/s 100 ms; 0..20 1/s 2 ms 502; 380..400 1/s 2 ms 502"),
            &[],
            "failing_requests",
            &expect![[r#"
                Warning failing_requests GET /a | 4.8 % of the requests fail: 502 | no prediction
                  40 of 840 requests: 40 x 502
                  they come in several bursts, the first 0:00:00 after the start, the last 0:06:39
                  the failed ones take 2 ms at the median, the others 100 ms: they are turned away at once
            "#]],
        );
    }

    #[test]
    fn a_failure_now_and_then_is_none() {
        check(
            &log("GET /a 400 s: 2/s 100 ms; 100..104 1/s 2 ms 500"),
            &[],
            "failing_requests",
            &expect![[""]],
        );
    }

    #[test]
    fn nothing_recorded_is_no_failure() {
        check(&model::Recording::default(), &["errors(*) < 1 %"], "failing_requests", &expect![[""]]);
    }
}
