//! The engine on traces that others recorded.

mod critical_path;
mod identity;
mod online_boutique;
mod support;
mod zipkin;
