//! Postgres: a connection per request or from the pool, and traced statements on it.
//! Knows no table; the endpoints own their SQL.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deadpool_postgres::{ClientWrapper, Connect, Manager, ManagerConfig, Object, Pool, PoolError, Runtime};
use futures_util::StreamExt as _;
use opentelemetry::KeyValue;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::SpanKind;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient, NoTls, Row, RowStream, Statement as Prepared};

use crate::error::Error;
use crate::metrics::{Metrics, PoolLevel};
use crate::switches::{Connection, Switches};
use crate::trace::{Span, Trace};

/// A caller that got no connection for this long is told to come back.
const POOL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of one parameter that a span keeps.
const PARAMETER_CHARACTERS: usize = 200;

pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement and how telemetry names it.
pub(crate) struct Statement {
    pub operation: &'static str,
    pub collection: &'static str,
    pub sql: &'static str,
}

const BEGIN: Statement = Statement { operation: "BEGIN", collection: "", sql: "BEGIN" };
const COMMIT: Statement = Statement { operation: "COMMIT", collection: "", sql: "COMMIT" };

/// Where the database is, as spans say it, and where durations are counted.
struct Place {
    address: String,
    port: u16,
    namespace: String,
    metrics: Arc<Metrics>,
}

pub(crate) struct Database {
    config: tokio_postgres::Config,
    pool: Pool,
    place: Arc<Place>,
}

impl Database {
    /// Does not connect: the shop starts without its database and answers 503.
    ///
    /// # Errors
    /// When the URL cannot be understood; the message does not repeat it.
    pub(crate) fn new(
        url: &str,
        pool_size: u32,
        trace: Trace,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let config = parse_url(url)?;
        let place = Arc::new(Place::of(&config, metrics));
        let connector = Connector { place: Arc::clone(&place), trace };
        let manager = Manager::from_connect(config.clone(), connector, ManagerConfig::default());
        let pool = Pool::builder(manager)
            .max_size(pool_size as usize)
            .wait_timeout(Some(POOL_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .context("cannot build the database pool")?;
        Ok(Self { config, pool, place })
    }

    pub(crate) fn resize(&self, pool_size: u32) {
        self.pool.resize(pool_size as usize);
    }

    pub(crate) fn pool_level(&self) -> PoolLevel {
        let status = self.pool.status();
        PoolLevel {
            used: status.size.saturating_sub(status.available) as u64,
            idle: status.available as u64,
            max: status.max_size as u64,
            pending: status.waiting as u64,
        }
    }

    /// # Errors
    /// `Unavailable` when the database cannot be reached or no connection becomes free in time.
    pub(crate) async fn session(&self, trace: &Trace, switches: &Switches) -> Result<Session, Error> {
        let link = match switches.connection {
            Connection::PerRequest => {
                let (client, task) = connect(&self.config, &self.place, trace).await?;
                Link::Own(ClientWrapper::new(client, task))
            }
            Connection::Pool => Link::Pooled(self.acquire(trace).await?),
        };
        Ok(Session { link, place: Arc::clone(&self.place) })
    }

    async fn acquire(&self, trace: &Trace) -> Result<Object, Error> {
        let attributes = vec![
            KeyValue::new("db.client.connection.pool.name", "shop"),
            KeyValue::new("db.system.name", "postgresql"),
        ];
        let span = trace.span("pool.acquire", SpanKind::Internal, attributes);
        let started = Instant::now();
        let acquired = self.pool.get().with_context(span.trace().context().clone()).await;
        self.place.metrics.pool_wait(started.elapsed());
        acquired.map_err(|error| match error {
            PoolError::Backend(error) => {
                span.fail("connect", "cannot connect");
                Error::from(error)
            }
            PoolError::Timeout(_) => {
                span.fail("timeout", "no connection became free");
                let seconds = POOL_TIMEOUT.as_secs();
                Error::Unavailable(format!("no database connection became free within {seconds} s"))
            }
            other => Error::Internal(format!("database pool: {other}")),
        })
    }
}

pub(crate) fn parse_url(url: &str) -> anyhow::Result<tokio_postgres::Config> {
    let mut config: tokio_postgres::Config = url
        .parse()
        .ok()
        .context("the database URL cannot be read; expected postgres://user@host:port/name")?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("shop");
    }
    Ok(config)
}

impl Place {
    fn of(config: &tokio_postgres::Config, metrics: Arc<Metrics>) -> Self {
        let address = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let namespace = config.get_dbname().or(config.get_user()).unwrap_or_default().to_owned();
        Self { address, port, namespace, metrics }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        vec![
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.namespace", self.namespace.clone()),
            KeyValue::new("server.address", self.address.clone()),
            KeyValue::new("server.port", i64::from(self.port)),
        ]
    }

