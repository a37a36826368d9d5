//! What all connections of a thread share: TLS, names and their addresses, the way out, the read buffer.

use super::http1::{ProxyAuthorization, Scratch, scratch};
use super::message::Clock;
use super::message::{Failure, Origin, Step};
use super::pool::Pool;
use anyhow::{Context, Result};
use model::ErrorClass;
use net::{ConnectError, Connector, DialStep, HttpVersion, Route, Stream, Target, TlsOptions};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a name's addresses are used again, unless told.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);
/// More names than this are not kept.
const MAX_NAMES: usize = 1000;
const AGENT: &str = concat!("trimtab/", env!("CARGO_PKG_VERSION"));

/// How to reach servers. The default: as the URL says, keep-alive, HTTP by ALPN.
#[derive(Clone, Debug)]
pub struct Settings {
    pub tls: TlsOptions,
    pub version: HttpVersion,
    /// Connections serve more than one request.
    pub keep_alive: bool,
    /// Requests on one h2 connection at once; beyond that another one is opened.
    pub h2_streams: usize,
    /// h2 connections of one pool to one origin; beyond that requests share them whatever `h2_streams` says.
    pub h2_connections: usize,
    pub user_agent: String,
    /// Every connection goes here, whatever the URL's host says.
    pub unix_socket: Option<PathBuf>,
    pub proxies: Proxies,
    /// Addresses to use in place of asking for a name: `name` or `name:port` to addresses and, unless 0, ports.
    pub hosts: BTreeMap<String, Vec<SocketAddr>>,
    pub family: Family,
    /// How long a name's addresses are used again.
    pub addresses_fresh: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            version: HttpVersion::Auto,
            keep_alive: true,
            h2_streams: 100,
            h2_connections: usize::MAX,
            user_agent: AGENT.to_owned(),
            unix_socket: None,
            proxies: Proxies::default(),
            hosts: BTreeMap::new(),
            family: Family::Any,
            addresses_fresh: ADDRESSES_FRESH,
        }
    }
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    #[default]
    Any,
    V4,
    V6,
}

impl Family {
    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::V4 => "IPv4 ",
            Self::V6 => "IPv6 ",
        }
    }
}

/// Proxies by the scheme of the request's URL, and names that are reached without one.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub http: Option<Target>,
    pub https: Option<Target>,
    /// A name, a domain (`.example.org` or `example.org` with all below it), or `*`.
    pub except: Vec<String>,
}

impl Proxies {
    /// From variables as curl reads them: `http_proxy`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` and their like.
    /// `HTTP_PROXY` in capitals counts, too, as Go reads it.
    ///
    /// # Errors
    /// A proxy's URL that is none, without its password; a proxy that is not spoken to by plain HTTP.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let either = |name: &str| {
            let value = variable(&name.to_lowercase()).or_else(|| variable(&name.to_uppercase()));
            value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let proxy = |name: &str| either(name).or_else(|| either("all_proxy")).map(|url| parse_proxy(&url));
        Ok(Self {
            http: proxy("http_proxy").transpose().context("http_proxy")?,
            https: proxy("https_proxy").transpose().context("https_proxy")?,
            except: either("no_proxy")
                .map(|all| all.split(',').map(|name| name.trim().to_lowercase()).collect())
                .unwrap_or_default(),
        })
    }

    fn for_target(&self, target: &Target) -> Option<&Target> {
        let proxy = if target.is_https() { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = target.host().to_lowercase();
        let excepted = self.except.iter().any(|name| {
            let domain = name.trim_start_matches('.');
            name == "*"
                || (!domain.is_empty()
                    && host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        });
        (!excepted).then_some(proxy)
    }
}

/// `http://user:password@host:port`; the scheme may be left out.
///
/// # Errors
/// What is wrong with it, without its password.
pub fn parse_proxy(url: &str) -> Result<Target> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let target = Target::parse(&url)?;
    anyhow::ensure!(!target.is_https(), "a proxy behind TLS is not supported, use an http:// one");
    Ok(target)
}

/// Opens connections for one thread; clones share everything. Must be used within a `LocalSet`.
#[derive(Clone)]
pub struct Client(Rc<Shared>);

struct Shared {
    connector: Connector,
    settings: Settings,
    scratch: Scratch,
    names: RefCell<BTreeMap<(String, u16), Known>>,
    /// Connections opened so far.
    opened: Cell<u64>,
    retried: Cell<u64>,
}

struct Known {
    since: Instant,
    addresses: Vec<SocketAddr>,
    /// Connections begun: each begins with another address.
    turn: usize,
}

