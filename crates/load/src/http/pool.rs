//! Open connections of one user, or of many, by origin. It grows with need: with HTTP/1.1 a connection serves one
//! request at a time, so that whoever bounds the requests in flight bounds the connections.

use super::client::{Client, Opened};
use super::codec::{Decoder, Rules};
use super::decoded;
use super::http1::Http1;
use super::http2::Http2;
use super::message::{Clock, Failure, Origin, Request, Response, Step};
use model::ErrorClass;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Origins of one pool; beyond that the oldest one's idle connections are closed.
const MAX_ORIGINS: usize = 256;

/// Connections of one user, or of all that hold a clone.
#[derive(Clone)]
pub struct Pool {
    client: Client,
    places: Rc<RefCell<Vec<Rc<Place>>>>,
}

/// What is open to one origin.
struct Place {
    origin: Origin,
    open: RefCell<Open>,
    /// One at a time opens an h2 connection, so that the others can share it.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Open {
    /// The most recently used last, and used first: the others may time out on the server.
    #[expect(clippy::vec_box, reason = "a connection is handed over, not moved, for each request")]
    idle: Vec<Box<Http1>>,
    shared: Vec<Http2>,
    /// It answered by HTTP/1.1 before: nobody waits for a connection to share.
    speaks_http1: bool,
}

enum Connection {
    One(Box<Http1>),
    Shared(Http2),
}

/// Whether a kept connection will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Any,
    New,
}

/// A failed attempt, and whether the connection was dead before the request came.
struct Attempt {
    failure: Failure,
    stale: bool,
}

