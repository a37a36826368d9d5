//! Prints the tables of `docs/statistics.md`: how often intervals are right, and how often a level series is called
//! unsteady, on simulated data.
//! `cargo run --release -p verify --example calibration`

#[path = "../tests/series/mod.rs"]
mod series;
#[path = "../tests/tally/mod.rs"]
mod tally;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use series::{Kind, Layout};
use tally::{Tally, tally};

const TRIALS: u32 = 2000;
const FIRST_SEED: u64 = 1_000_000;
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

fn main() {
    intervals();
    warm_ups();
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn intervals() {
    let layouts = [
        (Kind::Independent, 20, 6000),
        (Kind::Hard, 20, 6000),
        (Kind::Hard, 40, 6000),
        (Kind::Hard, 12, 1200),
        (Kind::Hard, 30, 600),
        (Kind::Hard, 12, 150),
        (Kind::Hard, 30, 150),
    ];
    println!(
        "| series | pairs | requests/arm | quantile | false alarms | coverage at 1.2 | coverage at 0.02 | half width | +10 % | +20 % | -50 % | -98 % | open |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (kind, pairs, requests_per_arm) in layouts {
        let run = |ratio: f64, seed: u64| {
            tally(
                Layout { kind, pairs, requests_per_arm, ratio },
                &QUANTILES,
                TRIALS,
                FIRST_SEED * (1 + seed),
            )
        };
        let (same, ten, twenty, half, tiny) =
            (run(1.0, 0), run(1.1, 1), run(1.2, 2), run(0.5, 3), run(0.02, 4));
        for (at, quantile) in QUANTILES.iter().enumerate() {
            if same[at].open == same[at].trials {
                // Too few requests for this percentile: there is no interval to be right or wrong.
                continue;
            }
            let percent = |t: &Tally, count: u32| format!("{:.1} %", 100.0 * t.share(count));
            println!(
                "| {kind:?} | {pairs} | {requests_per_arm} | p{} | {} | {} | {} | {:.1} % | {} | {} | {} | {} | {} |",
                quantile * 100.0,
                percent(&same[at], same[at].differs),
                percent(&twenty[at], twenty[at].covers),
                percent(&tiny[at], tiny[at].covers),
                100.0 * same[at].half_width / f64::from(same[at].trials - same[at].open),
                percent(&ten[at], ten[at].differs),
                percent(&twenty[at], twenty[at].differs),
                percent(&half[at], half[at].differs),
                percent(&tiny[at], tiny[at].differs),
                percent(&same[at], same[at].open),
            );
        }
    }
}

/// Means of level series with this correlation from cell to cell.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn warm_ups() {
    println!("\n| correlation of cells | cells | called unsteady | mean cut |");
    println!("|---|---|---|---|");
    for correlation in [0.0_f64, 0.5, 0.9] {
        for cells in [20_usize, 30, 60, 120, 300] {
            let mut chance = Xoshiro256PlusPlus::seed_from_u64(FIRST_SEED);
            let (mut unsteady, mut cut, mut level) = (0_u32, 0.0, 0.0);
            for _ in 0..TRIALS {
                let means: Vec<f64> = (0..cells)
                    .map(|_| {
                        // Nearly normal: a sum of twelve uniform values.
                        let step: f64 = (0..12).map(|_| chance.random::<f64>() - 0.5).sum();
                        level = correlation * level + step;
                        level
                    })
                    .collect();
                let found = verify::warm_up(&means);
                unsteady += u32::from(!found.steady);
                cut += found.cut as f64 / cells as f64;
            }
            let percent = |sum: f64| 100.0 * sum / f64::from(TRIALS);
            println!(
                "| {correlation} | {cells} | {:.1} % | {:.1} % |",
                percent(f64::from(unsteady)),
                percent(cut)
            );
        }
    }
}
