//! Draws what was found: one self-contained HTML file, text for a terminal, JSON for other programs.
//! Data in, a string out: nothing here reads a file, opens a socket or asks for the time.

mod build;
mod charts;
mod clip;
mod critical;
mod data;
mod database;
mod findings;
mod flame;
mod headline;
mod html;
mod json;
mod levels;
mod number;
mod pick;
mod steps;
pub mod team;
mod template;
pub mod text;
mod trace_url;
mod traces;
mod waterfall;

pub use build::{Inputs, Measured};
pub use data::ReportData;
pub use database::State;
pub use headline::{Headline, Tone};
pub use html::html;
pub use json::{json, judgement_json, scaling_json};
pub use trace_url::TraceUrl;
