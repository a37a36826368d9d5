//! Every number that a pass or a rule decides by, in one table, with unit and source.
//! Nothing else in this crate holds a threshold.

use model::{Goal, GoalMetric, GoalResult, Relation};

/// The thresholds; `Default` is the table. Sources: the detectors of Sentry, Coroot, Digma and perf-sentinel where
/// one is named, else measured on the public traces of `testdata` or chosen and open to calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// A finding needs this many traces ...
    pub min_traces: u64,
    /// ... or this share of its endpoint's traces.
    pub min_trace_share: f64,
    /// A predicted gain below this share of the endpoint's p95 is dropped ...
    pub min_gain_share: f64,
    /// ... as is one below this, milliseconds; the larger of both counts.
    pub min_gain_ms: f64,
    /// ... and below this share of the tightest response time that a missed goal asks for, where that is less.
    pub min_gain_goal_share: f64,
    /// From this gain (share of p95) on a finding is a warning.
    pub warning_gain_share: f64,
    /// A finding is critical where it wins this share of what its endpoint misses a goal by.
    pub critical_goal_share: f64,
    /// Without a goal, an endpoint with a p95 up to this, milliseconds, is well, and guesses are information only.
    pub quick_p95_ms: f64,
    /// Below this share of root time explained by children, an endpoint is not observable.
    pub min_coverage: f64,
    /// Confidence of any finding is at most this where its endpoint is not observable or the load was not valid.
    pub doubtful_confidence: f64,
    /// A call is a symptom where findings below it hold this share of its critical time.
    pub symptom_share: f64,
    /// A root without children and shorter than this, milliseconds, needs no explaining.
    pub unexplained_floor_ms: f64,

    /// A child that overruns its parent by more than this, milliseconds, and more than
    /// [`Self::overlap_share`] is a detached tail (same service) or skew (other service).
    pub overrun_ms: f64,
    /// Siblings that overlap by no more than this share of their parent still count as one after the other (CRISP).
    pub overlap_share: f64,
    /// ... but by no more than this, milliseconds.
    pub overlap_ms: f64,

    /// N+1: calls of one shape in one handling of a request (Sentry: 5).
    pub n_plus_one_calls: u32,
    /// N+1: share of the endpoint's traces that have so many.
    pub n_plus_one_trace_share: f64,
    /// N+1: ... or this share, where the calls are as many as an earlier query has rows ...
    pub n_plus_one_driven_share: f64,
    /// ... in this share of the groups.
    pub n_plus_one_rows_share: f64,
    /// A root that is no request is a job from this mean duration on, seconds ...
    pub job_s: f64,
    /// ... or from so many calls of one shape.
    pub job_calls: u32,
    /// A batch of N takes `r + s + this * (N - 1) * s`, until calibrated.
    pub batch_marginal: f64,
    /// Share of the gaps between calls that a batched form saves.
    pub batch_gap_saved: f64,
    /// Repeated subtree: repetitions of an inner span (AppSignal: 3).
    pub repeated_subtree_calls: u32,
    /// Redundant: same template and same parameters within a request.
    pub redundant_calls: u32,
    /// Redundant: look-ups of one template within a request, where parameters are not sent.
    pub redundant_hidden_calls: usize,
    /// Equal calls that lie further apart than this, milliseconds, with nothing between them, are a poller's.
    pub polling_gap_ms: f64,
    /// Uncached read: share of calls that repeat an earlier key within the time to live.
    pub cache_hit_ratio: f64,
    /// Uncached read: share of the critical path that the reads hold.
    pub cache_path_share: f64,
    /// Uncached read: calls that write to the same, as share of the reads, at most.
    pub cache_write_share: f64,
    /// Time to live assumed for a proposed cache, seconds.
    pub cache_ttl_s: f64,
    /// Entries assumed for a proposed cache.
    pub cache_entries: usize,
    /// Time of a hit in a local cache, milliseconds.
    pub cache_hit_ms: f64,
    /// Serial: siblings never overlap in at least this share of traces.
    pub serial_trace_share: f64,
    /// Serial: at most this share of the first call's time lies between two calls.
    pub serial_gap_share: f64,
    /// ... or this, milliseconds, where that is more.
    pub serial_gap_ms: f64,
    /// Serial: a call that holds less of the critical path is not worth starting beside others.
    pub serial_path_share: f64,
    /// Time to start one more call beside another, milliseconds.
    pub dispatch_ms: f64,
    /// Slow query: mean time within the database, milliseconds ...
    pub slow_query_ms: f64,
    /// ... and share of the endpoint's critical path.
    pub slow_query_share: f64,
    /// Of a statement that only spans tell of: share of the critical path ...
    pub slow_query_own_share: f64,
    /// ... and times as long as the service's other reads.
    pub slow_query_contrast: f64,
    /// Missing index: the what-if cost must fall at least so many times.
    pub index_cost_ratio: f64,
    /// Missing index: share of the statement in all database time, or in the endpoint's critical path.
    pub index_time_share: f64,
    /// No indexed read is predicted to be faster than this, milliseconds.
    pub index_floor_ms: f64,
    /// Over-fetch: rows that one call returns.
    pub over_fetch_rows: f64,
    /// ... or so many, where the reply's size is known ...
    pub over_fetch_rows_sized: f64,
    /// ... and has fewer bytes for each row than this: they cannot all be in it.
    pub over_fetch_bytes_per_row: f64,
    /// Bytes of a reply that one row that is needed makes, for the prediction.
    pub reply_bytes_per_row: f64,
    /// Large payload: bytes of a body.
    pub payload_bytes: f64,
    /// Failing: share of an endpoint's requests ...
    pub failing_share: f64,
    /// ... and number of them.
    pub failing_requests: u64,
    /// Slow, and nothing within it seen: share of the time of all requests.
    pub slow_endpoint_share: f64,
    /// Large payload: share of the latency that goes with the size.
    pub payload_share: f64,
    /// Slow dependency: share of the critical path in one callee or its edge.
    pub dependency_share: f64,
    /// A call that always takes as long is told from so many milliseconds on ...
    pub steady_call_ms: f64,
    /// ... and this share of the critical path.
    pub steady_call_share: f64,
    /// CPU self time: share of the critical path without any child.
    pub self_time_share: f64,
    /// Pool: p95 of the wait for a connection, milliseconds (perf-sentinel, Coroot: 10).
    pub pool_wait_ms: f64,
    /// Pool: share of the critical path spent on waiting.
    pub pool_wait_share: f64,
    /// Pool: share of the waiting during which one and the same number of connections is in use: it is full.
    pub pool_full_share: f64,
    /// Connection per request: connects per request.
    pub connects_per_request: f64,
    /// No connection is made in less than this, milliseconds: where one in twenty connecting spans is quicker, they
    /// take connections from a pool.
    pub connect_ms: f64,
    /// What taking a free connection from a pool costs, milliseconds.
    pub pooled_checkout_ms: f64,
    /// Own time is CPU time where spans or the service's CPU account for this share of it.
    pub busy_share: f64,
    /// Deferrable: share of the critical path in a call that the reply does not need.
    pub deferrable_share: f64,
    /// Deferrable: share of the requests in which nothing is read after it.
    pub deferrable_last_share: f64,
    /// Deferrable: a message whose sending takes less at the median has been deferred already, milliseconds.
    pub slow_publish_ms: f64,
    /// Time to hand work to a queue in the process, milliseconds.
    pub enqueue_ms: f64,
    /// Unbatched writes: writes of one shape over all requests, per second.
    pub unbatched_writes_per_s: f64,
    /// Unbatched writes: share of the critical path that the one row of a request holds.
    pub unbatched_path_share: f64,

    /// A CPU (host or container limit) is saturated from this utilization on.
    pub cpu_saturated: f64,
    /// From this utilization of a resource on, queueing is added to the prediction (measured: re-simulation alone
    /// was 35 to 82 % off in 6 of 7 CPU-contention faults).
    pub load_model_from: f64,
    /// No queueing formula is trusted above this utilization.
    pub load_model_cap: f64,
    /// Run-queue wait, seconds per second and CPU, that tells saturation where utilization is not known.
    pub run_queue_per_cpu: f64,

    /// Transaction over a call: share of the requests in which it is open at the call.
    pub transaction_call_share: f64,
    /// Retries: failed tries as share of the calls ...
    pub retry_call_share: f64,
    /// ... or of the critical path.
    pub retry_path_share: f64,
    /// Lock wait: p95 of the write, milliseconds ...
    pub lock_wait_ms: f64,
    /// ... and so many times its quickest quarter ...
    pub lock_wait_ratio: f64,
    /// ... and share of the slow ones that end with another transaction's commit.
    pub lock_wait_share: f64,
    /// Lock wait: pairs of transactions that chance would let hold a table at once, ...
    pub lock_turns: f64,
    /// ... of which at most this share did: they take turns.
    pub lock_at_once_share: f64,
    /// Imbalance: calls of each instance ...
    pub imbalance_calls: u64,
    /// ... its p95 against that of the others (LOCALIZE: 2) ...
    pub imbalance_ratio: f64,
    /// ... its median against theirs ...
    pub imbalance_median_ratio: f64,
    /// ... or its median alone, which single stalls do not move ...
    pub imbalance_shift: f64,
    /// ... and the rank sum's distance from chance, in standard errors.
    pub imbalance_sigma: f64,
    /// Stampede: share of reads that start while an equal one is on its way ...
    pub stampede_share: f64,
    /// ... and how many at once.
    pub stampede_at_once: usize,
    /// Event loop: a stretch of computing, milliseconds ...
    pub blocked_ms: f64,
    /// ... in which so many events of other requests were to be expected in all ...
    pub blocked_events: f64,
    /// ... and fewer than this share of them were seen.
    pub blocked_share: f64,
    /// The median call's longest such stretch lasts at least this share of the call: what computes does it at a
    /// stretch, while stalls of a busy machine spread over all of it.
    pub blocked_duration_share: f64,
    /// Event loop: its own delay at p99, milliseconds.
    pub loop_delay_ms: f64,
    /// Queue before a service: p95 of the wait, milliseconds ...
    pub queue_wait_ms: f64,
    /// ... its mean as share of the request ...
    pub queue_wait_share: f64,
    /// ... over so many calls.
    pub queue_calls: u64,
    /// Messages: p95 of the time in the queue, seconds.
    pub message_wait_s: f64,
    /// Garbage collection: share of the time (Coroot: 5 %).
    pub gc_share: f64,
    /// Memory: share of the limit.
    pub memory_full: f64,
    /// Memory: growth by the hour as share of what is used (LOCALIZE: 10 %) ...
    pub memory_growth_per_h: f64,
    /// ... seen over so many seconds.
    pub memory_growth_s: f64,
    /// Disk: share of time in which some task waited for it ...
    pub io_pressure: f64,
    /// ... and share of the critical path in database calls.
    pub io_path_share: f64,
    /// Serialization: own time as share of the critical path.
    pub serialization_share: f64,
    /// Profile: share of an endpoint's time on a CPU from which one function is hot.
    pub hot_function_share: f64,
    /// Profile: comparisons, as share of the function that calls them ...
    pub scan_share_of_caller: f64,
    /// ... and of the endpoint's time on a CPU.
    pub scan_share: f64,
    /// Profile: share of a function's time in all endpoints up to which the division by the load's mix may only have
    /// spilled it ...
    pub spilled_share: f64,
    /// ... where another endpoint has so much of it.
    pub spilled_from_share: f64,
    /// Profile: waits for an interpreter's global lock, milliseconds in each second of the process (Coroot: 50).
    pub gil_wait_ms_per_s: f64,
    /// Profile: a wait for a lock, as share of the response time, from which it is told ...
    pub wait_share: f64,
    /// ... and for a mutex, milliseconds of a request.
    pub mutex_wait_ms: f64,
    /// Profile: time queued for a CPU, as share of the response time.
    pub queued_share: f64,
    /// Profile: share of all time in which one function holds an event loop up.
    pub loop_blocked_share: f64,
    /// An answer up to this, bytes, fits one packet.
    pub one_packet_bytes: f64,
    /// Compression: median size of an answer of text, bytes.
    pub compress_bytes: f64,
    /// Share of answers without a header, for it to be missing.
    pub plain_share: f64,

    /// Against a baseline: growth of a service's own time per request, in standard errors ...
    pub differential_sigma: f64,
    /// ... and as share of the baseline.
    pub differential_growth: f64,
    /// Against a baseline: a service that costs a request less than this share of the mean request is no suspect.
    pub differential_min_share: f64,
    /// Against a baseline: slower requests, and others, that are compared for what they have in common ...
    pub value_requests: u64,
    /// ... and by how much more of the slower ones have a value.
    pub value_difference: f64,
    /// Against a baseline: growth of a service's CPU that counts, as ratio.
    pub differential_cpu_ratio: f64,
}

