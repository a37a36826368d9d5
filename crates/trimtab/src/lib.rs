//! The program: settings, the loop, its instruments side by side, journal and output.
//! A library as well, so that benchmarks and tests run what users run.

pub mod access_logs;
pub mod acknowledged;
pub mod apply;
pub mod args;
pub mod borders;
pub mod calibration;
pub mod clock;
pub mod commands;
pub mod connection;
pub mod control;
pub mod cycle;
pub mod demo;
pub mod files;
pub mod full;
pub mod in_force;
pub mod journal;
pub mod load_settings;
pub mod one_request;
pub mod output;
pub mod placeholders;
pub mod process;
pub mod profiling;
pub mod promised;
pub mod session;
pub mod settings;
pub mod story;
pub mod trial;
pub mod trials;
pub mod window;