impl Client {
    /// # Errors
    /// TLS material that cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        let connector = Connector::new(&settings.tls, settings.version)?;
        Ok(Self(Rc::new(Shared {
            connector,
            settings,
            scratch: scratch(),
            names: RefCell::default(),
            opened: Cell::new(0),
            retried: Cell::new(0),
        })))
    }

    /// Connections of their own: one pool per user, or one for all that get a clone.
    #[must_use]
    pub fn pool(&self) -> Pool {
        Pool::new(self.clone())
    }

    /// Connections opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.0.opened.get()
    }

    /// Requests sent twice, as a kept connection turned out to be closed.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.0.retried.get()
    }

    pub(crate) fn count_retry(&self) {
        self.0.retried.set(self.0.retried.get() + 1);
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn scratch(&self) -> &Scratch {
        &self.0.scratch
    }

    /// A stream of bytes to an origin, TLS and proxy included, for what is not HTTP requests: WebSockets. Sets no time
    /// limit. Build the client with [`HttpVersion::Http1`], so that TLS does not agree on h2.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn connect(&self, origin: &Origin) -> Result<Stream, Failure> {
        self.open(origin, &mut Clock::start()).await.map(|opened| opened.stream)
    }

    pub(crate) async fn open(&self, origin: &Origin, clock: &mut Clock) -> Result<Opened, Failure> {
        let target = origin.target();
        let settings = &self.0.settings;
        let stream = if let Some(path) = &settings.unix_socket {
            self.dial(target, Route::Unix(path), clock).await?
        } else if let Some(proxy) = settings.proxies.for_target(target) {
            let addresses = self.addresses(proxy, clock).await?;
            self.dial(target, Route::Proxy { proxy, addresses: &addresses }, clock).await?
        } else {
            let addresses = self.addresses(target, clock).await?;
            match self.dial(target, Route::Direct(&addresses), clock).await {
                Ok(stream) => stream,
                Err(failure) => {
                    self.0.names.borrow_mut().remove(&(target.host().to_owned(), target.port()));
                    return Err(failure);
                }
            }
        };
        self.0.opened.set(self.0.opened.get() + 1);
        let connector = &self.0.connector;
        let h2 = connector.is_h2(&stream, target).map_err(|error| failed(error, clock.step))?;
        let through = settings.unix_socket.is_none().then(|| settings.proxies.for_target(target)).flatten();
        let absolute = through
            .filter(|_| !target.is_https())
            .map(|proxy| ProxyAuthorization(proxy.authorization().map(|value| value.as_bytes().to_vec())));
        Ok(Opened { stream, h2, absolute })
    }

    async fn dial(&self, target: &Target, route: Route<'_>, clock: &mut Clock) -> Result<Stream, Failure> {
        let told = |step| {
            clock.enter(match step {
                DialStep::Connect => Step::Connect,
                DialStep::Tls => Step::Tls,
            });
        };
        let dialled = self.0.connector.dial(target, route, told).await;
        dialled.map_err(|error| failed(error, clock.step))
    }

    /// The addresses of a target's name, each time beginning with another one, so that all get connections.
    async fn addresses(&self, target: &Target, clock: &mut Clock) -> Result<Vec<SocketAddr>, Failure> {
        let key = (target.host().to_owned(), target.port());
        if let Some(known) = self.0.names.borrow_mut().get_mut(&key)
            && known.since.elapsed() < self.0.settings.addresses_fresh
        {
            known.turn += 1;
            let mut addresses = known.addresses.clone();
            let turn = known.turn % addresses.len().max(1);
            addresses.rotate_left(turn);
            return Ok(addresses);
        }
        let family = self.0.settings.family;
        let mut addresses = match self.given_addresses(target) {
            Some(given) => given,
            None => {
                clock.enter(Step::Lookup);
                let found = self.0.connector.resolve(target).await;
                found.map_err(|error| failed(error, Step::Lookup))?
            }
        };
        addresses.retain(|address| family.has(address));
        if addresses.is_empty() {
            let text = format!("no {}address for `{}`", family.name(), target.host());
            return Err(Failure::new(ErrorClass::Dns, Step::Lookup, text));
        }
        let mut names = self.0.names.borrow_mut();
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(key, Known { since: Instant::now(), addresses: addresses.clone(), turn: 0 });
        Ok(addresses)
    }

    fn given_addresses(&self, target: &Target) -> Option<Vec<SocketAddr>> {
        let hosts = &self.0.settings.hosts;
        if hosts.is_empty() {
            return None;
        }
        let exact = format!("{}:{}", target.host(), target.port());
        let given = hosts.get(&exact).or_else(|| hosts.get(target.host()))?;
        let port = |address: &SocketAddr| if address.port() == 0 { target.port() } else { address.port() };
        Some(given.iter().map(|address| SocketAddr::new(address.ip(), port(address))).collect())
    }
}

/// A stream and what to speak on it.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) h2: bool,
    pub(crate) absolute: Option<ProxyAuthorization>,
}

fn failed(error: ConnectError, step: Step) -> Failure {
    let (class, text) = match error {
        ConnectError::Dns(text) => (ErrorClass::Dns, text),
        ConnectError::Connect(text) => (ErrorClass::Connect, text),
        ConnectError::Tls(text) => (ErrorClass::Tls, text),
        ConnectError::Handshake(text) => (ErrorClass::Protocol, text),
    };
    Failure::new(class, step, text)
}
