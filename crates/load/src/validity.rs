//! Can the figures be trusted? A pure function over what the generator saw of itself.

use model::{Validity, ValidityIssue};

/// Lateness below this never matters.
const LATE_FLOOR_MS: f64 = 1.0;
/// Own lateness (p99) as share of the p95 response: above it the figures are doubtful, or not to be used.
const LATE_DOUBTFUL_SHARE: f64 = 0.05;
const LATE_INVALID_SHARE: f64 = 0.25;
/// Own thread's share of a core: near 1 its queue grows and every response looks slow.
const CPU_DOUBTFUL_SHARE: f64 = 0.6;
const CPU_INVALID_SHARE: f64 = 0.8;
/// Share of time in which the generator was ready to run but had no CPU.
const RUN_QUEUE_DOUBTFUL_SHARE: f64 = 0.1;
/// Share of arrivals that never started, above which the figures are not to be used; any are doubtful.
const DROPPED_INVALID_SHARE: f64 = 0.01;
/// Share of arrivals that waited for the bound of requests in flight.
const HELD_BACK_DOUBTFUL_SHARE: f64 = 0.01;
/// A quantile stands on the samples beyond it; with fewer than this its error is about half of itself.
const MIN_BEYOND: f64 = 5.0;
/// A beginning is a warm-up where its median is above the later one by this factor and by this much.
const WARM_UP_FACTOR: f64 = 1.5;
const WARM_UP_FLOOR_MS: f64 = 1.0;
/// In a closed model, a stall of this share of the run or more hides so much of the tail that it is doubtful.
const STALL_DOUBTFUL_SHARE: f64 = 0.01;

/// What the generator saw of itself in one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub offered: u64,
    pub not_started: u64,
    pub held_back: u64,
    pub lateness_p99_ms: Option<f64>,
    /// Of all operations together.
    pub response_p95_ms: Option<f64>,
    /// 0 to 1 of one core; absent where the system does not tell.
    pub cpu_share: Option<f64>,
    /// 0 to 1 of the run's time.
    pub run_queue_share: Option<f64>,
    /// Name and responses of each operation.
    pub samples: Vec<(String, u64)>,
    /// Median responses of the first tenth of the run and of its second half, where it was looked at.
    pub warm_up_ms: Option<(f64, f64)>,
    /// Operations whose requests were all the same, although their names have a place for an id.
    pub one_key: Vec<String>,
    /// Users of a closed model, and the longest time without any response as share of the run.
    pub closed: Option<(u32, f64)>,
}

/// All reasons to doubt the run, in a fixed order.
#[must_use]
pub fn judge(figures: &Figures) -> Validity {
    let checks = [
        late_starts,
        generator_cpu,
        run_queue,
        dropped_arrivals,
        few_samples,
        warm_up,
        one_key,
        closed_stall,
    ];
    Validity { issues: checks.iter().filter_map(|check| check(figures)).collect() }
}

fn issue(kind: &str, invalid: bool, reason: String, hint: &str) -> Option<ValidityIssue> {
    Some(ValidityIssue { kind: kind.to_owned(), invalid, reason, hint: hint.to_owned() })
}

fn late_starts(figures: &Figures) -> Option<ValidityIssue> {
    let (late, response) = (figures.lateness_p99_ms?, figures.response_p95_ms?);
    let limit = (response * LATE_DOUBTFUL_SHARE).max(LATE_FLOOR_MS);
    if late <= limit {
        return None;
    }
    let invalid = late > (response * LATE_INVALID_SHARE).max(LATE_FLOOR_MS);
    let reason = format!(
        "requests started up to {late:.1} ms late (p99), the limit is {limit:.1} ms for a p95 response of {response:.1} ms"
    );
    issue(
        "late_starts",
        invalid,
        reason,
        "lower the rate, or run the load on another machine or with fewer neighbours",
    )
}

