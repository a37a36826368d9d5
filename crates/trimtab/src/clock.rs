//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in Unix nanoseconds.
#[expect(clippy::disallowed_methods, reason = "the program's one clock; everything below is given `now`")]
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A time as `20261122-210305` in UTC: sortable, and fit for a file name.
pub fn stamp(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Its day as `2026-11-22`, in UTC.
pub fn day(unix_ns: u64) -> String {
    let (year, month, day) = civil(unix_ns / 86_400_000_000_000);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The date of a day since 1970-01-01, by Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc_dates() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(951_782_400_000_000_000), "20000229-000000");
        assert_eq!(stamp(1_795_381_385_000_000_000), "20261122-210305");
        assert_eq!(day(1_795_381_385_000_000_000), "2026-11-22");
    }
}
