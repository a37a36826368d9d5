//! Product details, their change, and the product page that joins details, related products and stock.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::extract::{Id, Input};
use crate::App;
use crate::database::Statement;
use crate::error::Error;
use crate::inventory::Stock;
use crate::product::{Product, ProductChange, Source};
use crate::switches::ProductPage;
use crate::trace::Trace;

const RELATED: Statement = Statement {
    operation: "SELECT",
    collection: "products",
    sql: "SELECT p.id, p.name, p.price_cents FROM products p, products o WHERE o.id = $1 AND p.id <> o.id \
          ORDER BY (SELECT count(*) FROM unnest(p.tags) tag WHERE tag = ANY(o.tags)) DESC, \
          abs(p.price_cents - o.price_cents), p.id LIMIT 6",
};

#[derive(Serialize)]
struct Related {
    id: i32,
    name: String,
    price_cents: i32,
}

#[derive(Serialize)]
struct Page<'a> {
    product: &'a Product,
    related: Vec<Related>,
    stock: Stock,
}

pub(super) async fn show(State(app): State<Arc<App>>, trace: Trace, Id(id): Id) -> Result<Response, Error> {
    let switches = app.switches.current();
    let source = Source::new(&app.database, &switches);
    let product = app.products.details(&trace, &source, id).await?;
    Ok(Json(&*product).into_response())
}

pub(super) async fn change(
    State(app): State<Arc<App>>,
    trace: Trace,
    Id(id): Id,
    Input(change): Input<ProductChange>,
) -> Result<Json<Product>, Error> {
    if change.price_cents < 0 || change.name.is_empty() {
        return Err(Error::BadRequest("name must not be empty and price_cents not negative".to_owned()));
    }
    let switches = app.switches.current();
    let source = Source::new(&app.database, &switches);
    app.products.change(&trace, &source, id, &change).await.map(Json)
}

pub(super) async fn page(State(app): State<Arc<App>>, trace: Trace, Id(id): Id) -> Result<Response, Error> {
    let switches = app.switches.current();
    let source = Source::new(&app.database, &switches);
    let details = app.products.details(&trace, &source, id);
    let related = related(&source, &trace, id);
    let stock = app.inventory.stock(&trace, id);
    let (product, related, stock) = match switches.product_page {
        ProductPage::Serial => (details.await?, related.await?, stock.await?),
        ProductPage::Concurrent => tokio::try_join!(details, related, stock)?,
    };
    Ok(Json(Page { product: &product, related, stock }).into_response())
}

async fn related(source: &Source<'_>, trace: &Trace, id: i32) -> Result<Vec<Related>, Error> {
    let rows = source.session(trace).await?.query(trace, &RELATED, &[&id]).await?;
    rows.iter()
        .map(|row| Ok(Related { id: row.try_get(0)?, name: row.try_get(1)?, price_cents: row.try_get(2)? }))
        .collect()
}
