//! How to vary a load's mix from window to window so that its operations can be told apart, while the mix of the whole
//! run stays what it was and the total rate hardly moves: percentiles of the run stay comparable with those of others.

use std::time::Duration;

/// How far an operation's share moves up and down, before the rows are balanced.
const SWING: f64 = 0.5;
/// How far the total rate moves: without it nothing tells the background from the requests.
const TOTAL_SWING: f64 = 0.15;
/// Rounds of proportional fitting; it converges in far fewer.
const ROUNDS: usize = 100;
/// Shorter windows would be all border: requests, and the snapshots themselves, take part of them.
const MIN_WINDOW: Duration = Duration::from_secs(1);
/// A window is at least so many times as long as a request usually takes.
const REQUESTS_LONG: f64 = 4.0;
/// More windows tell no more.
pub const MAX_WINDOWS: usize = 60;
/// Windows for each figure of a counter (one per operation, and the background): with fewer, chance moves them.
const WINDOWS_PER_FIGURE: usize = 2;
/// Windows that the fit needs at least.
const MIN_WINDOWS: usize = 8;

/// What a run is divided into.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Length of each window.
    pub window: Duration,
    /// Rates of each operation, in the order given, indexed `[window][operation]`.
    pub rates: Vec<Vec<f64>>,
}

/// Divides a run of `duration` into windows whose mix varies around `rates` (of each operation, any unit). `typical` is
/// how long a request usually takes. `Err`: why the run is too short for that, and so its mix is better left alone.
///
/// # Errors
/// The run is too short for so many operations, in a sentence.
pub fn plan(rates: &[f64], duration: Duration, typical: Duration) -> Result<Planned, String> {
    let told = rates.iter().filter(|rate| **rate > 0.0).count();
    if told == 0 {
        return Err("no operation has a rate".to_owned());
    }
    let least = MIN_WINDOW.max(typical.mul_f64(REQUESTS_LONG));
    let needed = (WINDOWS_PER_FIGURE * (told + 1)).max(MIN_WINDOWS);
    let fit = (duration.as_secs_f64() / least.as_secs_f64()).floor();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as casts saturate")]
    let windows = (fit as usize).min(MAX_WINDOWS.max(needed));
    if windows < needed {
        return Err(format!(
            "{:.0} s are too short to tell {told} operations apart: that takes {needed} windows of {:.1} s",
            duration.as_secs_f64(),
            least.as_secs_f64()
        ));
    }
    let window = duration.div_f64(windows as f64);
    Ok(Planned { window, rates: balanced(rates, windows) })
}

/// Two-level factors by a Walsh-Hadamard design, then fitted in turns to the wanted totals of windows and operations.
fn balanced(rates: &[f64], windows: usize) -> Vec<Vec<f64>> {
    let turn = (rates.len() + 2).next_power_of_two();
    let up = |window: usize, column: usize| ((window % turn) & column).count_ones().is_multiple_of(2);
    let moved = |up: bool, swing: f64| if up { 1.0 + swing } else { 1.0 - swing };
    let mut table: Vec<Vec<f64>> = (0..windows)
        .map(|w| rates.iter().enumerate().map(|(o, r)| r * moved(up(w, o + 1), SWING)).collect())
        .collect();
    let all: f64 = rates.iter().sum();
    let mut totals: Vec<f64> = (0..windows).map(|w| moved(up(w, rates.len() + 1), TOTAL_SWING)).collect();
    let mean = totals.iter().sum::<f64>() / windows as f64;
    totals.iter_mut().for_each(|total| *total *= all / mean);
    for _ in 0..ROUNDS {
        for (row, total) in table.iter_mut().zip(&totals) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|rate| *rate *= total / sum.max(f64::MIN_POSITIVE));
        }
        for (operation, rate) in rates.iter().enumerate() {
            let sum: f64 = table.iter().map(|row| row[operation]).sum();
            let factor = rate * windows as f64 / sum.max(f64::MIN_POSITIVE);
            table.iter_mut().for_each(|row| row[operation] *= factor);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Planned, plan};
    use crate::{Mix, Regression, Window};
    use std::time::Duration;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn condition(planned: &Planned) -> f64 {
        let windows = planned.rates.iter();
        let window = |r: &Vec<f64>| Window { seconds: 1.0, requests: r.clone(), void: None };
        let operations = (0..planned.rates[0].len()).map(|o| o.to_string()).collect();
        Regression::new(&Mix { operations, windows: windows.map(window).collect() }).condition()
    }

    #[test]
    fn operations_are_told_apart_and_the_run_stays_what_it_was() {
        let loads: [&[f64]; 7] = [
            &[10.0],
            &[10.0, 10.0],
            &[10.0, 24.0, 16.0, 20.0, 12.0],
            &[50.0, 1.0],
            &[50.0, 10.0, 5.0, 2.0, 1.0],
            &[20.0; 9],
            &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
        ];
        for rates in loads {
            for length in [20, 30, 60] {
                let planned = plan(rates, seconds(length), seconds(0)).unwrap();
                assert!(condition(&planned) < 30.0, "{rates:?} {length} s: {}", condition(&planned));
                let windows = planned.rates.len() as f64;
                for (at, rate) in rates.iter().enumerate() {
                    let mean = planned.rates.iter().map(|row| row[at]).sum::<f64>() / windows;
                    assert!((mean / rate - 1.0).abs() < 1e-6, "{rates:?} {at}: {mean}");
                }
                let total: f64 = rates.iter().sum();
                for row in &planned.rates {
                    let share = row.iter().sum::<f64>() / total;
                    assert!((0.75..1.25).contains(&share), "{rates:?} {length} s: {share}");
                }
            }
        }
    }

    #[test]
    fn a_short_run_is_left_alone_and_says_why() {
        let why = plan(&[1.0; 5], seconds(8), seconds(0)).unwrap_err();
        assert_eq!(why, "8 s are too short to tell 5 operations apart: that takes 12 windows of 1.0 s");
        let why = plan(&[1.0; 2], seconds(20), seconds(2)).unwrap_err();
        assert!(why.contains("8 windows of 8.0 s"), "{why}");
        assert!(plan(&[0.0], seconds(60), seconds(0)).is_err());
        assert_eq!(plan(&[1.0], seconds(3600), seconds(0)).unwrap().rates.len(), super::MAX_WINDOWS);
    }
}
