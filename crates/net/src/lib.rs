//! Sockets: target URLs, connecting by name, proxy or Unix socket with TLS, hyper's HTTP handshakes,
//! listening, shutdown,
//! and one-shot calls for controls and scrapes.
//! It keeps no pool, follows no redirect and judges no status: callers do.

mod call;
mod connect;
mod dial;
mod listen;
mod shutdown;
mod stream;
mod target;
mod tls;

pub use call::{Call, MAX_BODY_BYTES, Response, call, get, put};
pub use connect::{ConnectError, Connection, Connector, Driver, Sender};
pub use dial::{DialStep, Route};
pub use listen::listen;
pub use shutdown::Shutdown;
pub use stream::{Received, Stream};
pub use target::{Target, display_url};
pub use tls::{HttpVersion, Identity, TlsOptions, TlsVersion};
