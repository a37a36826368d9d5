//! Bodies: read within the bound and in time, inflated; and replies, with trailers where gRPC wants them.

use super::PATIENCE;
use crate::inflate::{Coding, Failure};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a body is not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    TooLarge(usize),
    TooSlow,
    /// The sender broke off, or the compressed data is broken.
    Broken(String),
}

impl Refused {
    pub(super) fn message(&self) -> String {
        match self {
            Self::TooLarge(bytes) => {
                format!("the body has more than {bytes} bytes; send smaller batches")
            }
            Self::TooSlow => format!("the body did not come within {} s", PATIENCE.as_secs()),
            Self::Broken(problem) => problem.clone(),
        }
    }
}

/// All bytes of a body.
pub(super) async fn read(body: Incoming, max_bytes: usize) -> Result<Vec<u8>, Refused> {
    let expected = body.size_hint().lower();
    if expected > max_bytes as u64 {
        return Err(Refused::TooLarge(max_bytes));
    }
    let capacity = usize::try_from(expected).unwrap_or(0);
    tokio::time::timeout(PATIENCE, collect(body, capacity, max_bytes)).await.unwrap_or(Err(Refused::TooSlow))
}

async fn collect(mut body: Incoming, capacity: usize, max_bytes: usize) -> Result<Vec<u8>, Refused> {
    let mut all = Vec::with_capacity(capacity);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refused::Broken(format!("the body broke off: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        if all.len() + data.len() > max_bytes {
            return Err(Refused::TooLarge(max_bytes));
        }
        all.extend_from_slice(data);
    }
    Ok(all)
}

/// The body as it was before compression.
pub(super) fn inflate(bytes: Vec<u8>, coding: Option<Coding>, max_bytes: usize) -> Result<Vec<u8>, Refused> {
    let Some(coding) = coding else { return Ok(bytes) };
    coding.inflate(&bytes, max_bytes).map_err(|failure| match failure {
        Failure::TooLarge(bytes) => Refused::TooLarge(bytes),
        Failure::Broken(_) => Refused::Broken(failure.to_string()),
    })
}

/// The coding that a header names; `Err` for one that we do not know.
pub(super) fn coding(headers: &HeaderMap, name: &str) -> Result<Option<Coding>, String> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.as_bytes().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(None),
        b"gzip" | b"x-gzip" => Ok(Some(Coding::Gzip)),
        b"zstd" => Ok(Some(Coding::Zstd)),
        other => {
            Err(format!("{name} `{}` is not known; send gzip, zstd or none", String::from_utf8_lossy(other)))
        }
    }
}

/// A reply of at most one piece of data and trailers.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) data: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
