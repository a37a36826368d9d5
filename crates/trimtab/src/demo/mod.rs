//! The demo's service: a throw-away Postgres, the seeded shop in its naive form, and the settings for both.
//! Everything after the start is the same code that serves a user's service; nothing here knows what is slow.

use crate::clock;
use crate::output::Output;
use crate::process::{Running, Stdout};
use crate::settings::{Environment, Settings};
use anyhow::{Context, Result};
use local_postgres::LocalPostgres;
use std::time::Duration;

/// The settings file that is shown.
pub const SETTINGS: &str = include_str!("trimtab.toml");
/// Seeding and starting are quick; a machine that needs longer has another problem.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running shop with its database. Both end when this is dropped, and also when we are killed.
pub struct Stage {
    pub url: String,
    pub shop: Running,
    pub postgres: LocalPostgres,
    pub database_url: String,
}

impl Stage {
    /// Database first, then data, then the service, each told in a line.
    pub async fn start(output: Output, offline: bool, otlp: Option<&str>) -> Result<Self> {
        let begun = clock::now_ns();
        let options = local_postgres::Options { offline, ..local_postgres::Options::default() }
            .setting("shared_preload_libraries", "pg_stat_statements")
            .setting("max_parallel_workers_per_gather", "0");
        output.progress("starting a throw-away Postgres");
        let postgres = LocalPostgres::start(&options, &mut |line| output.say(line)).await?;
        let database_url = postgres.create_database("shop").await?;
        // As an operator would do it once: the figures of statements are an extension of Postgres itself.
        database::Database::connect(&database_url)
            .await?
            .apply("CREATE EXTENSION pg_stat_statements")
            .await?;
        output.progress("seeding 20,000 customers, 200,000 orders, 800,000 items");
        let seeded = shop::seed(&database_url, &shop::SeedOptions::default())
            .await
            .context("could not seed the shop")?;
        let (shop, url) = start_shop(&database_url, otlp).await?;
        let took = clock::now_ns().saturating_sub(begun) as f64 / 1e9;
        output.say(&format!("The shop answers at {url} ({seeded}; ready after {took:.1} s)."));
        Ok(Self { url, shop, postgres, database_url })
    }

    /// Ends the shop, then its database.
    pub async fn stop(self) {
        self.shop.stop().await;
        self.postgres.stop();
    }
}

/// Starts this program again as the shop.
async fn start_shop(database_url: &str, otlp: Option<&str>) -> Result<(Running, String)> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let command = [program.to_string_lossy().into_owned(), "internal-shop".to_owned(), "serve".to_owned()];
    let mut environment = vec![
        ("DATABASE_URL".to_owned(), database_url.to_owned()),
        ("SHOP_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("SHOP_INVENTORY_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("SHOP_MAIL_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("SHOP_ACCESS_LOG".to_owned(), "off".to_owned()),
        ("SHOP_EXIT_WITH_STDIN".to_owned(), "1".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "200".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL".to_owned(), "1000".to_owned()),
    ];
    if let Some(endpoint) = otlp {
        environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned()));
        environment.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), "http/protobuf".to_owned()));
    }
    let (shop, line) = Running::start(&command, &environment, Stdout::FirstLine, PATIENCE).await?;
    let addresses: serde_json::Value = serde_json::from_str(&line)
        .with_context(|| format!("the shop said `{line}` in place of its addresses"))?;
    let address = addresses["listening"].as_str().context("the shop did not tell its address")?;
    Ok((shop, format!("http://{address}")))
}

/// The shown settings with the addresses of this run.
pub fn settings(url: &str, database_url: &str, seed: u64) -> Result<Settings> {
    let text = SETTINGS.replace("@SERVICE@", url).replace("@DATABASE@", database_url);
    let flags = crate::args::LoadOverrides { seed: Some(seed), ..crate::args::LoadOverrides::default() };
    Settings::parse(&text, "the demo's trimtab.toml", &Environment::default(), &flags)
}
