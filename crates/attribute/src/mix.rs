//! Windows and the requests that fell into them, and how to vary the mix so that endpoints can be told apart.

use model::Recording;
use serde::{Deserialize, Serialize};

/// How far [`varied`] moves an operation's rate up and down. Half leaves the load what it is, roughly, and the condition
/// number near 12 for five operations.
const SWING: f64 = 0.5;

/// Requests of each operation in successive windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    pub operations: Vec<String>,
    pub windows: Vec<Window>,
}

/// One window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub seconds: f64,
    /// Requests of each operation; one that spans a border counts in parts.
    pub requests: Vec<f64>,
    /// Why its counters do not count, if they do not: statistics were reset, the server restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
}

/// A request with its begin and end, Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// Index into the operations.
    pub operation: u32,
    pub start_ns: u64,
    pub end_ns: u64,
}

impl Mix {
    /// Requests counted in the windows between `borders_ns` (ascending), each by the share of its time within: the
    /// statements of a long request fall on both sides of a border.
    #[must_use]
    pub fn of_requests(operations: &[String], borders_ns: &[u64], requests: &[Timed]) -> Self {
        let mut mix = Self::empty(operations, borders_ns);
        for request in requests {
            mix.spread(borders_ns, request.operation, request.start_ns, request.end_ns, 1.0);
        }
        mix
    }

    /// The same from a recording's latency cells, where the single requests are not kept: a cell's requests are taken
    /// to be spread over it evenly.
    #[must_use]
    pub fn of_recording(recording: &Recording, borders_ns: &[u64]) -> Self {
        let run = &recording.run;
        let mut mix = Self::empty(&run.operations, borders_ns);
        let length = u64::from(run.cell_ms).saturating_mul(1_000_000).max(1);
        for cell in &recording.latencies {
            let start = run.start_ns.saturating_add(u64::from(cell.cell).saturating_mul(length));
            let count = cell.service.count() as f64;
            mix.spread(borders_ns, cell.operation, start, start.saturating_add(length), count);
        }
        mix
    }

    fn empty(operations: &[String], borders_ns: &[u64]) -> Self {
        let window = |pair: &[u64]| Window {
            seconds: pair[1].saturating_sub(pair[0]) as f64 / 1e9,
            requests: vec![0.0; operations.len()],
            void: None,
        };
        Self { operations: operations.to_vec(), windows: borders_ns.windows(2).map(window).collect() }
    }

    fn spread(&mut self, borders_ns: &[u64], operation: u32, start_ns: u64, end_ns: u64, count: f64) {
        let operation = operation as usize;
        let length = end_ns.saturating_sub(start_ns).max(1);
        let end_ns = start_ns.saturating_add(length);
        let first = borders_ns.partition_point(|b| *b <= start_ns).saturating_sub(1);
        for (window, pair) in self.windows.iter_mut().zip(borders_ns.windows(2)).skip(first) {
            if pair[0] >= end_ns {
                break;
            }
            let within = end_ns.min(pair[1]).saturating_sub(start_ns.max(pair[0]));
            if let Some(requests) = window.requests.get_mut(operation) {
                *requests += count * within as f64 / length as f64;
            }
        }
    }
}

/// Factors for the rate of each of `operations` in each of `windows`, 0.5 or 1.5, so that no operation moves with another
/// nor all together stay constant (then the background could not be told from the requests). Columns of a Walsh-Hadamard
/// matrix: orthogonal over each full turn of its rows. Indexed `[window][operation]`.
#[must_use]
pub fn varied(operations: usize, windows: usize) -> Vec<Vec<f64>> {
    let factor = |row: usize, column: usize| {
        let odd = (row & column).count_ones() % 2 == 1;
        if odd { 1.0 - SWING } else { 1.0 + SWING }
    };
    let rows = (operations + 1).next_power_of_two();
    (0..windows).map(|w| (1..=operations).map(|o| factor(w % rows, o)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mix, Timed, varied};
    use crate::Regression;

    const BORDERS: [u64; 3] = [1_000, 2_000, 3_000];

    fn counted(start_ns: u64, end_ns: u64) -> Vec<f64> {
        let requests = [Timed { operation: 0, start_ns, end_ns }];
        let mix = Mix::of_requests(&["a".to_owned()], &BORDERS, &requests);
        mix.windows.iter().map(|w| w.requests[0]).collect()
    }

    #[test]
    fn a_request_over_a_border_counts_in_parts() {
        assert_eq!(counted(1_000, 1_500), [1.0, 0.0]);
        assert_eq!(counted(1_750, 2_750), [0.25, 0.75]);
        assert_eq!(counted(2_000, 2_000), [0.0, 1.0]);
        assert_eq!(counted(500, 1_500), [0.5, 0.0]);
        assert_eq!(counted(2_500, 4_500), [0.0, 0.25]);
        assert_eq!(counted(0, 100), [0.0, 0.0]);
        assert_eq!(counted(u64::MAX, 0), [0.0, 0.0]);
    }

    #[test]
    fn an_unknown_operation_is_passed_over() {
        let requests = [Timed { operation: 9, start_ns: 1_100, end_ns: 1_200 }];
        let mix = Mix::of_requests(&["a".to_owned()], &BORDERS, &requests);
        assert!(mix.windows.iter().all(|w| w.requests == [0.0]));
    }

    #[test]
    fn varied_mixes_are_told_apart() {
        for operations in 1..=9 {
            let windows = 3 * (operations + 1_usize).next_power_of_two();
            let factors = varied(operations, windows);
            let mix = Mix {
                operations: (0..operations).map(|o| o.to_string()).collect(),
                windows: factors
                    .into_iter()
                    .map(|f| super::Window { seconds: 1.0, requests: f, void: None })
                    .collect(),
            };
            let regression = Regression::new(&mix);
            assert!(regression.condition() < 20.0, "{operations}: {}", regression.condition());
            assert_eq!(regression.gaps(), []);
        }
    }
}
