//! The one place that prints: results to standard output, progress and warnings to standard error.
//! Progress is a line that rewrites itself on a terminal, and silence elsewhere.

use crate::args::{Colour, Common, Format};
use std::io::{IsTerminal, Write};

/// How this run speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    pub colour: bool,
    pub width: usize,
    live: bool,
    quiet: bool,
}

impl Output {
    pub fn new(common: &Common, no_color: bool, columns: Option<usize>) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            format: common.format,
            colour: match common.color {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => terminal && !no_color,
            },
            width: columns.unwrap_or(100).clamp(60, 140),
            live: std::io::stderr().is_terminal() && !common.quiet,
            quiet: common.quiet,
        }
    }

    /// How the text renderer shall paint.
    pub fn paint(&self) -> report::text::Colour {
        if self.colour { report::text::Colour::On } else { report::text::Colour::Off }
    }

    pub fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// A result. A reader that has gone away (`| head`) is no error.
    pub fn result(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        self.clear_line();
        discard(out.write_all(text.as_bytes()));
        if !text.ends_with('\n') {
            discard(out.write_all(b"\n"));
        }
        discard(out.flush());
    }

    /// A line of the story, for people only: nothing in JSON mode or when quiet.
    pub fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.json() {
            self.clear_line();
            discard(writeln!(std::io::stderr().lock(), "{text}"));
        } else {
            self.result(text);
        }
    }

    /// A line about a result, beside it: to standard error, whatever the format; nothing when quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.aside(text);
        }
    }

    /// What a user's own program says: to standard error, however quiet.
    pub fn aside(&self, text: &str) {
        self.clear_line();
        discard(writeln!(std::io::stderr().lock(), "{text}"));
    }

    /// What goes on right now; rewritten by the next.
    pub fn progress(&self, text: &str) {
        if self.live {
            let cut: String = text.chars().take(self.width.saturating_sub(1)).collect();
            let mut err = std::io::stderr().lock();
            discard(write!(err, "\r\x1b[2K{cut}"));
            discard(err.flush());
        }
    }

    /// A warning: shown however quiet.
    pub fn warn(&self, text: &str) {
        self.clear_line();
        discard(writeln!(std::io::stderr().lock(), "warning: {text}"));
    }

    /// The end of progress.
    pub fn clear_line(&self) {
        if self.live {
            discard(write!(std::io::stderr().lock(), "\r\x1b[2K"));
        }
    }

    pub fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn dim(&self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// An error with its causes and hint, one a line.
pub fn error(error: &anyhow::Error) {
    let mut err = std::io::stderr().lock();
    discard(writeln!(err, "error: {error}"));
    for cause in error.chain().skip(1) {
        discard(writeln!(err, "  because {cause}"));
    }
}

/// Printing has nobody to report to when it fails.
fn discard(result: std::io::Result<()>) {
    drop(result);
}

/// Something went wrong where no result can carry it (a guard that was dropped).
pub fn alarm(text: &str) {
    discard(writeln!(std::io::stderr().lock(), "error: {text}"));
}
