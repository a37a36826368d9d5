//! Fills an empty database by COPY, the same rows for the same seed: enough of them to hurt.

use std::fmt::{self, Write as _};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{Client, NoTls};

use crate::database::parse_url;
use crate::time::rfc3339;

const TABLES: &str = include_str!("../migrations/0001_tables.sql");
const DROP_TABLES: &str = include_str!("../migrations/0001_tables.undo.sql");
const FOREIGN_KEYS: &str = include_str!("../migrations/0002_foreign_keys.sql");

const RESUME_NUMBERS: &str =
    "SELECT setval(pg_get_serial_sequence('orders', 'id'), (SELECT max(id) FROM orders))";
const ANALYZE: &str = "VACUUM ANALYZE customers, products, reviews, orders, order_items, events";

const CHUNK_BYTES: usize = 64 * 1024;
const REVIEWS_PER_PRODUCT: u32 = 20;
const CATEGORIES: u64 = 20;
const TAGS: [&str; 24] = [
    "garden", "kitchen", "office", "travel", "winter", "summer", "wood", "steel", "glass", "cotton", "wool",
    "paper", "children", "sports", "music", "books", "light", "heavy", "red", "blue", "green", "gift",
    "outdoor", "classic",
];
const STATUSES: [&str; 5] = ["delivered", "delivered", "delivered", "shipped", "cancelled"];
/// Items of consecutive orders; four on average, over any seven of them.
const ITEMS: [u64; 7] = [7, 5, 4, 1, 3, 6, 2];
/// 2025-01-01T00:00:00Z; the orders are spread over the year that follows.
const FIRST_ORDER_SECONDS: u64 = 1_735_689_600;
const YEAR_SECONDS: u64 = 365 * 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedOptions {
    pub customers: u32,
    pub products: u32,
    /// Each has four items on average.
    pub orders: u32,
    pub seed: u64,
    /// Drops the shop's tables first; without it a database that has them is refused.
    pub reset: bool,
}

impl Default for SeedOptions {
    fn default() -> Self {
        Self { customers: 20_000, products: 5_000, orders: 200_000, seed: 1, reset: false }
    }
}

impl SeedOptions {
    /// The same with all row counts multiplied.
    ///
    /// # Errors
    /// When the factor is not above 0 and at most 100.
    pub fn scaled(self, scale: f64) -> anyhow::Result<Self> {
        ensure!(scale > 0.0 && scale <= 100.0, "the scale must be above 0 and at most 100");
        let times = |count: u32| ((f64::from(count) * scale).round() as u32).max(10);
        let (customers, products, orders) = (times(self.customers), times(self.products), times(self.orders));
        Ok(Self { customers, products, orders, ..self })
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedReport {
    pub customers: u64,
    pub products: u64,
    pub reviews: u64,
    pub orders: u64,
    pub items: u64,
    pub took: Duration,
}

impl fmt::Display for SeedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { customers, products, reviews, orders, items, took } = self;
        write!(
            f,
            "{customers} customers, {products} products, {reviews} reviews, {orders} orders, {items} items \
             in {:.1} s",
            took.as_secs_f64()
        )
    }
}

/// Creates the tables, fills them, adds the foreign keys, and analyzes.
///
/// # Errors
/// When the database cannot be reached, or has the tables and `reset` was not said.
pub async fn seed(database_url: &str, options: &SeedOptions) -> anyhow::Result<SeedReport> {
    let started = Instant::now();
    let config = parse_url(database_url)?;
    let (client, connection) = config.connect(NoTls).await.context("cannot connect to the database")?;
    // Its errors also fail the statement that waits for it.
    let connection = tokio::spawn(async move { drop(connection.await) });
    prepare(&client, options).await?;
    let report = fill(&client, options, started).await;
    drop(client);
    connection.await.context("the connection's task failed")?;
    report
}

