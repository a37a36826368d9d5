//! What the crate promises, from outside: text, JSON and its schema, bounds, and the page in a real browser.

mod bounds;
mod chromium;
mod contrast;
mod levels;
mod sample;
mod schema;
mod text;
mod waterfalls;
