//! Drives work in three parts that know nothing of each other: the pace says when, the scenario what, the client how.
//! The model is open: arrivals are due whatever the service does, and a response time counts from the due time.
//! Judges only its own validity; goals and printing are the program's, and the only files are a scenario's data and the outputs asked for.
//!
//! Two layers are for other fronts, such as scripts: [`http`] (a [`http::Client`] per thread, a [`http::Pool`] per user,
//! [`http::Pool::send`]) and [`drive`] (a front implements [`drive::Users`] and [`drive::User`], says when by
//! [`drive::Plan`]s, and calls [`drive::drive`]). Both live on one thread:
//!
//! ```
//! use load::drive::{Control, Crew, Ended, Executor, Iteration, Plan, User, Users, drive, users_needed};
//! use load::http::{Client, Pool, Request, Settings};
//! use std::time::Duration;
//!
//! struct Visitors(Client);
//! struct Visitor(Pool);
//!
//! impl Users for Visitors {
//!     type User = Visitor;
//!     async fn create(&self, _user: u32) -> anyhow::Result<Visitor> {
//!         Ok(Visitor(self.0.pool()))
//!     }
//! }
//!
//! impl User for Visitor {
//!     async fn iterate(&mut self, _iteration: &Iteration) -> Ended {
//!         if let Ok(request) = Request::new("GET".parse().unwrap(), "http://127.0.0.1:1/") {
//!             let response = self.0.send(&request).await;
//!             assert_eq!(response.failure.unwrap().class, model::ErrorClass::Connect);
//!         }
//!         Ended::Done
//!     }
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let work = async {
//!     let executor = Executor::PerVuIterations { users: 2, iterations: 3, max_duration: Duration::from_secs(5) };
//!     let plan = Plan { name: "visit".into(), start: Duration::ZERO, graceful_stop: Duration::ZERO, executor };
//!     let crew = Crew::new(Visitors(Client::new(Settings::default())?));
//!     crew.prepare(users_needed(&[plan.clone()])).await?;
//!     let driven = drive(&crew, &[plan], &Control::new()).await?;
//!     assert_eq!(driven[0].completed, 6);
//!     anyhow::Ok(())
//! };
//! tokio::task::LocalSet::new().block_on(&runtime, work)
//! # }
//! ```

mod csv;
pub mod drive;
mod expect;
mod extract;
pub mod find;
pub mod http;
mod junit;
mod options;
pub mod out;
mod pace;
mod reach;
mod record;
mod render;
mod requests;
mod result;
mod run;
mod samples;
mod saved;
mod scenario;
mod schedule;
mod share;
mod summary;
mod tell;
mod template;
mod timer;
mod trace;
mod validity;
mod variable;
mod visitor;

pub use expect::{Expect, StatusRange};
pub use extract::{Check, Part};
pub use find::{GoalOutcome, judge_goals};
pub use junit::junit;
pub use options::{Clock, DEFAULT_MAX_IN_FLIGHT, Options, Workload};
pub use pace::{Arrivals, Pace, Segment, Spacing};
pub use reach::reach;
pub use record::Progress;
pub use render::{k6_json, text};
pub use result::{CheckCount, ErrorCount, LoadResult, OperationTotals};
pub use run::run;
pub use saved::{Saved, merge};
pub use scenario::{Operation, Scenario};
pub use share::Share;
pub use summary::{
    Distribution, KeptOfOperation, KeptRequest, OperationSummary, SLOW_REQUESTS, Summary, summary,
};
pub use trace::TraceIds;
pub use validity::{Figures, judge};
pub use variable::{Order, Variable};
