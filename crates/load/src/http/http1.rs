//! One HTTP/1.1 connection: writes a request, reads its response, one at a time. Sending and receiving go on side by
//! side, so that a server may answer before it has read all.

use super::codec::{Decoder, Flaw};
use super::message::{Clock, Failure, Request, Step};
use http::Method;
use model::ErrorClass;
use net::Stream;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A body up to this length is written together with its head.
const JOINED_BODY_BYTES: usize = 16 << 10;
/// A connection's own write buffer is given back when it has grown beyond this.
const KEPT_BUFFER_BYTES: usize = 64 << 10;
/// Read at once; one buffer serves all connections of a thread.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// The buffer that all connections of a thread read into.
pub(crate) type Scratch = Rc<RefCell<Box<[u8]>>>;

pub(crate) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; READ_BYTES].into_boxed_slice()))
}

pub(crate) struct Http1 {
    stream: Stream,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) tls: Option<(&'static str, &'static str)>,
    /// Requests served so far.
    pub(crate) served: u64,
    /// Plain http through a proxy: the request line names scheme and host.
    absolute: Option<ProxyAuthorization>,
    out: Vec<u8>,
}

/// The value of `proxy-authorization`, where the proxy wants one.
pub(crate) struct ProxyAuthorization(pub(crate) Option<Vec<u8>>);

/// How a response failed, and whether the connection was dead before its request came.
pub(crate) struct Broken {
    pub(crate) failure: Failure,
    /// No byte of an answer came.
    pub(crate) silent: bool,
    /// The peer ended the connection.
    pub(crate) ended: bool,
}

impl Http1 {
    pub(crate) fn new(stream: Stream, absolute: Option<ProxyAuthorization>) -> Self {
        let (remote, tls) = (stream.peer(), stream.tls());
        Self { stream, remote, tls, served: 0, absolute, out: Vec::new() }
    }

    /// Whether the peer has ended the idle connection, or sent what nobody asked for, as far as is known without
    /// asking the kernel.
    pub(crate) fn is_dead(&mut self, scratch: &Scratch) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut buffer = scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut buffer);
        Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_ready()
    }

    /// One exchange. The connection can be used again if the decoder says so.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        agent: &str,
        scratch: &Scratch,
        decoder: &mut Decoder,
        clock: &mut Clock,
    ) -> Result<Bytes, Broken> {
        self.out.clear();
        write_head(&mut self.out, request, agent, self.absolute.as_ref());
        let mut body = &request.body[..];
        if body.len() <= JOINED_BODY_BYTES {
            self.out.extend_from_slice(body);
            body = &[];
        }
        self.served += 1;
        clock.enter(Step::Send);
        let mut going = Going { head_sent: 0, body_sent: 0, received: 0, write_error: None };
        let done = std::future::poll_fn(|context| {
            going.poll(&mut self.stream, &self.out, body, scratch, decoder, clock, context)
        })
        .await;
        if self.out.capacity() > KEPT_BUFFER_BYTES {
            self.out = Vec::new();
        }
        done.map_err(|failure| Broken {
            ended: failure.class == ErrorClass::Closed,
            silent: !decoder.has_started(),
            failure,
        })?;
        Ok(Bytes { sent: (going.head_sent + going.body_sent) as u64, received: going.received })
    }
}

/// Bytes of one exchange on the connection.
pub(crate) struct Bytes {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// How far one exchange is.
struct Going {
    head_sent: usize,
    body_sent: usize,
    received: u64,
    /// Sending failed; the answer may have come before.
    write_error: Option<io::Error>,
}

impl Going {
    #[expect(clippy::too_many_arguments, reason = "the parts of one connection, borrowed apart")]
    fn poll(
        &mut self,
        stream: &mut Stream,
        head: &[u8],
        body: &[u8],
        scratch: &Scratch,
        decoder: &mut Decoder,
        clock: &mut Clock,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        if clock.step == Step::Send {
            match self.poll_write(stream, head, body, context) {
                Poll::Ready(Ok(())) => clock.enter(Step::Wait),
                Poll::Ready(Err(error)) => {
                    self.write_error = Some(error);
                    clock.enter(Step::Wait);
                }
                Poll::Pending => {}
            }
        }
        self.poll_response(stream, scratch, decoder, clock, context)
    }

