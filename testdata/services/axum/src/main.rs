//! Depots, routes and legs on axum and sqlx, traced by `tracing-opentelemetry`. Each endpoint is one case of labels.toml.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_tracing_opentelemetry::middleware::OtelAxumLayer;
use opentelemetry::trace::TracerProvider as _;
use serde_json::{Value, json};
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

type Pool = sqlx_tracing::Pool<sqlx::Postgres>;
type Answer = Result<Json<Value>, axum::http::StatusCode>;

fn failed(_: sqlx::Error) -> axum::http::StatusCode {
    axum::http::StatusCode::INTERNAL_SERVER_ERROR
}

#[tokio::main]
async fn main() {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build().expect("an exporter");
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    tracing_subscriber::registry()
        .with(tracing_subscriber::EnvFilter::new("info,otel::tracing=trace"))
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("depot")))
        .init();
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL");
    let options = sqlx::postgres::PgPoolOptions::new().min_connections(8).max_connections(16);
    let pool: Pool = options.connect(&url).await.expect("a database").into();
    let app = Router::new()
        .route("/depots/{id}/orders", get(orders))
        .route("/depots/{id}/orders-joined", get(orders_joined))
        .route("/depots/{id}/lines", post(lines))
        .route("/sums/{id}", get(sum))
        .route("/tours/{id}", get(tour))
        .route("/seals/{id}", get(seal))
        .route("/twins/{id}", get(twins))
        .route("/settled/{id}", get(settled))
        .route("/stocked/{id}", get(stocked))
        .route("/plans/{id}", get(plan))
        .layer(OtelAxumLayer::default())
        .route("/health", get(|| async { "ok" }))
        .with_state(pool);
    let port = std::env::var("PORT").expect("PORT");
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("a port");
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await.expect("serves");
    drop(provider.shutdown());
}

async fn stopped() {
    let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
    end.recv().await;
}

async fn orders(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    let ids: Vec<i32> = sqlx::query_scalar("SELECT id FROM orders WHERE customer_id = $1")
        .bind(id).fetch_all(&pool).await.map_err(failed)?;
    let mut found = Vec::new();
    for order in ids {
        let items: Vec<i32> = sqlx::query_scalar("SELECT product_id FROM items WHERE order_id = $1")
            .bind(order).fetch_all(&pool).await.map_err(failed)?;
        found.push(json!({"order": order, "items": items}));
    }
    Ok(Json(Value::from(found)))
}

async fn orders_joined(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    let rows: Vec<(i32, i32)> = sqlx::query_as(
        "SELECT o.id, i.product_id FROM orders o JOIN items i ON i.order_id = o.id WHERE o.customer_id = $1",
    )
    .bind(id).fetch_all(&pool).await.map_err(failed)?;
    Ok(Json(json!(rows)))
}

async fn lines(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    for n in 0..18 {
        sqlx::query("INSERT INTO events (kind, customer_id, payload) VALUES ('line', $1, $2)")
            .bind(id).bind(format!("n{n}")).execute(&pool).await.map_err(failed)?;
    }
    Ok(Json(json!({"kept": 18})))
}

async fn sum(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    let rows: Vec<(i32, i32, String, String)> =
        sqlx::query_as("SELECT id, total_cents, shipping_address, note FROM orders WHERE id > $1 ORDER BY id LIMIT 4000")
            .bind(id).fetch_all(&pool).await.map_err(failed)?;
    let cents: i64 = rows.iter().map(|row| i64::from(row.1)).sum();
    Ok(Json(json!({"cents": cents})))
}

async fn tour(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    let stops: Vec<i32> = sqlx::query_scalar("SELECT product_id FROM items WHERE id > $1 ORDER BY id LIMIT 160")
        .bind(id).fetch_all(&pool).await.map_err(failed)?;
    Ok(Json(json!({"length": shortest_tour(&stops)})))
}

/// Swaps that shorten a tour, tried over and over.
#[tracing::instrument(skip_all)]
fn shortest_tour(stops: &[i32]) -> i64 {
    let mut tour: Vec<i64> = stops.iter().map(|s| i64::from(*s)).collect();
    let length = |tour: &[i64]| -> i64 { tour.windows(2).map(|w| (w[0] - w[1]).abs()).sum() };
    let mut best = length(&tour);
    for _ in 0..40 {
        for i in 0..tour.len() {
            for j in i + 1..tour.len() {
                tour.swap(i, j);
                let now = length(&tour);
                if now < best { best = now } else { tour.swap(i, j) }
            }
        }
    }
    best
}

async fn seal(Path(id): Path<u64>) -> Answer {
    Ok(Json(json!({"seal": wax(id)})))
}

#[tracing::instrument(skip_all)]
fn wax(id: u64) -> u64 {
    (0..20_000_000_u64).fold(id, |state, n| (state ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17))
}

async fn twins(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    let rows: Vec<(i32, String)> = sqlx::query_as("SELECT id, note FROM orders WHERE id > $1 ORDER BY id LIMIT 600")
        .bind(id).fetch_all(&pool).await.map_err(failed)?;
    let found = tracing::info_span!("compare all pairs").in_scope(|| {
        let mut near = 0;
        for a in &rows {
            near += rows.iter().filter(|b| a.0 < b.0 && a.1.bytes().rev().zip(b.1.bytes().rev()).take_while(|(x, y)| x == y).count() > 2).count();
        }
        near
    });
    Ok(Json(json!({"near": found, "of": rows.iter().map(|r| r.0).collect::<Vec<_>>()})))
}

async fn settled(Path(id): Path<i32>) -> Answer {
    settle().await;
    Ok(Json(json!({"settled": id})))
}

/// Waits for what nobody traces.
#[tracing::instrument]
async fn settle() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

async fn stocked(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    Ok(Json(json!({"left": stock_of(&pool, id).await?})))
}

#[tracing::instrument(skip_all)]
async fn stock_of(pool: &Pool, id: i32) -> Result<i64, axum::http::StatusCode> {
    sqlx::query_scalar("SELECT sum(length(md5(description || $1::text))) FROM products")
        .bind(id).fetch_one(pool).await.map_err(failed)
}

async fn plan(State(pool): State<Pool>, Path(id): Path<i32>) -> Answer {
    let items: Vec<i32> = sqlx::query_scalar("SELECT product_id FROM items WHERE id > $1 ORDER BY id LIMIT 12")
        .bind(id).fetch_all(&pool).await.map_err(failed)?;
    let mut legs = Vec::new();
    for item in items {
        legs.push(leg(&pool, item).await?);
    }
    Ok(Json(Value::from(legs)))
}

#[tracing::instrument(skip_all)]
async fn leg(pool: &Pool, product: i32) -> Result<Value, axum::http::StatusCode> {
    let name: String = sqlx::query_scalar("SELECT name FROM products WHERE id = $1")
        .bind(product).fetch_one(pool).await.map_err(failed)?;
    let left: i32 = sqlx::query_scalar("SELECT quantity FROM stock WHERE product_id = $1")
        .bind(product).fetch_one(pool).await.map_err(failed)?;
    Ok(json!({"name": name, "left": left}))
}
