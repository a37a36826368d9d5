//! A pass-through proxy for the Postgres wire protocol: every byte goes on unchanged, and what was asked and answered
//! becomes spans. Values of parameters are hashed under a key that is thrown away, never kept.
//! It does not speak TLS: what is encrypted passes through unseen and is counted. It judges nothing.

mod address;
mod comment;
mod figures;
mod frames;
mod ledger;
mod proxy;
mod refusal;
mod session;
mod socket;
mod units;
mod write;

pub use address::Address;
pub use figures::StatementFigures;
pub use ledger::{Counts, Event, Ledger};
pub use proxy::{MAX_REFUSALS, Options, run};
pub use socket::Listener;
