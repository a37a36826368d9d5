//! Numbers for people: three significant digits, a unit, and a dash for what is not known.

const DASH: &str = "–";

/// Three significant digits, no exponent, no trailing zeros after the point: `412`, `8.61`, `0.0432`, `12,300`.
pub(crate) fn digits(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    let magnitude = value.abs();
    if magnitude < 1e-9 {
        return "0".to_owned();
    }
    if magnitude >= 99.95 {
        return if magnitude < 1e15 { grouped(&format!("{value:.0}")) } else { format!("{value:.2e}") };
    }
    let decimals = if magnitude >= 9.995 {
        1
    } else if magnitude >= 0.9995 {
        2
    } else if magnitude >= 0.09995 {
        3
    } else if magnitude >= 0.009_995 {
        4
    } else {
        6
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration given in milliseconds: `8.61 ms`, `412 ms`, `1.24 s`, `43 µs`.
pub(crate) fn ms(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 999.5 {
        format!("{} s", digits(value / 1e3))
    } else if magnitude > 0.0 && magnitude < 0.0995 {
        format!("{} µs", digits(value * 1e3))
    } else {
        format!("{} ms", digits(value))
    }
}

/// A share from 0 to 1: `4.2 %`.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{} %", short(share * 100.0)) } else { DASH.to_owned() }
}

/// Two significant digits are enough for a percentage below 10, none after the point above.
fn short(value: f64) -> String {
    let text = if value.abs() >= 9.95 {
        format!("{value:.0}")
    } else if value.abs() >= 0.095 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Events per second: `41.2/s`.
pub(crate) fn rate(per_s: f64) -> String {
    format!("{}/s", digits(per_s))
}

/// A count with its thousands set apart: `12,345`.
pub(crate) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// Bytes in binary units: `15.6 GiB`.
pub(crate) fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", digits(scaled))
}

/// A number in the unit that a goal has: `ms`, `share`, `per_s`, or none.
pub(crate) fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        "ms" => ms(value),
        "share" => percent(value),
        "per_s" => rate(value),
        _ => digits(value),
    }
}

/// `1 change`, `3 changes`.
pub(crate) fn plural(n: usize, noun: &str) -> String {
    let n64 = u64::try_from(n).unwrap_or(u64::MAX);
    format!("{} {noun}{}", count(n64), if n == 1 { "" } else { "s" })
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut out = String::from(sign);
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Four significant digits of a finite number, for the page; `None` for NaN and infinities.
pub(crate) fn finite(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    if value == 0.0 || value.abs() < 1e-12 {
        return Some(0.0);
    }
    // Values beyond 10^15 are nonsense in any of our units; the rounding would only lose them.
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    let rounded = (value * scale).round() / scale;
    Some(if rounded.is_finite() { rounded } else { value })
}

/// As [`finite`], 0 for what is not finite: only where the value was checked before.
pub(crate) fn round(value: f64) -> f64 {
    finite(value).unwrap_or(0.0)
}

/// Unix nanoseconds as `2026-11-22 20:31 UTC`; a dash for 0.
///
/// Days to civil date: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn utc(ns: u64) -> String {
    if ns == 0 {
        return DASH.to_owned();
    }
    let seconds = ns / 1_000_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let texts: Vec<String> =
            [412.4, 1_240.0, 8.607, 0.5, 0.0432, 999.6, 95.04, 0.0, f64::NAN, 123_456.0].map(ms).into();
        assert_eq!(
            texts,
            ["412 ms", "1.24 s", "8.61 ms", "0.5 ms", "43.2 µs", "1 s", "95 ms", "0 ms", "–", "123 s"]
        );
    }

    #[test]
    fn shares_counts_and_bytes_read_well() {
        assert_eq!(
            [0.123, 0.042, 0.0004, 1.0, 0.0].map(percent),
            ["12 %", "4.2 %", "0.04 %", "100 %", "0 %"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 16_777_216_000].map(bytes), ["12 B", "15.6 GiB"]);
        assert_eq!(rate(1234.5), "1,234/s");
    }

    #[test]
    fn times_are_civil() {
        assert_eq!(utc(1_700_000_000_000_000_000), "2023-11-14 22:13 UTC");
        assert_eq!(utc(1_709_164_800_000_000_000), "2024-02-29 00:00 UTC");
        assert_eq!(utc(u64::MAX), "2554-07-21 23:34 UTC");
        assert_eq!(utc(0), "–");
    }

    #[test]
    fn rounding_keeps_four_digits_and_drops_nonsense() {
        assert_eq!(finite(123_456.0), Some(123_500.0));
        assert_eq!(finite(0.000_123_456), Some(0.000_123_5));
        assert_eq!(finite(f64::NAN), None);
        assert_eq!(finite(f64::MAX).map(f64::is_finite), Some(true));
    }
}
