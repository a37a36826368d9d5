//! Recommendations: of the products that others bought of late, those that share most of a customer's interests.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::extract::Id;
use crate::App;
use crate::database::Statement;
use crate::error::Error;
use crate::switches::Recommendations as RecommendationsSwitch;
use crate::trace::Trace;

const INTERESTS: Statement = Statement {
    operation: "SELECT",
    collection: "customers",
    sql: "SELECT interests FROM customers WHERE id = $1",
};
const CANDIDATES: Statement = Statement {
    operation: "SELECT",
    collection: "products",
    sql: "SELECT sku, name, tags FROM products ORDER BY id",
};
const TRENDING: Statement = Statement {
    operation: "SELECT",
    collection: "order_items",
    sql: "SELECT p.sku FROM (SELECT product_id FROM order_items ORDER BY id DESC LIMIT 3000) recent \
          JOIN products p ON p.id = recent.product_id",
};
const RECOMMENDED: usize = 10;

#[derive(Serialize)]
pub(super) struct Recommendations {
    customer_id: i32,
    products: Vec<Recommended>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Recommended {
    sku: String,
    name: String,
    shared_interests: usize,
}

struct Candidate {
    sku: String,
    name: String,
    tags: Vec<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    trace: Trace,
    Id(customer_id): Id,
) -> Result<Json<Recommendations>, Error> {
    let switches = app.switches.current();
    let session = app.database.session(&trace, &switches).await?;
    let customers = session.query(&trace, &INTERESTS, &[&customer_id]).await?;
    let customer =
        customers.first().ok_or_else(|| Error::NotFound(format!("there is no customer {customer_id}")))?;
    let interests: Vec<String> = customer.try_get(0)?;
    let candidates = session
        .query(&trace, &CANDIDATES, &[])
        .await?
        .iter()
        .map(|row| Ok(Candidate { sku: row.try_get(0)?, name: row.try_get(1)?, tags: row.try_get(2)? }))
        .collect::<Result<Vec<_>, Error>>()?;
    let rows = session.query(&trace, &TRENDING, &[]).await?;
    drop(session);
    let trending = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    let products = match switches.recommendations {
        RecommendationsSwitch::ListScan => best(&candidates, &interests, |sku| trending.contains(sku)),
        RecommendationsSwitch::Set => {
            let trending: HashSet<String> = trending.into_iter().collect();
            best(&candidates, &interests, |sku| trending.contains(sku))
        }
    };
    Ok(Json(Recommendations { customer_id, products }))
}

/// The trending candidates with most shared interests; the order of the candidates decides among equals.
fn best(
    candidates: &[Candidate],
    interests: &[String],
    is_trending: impl Fn(&String) -> bool,
) -> Vec<Recommended> {
    let mut found: Vec<_> = candidates
        .iter()
        .filter(|candidate| is_trending(&candidate.sku))
        .map(|candidate| (candidate.tags.iter().filter(|tag| interests.contains(tag)).count(), candidate))
        .collect();
    found.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
    found
        .into_iter()
        .take(RECOMMENDED)
        .map(|(shared_interests, candidate)| Recommended {
            sku: candidate.sku.clone(),
            name: candidate.name.clone(),
            shared_interests,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trending_products_count_and_shared_interests_lead() {
        let candidate = |sku: &str, tags: &[&str]| Candidate {
            sku: sku.to_owned(),
            name: String::new(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let candidates = [
            candidate("a", &["x"]),
            candidate("b", &["x", "y"]),
            candidate("c", &["x", "y"]),
            candidate("d", &[]),
        ];
        let interests = ["x".to_owned(), "y".to_owned()];
        let skus: Vec<_> =
            best(&candidates, &interests, |sku| sku != "b").into_iter().map(|product| product.sku).collect();
        assert_eq!(skus, ["c", "a", "d"]);
    }
}
