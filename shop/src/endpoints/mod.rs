//! The routes of the API, one file per concern. README.md documents each.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::error::Error;
use crate::{App, observe};

mod account;
mod basket;
mod events;
mod export;
mod extract;
mod operations;
mod orders;
mod products;
mod recommendations;
mod report;

pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/customers/{id}/orders", get(orders::list))
        .route("/customers/{id}/account", get(account::show))
        .route("/customers/{id}/recommendations", get(recommendations::list))
        .route("/products/{id}", get(products::show).put(products::change))
        .route("/products/{id}/page", get(products::page))
        .route("/basket/prices", post(basket::prices))
        .route("/orders", post(orders::create))
        .route("/events", post(events::accept))
        .route("/export/orders", get(export::orders))
        .route("/reports/sales", get(report::sales))
        .route("/healthz", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .route("/switches", get(operations::switches).put(operations::switch))
        .fallback(async || Error::NotFound("there is no such path".to_owned()))
        .method_not_allowed_fallback(async || {
            Error::NotFound("this path does not know that method".to_owned())
        })
        .layer(from_fn_with_state(Arc::clone(app), observe::request))
        .with_state(Arc::clone(app))
}