fn generator_cpu(figures: &Figures) -> Option<ValidityIssue> {
    let share = figures.cpu_share.filter(|share| *share > CPU_DOUBTFUL_SHARE)?;
    let reason = format!(
        "the generator used {:.0} % of a core, the limit is {:.0} %",
        share * 100.0,
        CPU_DOUBTFUL_SHARE * 100.0
    );
    issue(
        "generator_cpu",
        share > CPU_INVALID_SHARE,
        reason,
        "lower the rate: the generator itself is near its limit",
    )
}

fn run_queue(figures: &Figures) -> Option<ValidityIssue> {
    let share = figures.run_queue_share.filter(|share| *share > RUN_QUEUE_DOUBTFUL_SHARE)?;
    let reason = format!(
        "the generator waited for a CPU {:.0} % of the time, the limit is {:.0} %",
        share * 100.0,
        RUN_QUEUE_DOUBTFUL_SHARE * 100.0
    );
    issue(
        "run_queue",
        false,
        reason,
        "the machine is too busy: end other programs, or run the load elsewhere",
    )
}

fn dropped_arrivals(figures: &Figures) -> Option<ValidityIssue> {
    let offered = figures.offered.max(1) as f64;
    let (dropped, held) = (figures.not_started as f64 / offered, figures.held_back as f64 / offered);
    let hint = "the service does not keep up with this rate: lower it, or raise max_in_flight";
    if figures.not_started > 0 {
        let reason = format!(
            "{} of {} arrivals never started ({:.1} %, the limit is {:.0} %): their waits are lower bounds",
            figures.not_started,
            figures.offered,
            dropped * 100.0,
            DROPPED_INVALID_SHARE * 100.0
        );
        return issue("dropped_arrivals", dropped > DROPPED_INVALID_SHARE, reason, hint);
    }
    if held <= HELD_BACK_DOUBTFUL_SHARE {
        return None;
    }
    let reason = format!(
        "{:.1} % of the arrivals waited for the bound of requests in flight, the limit is {:.0} %",
        held * 100.0,
        HELD_BACK_DOUBTFUL_SHARE * 100.0
    );
    issue("dropped_arrivals", false, reason, hint)
}

fn few_samples(figures: &Figures) -> Option<ValidityIssue> {
    let short = |quantile: f64| {
        let needed = MIN_BEYOND / (1.0 - quantile);
        let names: Vec<&str> =
            figures.samples.iter().filter(|s| (s.1 as f64) < needed - 0.5).map(|s| s.0.as_str()).collect();
        (needed.round(), names)
    };
    let (needed, names) = match (short(0.95), short(0.99)) {
        ((_, p95), (needed, p99)) if p95.is_empty() => (format!("{needed} for a p99"), p99),
        ((needed, p95), _) => (format!("{needed} for a p95"), p95),
    };
    if names.is_empty() {
        return None;
    }
    let reason = format!("fewer samples than the {needed} of {}", names.join(", "));
    issue("few_samples", false, reason, "measure longer or at a higher rate")
}

fn warm_up(figures: &Figures) -> Option<ValidityIssue> {
    let (first, later) = figures.warm_up_ms?;
    if first <= later * WARM_UP_FACTOR || first <= later + WARM_UP_FLOOR_MS {
        return None;
    }
    let reason = format!(
        "the first tenth was slower than the second half (median {first:.1} ms, then {later:.1} ms), and is counted"
    );
    issue("warm_up", false, reason, "raise warm_up_s, or measure longer")
}

fn one_key(figures: &Figures) -> Option<ValidityIssue> {
    if figures.one_key.is_empty() {
        return None;
    }
    let reason = format!("all requests were the same: {}", figures.one_key.join(", "));
    issue("one_key", false, reason, "a cache may have answered them: draw ids by variables")
}

