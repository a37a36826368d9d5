//! The regression against mixes whose truth is known.

use super::{Regression, student_975};
use crate::mix::{Mix, Window, varied};

/// A generator of chance with a seed.
struct Chance(u64);

impl Chance {
    /// 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

fn mix(requests: Vec<Vec<f64>>) -> Mix {
    let names = ["a", "b", "c", "d", "e"];
    let operations = requests.first().map_or(0, Vec::len);
    let window = |requests| Window { seconds: 1.0, requests, void: None };
    Mix {
        operations: names[..operations].iter().map(|n| (*n).to_owned()).collect(),
        windows: requests.into_iter().map(window).collect(),
    }
}

fn designed(windows: usize) -> Mix {
    let rates = [12.0, 20.0, 8.0, 30.0, 10.0];
    let scaled = |factors: Vec<f64>| factors.iter().zip(rates).map(|(f, r)| (f * r).round()).collect();
    mix(varied(5, windows).into_iter().map(scaled).collect())
}

fn growth(mix: &Mix, costs: &[f64], background: f64) -> Vec<f64> {
    let of = |w: &Window| w.requests.iter().zip(costs).map(|(n, c)| n * c).sum::<f64>() + background;
    mix.windows.iter().map(of).collect()
}

#[test]
fn exact_counts_come_back_exactly() {
    let mix = designed(20);
    let truth = [20.0, 1.0, 0.0, 3.0, 0.0];
    let found = Regression::new(&mix).attribute(&growth(&mix, &truth, 50.0)).unwrap();
    for (rate, truth) in found.per_request.iter().zip(truth) {
        let rate = rate.unwrap();
        assert!((rate.value - truth).abs() < 1e-9 && rate.high - rate.low < 1e-9, "{rate:?}, truth {truth}");
    }
    assert!((found.background_per_second.unwrap().value - 50.0).abs() < 1e-7);
    assert!(found.residual < 1e-9 && found.windows == 20, "{found:?}");
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let mix = designed(20);
    let regression = Regression::new(&mix);
    let truth = [20.0, 1.0, 4.0, 3.0, 2.0];
    let mut chance = Chance(11);
    let (mut held, mut all) = (0, 0);
    for _ in 0..400 {
        let noisy: Vec<f64> =
            growth(&mix, &truth, 50.0).into_iter().map(|g| (g + 8.0 * chance.normal()).max(0.0)).collect();
        let found = regression.attribute(&noisy).unwrap();
        for (rate, truth) in found.per_request.iter().zip(truth) {
            let rate = rate.unwrap();
            held += i32::from(rate.low <= truth && truth <= rate.high);
            all += 1;
        }
    }
    let share = f64::from(held) / f64::from(all);
    assert!((0.93..0.99).contains(&share), "{share} of the intervals hold the truth");
}

#[test]
fn a_cost_is_never_negative() {
    let mix = designed(20);
    let mut chance = Chance(3);
    let noisy: Vec<f64> = mix.windows.iter().map(|_| 10.0 * chance.next()).collect();
    let found = Regression::new(&mix).attribute(&noisy).unwrap();
    assert!(
        found.per_request.iter().flatten().all(|r| r.low >= 0.0 && r.value >= r.low && r.high >= r.value)
    );
    assert!(found.residual > 0.2, "{found:?}");
}

#[test]
fn operations_that_always_come_together_are_named_and_not_guessed() {
    let requests = (0..20).map(|w| {
        let (a, c) = (f64::from(10 + w % 4 * 5), f64::from(10 + w % 3 * 7));
        vec![a, 2.0 * a, c]
    });
    let mix = mix(requests.collect());
    let regression = Regression::new(&mix);
    assert!(regression.condition() > 1e6);
    assert_eq!(regression.gaps().len(), 1);
    assert!(regression.gaps()[0].reason.starts_with("a, b grow together"), "{:?}", regression.gaps());
    let found = regression.attribute(&growth(&mix, &[5.0, 1.0, 2.0], 3.0)).unwrap();
    assert_eq!(found.per_request[..2], [None, None]);
    assert!((found.per_request[2].unwrap().value - 2.0).abs() < 1e-9, "{found:?}");
    assert!((found.background_per_second.unwrap().value - 3.0).abs() < 1e-7);
}

#[test]
fn a_constant_total_rate_hides_the_background_and_is_told() {
    let requests = (0..20).map(|w| {
        let a = f64::from(10 + w % 5 * 4);
        vec![a, 60.0 - a]
    });
    let regression = Regression::new(&mix(requests.collect()));
    assert!(regression.gaps()[0].reason.contains("a, b, the background"), "{:?}", regression.gaps());
}

#[test]
fn what_nobody_asked_for_has_no_figure() {
    let mut mix = designed(20);
    for window in &mut mix.windows {
        window.requests[1] = 0.0;
    }
    let found = Regression::new(&mix).attribute(&growth(&mix, &[1.0, 9.0, 2.0, 3.0, 4.0], 0.0)).unwrap();
    assert_eq!(found.per_request[1], None);
    assert!((found.per_request[4].unwrap().value - 4.0).abs() < 1e-9);
}

#[test]
fn void_windows_and_odd_numbers_do_not_count() {
    let mut mix = designed(24);
    let mut counted = growth(&mix, &[20.0, 1.0, 0.0, 3.0, 0.0], 5.0);
    mix.windows[3].void = Some("statistics were reset".to_owned());
    mix.windows[4].requests[0] = f64::NAN;
    mix.windows[5].seconds = 0.0;
    counted[3] = 1e9;
    counted[6] = f64::NAN;
    counted[7] = -4.0;
    counted[8] = f64::INFINITY;
    let regression = Regression::new(&mix);
    assert!(
        regression.gaps()[0].reason.starts_with("3 of 24 windows do not count: first, statistics were reset")
    );
    let found = regression.attribute(&counted).unwrap();
    assert_eq!(found.windows, 18);
    assert!((found.per_request[0].unwrap().value - 20.0).abs() < 1e-6, "{found:?}");
    assert!(regression.attribute(&[]).is_none());
}

#[test]
fn too_few_windows_are_told() {
    let regression = Regression::new(&designed(8));
    assert!(regression.attribute(&[1.0; 8]).is_none());
    assert!(regression.gaps()[0].reason.contains("8 windows are too few"), "{:?}", regression.gaps());
    let empty = Regression::new(&Mix::default());
    assert!(empty.attribute(&[]).is_none() && !empty.gaps().is_empty());
}

#[test]
fn quantiles_are_those_of_the_tables() {
    for (freedom, quantile) in [(3.0, 3.182), (5.0, 2.571), (14.0, 2.145), (100.0, 1.984)] {
        assert!((student_975(freedom) / quantile - 1.0).abs() < 0.01, "{freedom}: {}", student_975(freedom));
    }
}
