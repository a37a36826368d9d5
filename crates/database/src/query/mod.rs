//! What a statement's text asks of which tables, for servers whose plans do not say it (MariaDB, MySQL, SQLite): lookups,
//! ranges, joins and orders, the indexes that could serve them, and typed values for places that hold none. No grammar:
//! what it does not know it passes over. The planner has the last word on every index.

mod candidates;
mod conditions;
mod fill;
mod lexer;
mod schema;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use candidates::{candidates, create, quoted, undo};
pub(crate) use fill::{Known, fill};
pub(crate) use lexer::{Dialect, as_read, statements, tokens, without_values};
pub(crate) use schema::{Column, Index, Schema, Table};
pub(crate) use shape::{Shape, Term, Use, shape};

/// Characters of a statement within a sentence.
const MAX_TOLD_CHARS: usize = 160;

/// A statement within a sentence.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_TOLD_CHARS {
        return text.to_owned();
    }
    format!("{}...", text.chars().take(MAX_TOLD_CHARS).collect::<String>())
}
