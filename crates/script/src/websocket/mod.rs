//! WebSockets (RFC 6455) behind `k6/ws` and `k6/websockets`: handshake, frames, k6's metrics. Compression is not
//! offered to servers.

mod frame;
mod handshake;
mod natives;
mod socket;

pub(crate) use natives::{describe, install};
pub(crate) use socket::{Event, Socket};
