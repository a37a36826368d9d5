//! For those who run the shop: health, metrics, switches.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::extract::Input;
use crate::App;
use crate::database::Statement;
use crate::error::Error;
use crate::trace::Trace;
use crate::{event_queue, mail_queue};

const PING: Statement = Statement { operation: "SELECT", collection: "", sql: "SELECT 1" };
const PROMETHEUS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn health(State(app): State<Arc<App>>, trace: Trace) -> Result<Json<Value>, Error> {
    let session = app.database.session(&trace, &app.switches.current()).await?;
    session.query(&trace, &PING, &[]).await?;
    Ok(Json(json!({ "status": "ok" })))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Error> {
    let queues = [(mail_queue::NAME, app.mail_queue.depth()), (event_queue::NAME, app.event_queue.depth())];
    let page = app.metrics.page(app.database.pool_level(), queues);
    let page = page.map_err(|error| Error::Internal(format!("metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, PROMETHEUS)], page))
}

pub(super) async fn switches(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.switches.current().describe())
}

pub(super) async fn switch(
    State(app): State<Arc<App>>,
    trace: Trace,
    Input(changes): Input<Map<String, Value>>,
) -> Result<Json<Value>, Error> {
    let _changing = app.switching.lock().await;
    let old = app.switches.current();
    let next = old.with_object(&changes).map_err(|error| Error::BadRequest(error.to_string()))?;
    if next.product_cache != old.product_cache {
        app.products.prepare(&trace, &next).await?;
    }
    if next.pool_size != old.pool_size {
        app.database.resize(next.pool_size);
    }
    app.switches.replace(next.clone());
    Ok(Json(next.describe()))
}