    fn span(&self, trace: &Trace, statement: &Statement, parameters: Parameters<'_>) -> Span {
        let mut attributes = self.attributes();
        attributes.push(KeyValue::new("db.query.text", statement.sql));
        attributes.push(KeyValue::new("db.operation.name", statement.operation));
        let mut name = statement.operation.to_owned();
        if !statement.collection.is_empty() {
            attributes.push(KeyValue::new("db.collection.name", statement.collection));
            name = format!("{} {}", statement.operation, statement.collection);
        }
        let span = trace.span(name, SpanKind::Client, attributes);
        if span.is_recording() {
            for (index, parameter) in parameters.iter().enumerate() {
                let mut text = String::new();
                if write!(text, "{parameter:?}").is_ok() {
                    if let Some((end, _)) = text.char_indices().nth(PARAMETER_CHARACTERS) {
                        text.truncate(end);
                    }
                    span.set(KeyValue::new(format!("db.query.parameter.{index}"), text));
                }
            }
        }
        span
    }

    fn finish<T>(
        &self,
        span: &Span,
        statement: &Statement,
        started: Instant,
        result: Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        self.metrics.operation(statement.operation, statement.collection, started.elapsed());
        result.map_err(|error| {
            let state = error.code().map_or("connection", |state| state.code()).to_owned();
            span.fail(state, "statement failed");
            Error::from(error)
        })
    }
}

async fn connect(
    config: &tokio_postgres::Config,
    place: &Place,
    trace: &Trace,
) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    let span = trace.span("connect", SpanKind::Client, place.attributes());
    match config.connect(NoTls).await {
        Ok((client, connection)) => {
            // An error of the connection also fails the call that waits for it, so it is heard there.
            let task = tokio::spawn(async move { drop(connection.await) });
            Ok((client, task))
        }
        Err(error) => {
            span.fail("connect", "cannot connect");
            Err(error)
        }
    }
}

/// Connects on behalf of the pool, so that the span lands below the request that had to wait for it.
struct Connector {
    place: Arc<Place>,
    trace: Trace,
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + 'a>>;

impl Connect for Connector {
    fn connect(&self, config: &tokio_postgres::Config) -> Connecting<'_> {
        let config = config.clone();
        let trace = self.trace.ambient();
        Box::pin(async move { connect(&config, &self.place, &trace).await })
    }
}

enum Link {
    Own(ClientWrapper),
    Pooled(Object),
}

/// One connection for the time of one request.
pub(crate) struct Session {
    link: Link,
    place: Arc<Place>,
}

impl Session {
    fn client(&self) -> &ClientWrapper {
        match &self.link {
            Link::Own(client) => client,
            Link::Pooled(object) => object,
        }
    }

    pub(crate) async fn query(
        &self,
        trace: &Trace,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let client = self.client();
        let prepare = client.prepare_cached(statement.sql);
        query(&**client, prepare, &self.place, trace, statement, parameters).await
    }

