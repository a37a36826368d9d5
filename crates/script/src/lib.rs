//! k6 scripts: JavaScript and TypeScript by an embedded QuickJS, each virtual user on a coroutine, k6's modules,
//! metrics, thresholds and summary, driven by the load engine's executors. It prints nothing and saves nothing.
//!
//! ```no_run
//! # async fn example() -> Result<(), script::Failed> {
//! let settings = script::RunSettings::new("test.js");
//! let report = script::run(settings, &net::Shutdown::new()).await?;
//! assert_eq!(report.exit_code, 0);
//! # Ok(())
//! # }
//! ```

mod builtin;
mod crypto;
mod duration;
mod endpoints;
mod engine;
mod events;
mod globals;
mod html;
mod http;
mod log;
mod metrics;
mod natives;
mod options;
mod report;
mod run;
mod runner;
mod select;
mod summary;
mod syntax;
mod test;
mod typescript;
mod user;
mod values;
mod virtual_user;
mod websocket;

pub use log::Level;
pub use options::Overrides;
pub use report::{EndpointRow, Report, exit};
pub use run::{Failed, Listener, Progress, RunSettings, run};
pub use summary::Detail;
