//! The same content in short, for a terminal: tables, findings in a few lines each, figures for people.
//! Texts from outside are stripped of control characters before they get here, so none of them steers a terminal.

mod diagnosis;
mod layout;
mod levels;
mod loops;

use crate::clip::{self, SENTENCE};

pub use crate::clip::without_secrets;
pub use diagnosis::diagnosis;
pub use layout::Colour;
pub use levels::{level, level_titles, scaling};
pub use loops::{judgement, step, steps_table};

/// A text from outside as one line for a terminal: no control characters, no passwords of addresses, not endless.
#[must_use]
pub fn one_line(text: &str) -> String {
    clip::line(&without_secrets(text), SENTENCE)
}
