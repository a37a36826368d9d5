//! Durations as k6 writes them: `1h30m`, `500ms`, `1.5s`, `2d`; bare numbers are milliseconds.

use std::time::Duration;

/// # Errors
/// What was expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration, expected one such as 30s, 1m30s or 500ms");
    let mut rest = text.trim();
    if let Ok(ms) = rest.parse::<f64>() {
        return seconds(ms / 1e3).ok_or_else(wrong);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit_end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit_end..];
    }
    seconds(total).ok_or_else(wrong)
}

fn seconds(seconds: f64) -> Option<Duration> {
    (seconds.is_finite() && (0.0..=1e9).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

/// As k6 prints it: `1m30s`, `200ms`.
pub(crate) fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let seconds = match (rest / 1000, rest % 1000) {
        (0, 0) if minutes > 0 => "0s".to_owned(),
        (0, ms) if minutes == 0 => return format!("{ms}ms"),
        (s, 0) => format!("{s}s"),
        (s, ms) => format!("{s}.{}s", format!("{ms:03}").trim_end_matches('0')),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, m) => format!("{m}m{seconds}"),
        (h, m) => format!("{h}h{m}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, ms) in [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1_500), ("250", 250)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "s", "1x", "-1s", "1s2", "1e400"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(show(Duration::from_millis(90_000)), "1m30s");
        assert_eq!(show(Duration::from_millis(3_601_500)), "1h0m1.5s");
        assert_eq!(show(Duration::from_millis(20)), "20ms");
        assert_eq!(show(Duration::from_secs(60)), "1m0s");
    }
}
