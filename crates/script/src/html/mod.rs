//! `k6/html`: pages as trees that scripts search by CSS selectors. The tree and its search are native, the selections
//! that scripts hold are `js/html.js`.

mod document;
mod entities;
mod natives;
mod parse;
mod selector;

pub(crate) use natives::install;