impl Thresholds {
    /// A smallest gain that fits goals: five milliseconds are nothing beside 250, and all beside 2.
    /// `None` where it fits already.
    pub(crate) fn fitted(&self, goals: &[Goal], results: &[GoalResult]) -> Option<Self> {
        let missed = goals.iter().zip(results).filter(|(_, result)| result.met == Some(false));
        let times = missed.filter(|(goal, _)| {
            goal.relation == Relation::Below
                && matches!(goal.metric, GoalMetric::Quantile(_) | GoalMetric::Mean)
        });
        let tightest_ms = times.map(|(goal, _)| goal.limit).fold(f64::INFINITY, f64::min);
        let min_gain_ms = self.min_gain_goal_share * tightest_ms;
        (min_gain_ms < self.min_gain_ms).then(|| Self { min_gain_ms, ..self.clone() })
    }
}

impl Default for Thresholds {
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn default() -> Self {
        Self {
            min_traces: 3,
            min_trace_share: 0.01,
            min_gain_share: 0.03,
            min_gain_ms: 5.0,
            min_gain_goal_share: 0.2,
            warning_gain_share: 0.10,
            critical_goal_share: 0.30,
            quick_p95_ms: 50.0,
            min_coverage: 0.70,
            doubtful_confidence: 0.5,
            symptom_share: 0.5,
            unexplained_floor_ms: 5.0,
            overrun_ms: 0.5,
            overlap_share: 0.01,
            overlap_ms: 1.0,
            n_plus_one_calls: 5,
            n_plus_one_trace_share: 0.5,
            n_plus_one_driven_share: 0.05,
            n_plus_one_rows_share: 0.9,
            job_s: 30.0,
            job_calls: 1000,
            batch_marginal: 0.3,
            batch_gap_saved: 0.5,
            repeated_subtree_calls: 3,
            redundant_calls: 2,
            redundant_hidden_calls: 3,
            polling_gap_ms: 10.0,
            cache_hit_ratio: 0.3,
            cache_path_share: 0.10,
            cache_write_share: 0.1,
            cache_ttl_s: 30.0,
            cache_entries: 10_000,
            cache_hit_ms: 0.02,
            serial_trace_share: 0.95,
            serial_gap_share: 0.2,
            serial_gap_ms: 1.0,
            serial_path_share: 0.02,
            dispatch_ms: 0.2,
            slow_query_ms: 10.0,
            slow_query_share: 0.10,
            slow_query_own_share: 0.5,
            slow_query_contrast: 8.0,
            index_cost_ratio: 3.0,
            index_time_share: 0.05,
            index_floor_ms: 0.05,
            over_fetch_rows: 200.0,
            over_fetch_rows_sized: 20.0,
            over_fetch_bytes_per_row: 8.0,
            reply_bytes_per_row: 40.0,
            payload_bytes: 100_000.0,
            failing_share: 0.01,
            failing_requests: 5,
            slow_endpoint_share: 0.10,
            payload_share: 0.10,
            dependency_share: 0.30,
            steady_call_ms: 50.0,
            steady_call_share: 0.5,
            self_time_share: 0.30,
            pool_wait_ms: 10.0,
            pool_wait_share: 0.10,
            pool_full_share: 0.5,
            connects_per_request: 0.5,
            connect_ms: 0.7,
            pooled_checkout_ms: 0.05,
            busy_share: 0.5,
            deferrable_share: 0.10,
            deferrable_last_share: 0.9,
            slow_publish_ms: 5.0,
            enqueue_ms: 0.5,
            unbatched_writes_per_s: 10.0,
            unbatched_path_share: 0.3,
            cpu_saturated: 0.8,
            load_model_from: 0.7,
            load_model_cap: 0.98,
            run_queue_per_cpu: 0.5,
            transaction_call_share: 0.5,
            retry_call_share: 0.10,
            retry_path_share: 0.05,
            lock_wait_ms: 20.0,
            lock_wait_ratio: 3.0,
            lock_wait_share: 0.6,
            lock_turns: 10.0,
            lock_at_once_share: 0.1,
            imbalance_calls: 20,
            imbalance_ratio: 2.0,
            imbalance_median_ratio: 1.3,
            imbalance_shift: 1.5,
            imbalance_sigma: 4.0,
            stampede_share: 0.2,
            stampede_at_once: 3,
            blocked_ms: 10.0,
            blocked_events: 30.0,
            blocked_share: 0.1,
            blocked_duration_share: 0.1,
            loop_delay_ms: 50.0,
            queue_wait_ms: 10.0,
            queue_wait_share: 0.10,
            queue_calls: 20,
            message_wait_s: 1.0,
            gc_share: 0.05,
            memory_full: 0.90,
            memory_growth_per_h: 0.10,
            memory_growth_s: 600.0,
            io_pressure: 0.10,
            io_path_share: 0.30,
            serialization_share: 0.15,
            hot_function_share: 0.20,
            scan_share_of_caller: 0.5,
            scan_share: 0.15,
            spilled_share: 0.10,
            spilled_from_share: 0.5,
            gil_wait_ms_per_s: 50.0,
            wait_share: 0.05,
            mutex_wait_ms: 2.0,
            queued_share: 0.10,
            loop_blocked_share: 0.02,
            one_packet_bytes: 1_400.0,
            compress_bytes: 10_000.0,
            plain_share: 0.9,
            differential_sigma: 3.0,
            differential_growth: 0.2,
            differential_min_share: 0.01,
            value_requests: 10,
            value_difference: 0.5,
            differential_cpu_ratio: 1.5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(goals: &[(&str, Option<bool>)]) -> Option<f64> {
        let all: Vec<Goal> = goals.iter().map(|(goal, _)| goal.parse().unwrap()).collect();
        let result = |(goal, met): &(&str, Option<bool>)| GoalResult {
            goal: (*goal).to_owned(),
            met: *met,
            ..GoalResult::default()
        };
        let results: Vec<GoalResult> = goals.iter().map(result).collect();
        Thresholds::default().fitted(&all, &results).map(|thresholds| thresholds.min_gain_ms)
    }

    #[test]
    fn tight_goals_that_are_missed_make_small_gains_worth_telling() {
        assert_eq!(fitted(&[("p95(GET /a) < 250 ms", Some(false))]), None);
        assert_eq!(fitted(&[("p95(GET /a) < 2 ms", Some(true)), ("rate(*) > 1/s", Some(false))]), None);
        assert_eq!(fitted(&[("p95(GET /a) < 2 ms", None)]), None);
        let missed = [("p95(GET /a) < 10 ms", Some(false)), ("mean(GET /b) < 5 ms", Some(false))];
        assert_eq!(fitted(&missed), Some(1.0));
    }
}
