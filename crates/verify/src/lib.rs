//! Judges trials: is the service better, worse or the same after a change, or can nobody tell yet.
//! The method and its measured error rates stand in `docs/statistics.md`.
//! Pure: counts in, verdicts out. It reads no clock, and chance comes from a seed that the caller gives.

mod chance;
mod curve;
mod error_share;
mod interval;
mod judge;
mod needed;
mod noise;
mod prediction;
mod reasons;
mod warm_up;
mod windows;
mod words;

pub use interval::{RatioInterval, Shortage, compare, interval};
pub use judge::{Metric, Options, judge};
pub use needed::{needed_s, required_windows};
pub use noise::{Noise, NoiseFigures, noise};
pub use prediction::{held_by, judgeable};
pub use warm_up::{WarmUp, log_means, warm_up};
pub use windows::{Arm, Window, pair_up, schedule};
