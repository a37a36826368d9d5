//! How figures read in the reasons of a verdict.

/// A share in per cent, with as many digits as help.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A duration in milliseconds, to three digits.
pub(crate) fn ms(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2} ms"),
        v if v < 100.0 => format!("{v:.1} ms"),
        v => format!("{v:.0} ms"),
    }
}

/// `p95`, `p99.9`.
pub(crate) fn quantile_name(quantile: f64) -> String {
    let percent = (quantile * 1e8).round() / 1e6;
    format!("p{percent}")
}

/// `1 request`, `2 requests`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!((percent(0.0512), percent(0.5)), ("5.1 %".to_owned(), "50 %".to_owned()));
        assert_eq!([ms(1.234), ms(45.67), ms(1234.5)], ["1.23 ms", "45.7 ms", "1234 ms"]);
        assert_eq!([0.5, 0.95, 0.99, 0.999].map(quantile_name), ["p50", "p95", "p99", "p99.9"]);
        assert_eq!((counted(1, "pair"), counted(0, "pair")), ("1 pair".to_owned(), "0 pairs".to_owned()));
    }
}
