//! Times as logs write them, to Unix nanoseconds: common log format, ISO 8601, Unix time in any unit.
//! A time without a zone is taken as UTC.

const NS: u64 = 1_000_000_000;
/// Digits of a fraction that count; more are cut off.
const FRACTION_DIGITS: usize = 9;

/// A time in any of the known notations, as Unix nanoseconds.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim().trim_matches(['[', ']', '"']);
    let bytes = text.as_bytes();
    if bytes.len() >= 11 && bytes.get(2) == Some(&b'/') {
        return clf(text);
    }
    if bytes.get(4) == Some(&b'-') || bytes.get(4) == Some(&b'/') {
        return iso(text);
    }
    text.parse::<f64>().ok().and_then(|number| unix(number, text))
}

/// `22/Nov/2026:21:03:05 +0100`, also with a fraction and without a zone.
fn clf(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let day = digits(bytes.get(..2)?)?;
    let month = month(bytes.get(3..6)?)?;
    if bytes.get(6) != Some(&b'/') || bytes.get(11) != Some(&b':') {
        return None;
    }
    let year = digits(bytes.get(7..11)?)?;
    let (of_day, rest) = clock(text.get(12..)?)?;
    assemble(days(year, month, day)?, of_day, zone(rest)?)
}

/// `2026-11-22T21:03:05.123Z`, with a space for the `T`, a comma for the point, `/` for `-`, with or without zone.
fn iso(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let year = digits(bytes.get(..4)?)?;
    let month = digits(bytes.get(5..7)?)?;
    let day = digits(bytes.get(8..10)?)?;
    let separated =
        matches!(bytes.get(7), Some(b'-' | b'/')) && matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    if !separated {
        return None;
    }
    let (of_day, rest) = clock(text.get(11..)?)?;
    assemble(days(year, month, day)?, of_day, zone(rest)?)
}

/// `21:03:05.123` as nanoseconds of the day, and what follows.
fn clock(text: &str) -> Option<(u64, &str)> {
    let bytes = text.as_bytes();
    let (hour, minute, second) =
        (digits(bytes.get(..2)?)?, digits(bytes.get(3..5)?)?, digits(bytes.get(6..8)?)?);
    // 60 is a leap second.
    if bytes[2] != b':' || bytes[5] != b':' || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut ns = (hour * 3600 + minute * 60 + second) * NS;
    let mut rest = text.get(8..)?;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        let mut unit = NS / 10;
        for digit in fraction.bytes().take(end.min(FRACTION_DIGITS)) {
            ns += u64::from(digit - b'0') * unit;
            unit /= 10;
        }
        rest = &fraction[end..];
    }
    Some((ns, rest))
}

/// Seconds east of Greenwich: nothing, `Z`, `UTC`, `+0100`, `+01:00`, `-05`.
fn zone(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.is_empty() || ["Z", "z", "UTC", "GMT"].contains(&text) {
        return Some(0);
    }
    let sign = match text.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let numbers: Vec<u8> = text.bytes().skip(1).filter(|b| *b != b':').collect();
    let hours = digits(numbers.get(..2)?)?;
    let minutes = if numbers.len() >= 4 { digits(numbers.get(2..4)?)? } else { 0 };
    (hours <= 14 && minutes <= 59).then_some(sign * i64::try_from(hours * 3600 + minutes * 60).ok()?)
}

fn assemble(days: i64, of_day_ns: u64, east_s: i64) -> Option<u64> {
    let seconds = days.checked_mul(86_400)?.checked_sub(east_s)?;
    u64::try_from(seconds).ok()?.checked_mul(NS)?.checked_add(of_day_ns)
}

/// Unix time: seconds, milliseconds, microseconds or nanoseconds by its size. Before 2001 is no time of a log.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ranges are checked")]
fn unix(number: f64, text: &str) -> Option<u64> {
    // A whole number keeps all its digits.
    let whole: Option<u64> = text.parse().ok();
    let scaled = |factor: u64| match whole {
        Some(whole) => whole.checked_mul(factor),
        // A float holds microseconds exactly enough, and no more.
        None => ((number * factor as f64 / 1e3).round() as u64).checked_mul(1000),
    };
    match number {
        n if (1e9..1e11).contains(&n) => scaled(NS),
        n if (1e12..1e14).contains(&n) => scaled(NS / 1000),
        n if (1e15..1e17).contains(&n) => scaled(NS / 1_000_000),
        n if (1e18..1.8e19).contains(&n) => scaled(1),
        _ => None,
    }
}

fn digits(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

fn month(name: &[u8]) -> Option<u64> {
    const MONTHS: [&[u8; 3]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let at = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    u64::try_from(at + 1).ok()
}

/// Days since 1970-01-01, by Howard Hinnant's `days_from_civil`.
fn days(year: u64, month: u64, day: u64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1970..=2262).contains(&year) {
        return None;
    }
    let year = i64::try_from(year).ok()? - i64::from(month <= 2);
    let (month, day) = (i64::try_from(month).ok()?, i64::try_from(day).ok()?);
    let era = year / 400;
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const AT: u64 = 1_795_381_385_000_000_000;

    #[test]
    fn one_moment_in_many_notations() {
        for text in [
            "22/Nov/2026:21:03:05 +0000",
            "[22/Nov/2026:22:03:05 +0100]",
            "22/Nov/2026:21:03:05",
            "2026-11-22T21:03:05Z",
            "2026-11-22T16:03:05-05:00",
            "2026-11-22 21:03:05,000",
            "2026/11/22 21:03:05",
            "1795381385",
            "1795381385.000",
            "1795381385000",
            "1795381385000000",
            "1795381385000000000",
        ] {
            assert_eq!(parse(text), Some(AT), "{text}");
        }
        assert_eq!(parse("06/Feb/2009:12:14:14.655"), Some(1_233_922_454_655_000_000));
        assert_eq!(parse("2026-11-22T21:03:05.123456789Z"), Some(AT + 123_456_789));
        assert_eq!(parse("1795381385.123"), Some(AT + 123_000_000));
        assert_eq!(parse("29/Feb/2000:00:00:00 +0000"), Some(951_782_400_000_000_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "-",
            "22/Nov/2026",
            "2026-11-22",
            "32/Nov/2026:21:03:05 +0000",
            "2026-13-22T21:03:05Z",
            "17",
            "NaN",
            "1e999",
            "22/Nov/2026:21:03:05 +9900",
            "é2/Nov/2026:21:03:05",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
