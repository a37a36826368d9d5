//! The shop: an orders API over Postgres with every common performance fault behind a run-time switch.
//! One process carries three servers: the API, the inventory and a mail relay; README.md describes them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

mod cache;
pub mod config;
mod database;
mod endpoints;
mod error;
mod event_queue;
mod inventory;
mod log;
mod mail;
mod mail_queue;
mod mail_sink;
mod metrics;
mod observe;
mod product;
pub mod seed;
mod stop;
pub mod switches;
mod telemetry;
mod time;
mod trace;

pub use config::Config;
pub use seed::{SeedOptions, seed};
pub use stop::signal as stop_signal;

use database::Database;
use event_queue::{EventQueue, EventStore};
use inventory::Inventory;
use log::AccessLog;
use mail::Mailer;
use mail_queue::MailQueue;
use metrics::Metrics;
use product::Products;
use switches::SwitchBoard;
use telemetry::Telemetry;
use trace::Trace;

/// Of the shutdown time, what is kept for the last export of telemetry.
const EXPORT_SHARE: Duration = Duration::from_secs(2);
/// Reports that are computed at the same time when they have threads of their own.
const REPORT_THREADS: usize = 2;

/// What the endpoints share.
struct App {
    root: Trace,
    switches: Arc<SwitchBoard>,
    /// Held while switches change, so that a change is prepared and made as one.
    switching: tokio::sync::Mutex<()>,
    database: Arc<Database>,
    products: Products,
    inventory: Inventory,
    mailer: Arc<Mailer>,
    mail_queue: MailQueue,
    events: Arc<EventStore>,
    event_queue: EventQueue,
    report_threads: Arc<tokio::sync::Semaphore>,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
}

/// Where the three servers listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub listening: SocketAddr,
    pub inventory: SocketAddr,
    pub mail: SocketAddr,
}

/// What the shop did in its life, as far as only its end can tell.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    pub mails_delivered: u64,
}

/// A shop whose sockets are open and whose servers run.
pub struct Shop {
    addresses: Addresses,
    app: Arc<App>,
    telemetry: Arc<Telemetry>,
    stop: watch::Sender<bool>,
    /// The API; ends when it has answered its last request.
    api: JoinSet<()>,
    /// Queue workers; end when their queues are empty.
    workers: JoinSet<()>,
    /// Inventory and mail relay; needed until the queues are empty, then dropped.
    dependencies: JoinSet<()>,
    mails: Arc<AtomicU64>,
    shutdown_timeout: Duration,
}

/// Serves until `shutdown` is ready (or standard input ends, when so configured), then shuts down.
/// Prints one JSON line with the bound addresses on standard output, and nothing else there.
///
/// # Errors
/// When the shop cannot start: a port in use, an unreadable URL, Redis asked for but not there.
pub async fn run(config: Config, shutdown: impl Future) -> anyhow::Result<()> {
    let exit_with_stdin = config.exit_with_stdin;
    let shop = Shop::start(config).await?;
    let Addresses { listening, inventory, mail } = shop.addresses();
    let ready = serde_json::json!({ "listening": listening, "inventory": inventory, "mail": mail });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{ready}").and_then(|()| stdout.flush()).context("cannot report the addresses")?;
    drop(stdout);
    tokio::select! {
        _ = shutdown => {}
        () = stop::stdin_end(), if exit_with_stdin => {}
    }
    shop.shutdown().await;
    Ok(())
}

impl Shop {
    /// Binds the sockets and starts the servers.
    ///
    /// # Errors
    /// As `run`.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let telemetry = Arc::new(Telemetry::new(&config.telemetry)?);
        let api_listener = bind(config.listen, "SHOP_LISTEN").await?;
        let inventory_listener = bind(config.inventory_listen, "SHOP_INVENTORY_LISTEN").await?;
        let mail_listener = bind(config.mail_listen, "SHOP_MAIL_LISTEN").await?;
        let addresses = Addresses {
            listening: api_listener.local_addr()?,
            inventory: inventory_listener.local_addr()?,
            mail: mail_listener.local_addr()?,
        };
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        let app = Arc::new(App::new(&config, &telemetry, addresses, &mut workers)?);
        app.prepare_cache().await?;

