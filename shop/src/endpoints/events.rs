//! What visitors do, one event per request: written at once, or queued for a batch.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::extract::Input;
use crate::App;
use crate::error::Error;
use crate::event_queue::Event;
use crate::switches::Events;
use crate::trace::Trace;

const KIND_BYTES: usize = 64;

#[derive(Serialize)]
pub(super) struct Accepted {
    accepted: u32,
}

pub(super) async fn accept(
    State(app): State<Arc<App>>,
    trace: Trace,
    Input(event): Input<Event>,
) -> Result<(StatusCode, Json<Accepted>), Error> {
    // Postgres knows no zero character, and a batch must not fail for one of its rows.
    if event.kind.is_empty() || event.kind.len() > KIND_BYTES || event.kind.contains('\0') {
        return Err(Error::BadRequest(format!("kind must be text of 1 to {KIND_BYTES} bytes")));
    }
    match app.switches.current().events {
        Events::PerRequest => app.events.write(&trace, &event).await?,
        Events::Batched => app.event_queue.push(&trace, event)?,
    }
    Ok((StatusCode::ACCEPTED, Json(Accepted { accepted: 1 })))
}
