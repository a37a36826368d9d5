//! Sends a call: redirects by Go's rules, as k6 follows them, cookies, digest authorization, and metrics of each hop.

use super::call::{Asked, Auth, Call, Exchange, OwnCookie, ResponseType, Unsendable, told_status};
use super::cookies::{self, Cookie};
use super::{digest, urls};
use crate::engine::Parallel;
use crate::metrics::Tags;
use crate::user::User;
use bytes::Bytes;
use http::Method;
use load::http::{Failure, Request, Response, Step};
use model::ErrorClass;
use rand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Sends all, so many at once, and returns what came back in their order.
pub(crate) async fn perform_all(user: &Rc<User>, calls: Vec<Call>, parallel: Parallel) -> Vec<Exchange> {
    let mut calls = calls;
    match calls.pop() {
        Some(call) if calls.is_empty() => vec![perform(user, call).await],
        Some(call) => {
            calls.push(call);
            Box::pin(perform_side_by_side(user, calls, parallel)).await
        }
        None => Vec::new(),
    }
}

async fn perform_side_by_side(user: &Rc<User>, calls: Vec<Call>, parallel: Parallel) -> Vec<Exchange> {
    let all = Rc::new(Semaphore::new(parallel.all.clamp(1, Semaphore::MAX_PERMITS)));
    let mut hosts: BTreeMap<String, Rc<Semaphore>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for (index, call) in calls.into_iter().enumerate() {
        let host = call.origin.target().authority().to_owned();
        let most = parallel.per_host.clamp(1, Semaphore::MAX_PERMITS);
        let host = Rc::clone(hosts.entry(host).or_insert_with(|| Rc::new(Semaphore::new(most))));
        let (user, all) = (Rc::clone(user), Rc::clone(&all));
        tasks.spawn_local(async move {
            let _host = host.acquire().await;
            let _slot = all.acquire().await;
            (index, perform(&user, call).await)
        });
    }
    let mut done: BTreeMap<usize, Exchange> = BTreeMap::new();
    while let Some(ended) = tasks.join_next().await {
        if let Ok((index, exchange)) = ended {
            done.insert(index, exchange);
        }
    }
    done.into_values().collect()
}

/// Sends one call to its last response.
pub(crate) async fn perform(user: &Rc<User>, mut call: Call) -> Exchange {
    let mut left = call.redirects;
    let mut challenged = false;
    let sent_cookies = cookies_of(user, &call);
    loop {
        let (mut response, refused) = attempt(user, &call).await;
        let cookies = keep_cookies(user, &call, &response);
        let error_code = refused.unwrap_or_else(|| error_code(&response));
        let next = redirect(&call, &response);
        let answered =
            if response.status == 401 && !challenged { answer(user, &call, &response) } else { None };
        if call.unsendable.as_ref().is_none_or(|unsendable| unsendable.is_request) {
            record(user, &call, &response, error_code, answered.is_some());
        }
        if let Some(value) = answered {
            challenged = true;
            if call.headers.set("Authorization", value).is_ok() {
                continue;
            }
        }
        match next {
            Some(hop) if left > 0 => {
                left -= 1;
                if let Err(why) = follow(user, &mut call, &hop, response.status) {
                    response.failure =
                        Some(Failure { class: ErrorClass::Protocol, text: why, step: Step::Receive });
                    return Exchange { call, response, cookies, sent_cookies, error_code: 1000 };
                }
            }
            _ => return Exchange { call, response, cookies, sent_cookies, error_code },
        }
    }
}

/// One hop; with k6's number of the error where nothing may be sent there.
async fn attempt(user: &User, call: &Call) -> (Response, Option<u32>) {
    if let Some(Unsendable { code, why, .. }) = &call.unsendable {
        return (unsent(why), Some(*code));
    }
    if !user.test.setup.http.barred.is_empty()
        && let Some((code, why)) = Box::pin(barred(user, call)).await
    {
        return (unsent(&why), Some(code));
    }
    if let Some(turn) = user.test.next_request(Instant::now()) {
        tokio::time::sleep_until(turn.into()).await;
    }
    (user.pool.send(&request(user, call)).await, None)
}

