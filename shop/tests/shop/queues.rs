//! The two queues: full ones refuse, accepted entries are not lost at shutdown.

use hyper::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use super::support::{Fixture, client};

/// More than a batch and the queue can hold together.
const MORE_THAN_FITS: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_event_queue_refuses_and_accepted_events_are_all_written() {
    let shop = Fixture::with(|config| config.event_queue = 2).await;
    shop.switch(json!({ "events": "batched" })).await;
    let mut database = client(&shop.database_url).await;
    let url = shop.database_url.clone();
    let lock = database.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut accepted = 0;
    let mut refused = None;
    for _ in 0..MORE_THAN_FITS {
        let answer = shop.send("POST", "/events", &json!({ "kind": "view" })).await;
        if answer.status != StatusCode::ACCEPTED {
            refused = Some(answer);
            break;
        }
        accepted += 1;
    }
    let refused = refused.expect("the queue never filled");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["retry-after"], "1");
    lock.commit().await.unwrap();
    shop.shop.shutdown().await;
    let row = client(&url).await.query_one("SELECT count(*) FROM events", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_refused_for_a_full_mail_queue_leaves_nothing_behind() {
    let shop = Fixture::with(|config| config.mail_queue = 1).await;
    shop.switch(json!({ "confirmation_mail": "queued" })).await;
    let url = shop.database_url.clone();
    let body = json!({ "customer_id": 1, "items": [{ "product_id": 1, "quantity": 1 }] }).to_string();
    let mut requests = JoinSet::new();
    for _ in 0..40 {
        let (http, body) = (shop.http(), body.clone());
        requests.spawn(async move { http.send("POST", "/orders", &[], &body).await.status });
    }
    let statuses = requests.join_all().await;
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count() as i64;
    let (made, refused) = (count(StatusCode::CREATED), count(StatusCode::SERVICE_UNAVAILABLE));
    assert!(made > 0 && refused > 0 && made + refused == 40, "{statuses:?}");
    shop.shop.shutdown().await;
    let row = client(&url).await.query_one("SELECT count(*) - 2000 FROM orders", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_mails_are_delivered_before_the_shop_ends() {
    let shop = Fixture::new().await;
    shop.switch(json!({ "confirmation_mail": "queued" })).await;
    let body = json!({ "customer_id": 1, "items": [{ "product_id": 1, "quantity": 1 }] });
    for _ in 0..10 {
        assert_eq!(shop.send("POST", "/orders", &body).await.status, StatusCode::CREATED);
    }
    let delivered = shop.shop.shutdown().await.mails_delivered;
    assert_eq!(delivered, 10);
}
