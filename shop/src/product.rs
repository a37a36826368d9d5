//! Product details, from the database or a cache, and what a change of a product does to both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::cache::{LocalCache, RedisCache};
use crate::database::{Database, Session, Statement};
use crate::error::Error;
use crate::switches::{ProductCache, Switches};
use crate::trace::Trace;

const DETAILS: Statement = Statement {
    operation: "SELECT",
    collection: "products",
    sql: "SELECT p.id, p.sku, p.name, p.category, p.tags, p.price_cents, p.description, \
          (SELECT count(*) FROM reviews r WHERE r.product_id = p.id) AS reviews, \
          (SELECT coalesce(round(avg(r.stars), 2), 0)::float8 FROM reviews r WHERE r.product_id = p.id) \
          AS stars, \
          (SELECT coalesce(round(avg(r.stars), 2), 0)::float8 FROM reviews r \
          JOIN products c ON c.id = r.product_id WHERE c.category = p.category) AS category_stars \
          FROM products p WHERE p.id = $1",
};
const UPDATE: Statement = Statement {
    operation: "UPDATE",
    collection: "products",
    sql: "UPDATE products SET name = $2, price_cents = $3, description = $4 WHERE id = $1",
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Product {
    pub id: i32,
    pub sku: String,
    pub name: String,
    pub category: i32,
    pub tags: Vec<String>,
    pub price_cents: i32,
    pub description: String,
    pub reviews: i64,
    pub stars: f64,
    /// Average of the whole category, for comparison.
    pub category_stars: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProductChange {
    pub name: String,
    pub price_cents: i32,
    pub description: String,
}

pub(crate) struct Products {
    local: LocalCache<Arc<Product>>,
    redis: Option<RedisCache>,
}

impl Products {
    pub(crate) fn new(redis: Option<RedisCache>) -> Self {
        Self { local: LocalCache::default(), redis }
    }

    /// Refuses switches that cannot work here, and empties a cache before it is used again,
    /// because changes made while it was off have not reached it.
    ///
    /// # Errors
    /// `Conflict` when Redis is asked for and not configured, `Unavailable` when it does not answer.
    pub(crate) async fn prepare(&self, trace: &Trace, switches: &Switches) -> Result<(), Error> {
        self.local.clear();
        if switches.product_cache == ProductCache::Redis {
            let redis = self.redis.as_ref().ok_or_else(|| {
                Error::Conflict("product_cache cannot be redis: the shop runs without REDIS_URL".to_owned())
            })?;
            redis.clear(trace).await?;
        }
        Ok(())
    }

    /// # Errors
    /// `NotFound` for an unknown product.
    pub(crate) async fn details(
        &self,
        trace: &Trace,
        source: &Source<'_>,
        id: i32,
    ) -> Result<Arc<Product>, Error> {
        match source.switches.product_cache {
            ProductCache::Off => self.load(trace, source, id).await,
            ProductCache::Local => {
                if let Some(product) = self.local.get(id, Instant::now()) {
                    return Ok(product);
                }
                let ticket = self.local.ticket();
                let product = self.load(trace, source, id).await?;
                let switches = source.switches;
                let expires = Instant::now() + ttl(switches);
                let size = switches.product_cache_size as usize;
                self.local.insert(ticket, id, Arc::clone(&product), expires, size);
                Ok(product)
            }
            ProductCache::Redis => {
                let redis = self.redis.as_ref().ok_or_else(no_redis)?;
                if let Some(product) = redis.get(trace, id).await {
                    return Ok(Arc::new(product));
                }
                let product = self.load(trace, source, id).await?;
                redis.add(trace, id, &*product, ttl(source.switches)).await;
                Ok(product)
            }
        }
    }

    async fn load(&self, trace: &Trace, source: &Source<'_>, id: i32) -> Result<Arc<Product>, Error> {
        let session = source.session(trace).await?;
        select(session, trace, id).await.map(Arc::new)
    }

    /// Writes to the database, then to the caches: the local entry is dropped, the one in Redis replaced.
    ///
    /// # Errors
    /// `NotFound` for an unknown product.
    pub(crate) async fn change(
        &self,
        trace: &Trace,
        source: &Source<'_>,
        id: i32,
        change: &ProductChange,
    ) -> Result<Product, Error> {
        let session = source.session(trace).await?;
        let ProductChange { name, price_cents, description } = change;
        if session.execute(trace, &UPDATE, &[&id, name, price_cents, description]).await? == 0 {
            return Err(not_found(id));
        }
        self.local.remove(id);
        let product = select(session, trace, id).await?;
        if source.switches.product_cache == ProductCache::Redis {
            self.redis
                .as_ref()
                .ok_or_else(no_redis)?
                .replace(trace, id, &product, ttl(source.switches))
                .await?;
        }
        Ok(product)
    }
}

/// Where a request reads from: the connection is opened at the first need, so that a cache hit needs none.
pub(crate) struct Source<'a> {
    database: &'a Database,
    pub switches: &'a Switches,
    session: OnceCell<Session>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(database: &'a Database, switches: &'a Switches) -> Self {
        Self { database, switches, session: OnceCell::new() }
    }

    pub(crate) async fn session(&self, trace: &Trace) -> Result<&Session, Error> {
        self.session.get_or_try_init(|| self.database.session(trace, self.switches)).await
    }
}

async fn select(session: &Session, trace: &Trace, id: i32) -> Result<Product, Error> {
    let rows = session.query(trace, &DETAILS, &[&id]).await?;
    let row = rows.first().ok_or_else(|| not_found(id))?;
    Ok(Product {
        id: row.try_get(0)?,
        sku: row.try_get(1)?,
        name: row.try_get(2)?,
        category: row.try_get(3)?,
        tags: row.try_get(4)?,
        price_cents: row.try_get(5)?,
        description: row.try_get(6)?,
        reviews: row.try_get(7)?,
        stars: row.try_get(8)?,
        category_stars: row.try_get(9)?,
    })
}

fn ttl(switches: &Switches) -> Duration {
    Duration::from_millis(u64::from(switches.product_cache_ttl_ms))
}

fn not_found(id: i32) -> Error {
    Error::NotFound(format!("there is no product {id}"))
}

fn no_redis() -> Error {
    Error::Conflict("the shop runs without REDIS_URL".to_owned())
}
