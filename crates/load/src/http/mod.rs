//! An HTTP client for load: every phase timed, every byte bounded, every failure classed, nothing done unasked.
//! HTTP/1.1 by an own codec, h2 by hyper. It follows no redirect, keeps no cookie and judges no status: callers do.
//! All of it lives on one thread, in a tokio current-thread runtime within a `LocalSet`.

mod client;
mod codec;
mod decode;
mod headers;
mod http1;
mod http2;
mod message;
mod overrides;
mod pool;

pub use client::{Client, Family, Proxies, Settings, parse_proxy};
pub use headers::{BadHeader, Headers};
pub use message::{
    DEFAULT_MAX_BODY_BYTES, DEFAULT_TIMEOUT, Failure, Origin, Phases, Request, Response, Step, Version,
};
pub use overrides::Overrides;
pub use pool::Pool;

use bytes::Bytes;
use model::ErrorClass;

/// The body as the caller wants it.
fn decoded(request: &Request, body: Vec<u8>, encoding: Option<&str>) -> Result<Bytes, Failure> {
    match encoding {
        Some(encoding) if request.decompress && !body.is_empty() => {
            let plain = decode::decode(body, encoding, request.max_body_bytes);
            plain.map(Bytes::from).map_err(|text| Failure::new(ErrorClass::Protocol, Step::Receive, text))
        }
        _ => Ok(body.into()),
    }
}
