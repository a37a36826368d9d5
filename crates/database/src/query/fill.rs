//! Values for the places of a statement that hold none: values that are in the data, so that the planner and the clock
//! see what the service causes.

use super::lexer::{Dialect, tokens};
use super::shape::{Asked, Shape};
use crate::tokens::{Kind, edited};
use std::collections::BTreeMap;

/// A page of rows, where LIMIT holds no number.
const PAGE: &str = "20";

/// Literals by table and column, both lower case.
pub(crate) type Known = BTreeMap<(String, String), String>;

/// The text with every placeholder replaced; `None` where it is not known what one stands for, unless `otherwise` may
/// stand there.
pub(crate) fn fill(
    text: &str,
    dialect: Dialect,
    shape: &Shape,
    known: &Known,
    otherwise: Option<&str>,
) -> Option<String> {
    let value = |at: usize| {
        Some(match shape.asked.get(&at)? {
            Asked::Limit => PAGE.to_owned(),
            Asked::Offset => "0".to_owned(),
            Asked::Column { table, column, function } => {
                let value = known.get(&(table.to_lowercase(), column.to_lowercase()))?;
                function.as_ref().map_or_else(|| value.clone(), |function| format!("{function}({value})"))
            }
        })
    };
    let mut edits = Vec::new();
    for token in tokens(text, dialect).iter().filter(|t| t.kind == Kind::Parameter) {
        let value = value(token.at).or_else(|| otherwise.map(str::to_owned))?;
        edits.push((token.at, token.end(), value));
    }
    Some(edited(text, edits))
}