async fn prepare(client: &Client, options: &SeedOptions) -> anyhow::Result<()> {
    let row = client.query_one("SELECT to_regclass('orders') IS NOT NULL", &[]).await?;
    if row.try_get(0)? {
        if !options.reset {
            bail!("the database already has the shop's tables; --reset drops and fills them anew");
        }
        client.batch_execute(DROP_TABLES).await.context("cannot drop the tables")?;
    }
    Ok(())
}

async fn fill(client: &Client, options: &SeedOptions, started: Instant) -> anyhow::Result<SeedReport> {
    // One transaction: a seeding that was cut off leaves nothing behind.
    client.batch_execute("BEGIN").await?;
    client.batch_execute(TABLES).await.context("cannot create the tables")?;
    let numbers = |table: u64| Random::new(options.seed, table);
    let customers = copy_customers(client, options, numbers(1)).await.context("cannot fill customers")?;
    let prices = prices(options, numbers(2));
    let products = copy_products(client, &prices, numbers(3)).await.context("cannot fill products")?;
    let reviews = copy_reviews(client, options, numbers(4)).await.context("cannot fill reviews")?;
    let orders = orders(options, &prices, numbers(5));
    let written = copy_orders(client, options, &orders, numbers(6)).await.context("cannot fill orders")?;
    let items = copy_items(client, &orders).await.context("cannot fill order_items")?;
    client.batch_execute(FOREIGN_KEYS).await.context("cannot add the foreign keys")?;
    client.batch_execute(RESUME_NUMBERS).await.context("cannot set the next order's number")?;
    client.batch_execute("COMMIT").await.context("cannot commit the load")?;
    // Outside of the transaction, as VACUUM demands: the first readers should not have to set hint bits.
    client.batch_execute(ANALYZE).await.context("cannot analyze the tables")?;
    Ok(SeedReport { customers, products, reviews, orders: written, items, took: started.elapsed() })
}

/// splitmix64 (Steele, Lea, Flood 2014), one stream per table.
struct Random(u64);

impl Random {
    fn new(seed: u64, table: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ table.wrapping_mul(0xBF58_476D_1CE4_E5B9))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }

    /// Four different tags as a Postgres array.
    fn tags(&mut self) -> String {
        let first = self.below(TAGS.len() as u64);
        let tags: Vec<_> = [0, 5, 10 + self.below(3), 17 + self.below(3)]
            .map(|step| TAGS[((first + step) % TAGS.len() as u64) as usize])
            .into();
        format!("{{{}}}", tags.join(","))
    }
}

/// Sends the lines that `line` writes for each number from 1 to `count`, in chunks of bounded size.
async fn copy(
    client: &Client,
    target: &str,
    count: u64,
    mut line: impl FnMut(u64, &mut String) -> fmt::Result,
) -> anyhow::Result<u64> {
    let mut sink = pin!(client.copy_in::<_, Bytes>(&format!("COPY {target} FROM STDIN")).await?);
    let mut text = String::with_capacity(CHUNK_BYTES * 2);
    for number in 1..=count {
        line(number, &mut text)?;
        if text.len() >= CHUNK_BYTES {
            sink.send(Bytes::copy_from_slice(text.as_bytes())).await?;
            text.clear();
        }
    }
    sink.send(Bytes::from(text)).await?;
    Ok(sink.finish().await?)
}

async fn copy_customers(client: &Client, options: &SeedOptions, mut random: Random) -> anyhow::Result<u64> {
    let target = "customers (id, name, email, interests, created_at)";
    copy(client, target, u64::from(options.customers), |id, text| {
        let member_since = moment(FIRST_ORDER_SECONDS - 1 - random.below(YEAR_SECONDS));
        let interests = random.tags();
        writeln!(text, "{id}\tCustomer {id}\tcustomer-{id}@example.com\t{interests}\t{member_since}")
    })
    .await
}

fn prices(options: &SeedOptions, mut random: Random) -> Vec<u64> {
    (0..options.products).map(|_| 199 + random.below(50_000)).collect()
}

