//! What handlers take from a request, with every refusal told in the shop's own form of error.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::trace::Trace;

/// The `{id}` of the path: positive, as all numbers of customers and products are.
pub(super) struct Id(pub i32);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<i32>::from_request_parts(parts, state).await {
            Ok(Path(id)) if id > 0 => Ok(Self(id)),
            _ => Err(Error::BadRequest("the number in the path must be a positive integer".to_owned())),
        }
    }
}

/// The query string.
pub(super) struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(Error::BadRequest(rejection.body_text())),
        }
    }
}

/// A JSON body, of whatever content type; axum's limit of 2 MB applies.
pub(super) struct Input<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Error::BadRequest(rejection.body_text()))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Error::BadRequest(format!("cannot read the JSON body: {error}")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Trace {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let trace = parts.extensions.get::<Self>().cloned();
        trace.ok_or_else(|| Error::Internal("a request came past its server span".to_owned()))
    }
}
