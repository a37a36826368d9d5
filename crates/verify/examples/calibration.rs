//! Prints the table of `docs/statistics.md`: how often the intervals are right, on simulated trials.
//! `cargo run --release -p verify --example calibration`

#[path = "../tests/series/mod.rs"]
mod series;
#[path = "../tests/tally/mod.rs"]
mod tally;

use series::{Kind, Layout};
use tally::{Tally, tally};

const TRIALS: u32 = 2000;
const FIRST_SEED: u64 = 1_000_000;
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() {
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
            let percent = |t: &Tally, count: u32| format!("{:.1} %", 100.0 * t.share(count));
            println!(
                "| {kind:?} | {pairs} | {requests_per_arm} | p{} | {} | {} | {} | {:.1} % | {} | {} | {} | {} | {} |",
                quantile * 100.0,
                percent(&same[at], same[at].differs),
                percent(&twenty[at], twenty[at].covers),
                percent(&tiny[at], tiny[at].covers),
                100.0 * same[at].half_width / f64::from((same[at].trials - same[at].open).max(1)),
                percent(&ten[at], ten[at].differs),
                percent(&twenty[at], twenty[at].differs),
                percent(&half[at], half[at].differs),
                percent(&tiny[at], tiny[at].differs),
                percent(&same[at], same[at].open),
            );
        }
    }
}