async fn copy_products(client: &Client, prices: &[u64], mut random: Random) -> anyhow::Result<u64> {
    let target = "products (id, sku, name, category, tags, price_cents, description)";
    copy(client, target, prices.len() as u64, |id, text| {
        let (category, tags) = (random.below(CATEGORIES), random.tags());
        let price = prices[id as usize - 1];
        let mut description = String::new();
        for _ in 0..120 {
            description.push_str(random.pick(&TAGS));
            description.push(' ');
        }
        writeln!(text, "{id}\tSKU-{id:07}\tProduct {id}\t{category}\t{tags}\t{price}\t{description}")
    })
    .await
}

async fn copy_reviews(client: &Client, options: &SeedOptions, mut random: Random) -> anyhow::Result<u64> {
    let count = u64::from(options.products) * u64::from(REVIEWS_PER_PRODUCT);
    copy(client, "reviews (product_id, stars)", count, |_, text| {
        let (product, stars) = (1 + random.below(u64::from(options.products)), 1 + random.below(5));
        writeln!(text, "{product}\t{stars}")
    })
    .await
}

struct Order {
    items: Vec<Item>,
}

struct Item {
    product: u64,
    quantity: u64,
    price: u64,
}

fn orders(options: &SeedOptions, prices: &[u64], mut random: Random) -> Vec<Order> {
    (0..options.orders as usize)
        .map(|index| {
            let items = (0..ITEMS[index % ITEMS.len()]).map(|_| {
                let product = random.below(prices.len() as u64);
                Item { product: product + 1, quantity: 1 + random.below(3), price: prices[product as usize] }
            });
            Order { items: items.collect() }
        })
        .collect()
}

async fn copy_orders(
    client: &Client,
    options: &SeedOptions,
    orders: &[Order],
    mut random: Random,
) -> anyhow::Result<u64> {
    let target = "orders (id, customer_id, status, created_at, total_cents, shipping_address, note)";
    let count = orders.len() as u64;
    copy(client, target, count, |id, text| {
        let customer = 1 + random.below(u64::from(options.customers));
        let status = random.pick(&STATUSES);
        let created = moment(FIRST_ORDER_SECONDS + id * YEAR_SECONDS / (count + 1));
        let total: u64 = orders[id as usize - 1].items.iter().map(|item| item.quantity * item.price).sum();
        let (house, zip) = (1 + random.below(200), 10_000 + random.below(90_000));
        let (street, city) = (random.pick(&TAGS), random.pick(&TAGS));
        let words: Vec<_> = (0..12).map(|_| random.pick(&TAGS)).collect();
        let note = words.join(" ");
        writeln!(
            text,
            "{id}\t{customer}\t{status}\t{created}\t{total}\t{house} {street} street, {zip} {city}\t{note}"
        )
    })
    .await
}

async fn copy_items(client: &Client, orders: &[Order]) -> anyhow::Result<u64> {
    let target = "order_items (order_id, product_id, quantity, unit_price_cents)";
    copy(client, target, orders.len() as u64, |order_id, text| {
        for Item { product, quantity, price } in &orders[order_id as usize - 1].items {
            writeln!(text, "{order_id}\t{product}\t{quantity}\t{price}")?;
        }
        Ok(())
    })
    .await
}

fn moment(seconds: u64) -> String {
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds);
    rfc3339(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_size_has_at_least_800_000_items() {
        let options = SeedOptions::default();
        let items: u64 = (0..options.orders as usize).map(|index| ITEMS[index % ITEMS.len()]).sum();
        assert!(items >= 800_000, "{items}");
    }

    #[test]
    fn tags_are_four_different_ones() {
        let mut random = Random::new(1, 1);
        for _ in 0..1_000 {
            let tags = random.tags();
            let mut list: Vec<_> = tags.trim_matches(['{', '}']).split(',').collect();
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), 4, "{tags}");
        }
    }
}
