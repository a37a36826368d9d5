//! A customer's orders with their items, and the making of a new order with its confirmation mail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::extract::{Id, Input, Parameters};
use crate::App;
use crate::database::{Session, Statement};
use crate::error::Error;
use crate::mail::Mail;
use crate::switches::{ConfirmationMail, OrderItems, Switches};
use crate::time::rfc3339;
use crate::trace::Trace;

const LISTED: i64 = 20;
const MOST_LISTED: i64 = 100;
const MOST_ITEMS: usize = 100;
const MOST_QUANTITY: i32 = 10_000;

const ORDERS: Statement = Statement {
    operation: "SELECT",
    collection: "orders",
    sql: "SELECT id, created_at, status, total_cents FROM orders WHERE customer_id = $1 \
          ORDER BY created_at DESC, id DESC LIMIT $2",
};
const ITEMS_OF_ORDER: Statement = Statement {
    operation: "SELECT",
    collection: "order_items",
    sql: "SELECT order_id, product_id, quantity, unit_price_cents FROM order_items WHERE order_id = $1 \
          ORDER BY id",
};
const ITEMS_OF_ORDERS: Statement = Statement {
    operation: "SELECT",
    collection: "order_items",
    sql: "SELECT order_id, product_id, quantity, unit_price_cents FROM order_items WHERE order_id = ANY($1) \
          ORDER BY id",
};
const CUSTOMER: Statement = Statement {
    operation: "SELECT",
    collection: "customers",
    sql: "SELECT name, email FROM customers WHERE id = $1",
};
const PRICES: Statement = Statement {
    operation: "SELECT",
    collection: "products",
    sql: "SELECT id, price_cents FROM products WHERE id = ANY($1)",
};
const INSERT_ORDER: Statement = Statement {
    operation: "INSERT",
    collection: "orders",
    sql: "INSERT INTO orders (customer_id, status, total_cents, shipping_address, note) \
          VALUES ($1, 'new', $2, '', '') RETURNING id",
};
const INSERT_ITEMS: Statement = Statement {
    operation: "INSERT",
    collection: "order_items",
    sql: "INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents) \
          SELECT $1, * FROM unnest($2::int4[], $3::int4[], $4::int4[])",
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    limit: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct OrderList {
    customer_id: i32,
    orders: Vec<Order>,
}

#[derive(Serialize)]
struct Order {
    id: i64,
    created_at: String,
    status: String,
    total_cents: i64,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    product_id: i32,
    quantity: i32,
    unit_price_cents: i32,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    trace: Trace,
    Id(customer_id): Id,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<OrderList>, Error> {
    let limit = parameters.limit.unwrap_or(LISTED);
    if !(1..=MOST_LISTED).contains(&limit) {
        return Err(Error::BadRequest(format!("limit must be from 1 to {MOST_LISTED}")));
    }
    let switches = app.switches.current();
    let session = app.database.session(&trace, &switches).await?;
    let rows = session.query(&trace, &ORDERS, &[&customer_id, &limit]).await?;
    if rows.is_empty() && session.query(&trace, &CUSTOMER, &[&customer_id]).await?.is_empty() {
        return Err(Error::NotFound(format!("there is no customer {customer_id}")));
    }
    let mut orders = rows.iter().map(order).collect::<Result<Vec<_>, Error>>()?;
    fill_items(&session, &trace, &switches, &mut orders).await?;
    Ok(Json(OrderList { customer_id, orders }))
}

fn order(row: &Row) -> Result<Order, Error> {
    let created_at: SystemTime = row.try_get(1)?;
    Ok(Order {
        id: row.try_get(0)?,
        created_at: rfc3339(created_at),
        status: row.try_get(2)?,
        total_cents: row.try_get(3)?,
        items: Vec::new(),
    })
}

fn item(row: &Row) -> Result<Item, Error> {
    Ok(Item { product_id: row.try_get(1)?, quantity: row.try_get(2)?, unit_price_cents: row.try_get(3)? })
}

async fn fill_items(
    session: &Session,
    trace: &Trace,
    switches: &Switches,
    orders: &mut [Order],
) -> Result<(), Error> {
    match switches.order_items {
        OrderItems::PerOrder => {
            for order in orders {
                let rows = session.query(trace, &ITEMS_OF_ORDER, &[&order.id]).await?;
                order.items = rows.iter().map(item).collect::<Result<_, _>>()?;
            }
        }
        OrderItems::Batched => {
            let ids: Vec<_> = orders.iter().map(|order| order.id).collect();
            let mut by_id: HashMap<i64, &mut Order> =
                orders.iter_mut().map(|order| (order.id, order)).collect();
            for row in session.query(trace, &ITEMS_OF_ORDERS, &[&ids]).await? {
                if let Some(order) = by_id.get_mut(&row.try_get::<_, i64>(0)?) {
                    order.items.push(item(&row)?);
                }
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    customer_id: i32,
    items: Vec<NewItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewItem {
    product_id: i32,
    quantity: i32,
}

#[derive(Serialize)]
pub(super) struct Created {
    order_id: i64,
    customer_id: i32,
    total_cents: i64,
    items: usize,
}

/// The connection is given back before the mail is sent, and a place in the mail queue is taken before
/// anything is written: a refused order leaves nothing behind.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    trace: Trace,
    Input(new): Input<NewOrder>,
) -> Result<(StatusCode, Json<Created>), Error> {
    check(&new)?;
    let switches = app.switches.current();
    let place = match switches.confirmation_mail {
        ConfirmationMail::Queued => Some(app.mail_queue.reserve()?),
        ConfirmationMail::InRequest => None,
    };
    let (created, mail) = write(&app, &trace, &switches, &new).await?;
    match place {
        Some(place) => place.send(&trace, mail),
        None => app.mailer.send(&trace, &mail).await.map_err(|_| {
            let id = created.order_id;
            Error::Unavailable(format!("order {id} was made, but its confirmation could not be sent"))
        })?,
    }
    Ok((StatusCode::CREATED, Json(created)))
}

fn check(new: &NewOrder) -> Result<(), Error> {
    if new.items.is_empty() || new.items.len() > MOST_ITEMS {
        return Err(Error::BadRequest(format!("items must hold 1 to {MOST_ITEMS} entries")));
    }
    match new.items.iter().position(|item| !(1..=MOST_QUANTITY).contains(&item.quantity)) {
        Some(index) => {
            Err(Error::BadRequest(format!("items[{index}].quantity must be from 1 to {MOST_QUANTITY}")))
        }
        None => Ok(()),
    }
}

async fn write(
    app: &App,
    trace: &Trace,
    switches: &Switches,
    new: &NewOrder,
) -> Result<(Created, Mail), Error> {
    let mut session = app.database.session(trace, switches).await?;
    let transaction = session.begin(trace).await?;
    let customers = transaction.query(trace, &CUSTOMER, &[&new.customer_id]).await?;
    let customer = customers
        .first()
        .ok_or_else(|| Error::Unprocessable(format!("there is no customer {}", new.customer_id)))?;
    let products: Vec<_> = new.items.iter().map(|item| item.product_id).collect();
    let quantities: Vec<_> = new.items.iter().map(|item| item.quantity).collect();
    let mut price_of = HashMap::new();
    for row in transaction.query(trace, &PRICES, &[&products]).await? {
        price_of.insert(row.try_get::<_, i32>(0)?, row.try_get::<_, i32>(1)?);
    }
    let mut prices = Vec::with_capacity(products.len());
    for product_id in &products {
        let price = price_of.get(product_id);
        prices.push(*price.ok_or_else(|| Error::Unprocessable(format!("there is no product {product_id}")))?);
    }
    let total_cents: i64 = prices
        .iter()
        .zip(&quantities)
        .map(|(price, quantity)| i64::from(*price) * i64::from(*quantity))
        .sum();
    let inserted = transaction.query(trace, &INSERT_ORDER, &[&new.customer_id, &total_cents]).await?;
    let order_id: i64 =
        inserted.first().ok_or_else(|| Error::Internal("INSERT returned no row".to_owned()))?.try_get(0)?;
    transaction.execute(trace, &INSERT_ITEMS, &[&order_id, &products, &quantities, &prices]).await?;
    let mail = Mail::order_confirmation(customer.try_get(1)?, customer.try_get(0)?, order_id, total_cents);
    transaction.commit(trace).await?;
    let items = products.len();
    Ok((Created { order_id, customer_id: new.customer_id, total_cents, items }, mail))
}
