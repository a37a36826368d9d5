//! The same content in short, for a terminal: tables, findings in a few lines each, figures for people.
//! Texts from outside are stripped of control characters before they get here, so none of them steers a terminal.

mod diagnosis;
mod layout;
mod loops;

pub use diagnosis::diagnosis;
pub use layout::Colour;
pub use loops::{judgement, step, steps_table};