/// Whether the options forbid the place of a call, with k6's number and why.
async fn barred(user: &User, call: &Call) -> Option<(u32, String)> {
    let setup = &user.test.setup;
    let target = call.origin.target();
    let hosts = &setup.network.hosts;
    let given =
        hosts.get(&format!("{}:{}", target.host(), target.port())).or_else(|| hosts.get(target.host()));
    // A name may have been given several addresses: all must be allowed.
    let given: Vec<Option<std::net::IpAddr>> = match given {
        Some(all) => all.iter().map(|address| Some(address.ip())).collect(),
        None => vec![None],
    };
    for address in given {
        if let Some(refused) = setup.http.barred.refuse(&call.origin, address).await {
            return Some(refused);
        }
    }
    None
}

fn request(user: &User, call: &Call) -> Request {
    let mut request = Request::to(call.origin.clone(), call.method.clone(), call.path.to_string());
    request.headers = call.headers.clone();
    request.body = call.body.clone();
    request.timeout = call.timeout;
    request.keep_body = call.response_type != ResponseType::None;
    if let Some(value) = cookie_field(user, call) {
        // A bad value is not sent, as the jar took it from a server.
        let _sent = request.headers.set("Cookie", value).is_ok();
    }
    if user.test.setup.traceparent && request.headers.get("traceparent").is_none() {
        let (trace, span) = {
            let mut random = user.random.borrow_mut();
            (random.random::<u128>().max(1), random.random::<u64>().max(1))
        };
        let mut value = String::with_capacity(55);
        let _written = write!(value, "00-{trace:032x}-{span:016x}-01");
        let _sent = request.headers.push("traceparent", value).is_ok();
    }
    request
}

/// Cookies of the jar, without those that the call replaces, and of the call.
fn cookies_of(user: &User, call: &Call) -> Vec<OwnCookie> {
    let target = call.origin.target();
    let jar = call.jar.as_ref().map_or_else(|| user.jar.borrow(), |jar| jar.borrow());
    if jar.is_empty() {
        return call.cookies.clone();
    }
    let kept = jar.matching(target.host(), &call.path, target.is_https(), user.test.unix_ms());
    drop(jar);
    let replaced = |name: &str| call.cookies.iter().any(|own| own.replaces && own.name == name);
    let kept = kept.into_iter().filter(|(name, _)| !replaced(name));
    kept.map(|(name, value)| OwnCookie { name, value, replaces: false })
        .chain(call.cookies.iter().cloned())
        .collect()
}

/// The `Cookie` field of a request: the script's own, and what `cookies_of` tells.
pub(crate) fn cookie_field(user: &User, call: &Call) -> Option<String> {
    let all = cookies_of(user, call);
    if all.is_empty() {
        return None;
    }
    let mut field = call.headers.get("Cookie").map(|v| String::from_utf8_lossy(v).into_owned());
    for OwnCookie { name, value, .. } in all {
        let field = field.get_or_insert_default();
        if !field.is_empty() {
            field.push_str("; ");
        }
        field.push_str(&name);
        field.push('=');
        field.push_str(&value);
    }
    field
}

fn keep_cookies(user: &User, call: &Call, response: &Response) -> Vec<Cookie> {
    let mut cookies = Vec::new();
    let target = call.origin.target();
    for (name, value) in response.headers.iter() {
        if name.len() != 10 || !name.eq_ignore_ascii_case("set-cookie") {
            continue;
        }
        let now = user.test.unix_ms();
        let Some(cookie) = cookies::parse(&String::from_utf8_lossy(value), target.host(), &call.path, now)
        else {
            continue;
        };
        let mut jar = call.jar.as_ref().map_or_else(|| user.jar.borrow_mut(), |jar| jar.borrow_mut());
        jar.put(cookie.clone(), now);
        cookies.push(cookie);
    }
    cookies
}

