//! The account page: a few sums over all orders of a customer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::extract::Id;
use crate::App;
use crate::database::{Session, Statement};
use crate::error::Error;
use crate::switches::Account as AccountSwitch;
use crate::time::rfc3339;
use crate::trace::Trace;

const CUSTOMER: Statement = Statement {
    operation: "SELECT",
    collection: "customers",
    sql: "SELECT name, email, created_at FROM customers WHERE id = $1",
};
const HISTORY: Statement = Statement {
    operation: "SELECT",
    collection: "orders",
    sql: "SELECT * FROM orders WHERE customer_id = $1 ORDER BY id",
};
const HISTORY_ITEMS: Statement = Statement {
    operation: "SELECT",
    collection: "order_items",
    sql: "SELECT * FROM order_items WHERE order_id = ANY($1)",
};
const SUMMARY: Statement = Statement {
    operation: "SELECT",
    collection: "orders",
    sql: "SELECT status, count(*), sum(total_cents)::bigint, max(created_at) FROM orders \
          WHERE customer_id = $1 GROUP BY status",
};

#[derive(Serialize)]
pub(super) struct Account {
    customer_id: i32,
    name: String,
    email: String,
    member_since: String,
    orders: i64,
    total_cents: i64,
    orders_by_status: BTreeMap<String, i64>,
    last_order_at: Option<String>,
}

#[derive(Default)]
struct Sums {
    total_cents: i64,
    by_status: BTreeMap<String, i64>,
    last: Option<SystemTime>,
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    trace: Trace,
    Id(customer_id): Id,
) -> Result<Json<Account>, Error> {
    let switches = app.switches.current();
    let session = app.database.session(&trace, &switches).await?;
    let customers = session.query(&trace, &CUSTOMER, &[&customer_id]).await?;
    let customer =
        customers.first().ok_or_else(|| Error::NotFound(format!("there is no customer {customer_id}")))?;
    let sums = match switches.account {
        AccountSwitch::WholeHistory => from_history(&session, &trace, customer_id).await?,
        AccountSwitch::Summary => from_summary(&session, &trace, customer_id).await?,
    };
    Ok(Json(Account {
        customer_id,
        name: customer.try_get(0)?,
        email: customer.try_get(1)?,
        member_since: rfc3339(customer.try_get(2)?),
        orders: sums.by_status.values().sum(),
        total_cents: sums.total_cents,
        orders_by_status: sums.by_status,
        last_order_at: sums.last.map(rfc3339),
    }))
}

/// As an object mapper does it with eager loading: all orders, all their items, all columns.
async fn from_history(session: &Session, trace: &Trace, customer_id: i32) -> Result<Sums, Error> {
    let orders = session.query(trace, &HISTORY, &[&customer_id]).await?;
    let mut ids: Vec<i64> = Vec::with_capacity(orders.len());
    let mut sums = Sums::default();
    for order in &orders {
        ids.push(order.try_get("id")?);
        *sums.by_status.entry(order.try_get("status")?).or_default() += 1;
        sums.last = sums.last.max(Some(order.try_get("created_at")?));
    }
    for item in session.query(trace, &HISTORY_ITEMS, &[&ids]).await? {
        let quantity: i32 = item.try_get("quantity")?;
        let price: i32 = item.try_get("unit_price_cents")?;
        sums.total_cents += i64::from(quantity) * i64::from(price);
    }
    Ok(sums)
}

async fn from_summary(session: &Session, trace: &Trace, customer_id: i32) -> Result<Sums, Error> {
    let mut sums = Sums::default();
    for row in session.query(trace, &SUMMARY, &[&customer_id]).await? {
        sums.by_status.insert(row.try_get(0)?, row.try_get(1)?);
        sums.total_cents += row.try_get::<_, i64>(2)?;
        sums.last = sums.last.max(Some(row.try_get(3)?));
    }
    Ok(sums)
}
