//! What a basket costs at today's prices.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::extract::Input;
use crate::App;
use crate::database::Statement;
use crate::error::Error;
use crate::switches::BasketPrices;
use crate::trace::Trace;

const MOST_LINES: usize = 100;

const PRICE: Statement = Statement {
    operation: "SELECT",
    collection: "products",
    sql: "SELECT id, price_cents FROM products WHERE id = $1",
};
const PRICES: Statement = Statement {
    operation: "SELECT",
    collection: "products",
    sql: "SELECT id, price_cents FROM products WHERE id = ANY($1)",
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Basket {
    items: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    product_id: i32,
    quantity: u16,
}

#[derive(Serialize)]
pub(super) struct Priced {
    items: Vec<PricedLine>,
    total_cents: i64,
}

#[derive(Serialize)]
struct PricedLine {
    product_id: i32,
    quantity: u16,
    unit_price_cents: i32,
    price_cents: i64,
}

pub(super) async fn prices(
    State(app): State<Arc<App>>,
    trace: Trace,
    Input(basket): Input<Basket>,
) -> Result<Json<Priced>, Error> {
    if basket.items.len() > MOST_LINES {
        return Err(Error::BadRequest(format!("items must hold at most {MOST_LINES} entries")));
    }
    let switches = app.switches.current();
    let session = app.database.session(&trace, &switches).await?;
    let ids: Vec<_> = basket.items.iter().map(|line| line.product_id).collect();
    let mut rows = Vec::new();
    match switches.basket_prices {
        BasketPrices::PerProduct => {
            for id in &ids {
                rows.extend(session.query(&trace, &PRICE, &[id]).await?);
            }
        }
        BasketPrices::Bulk => rows = session.query(&trace, &PRICES, &[&ids]).await?,
    }
    let mut price_of = HashMap::new();
    for row in rows {
        price_of.insert(row.try_get::<_, i32>(0)?, row.try_get::<_, i32>(1)?);
    }
    priced(basket, &price_of).map(Json)
}

fn priced(basket: Basket, price_of: &HashMap<i32, i32>) -> Result<Priced, Error> {
    let mut items = Vec::with_capacity(basket.items.len());
    for Line { product_id, quantity } in basket.items {
        let unit_price_cents = *price_of
            .get(&product_id)
            .ok_or_else(|| Error::Unprocessable(format!("there is no product {product_id}")))?;
        let price_cents = i64::from(unit_price_cents) * i64::from(quantity);
        items.push(PricedLine { product_id, quantity, unit_price_cents, price_cents });
    }
    let total_cents = items.iter().map(|line| line.price_cents).sum();
    Ok(Priced { items, total_cents })
}