/// Where a response sends its caller. One that names no place is an answer.
fn redirect(call: &Call, response: &Response) -> Option<String> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) || response.failure.is_some() {
        return None;
    }
    let location = response.headers.get("location")?;
    Some(urls::resolve(&call.url, &String::from_utf8_lossy(location)))
}

/// rustls's name of a version as k6 writes it.
pub(super) fn tls_version(name: &str) -> &'static str {
    match name {
        "TLSv1_3" => "tls1.3",
        "TLSv1_2" => "tls1.2",
        _ => "",
    }
}

/// What came of a request that could not be sent.
fn unsent(why: &str) -> Response {
    let now = Instant::now();
    Response {
        status: 0,
        reason: String::new(),
        version: load::http::Version::default(),
        headers: load::http::Headers::new(),
        body: Bytes::new(),
        body_bytes: 0,
        sent_bytes: 0,
        received_bytes: 0,
        phases: load::http::Phases::default(),
        began: now,
        sent: None,
        done: now,
        remote: None,
        tls: None,
        reused: false,
        retried: false,
        failure: Some(Failure { class: ErrorClass::Protocol, text: why.to_owned(), step: Step::Blocked }),
    }
}

/// Turns a call into its next hop.
fn follow(user: &User, call: &mut Call, url: &str, status: u16) -> Result<(), String> {
    let parsed = user.test.urls.parse(url).map_err(|error| format!("redirect: {error:#}"))?;
    call.asked.get_or_insert_with(|| {
        let (method, url) = (call.method.clone(), Rc::clone(&call.url));
        Rc::new(Asked { method, url, headers: call.headers.clone(), body: call.body.clone() })
    });
    let keeps = matches!(status, 307 | 308);
    if !keeps {
        if call.method != Method::GET && call.method != Method::HEAD {
            call.method = Method::GET;
        }
        call.body = Bytes::new();
        for name in ["Content-Type", "Content-Length", "Content-Encoding"] {
            call.headers.remove(name);
        }
    }
    if parsed.origin.target().host() != call.origin.target().host() {
        for name in ["Authorization", "Cookie", "Www-Authenticate"] {
            call.headers.remove(name);
        }
        call.auth = Auth::None;
    }
    call.headers.remove("Host");
    call.cookies.clear();
    (call.origin, call.path, call.url) = (parsed.origin, parsed.path, parsed.clean);
    Ok(())
}

fn answer(user: &User, call: &Call, response: &Response) -> Option<String> {
    let Auth::Digest { user: name, password } = &call.auth else { return None };
    let challenge = response.headers.get("www-authenticate")?;
    let nonce: u64 = user.random.borrow_mut().random();
    let challenge = String::from_utf8_lossy(challenge);
    digest::answer(
        &challenge,
        &digest::Asked { user: name, password, method: call.method.as_str(), path: &call.path },
        nonce,
    )
}

