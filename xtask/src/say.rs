//! The one place of xtask that prints. No colours, no progress bars: the output is read in CI logs.

use std::time::Duration;

/// Prints one line, or several, to standard output.
#[expect(clippy::print_stdout, reason = "this module is xtask's output")]
pub(crate) fn text(text: &str) {
    println!("{}", text.trim_end());
}

/// Prints why a chore stopped, to standard error.
#[expect(clippy::print_stderr, reason = "this module is xtask's output")]
pub(crate) fn complaint(why: &str) {
    eprintln!("xtask: {}", why.trim_end());
}

/// Starts a section of a longer chore.
pub(crate) fn heading(title: &str) {
    text(&format!("\n== {title}"));
}

/// `3.2 s` below two minutes, `2 min 05 s` from there on.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_told_in_minutes() {
        assert_eq!(elapsed(Duration::from_millis(3240)), "3.2 s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2 min 05 s");
    }
}
