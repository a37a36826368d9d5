//! The invariant of the shop: naive and good form give the same answer, byte for byte.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::support::{Fixture, ORDER_ITEMS_INDEX, ORDERS_INDEX, client, redis};

const READS: [&str; 8] = [
    "/customers/7/orders",
    "/customers/7/orders?limit=3",
    "/customers/7/account",
    "/customers/7/recommendations",
    "/products/11",
    "/products/11/page",
    "/export/orders?customer_from=1&customer_to=50&fields=id,note,status",
    "/reports/sales?orders=500&resamples=200",
];

fn good() -> Value {
    json!({
        "account": "summary", "basket_prices": "bulk", "confirmation_mail": "queued", "connection": "pool",
        "events": "batched", "export_body": "streamed", "export_default": "needed_fields",
        "order_items": "batched", "product_cache": "local", "product_page": "concurrent",
        "recommendations": "set", "report": "offloaded",
    })
}

/// What each endpoint answers; twice each read, so that a cache answers the second time.
async fn answers(shop: &Fixture) -> Vec<String> {
    let mut answers = Vec::new();
    for path in READS.iter().flat_map(|path| [path, path]) {
        let answer = shop.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        answers.push(answer.text().to_owned());
    }
    let items = json!([{ "product_id": 3, "quantity": 2 }, { "product_id": 9, "quantity": 1 }]);
    let basket = shop.send("POST", "/basket/prices", &json!({ "items": items })).await;
    answers.push(basket.text().to_owned());
    let event = shop.send("POST", "/events", &json!({ "kind": "view", "product_id": 3 })).await;
    answers.push(format!("{} {}", event.status, event.text()));
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_switch_alone_leaves_every_answer_as_it_was() {
    let shop = Fixture::new().await;
    let naive = answers(&shop).await;
    for (name, value) in good().as_object().unwrap() {
        let before = shop.get("/switches").await.json();
        let entry =
            before["switches"].as_array().unwrap().iter().find(|s| s["name"] == *name).unwrap().clone();
        shop.switch(json!({ name: value })).await;
        assert_eq!(answers(&shop).await, naive, "{name} = {value}");
        shop.switch(json!({ name: entry["value"] })).await;
    }
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_switches_and_both_indexes_leave_every_answer_as_it_was() {
    let shop = Fixture::new().await;
    let naive = answers(&shop).await;
    let database = client(&shop.database_url).await;
    for index in [ORDER_ITEMS_INDEX, ORDERS_INDEX] {
        database.batch_execute(index).await.unwrap();
    }
    assert_eq!(answers(&shop).await, naive);
    shop.switch(good()).await;
    assert_eq!(answers(&shop).await, naive);
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_answered_alike_whether_its_mail_is_sent_or_queued() {
    let shop = Fixture::new().await;
    let order = json!({ "customer_id": 5, "items": [{ "product_id": 4, "quantity": 3 }] });
    let mut answers = Vec::new();
    for form in ["in_request", "queued"] {
        shop.switch(json!({ "confirmation_mail": form })).await;
        let answer = shop.send("POST", "/orders", &order).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let mut answer = answer.json();
        assert!(answer["order_id"].as_i64().unwrap() > 2_000, "{answer}");
        answer["order_id"] = json!("masked");
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streamed_export_is_the_one_built_in_memory_in_every_format() {
    let shop = Fixture::new().await;
    let path = "/export/orders?customer_from=1&customer_to=200";
    for format in ["application/json", "application/msgpack", "application/protobuf"] {
        let mut bodies = Vec::new();
        for form in ["in_memory", "streamed"] {
            shop.switch(json!({ "export_body": form })).await;
            let answer = shop.http().send("GET", path, &[("accept", format)], "").await;
            assert_eq!(answer.headers["content-type"], format);
            bodies.push(answer.body);
        }
        assert!(bodies[0].len() > 100_000, "{format}: the test is to span several chunks");
        assert_eq!(bodies[0], bodies[1], "{format}");
    }
    let json = shop.get(path).await.json();
    assert_eq!(json["orders"].as_array().unwrap().len(), 2_000);
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn needed_fields_are_the_default_only_when_the_switch_says_so() {
    let shop = Fixture::new().await;
    let fields = |answer: Value| {
        answer["orders"][0].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",")
    };
    let all = fields(shop.get("/export/orders").await.json());
    assert_eq!(all, "created_at,customer_id,id,note,shipping_address,status,total_cents");
    shop.switch(json!({ "export_default": "needed_fields" })).await;
    let needed = fields(shop.get("/export/orders").await.json());
    assert_eq!(needed, "created_at,customer_id,id,status,total_cents");
    let unknown = shop.get("/export/orders?fields=id,colour").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert!(unknown.text().contains("`colour`"), "{}", unknown.text());
    shop.shop.shutdown().await;
}

async fn a_change_is_seen_at_once_although_reads_are_cached(shop: &Fixture, cache: &str) {
    shop.switch(json!({ "product_cache": cache })).await;
    let database = client(&shop.database_url).await;
    let name = async || shop.get("/products/8").await.json()["name"].clone();
    assert_eq!(name().await, "Product 8", "{cache}");
    database.execute("UPDATE products SET name = 'behind its back' WHERE id = 8", &[]).await.unwrap();
    assert_eq!(name().await, "Product 8", "{cache} does not cache");
    let change = json!({ "name": "new", "price_cents": 5, "description": "" });
    let changed = shop.send("PUT", "/products/8", &change).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    assert_eq!(name().await, "new", "{cache}");
    shop.switch(json!({ "product_cache": "off" })).await;
    let change = json!({ "name": "Product 8", "price_cents": 5, "description": "" });
    shop.send("PUT", "/products/8", &change).await;
    shop.switch(json!({ "product_cache": cache })).await;
    assert_eq!(name().await, "Product 8", "{cache} kept a value from before it was off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_product_is_never_served_stale() {
    let redis_url = redis();
    let shop = Fixture::with(|config| config.redis_url.clone_from(&redis_url)).await;
    a_change_is_seen_at_once_although_reads_are_cached(&shop, "local").await;
    if redis_url.is_some() {
        a_change_is_seen_at_once_although_reads_are_cached(&shop, "redis").await;
    }
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_refused_where_there_is_none() {
    let shop = Fixture::new().await;
    let before = shop.get("/switches").await.json();
    let changes = json!({ "product_cache": "redis", "report": "offloaded" });
    let answer = shop.send("PUT", "/switches", &changes).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text().contains("REDIS_URL"), "{}", answer.text());
    assert_eq!(shop.get("/switches").await.json(), before);
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_switch_changes_nothing_and_is_named() {
    let shop = Fixture::new().await;
    let before = shop.get("/switches").await.json();
    for (changes, named) in [
        (json!({ "order_items": "batched", "pool_size": 0 }), "`pool_size`; allowed: a number from 1 to 100"),
        (json!({ "order_items": "batched", "report": "x" }), "on_async_threads, offloaded"),
        (json!({ "order_items": "batched", "speed": 9 }), "no switch `speed`"),
        (json!(["order_items"]), "cannot read the JSON body"),
    ] {
        let answer = shop.send("PUT", "/switches", &changes).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().contains(named), "{}", answer.text());
    }
    assert_eq!(shop.get("/switches").await.json(), before);
    shop.shop.shutdown().await;
}