impl Pool {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, places: Rc::default() }
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Closes what is idle: the next request opens a connection.
    pub fn close_idle(&self) {
        self.places.borrow_mut().clear();
    }

    /// Sends a request and reads its response to the end or to the first failure. Any status is a response.
    /// Dropping the future closes the request's connection.
    pub async fn send(&self, request: &Request) -> Response {
        let mut clock = Clock::start();
        let mut response = Response::none(clock.now);
        let done = {
            let exchange = std::pin::pin!(self.exchange(request, &mut response, &mut clock));
            tokio::time::timeout(request.timeout, exchange).await
        };
        let at = clock.step;
        // The last step ends here; which one comes next does not matter.
        clock.enter(Step::Blocked);
        response.failure = match done {
            Ok(done) => done.err(),
            Err(_) => Some(timed_out(request.timeout, at)),
        };
        (response.phases, response.sent, response.done) = (clock.phases, clock.sent, clock.now);
        response
    }

    async fn exchange(
        &self,
        request: &Request,
        response: &mut Response,
        clock: &mut Clock,
    ) -> Result<(), Failure> {
        let place = self.place(&request.origin);
        let connection = self.take(&place, Want::Any, clock).await?;
        let stale = match self.once(&place, connection, request, response, clock).await {
            Ok(()) => return Ok(()),
            Err(attempt) if attempt.stale => attempt.failure,
            Err(attempt) => return Err(attempt.failure),
        };
        // Another idle connection may be just as stale: the second attempt opens its own.
        clock.enter(Step::Blocked);
        let Ok(connection) = self.take(&place, Want::New, clock).await else { return Err(stale) };
        response.retried = true;
        self.client.count_retry();
        let second = Box::pin(self.once(&place, connection, request, response, clock)).await;
        second.map_err(|attempt| attempt.failure)
    }

    fn place(&self, origin: &Origin) -> Rc<Place> {
        let mut places = self.places.borrow_mut();
        if let Some(place) = places.iter().find(|place| place.origin.same(origin)) {
            return Rc::clone(place);
        }
        if places.len() >= MAX_ORIGINS {
            places.remove(0);
        }
        let place = Rc::new(Place {
            origin: origin.clone(),
            open: RefCell::default(),
            opening: tokio::sync::Mutex::default(),
        });
        places.push(Rc::clone(&place));
        place
    }

    async fn take(&self, place: &Place, want: Want, clock: &mut Clock) -> Result<Connection, Failure> {
        // Boxed: most requests find a connection, and then need no room for a handshake.
        if want == Want::New {
            return Box::pin(self.open(place, clock)).await;
        }
        if let Some(connection) = self.reuse(place) {
            return Ok(connection);
        }
        if place.open.borrow().speaks_http1 {
            return Box::pin(self.open(place, clock)).await;
        }
        let _turn = place.opening.lock().await;
        match self.reuse(place) {
            Some(connection) => Ok(connection),
            None => Box::pin(self.open(place, clock)).await,
        }
    }

    fn reuse(&self, place: &Place) -> Option<Connection> {
        let mut open = place.open.borrow_mut();
        while let Some(mut idle) = open.idle.pop() {
            if !idle.is_dead(self.client.scratch()) {
                return Some(Connection::One(idle));
            }
        }
        if open.shared.is_empty() {
            return None;
        }
        let settings = self.client.settings();
        open.shared.retain(|shared| !shared.is_dead());
        let full = open.shared.len() >= settings.h2_connections;
        let least = open.shared.iter().min_by_key(|shared| shared.streams.get())?;
        (full || least.streams.get() < settings.h2_streams.max(1)).then(|| Connection::Shared(least.clone()))
    }

    async fn open(&self, place: &Place, clock: &mut Clock) -> Result<Connection, Failure> {
        let Opened { stream, h2, absolute } = self.client.open(&place.origin, clock).await?;
        if h2 {
            let shared = Http2::shake(stream).await?;
            if self.client.settings().keep_alive {
                place.open.borrow_mut().shared.push(shared.clone());
            }
            return Ok(Connection::Shared(shared));
        }
        place.open.borrow_mut().speaks_http1 = true;
        Ok(Connection::One(Box::new(Http1::new(stream, absolute))))
    }

    async fn once(
        &self,
        place: &Place,
        connection: Connection,
        request: &Request,
        response: &mut Response,
        clock: &mut Clock,
    ) -> Result<(), Attempt> {
        match connection {
            Connection::One(one) => self.once_http1(place, one, request, response, clock).await,
            Connection::Shared(shared) => Box::pin(self.once_http2(shared, request, response, clock)).await,
        }
    }

    async fn once_http1(
        &self,
        place: &Place,
        mut one: Box<Http1>,
        request: &Request,
        response: &mut Response,
        clock: &mut Clock,
    ) -> Result<(), Attempt> {
        (response.remote, response.tls, response.reused) = (one.remote, one.tls, one.served > 0);
        let mut decoder = Decoder::new(Rules::of(request));
        let settings = self.client.settings();
        let scratch = self.client.scratch();
        let done = one.exchange(request, &settings.user_agent, scratch, &mut decoder, clock).await;
        response.status = decoder.status;
        response.version = decoder.version;
        response.body_bytes = decoder.body_bytes;
        std::mem::swap(&mut response.reason, &mut decoder.reason);
        std::mem::swap(&mut response.headers, &mut decoder.headers);
        let bytes = done.map_err(|broken| {
            let repeatable = request.method.is_idempotent();
            let stale = response.reused && broken.ended && broken.silent && repeatable;
            Attempt { failure: broken.failure, stale }
        })?;
        response.sent_bytes += bytes.sent;
        response.received_bytes += bytes.received;
        if decoder.keeps_alive() && settings.keep_alive {
            place.open.borrow_mut().idle.push(one);
        }
        let body = decoded(request, decoder.body, decoder.encoding.as_deref());
        response.body = body.map_err(|failure| Attempt { failure, stale: false })?;
        Ok(())
    }

    async fn once_http2(
        &self,
        mut shared: Http2,
        request: &Request,
        response: &mut Response,
        clock: &mut Clock,
    ) -> Result<(), Attempt> {
        (response.remote, response.tls, response.reused) =
            (shared.remote, shared.tls, shared.served.get() > 0);
        let _lease = shared.lease();
        let agent = &self.client.settings().user_agent;
        let done = shared.exchange(request, agent, response, clock).await;
        done.map_err(|(failure, unsent)| {
            let repeatable = unsent || request.method.is_idempotent();
            let stale =
                response.reused && failure.class == ErrorClass::Closed && response.status == 0 && repeatable;
            Attempt { failure, stale }
        })
    }
}

fn timed_out(timeout: Duration, step: Step) -> Failure {
    let doing = match step {
        Step::Blocked => "waiting for a connection",
        Step::Lookup => "looking the name up",
        Step::Connect => "connecting",
        Step::Tls => "in the TLS handshake",
        Step::Send => "sending",
        Step::Wait => "waiting for the first byte",
        Step::Receive => "receiving",
    };
    let text = format!("no complete response within {timeout:?}: still {doing}");
    Failure::new(ErrorClass::Timeout, step, text)
}
