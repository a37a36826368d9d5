//! What all users of a test share: settings, metrics, shared data, the log.

use crate::endpoints::Endpoints;
use crate::http::{Barred, ResponseType, Urls};
use crate::log::Log;
use crate::metrics::{Metrics, Trend};
use crate::options::Scenario;
use load::Share;
use load::drive::Control;
use load::http::{Client, Settings};
use net::HttpVersion;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Defaults of requests, from the script's options.
#[derive(Clone, Debug)]
pub(crate) struct HttpDefaults {
    pub(crate) timeout: Duration,
    pub(crate) max_redirects: u32,
    pub(crate) response_type: ResponseType,
    pub(crate) throws: bool,
    pub(crate) batch: usize,
    pub(crate) batch_per_host: usize,
    /// Requests per second of all users together, at most.
    pub(crate) rps: Option<f64>,
    /// Where nothing may be sent.
    pub(crate) barred: Barred,
}

impl Default for HttpDefaults {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_redirects: 10,
            response_type: ResponseType::Text,
            throws: false,
            batch: 20,
            batch_per_host: 6,
            rps: None,
            barred: Barred::default(),
        }
    }
}

/// What is settled before the first user is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) http: HttpDefaults,
    /// How to reach servers.
    pub(crate) network: Settings,
    /// `__ENV`.
    pub(crate) env: BTreeMap<String, String>,
    /// Tags of every sample.
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) seed: u64,
    pub(crate) traceparent: bool,
    pub(crate) keep_cookies: bool,
    /// Each iteration opens its own connections.
    pub(crate) fresh_connections: bool,
    pub(crate) init_limit: Duration,
    pub(crate) slice_limit: Duration,
    pub(crate) user_memory_bytes: usize,
    pub(crate) share: Share,
    /// Folders below which `open` may read, beside the script's own; empty: anywhere.
    pub(crate) open_below: Vec<PathBuf>,
    /// The script's folder.
    pub(crate) folder: PathBuf,
    /// The options as `exec.test.options` shows them, as JSON.
    pub(crate) options_json: String,
}

pub(crate) struct Test {
    pub(crate) setup: Setup,
    pub(crate) client: Client,
    /// For WebSockets: made when first needed.
    streams: OnceCell<Client>,
    pub(crate) metrics: Metrics,
    pub(crate) endpoints: Endpoints,
    pub(crate) urls: Urls,
    pub(crate) log: Log,
    pub(crate) control: Control,
    pub(crate) scenarios: OnceCell<Vec<Scenario>>,
    /// `SharedArray`s by name, each element as JSON.
    pub(crate) shared: RefCell<BTreeMap<String, Rc<Vec<Box<str>>>>>,
    /// Files that were opened, kept once.
    pub(crate) files: RefCell<BTreeMap<PathBuf, Rc<[u8]>>>,
    pub(crate) started: Instant,
    /// Since 1970, when it started.
    pub(crate) unix_start: Duration,
    /// Users that were made.
    pub(crate) users: Cell<u32>,
    /// Why a script ended the test: `exec.test.abort`.
    pub(crate) aborted: RefCell<Option<String>>,
    /// `exec.test.fail`.
    pub(crate) failed: Cell<bool>,
    /// Milliseconds that arrivals waited which never started: lower bounds.
    pub(crate) waiting: RefCell<Trend>,
    /// With `rps`: when the next request may go.
    turn: Cell<Option<Instant>>,
    /// When a response last came in, and the longest time without one.
    pub(crate) silence: Cell<(Option<Instant>, Duration)>,
}

impl Test {
    pub(crate) fn new(setup: Setup, client: Client, log: Log, unix_start: Duration) -> Rc<Self> {
        let setup_share = setup.share;
        Rc::new(Self {
            setup,
            client,
            streams: OnceCell::new(),
            metrics: Metrics::new(),
            endpoints: Endpoints::default(),
            urls: Urls::default(),
            log,
            control: Control::of_share(setup_share),
            scenarios: OnceCell::new(),
            shared: RefCell::default(),
            files: RefCell::default(),
            started: Instant::now(),
            unix_start,
            users: Cell::new(0),
            aborted: RefCell::default(),
            failed: Cell::new(false),
            waiting: RefCell::default(),
            turn: Cell::new(None),
            silence: Cell::new((None, Duration::ZERO)),
        })
    }

    /// Opens streams that do not agree on h2.
    ///
    /// # Errors
    /// TLS material that cannot be read.
    pub(crate) fn stream_client(&self) -> anyhow::Result<Client> {
        if let Some(client) = self.streams.get() {
            return Ok(client.clone());
        }
        let made = Client::new(Settings { version: HttpVersion::Http1, ..self.setup.network.clone() })?;
        Ok(self.streams.get_or_init(|| made).clone())
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> i64 {
        crate::http::unix_ms(self.unix_start + self.started.elapsed())
    }

    /// Ends the test soon, because a script or a threshold says so.
    pub(crate) fn abort(&self, why: &str) {
        self.aborted.borrow_mut().get_or_insert_with(|| why.to_owned());
        self.control.stop(Duration::ZERO);
    }

    /// With `rps`: until when a request has to wait.
    pub(crate) fn next_request(&self, now: Instant) -> Option<Instant> {
        let rps = self.setup.http.rps?;
        let turn = self.turn.get().map_or(now, |turn| turn.max(now));
        self.turn.set(Some(turn + Duration::from_secs_f64(1.0 / rps)));
        (turn > now).then_some(turn)
    }

    /// A response came in.
    pub(crate) fn heard(&self, now: Instant) {
        let (last, longest) = self.silence.get();
        let gap = last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.silence.set((Some(now), longest.max(gap)));
    }
}