fn closed_stall(figures: &Figures) -> Option<ValidityIssue> {
    let (users, share) = figures.closed.filter(|(_, share)| *share > STALL_DOUBTFUL_SHARE)?;
    let reason = format!(
        "for {:.1} % of the run nothing was answered, which {users} users saw only once each, the limit is {:.0} %",
        share * 100.0,
        STALL_DOUBTFUL_SHARE * 100.0
    );
    issue("closed_model", false, reason, "give a rate in place of users: then everybody who waits is counted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Figures {
        Figures {
            offered: 10_000,
            not_started: 0,
            held_back: 50,
            lateness_p99_ms: Some(0.9),
            response_p95_ms: Some(5.0),
            cpu_share: Some(0.5),
            run_queue_share: Some(0.05),
            samples: vec![("GET /a".to_owned(), 500), ("GET /b".to_owned(), 9500)],
            warm_up_ms: Some((6.0, 5.0)),
            one_key: Vec::new(),
            closed: Some((10, 0.005)),
        }
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Figures), kind: &str, invalid: bool, reason: &str) {
        let mut figures = sound();
        change(&mut figures);
        let issues = judge(&figures).issues;
        assert_eq!(issues.len(), 1, "{issues:?}");
        assert_eq!((issues[0].kind.as_str(), issues[0].invalid), (kind, invalid), "{issues:?}");
        assert!(issues[0].reason.contains(reason) && !issues[0].hint.is_empty(), "{issues:?}");
    }

    #[test]
    fn a_sound_run_has_no_issue() {
        assert_eq!(judge(&sound()), Validity::default());
        assert_eq!(judge(&Figures::default()), Validity::default());
    }

    #[test]
    fn lateness_counts_against_the_response() {
        check(
            |f| f.lateness_p99_ms = Some(1.1),
            "late_starts",
            false,
            "1.1 ms late (p99), the limit is 1.0 ms",
        );
        check(|f| f.lateness_p99_ms = Some(1.3), "late_starts", true, "p95 response of 5.0 ms");
        let mut slow = sound();
        (slow.lateness_p99_ms, slow.response_p95_ms) = (Some(9.0), Some(200.0));
        assert_eq!(judge(&slow), Validity::default());
    }

    #[test]
    fn a_busy_generator_or_machine_is_told() {
        check(|f| f.cpu_share = Some(0.7), "generator_cpu", false, "70 % of a core, the limit is 60 %");
        check(|f| f.cpu_share = Some(0.9), "generator_cpu", true, "90 %");
        check(|f| f.run_queue_share = Some(0.2), "run_queue", false, "20 % of the time");
    }

    #[test]
    fn arrivals_that_waited_or_vanished_are_told() {
        check(|f| f.not_started = 1, "dropped_arrivals", false, "1 of 10000 arrivals never started (0.0 %");
        check(|f| f.not_started = 200, "dropped_arrivals", true, "2.0 %");
        check(|f| f.held_back = 300, "dropped_arrivals", false, "3.0 % of the arrivals waited");
    }

    #[test]
    fn a_slow_beginning_one_key_and_hidden_stalls_are_told() {
        check(|f| f.warm_up_ms = Some((9.0, 5.0)), "warm_up", false, "median 9.0 ms, then 5.0 ms");
        let mut quick = sound();
        quick.warm_up_ms = Some((0.9, 0.2));
        assert_eq!(judge(&quick), Validity::default());
        check(|f| f.one_key = vec!["GET /a/{id}".to_owned()], "one_key", false, "the same: GET /a/{id}");
        check(
            |f| f.closed = Some((10, 0.1)),
            "closed_model",
            false,
            "10.0 % of the run nothing was answered",
        );
    }

    #[test]
    fn too_few_samples_are_told_per_quantile() {
        check(|f| f.samples[0].1 = 499, "few_samples", false, "500 for a p99 of GET /a");
        check(|f| f.samples[0].1 = 99, "few_samples", false, "100 for a p95 of GET /a");
    }
}