        let mails = Arc::new(AtomicU64::new(0));
        let mut dependencies = JoinSet::new();
        serve(
            &mut dependencies,
            inventory_listener,
            inventory::router(telemetry.inventory()),
            stop.subscribe(),
        );
        dependencies.spawn(mail_sink::serve(mail_listener, Arc::clone(&mails)));
        let mut api = JoinSet::new();
        serve(&mut api, api_listener, endpoints::router(&app), stopped);
        let shutdown_timeout = config.shutdown_timeout;
        Ok(Self { addresses, app, telemetry, stop, api, workers, dependencies, mails, shutdown_timeout })
    }

    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Answers what has been asked, empties the queues, exports the last telemetry; all within the
    /// configured time, after which the rest is abandoned.
    pub async fn shutdown(mut self) -> Closing {
        let deadline = Instant::now() + self.shutdown_timeout.saturating_sub(EXPORT_SHARE);
        self.stop.send_replace(true);
        if timeout_at(deadline, finish(&mut self.api)).await.is_err() {
            log::complain("requests were cut off: they took longer than the shutdown may");
            self.api.shutdown().await;
        }
        self.app.mail_queue.stop();
        self.app.event_queue.stop();
        if timeout_at(deadline, finish(&mut self.workers)).await.is_err() {
            let (mails, events) = (self.app.mail_queue.depth(), self.app.event_queue.depth());
            log::complain(&format!("shutdown took too long; {mails} mails and {events} events were left"));
            self.workers.shutdown().await;
        }
        self.dependencies.shutdown().await;
        let telemetry = Arc::clone(&self.telemetry);
        // A thread of its own: the runtime's end would wait for a blocking task, however long it takes.
        let (exported, export) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            telemetry.shutdown(EXPORT_SHARE / 4);
            drop(exported);
        });
        if timeout(EXPORT_SHARE, export).await.is_err() {
            log::complain("the last telemetry was not exported in time");
        }
        Closing { mails_delivered: self.mails.load(Ordering::Relaxed) }
    }
}

impl App {
    fn new(
        config: &Config,
        telemetry: &Telemetry,
        addresses: Addresses,
        workers: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let root = telemetry.shop();
        let meter = telemetry.meter();
        let metrics = Arc::new(Metrics::new(&meter));
        let switches = Arc::new(SwitchBoard::new(config.switches.clone()));
        let pool_size = config.switches.pool_size;
        let database = Database::new(&config.database_url, pool_size, root.clone(), Arc::clone(&metrics))?;
        let database = Arc::new(database);
        let mailer = Arc::new(Mailer::new(addresses.mail));
        let mail_queue = MailQueue::start(config.mail_queue, &mailer, &root, &metrics, workers);
        let events = Arc::new(EventStore {
            database: Arc::clone(&database),
            switches: Arc::clone(&switches),
            metrics: Arc::clone(&metrics),
        });
        let event_queue = EventQueue::start(config.event_queue, Arc::clone(&events), root.clone(), workers);
        let redis = config.redis_url.as_deref().map(cache::RedisCache::new).transpose()?;
        let pool = Arc::clone(&database);
        let levels = (mail_queue.depth_gauge(), event_queue.depth_gauge());
        metrics::observe_levels(
            &meter,
            move || pool.pool_level(),
            move || [(mail_queue::NAME, levels.0()), (event_queue::NAME, levels.1())],
        );
        Ok(Self {
            root,
            switches,
            switching: tokio::sync::Mutex::new(()),
            database,
            products: Products::new(redis),
            inventory: Inventory::new(addresses.inventory),
            mailer,
            mail_queue,
            events,
            event_queue,
            report_threads: Arc::new(tokio::sync::Semaphore::new(REPORT_THREADS)),
            metrics,
            access_log: AccessLog::open(&config.access_log)?,
        })
    }

    async fn prepare_cache(&self) -> anyhow::Result<()> {
        let prepared = self.products.prepare(&self.root, &self.switches.current()).await;
        prepared.map_err(|error| anyhow::anyhow!("{error}")).context("cannot start with these switches")
    }
}

async fn bind(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with {variable}"))
}

/// Spawns a server that stops accepting when told, and ends when it has answered its last request.
fn serve(tasks: &mut JoinSet<()>, listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait for the peer's delayed acknowledgement; failing costs only time.
        drop(stream.set_nodelay(true));
    });
    tasks.spawn(async move {
        let end = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(end).await {
            log::complain(&format!("a server ended: {error}"));
        }
    });
}

async fn finish(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
