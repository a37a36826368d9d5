//! How many requests a recorded one stands for, where a sampler told how many it left out.

use super::attributes::{Meaning, Slots};
use model::SpanTable;

/// One trace is never taken for more requests than this.
const MAX_WEIGHT: f64 = 1e6;

/// The weight that a span's attributes tell; `None` for one that stands for itself.
pub(super) fn weight(slots: &Slots, table: &SpanTable) -> Option<f64> {
    let share = slots.number(table, Meaning::SampledShare).filter(|p| *p > 0.0 && *p < 1.0);
    let state = slots.text(table, Meaning::TraceState).and_then(of_tracestate);
    let count = slots.number(table, Meaning::SampledCount).filter(|n| *n > 1.0);
    // The service's sampler and whoever kept a part of what it sent left out independently.
    let weight = match (state, count) {
        (Some(state), Some(count)) => state * count,
        (state, count) => state.or(count).or(share.map(|p| 1.0 / p))?,
    };
    (weight.is_finite() && weight > 1.0).then(|| weight.min(MAX_WEIGHT))
}

/// OpenTelemetry's part of a trace state, `ot=th:c;rv:...`: the threshold is a fraction of 2^56 in hexadecimal with
/// its trailing zeros left out, and what lies below it was dropped. The older `p:3` is a power of two.
fn of_tracestate(text: &str) -> Option<f64> {
    let own = text.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let value = |key: &str| own.split(';').find_map(|part| part.strip_prefix(key));
    if let Some(digits) = value("th:").filter(|d| (1..=14).contains(&d.len())) {
        let threshold = u64::from_str_radix(digits, 16).ok()? as f64 / 16_f64.powi(digits.len() as i32);
        return Some(1.0 / (1.0 - threshold));
    }
    let power: i32 = value("p:")?.parse().ok()?;
    (0..=62).contains(&power).then(|| 2_f64.powi(power))
}

#[cfg(test)]
mod tests {
    use super::of_tracestate;

    #[test]
    fn thresholds_and_powers_tell_how_many_were_left_out() {
        let of = |text| of_tracestate(text).map(|w| (w * 1e3).round());
        assert_eq!(of("ot=th:c"), Some(4_000.0));
        assert_eq!(of("vendor=x,ot=rv:00000000000000;th:0"), Some(1_000.0));
        assert_eq!(of("ot=th:fd70a3d70a3d7"), Some(100_000.0));
        assert_eq!(of("ot=p:3;r:5"), Some(8_000.0));
        assert_eq!(of("ot=p:63"), None);
        assert_eq!(of("congo=t61rcWkgMzE"), None);
        assert_eq!(of("ot=th:"), None);
        assert_eq!(of("ot=th:xyz"), None);
    }
}