/// k6's `lib/netext/httpext/error_codes.go` as documented: 1000 unknown, 11xx names, 12xx TCP, 13xx TLS, 14xx and 15xx
/// statuses, 16xx h2, 17xx content.
fn error_code(response: &Response) -> u32 {
    let Some(failure) = &response.failure else {
        return if response.status >= 400 { 1000 + u32::from(response.status) } else { 0 };
    };
    match (failure.class, failure.step) {
        (ErrorClass::Dns, _) => 1101,
        (ErrorClass::Timeout, Step::Connect) => 1211,
        (ErrorClass::Timeout, _) => 1050,
        (ErrorClass::Connect, _) if failure.text.contains("refused") => 1212,
        (ErrorClass::Connect, _) => 1210,
        (ErrorClass::Tls, _) if failure.text.contains("InvalidContentType") => 1301,
        (ErrorClass::Tls, _) => 1300,
        (ErrorClass::Closed, _) if failure.text.contains("reset") => 1220,
        _ => 1000,
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `is_challenge`: a 401 that is answered, which is no failure.
fn record(user: &User, call: &Call, response: &Response, error_code: u32, is_challenge: bool) {
    let metrics = &user.test.metrics;
    let builtin = metrics.builtin;
    let own = user.expected.borrow();
    let expected = call.expected.as_ref().unwrap_or(&own).holds(response.status);
    let expected = expected.map(|holds| is_challenge || (holds && response.failure.is_none()));
    let tags = HttpTags { user, call, response, expected, error_code };
    let phases = &response.phases;
    let values = [
        (builtin.http_reqs, 1.0),
        (builtin.http_req_duration, ms(phases.exchange())),
        (builtin.http_req_blocked, ms(phases.blocked + phases.lookup)),
        (builtin.http_req_connecting, ms(phases.connect)),
        (builtin.http_req_tls_handshaking, ms(phases.tls)),
        (builtin.http_req_sending, ms(phases.send)),
        (builtin.http_req_waiting, ms(phases.wait)),
        (builtin.http_req_receiving, ms(phases.receive)),
        (builtin.data_sent, response.sent_bytes as f64),
        (builtin.data_received, response.received_bytes as f64),
        (builtin.http_req_failed, f64::from(u8::from(expected == Some(false)))),
    ];
    // Where nothing is expected of a status, none has failed or not.
    let counted = if expected.is_some() { values.len() } else { values.len() - 1 };
    metrics.add_all(&values[..counted], &tags);
    let due = user.due.get();
    let waited = due.map(|due| response.done.saturating_duration_since(due));
    user.due.set(None);
    user.test.endpoints.count(call, response, expected == Some(false), waited);
}

/// k6's system tags of a request, looked up only where a threshold asks.
struct HttpTags<'a> {
    user: &'a User,
    call: &'a Call,
    response: &'a Response,
    expected: Option<bool>,
    error_code: u32,
}

impl Tags for HttpTags<'_> {
    fn has(&self, key: &str, value: &str) -> bool {
        let number = |number: u32, value: &str| value.parse() == Ok(number);
        if let Some((_, own)) = self.call.tags.iter().find(|(name, _)| name == key) {
            return own == value;
        }
        match key {
            "method" => self.call.method.as_str() == value,
            "url" => &*self.call.url == value,
            "name" => self.call.name.as_deref().unwrap_or(&self.call.url) == value,
            "status" => number(u32::from(told_status(self.response)), value),
            "proto" => self.response.version.name() == value,
            "tls_version" => self.response.tls.map_or("", |(version, _)| tls_version(version)) == value,
            "expected_response" => match self.expected {
                Some(expected) => value == if expected { "true" } else { "false" },
                None => value.is_empty(),
            },
            "error_code" if self.error_code == 0 => value.is_empty(),
            "error_code" => number(self.error_code, value),
            "error" => self.response.failure.as_ref().map_or("", |failure| failure.text.as_str()) == value,
            _ => self.user.has(key, value),
        }
    }

    fn each(&self, told: &mut dyn FnMut(&str, &str)) {
        for (name, value) in &self.call.tags {
            told(name, value);
        }
        told("method", self.call.method.as_str());
        told("url", &self.call.url);
        told("name", self.call.name.as_deref().unwrap_or(&self.call.url));
        told("status", &told_status(self.response).to_string());
        told("proto", self.response.version.name());
        if let Some((version, _)) = self.response.tls {
            told("tls_version", tls_version(version));
        }
        if let Some(expected) = self.expected {
            told("expected_response", if expected { "true" } else { "false" });
        }
        if self.error_code > 0 {
            told("error_code", &self.error_code.to_string());
        }
        if let Some(failure) = &self.response.failure {
            told("error", &failure.text);
        }
        self.user.each(told);
    }
}