    /// Returns the number of rows written.
    pub(crate) async fn execute(
        &self,
        trace: &Trace,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<u64, Error> {
        let client = self.client();
        let prepare = client.prepare_cached(statement.sql);
        execute(&**client, prepare, &self.place, trace, statement, parameters).await
    }

    /// Rows as the server sends them: no more than a few messages are held here at any time.
    pub(crate) async fn stream(
        self,
        trace: &Trace,
        statement: &'static Statement,
        parameters: Parameters<'_>,
    ) -> Result<Rows, Error> {
        let span = self.place.span(trace, statement, parameters);
        let started = Instant::now();
        let client = self.client();
        let opened = async {
            let prepared = client.prepare_cached(statement.sql).await?;
            client.query_raw(&prepared, parameters.iter().copied()).await
        }
        .await;
        match opened {
            Ok(stream) => {
                let stream = Box::pin(stream);
                Ok(Rows { stream, span, statement, started, returned: 0, session: self })
            }
            Err(error) => self.place.finish(&span, statement, started, Err(error)),
        }
    }

    pub(crate) async fn begin(&mut self, trace: &Trace) -> Result<Transaction<'_>, Error> {
        let span = self.place.span(trace, &BEGIN, &[]);
        let started = Instant::now();
        let client = match &mut self.link {
            Link::Own(client) => client,
            Link::Pooled(object) => object,
        };
        let begun = client.transaction().await;
        let inner = self.place.finish(&span, &BEGIN, started, begun)?;
        Ok(Transaction { inner, place: &self.place })
    }
}

/// Rolls back when it is dropped without `commit`.
pub(crate) struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    place: &'a Place,
}

impl Transaction<'_> {
    pub(crate) async fn query(
        &self,
        trace: &Trace,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let prepare = self.inner.prepare_cached(statement.sql);
        query(&*self.inner, prepare, self.place, trace, statement, parameters).await
    }

    pub(crate) async fn execute(
        &self,
        trace: &Trace,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<u64, Error> {
        let prepare = self.inner.prepare_cached(statement.sql);
        execute(&*self.inner, prepare, self.place, trace, statement, parameters).await
    }

    pub(crate) async fn commit(self, trace: &Trace) -> Result<(), Error> {
        let span = self.place.span(trace, &COMMIT, &[]);
        let started = Instant::now();
        let committed = self.inner.commit().await;
        self.place.finish(&span, &COMMIT, started, committed)
    }
}

async fn query(
    client: &impl GenericClient,
    prepare: impl Future<Output = Result<Prepared, tokio_postgres::Error>>,
    place: &Place,
    trace: &Trace,
    statement: &Statement,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, Error> {
    let span = place.span(trace, statement, parameters);
    let started = Instant::now();
    let result = async {
        let prepared = prepare.await?;
        client.query(&prepared, parameters).await
    }
    .await;
    let rows = place.finish(&span, statement, started, result)?;
    span.set(returned_rows(rows.len()));
    Ok(rows)
}

async fn execute(
    client: &impl GenericClient,
    prepare: impl Future<Output = Result<Prepared, tokio_postgres::Error>>,
    place: &Place,
    trace: &Trace,
    statement: &Statement,
    parameters: Parameters<'_>,
) -> Result<u64, Error> {
    let span = place.span(trace, statement, parameters);
    let started = Instant::now();
    let result = async {
        let prepared = prepare.await?;
        client.execute(&prepared, parameters).await
    }
    .await;
    place.finish(&span, statement, started, result)
}

fn returned_rows(count: usize) -> KeyValue {
    KeyValue::new("db.response.returned_rows", i64::try_from(count).unwrap_or(i64::MAX))
}

/// An open result and the connection that it comes from.
pub(crate) struct Rows {
    stream: Pin<Box<RowStream>>,
    span: Span,
    statement: &'static Statement,
    started: Instant,
    returned: usize,
    session: Session,
}

impl Rows {
    /// The next row, `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Row, Error>> {
        let next = self.stream.next().await?;
        self.returned += 1;
        Some(next.map_err(|error| {
            self.span.fail("connection", "result was cut off");
            Error::from(error)
        }))
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        let Statement { operation, collection, .. } = self.statement;
        self.session.place.metrics.operation(operation, collection, self.started.elapsed());
        self.span.set(returned_rows(self.returned));
    }
}