    fn poll_write(
        &mut self,
        stream: &mut Stream,
        head: &[u8],
        body: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.head_sent < head.len() {
            let left = &head[self.head_sent..];
            self.head_sent += written(ready!(Pin::new(&mut *stream).poll_write(context, left)))?;
        }
        while self.body_sent < body.len() {
            let left = &body[self.body_sent..];
            self.body_sent += written(ready!(Pin::new(&mut *stream).poll_write(context, left)))?;
        }
        Pin::new(stream).poll_flush(context)
    }

    fn poll_response(
        &mut self,
        stream: &mut Stream,
        scratch: &Scratch,
        decoder: &mut Decoder,
        clock: &mut Clock,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let mut scratch = scratch.borrow_mut();
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            let bytes = buffer.filled();
            if let Err(error) = read {
                let error = self.write_error.take().unwrap_or(error);
                return Poll::Ready(Err(lost(&error, clock.step)));
            }
            if clock.step < Step::Receive {
                clock.enter(Step::Receive);
            }
            let fed = if bytes.is_empty() { decoder.end() } else { decoder.feed(bytes).map(drop) };
            self.received += bytes.len() as u64;
            if let Err(flaw) = fed {
                return Poll::Ready(Err(flawed(flaw, clock.step)));
            }
            if decoder.is_done() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn written(done: io::Result<usize>) -> io::Result<usize> {
    match done {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        done => done,
    }
}

fn lost(error: &io::Error, step: Step) -> Failure {
    let class = if error.kind() == io::ErrorKind::InvalidData { ErrorClass::Tls } else { ErrorClass::Closed };
    Failure::new(class, step, format!("the connection failed: {error}"))
}

fn flawed(flaw: Flaw, step: Step) -> Failure {
    let class = if matches!(flaw, Flaw::Ended { .. }) { ErrorClass::Closed } else { ErrorClass::Protocol };
    Failure::new(class, step, flaw.to_string())
}

/// Which fields a request brings itself.
#[derive(Default)]
struct Given {
    host: bool,
    agent: bool,
    length: bool,
    authorization: bool,
    transfer_encoding: bool,
}

impl Given {
    fn of(request: &Request) -> Self {
        let mut given = Self::default();
        for (name, _) in request.headers.iter() {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            match name.len() {
                4 => given.host |= is("host"),
                10 => given.agent |= is("user-agent"),
                13 => given.authorization |= is("authorization"),
                14 => given.length |= is("content-length"),
                17 => given.transfer_encoding |= is("transfer-encoding"),
                _ => {}
            }
        }
        given
    }
}

/// The request's head, the empty line included.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    request: &Request,
    agent: &str,
    absolute: Option<&ProxyAuthorization>,
) {
    let target = request.origin.target();
    let given = Given::of(request);
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    if absolute.is_some() {
        out.extend_from_slice(b"http://");
        out.extend_from_slice(target.authority().as_bytes());
    }
    write_path(out, &request.path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    if !given.host {
        field("host", target.authority().as_bytes());
    }
    if !given.agent {
        field("user-agent", agent.as_bytes());
    }
    if let Some(value) = target.authorization().filter(|_| !given.authorization) {
        field("authorization", value.as_bytes());
    }
    if let Some(ProxyAuthorization(Some(value))) = absolute {
        field("proxy-authorization", value);
    }
    let wants_length = !request.body.is_empty() || expects_body(&request.method);
    if wants_length && !given.length && !given.transfer_encoding {
        field("content-length", request.body.len().to_string().as_bytes());
    }
    out.extend_from_slice(request.headers.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Methods whose empty body is told as such (RFC 9110 section 8.6).
pub(crate) fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Spaces and control characters would end the request line: they are percent-encoded, all else is the caller's.
fn write_path(out: &mut Vec<u8>, path: &str) {
    if !path.starts_with('/') && path != "*" {
        out.push(b'/');
    }
    for byte in path.bytes() {
        if byte > b' ' && byte != 0x7f {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}
