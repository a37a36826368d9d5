//! What an endpoint answers when it cannot do its work: a status and `{"error": "..."}`.
//! Internal causes go to standard error; the client gets no more than it can act on.

use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::log;

#[derive(Debug)]
pub(crate) enum Error {
    /// 400: the request cannot be understood; says where.
    BadRequest(String),
    /// 404: there is no such thing.
    NotFound(String),
    /// 406: no representation that the client accepts.
    NotAcceptable(String),
    /// 409: understood, but not possible in the present state.
    Conflict(String),
    /// 422: names something that does not exist.
    Unprocessable(String),
    /// 503: something behind the shop is down or full; worth a retry.
    Unavailable(String),
    /// 500: a bug or a surprise.
    Internal(String),
}

impl Error {
    fn parts(self) -> (StatusCode, String) {
        match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::NotAcceptable(message) => (StatusCode::NOT_ACCEPTABLE, message),
            Self::Conflict(message) => (StatusCode::CONFLICT, message),
            Self::Unprocessable(message) => (StatusCode::UNPROCESSABLE_ENTITY, message),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
            Self::Internal(cause) => {
                log::complain(&format!("internal error: {cause}"));
                (StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned())
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(message)
            | Self::NotFound(message)
            | Self::NotAcceptable(message)
            | Self::Conflict(message)
            | Self::Unprocessable(message)
            | Self::Unavailable(message)
            | Self::Internal(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, message) = self.parts();
        let mut response = (status, Json(json!({ "error": message }))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        if is_unavailable(&error) {
            return Self::Unavailable("the database is not available".to_owned());
        }
        match error.as_db_error() {
            Some(cause) => Self::Internal(format!("database: {}: {}", cause.code().code(), cause.message())),
            None => Self::Internal(format!("database: {error}")),
        }
    }
}

/// Whether the server could not be reached, is going away, or has no room: the request may be retried.
fn is_unavailable(error: &tokio_postgres::Error) -> bool {
    let Some(state) = error.code() else {
        // Without an answer from the server only a conversion of values is our own mistake.
        let conversion = std::error::Error::source(error)
            .is_some_and(|source| source.is::<tokio_postgres::types::WrongType>());
        return !conversion;
    };
    let class = state.code().get(..2);
    matches!(class, Some("08" | "53" | "57")) || *state == SqlState::INVALID_CATALOG_NAME
}
