//! A line of an access log as a request that was seen.

use crate::learn::Exchange;
use access_log::Request;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

impl<'a> From<&'a Request<'_>> for Exchange<'a> {
    fn from(request: &'a Request<'_>) -> Self {
        Self {
            at_ns: request.begin_ns,
            duration_ns: request.duration_ns,
            client: client(&request.client, &request.agent),
            method: Cow::Borrowed(&request.method),
            path: Cow::Borrowed(request.path()),
            query: Cow::Borrowed(request.query()),
            route: Cow::Borrowed(&request.route),
            status: request.status,
            ..Self::default()
        }
    }
}

/// A number for who sent it, by address and browser; 0 where the log tells neither.
fn client(address: &str, agent: &str) -> u64 {
    if address.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    (address, agent).hash(&mut hasher);
    hasher.finish().max(1)
}
