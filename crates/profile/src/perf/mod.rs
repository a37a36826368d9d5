//! The kernel's sampler: opens events, reads their rings, parses their records. It gives records, and does not know
//! what they mean for a thread's time.

mod events;
mod record;
mod ring;

pub(crate) use events::{Access, Events, Forbidden, Setting, wait_for};
pub(crate) use record::{Body, Record, Registers};
