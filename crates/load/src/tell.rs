//! What a scenario's visitors do as samples for the outputs: k6's metrics of a request, and the time from when it was due.

use crate::http::{Request, Response, Version};
use crate::options::Clock;
use crate::out::{Feed, Kind, Metric, Samples, Text, Unit};
use crate::record::Arrival;
use std::time::{Duration, Instant};

const fn time(name: &'static str) -> Metric {
    Metric::fixed(name, Kind::Trend, Unit::Milliseconds)
}

const fn count(name: &'static str, unit: Unit) -> Metric {
    Metric::fixed(name, Kind::Counter, unit)
}

const CHECKS: Metric = Metric::fixed("checks", Kind::Rate, Unit::None);
const FAILED: Metric = Metric::fixed("http_req_failed", Kind::Rate, Unit::None);
const BUSY_USERS: Metric = Metric::fixed("vus", Kind::Gauge, Unit::None);

/// Speaks for one run.
pub(crate) struct Teller {
    feed: Feed,
    clock: Clock,
    started: Instant,
    operations: Vec<String>,
    /// Name and tags of each scenario that runs side by side.
    scenarios: Vec<Vec<(Text, Text)>>,
}

/// Who sends: an index into the scenarios, and the number of the user.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) scenario: usize,
    pub(crate) user: u32,
}

impl Teller {
    pub(crate) fn new(
        feed: &Feed,
        clock: Clock,
        operations: &[String],
        scenarios: impl Iterator<Item = (String, Vec<(String, String)>)>,
    ) -> Self {
        let tags = |(name, tags): (String, Vec<(String, String)>)| {
            let own = tags.into_iter().map(|(name, value)| (name.into(), value.into()));
            std::iter::once(("scenario".into(), name.into())).chain(own).collect()
        };
        Self {
            feed: feed.clone(),
            clock,
            started: Instant::now(),
            operations: operations.to_vec(),
            scenarios: scenarios.map(tags).collect(),
        }
    }

    /// Times of arrivals count from here.
    pub(crate) fn begin(&mut self, started: Instant) {
        self.started = started;
    }

    /// A request that came to an end, well or not. `response`: none where the run ended first.
    pub(crate) fn request(
        &mut self,
        sender: Sender,
        request: &Request,
        arrival: &Arrival,
        response: Option<&Response>,
    ) {
        let phases = &arrival.phases;
        let mut values = Vec::with_capacity(13);
        values.extend([
            (count("http_reqs", Unit::None), 1.0),
            (FAILED, f64::from(u8::from(arrival.failure.is_some()))),
            (time("http_req_response"), ms(arrival.done.saturating_sub(arrival.due))),
            (time("http_req_duration"), ms(phases.exchange())),
            (time("http_req_blocked"), ms(phases.blocked + phases.lookup)),
            (time("http_req_connecting"), ms(phases.connect)),
            (time("http_req_tls_handshaking"), ms(phases.tls)),
            (time("http_req_sending"), ms(phases.send)),
            (time("http_req_waiting"), ms(phases.wait)),
            (time("http_req_receiving"), ms(phases.receive)),
            (count("data_sent", Unit::Bytes), response.map_or(arrival.sent_bytes, |r| r.sent_bytes) as f64),
            (
                count("data_received", Unit::Bytes),
                response.map_or(arrival.received_bytes, |r| r.received_bytes) as f64,
            ),
        ]);
        let mut tags = self.tags(sender, arrival.operation);
        let path = request.path.split(['?', '#']).next().unwrap_or_default();
        tags.push(("url".into(), format!("{}{path}", request.origin.target().origin()).into()));
        tags.push(("method".into(), request.method.as_str().to_owned().into()));
        tags.push(("status".into(), arrival.status.to_string().into()));
        let version = response.map_or(Version::default(), |response| response.version);
        tags.push(("proto".into(), version.name().into()));
        let expected = if arrival.failure.is_none() { "true" } else { "false" };
        tags.push(("expected_response".into(), expected.into()));
        if let Some((_, text)) = &arrival.failure {
            tags.push(("error".into(), text.clone().into()));
        }
        tags.push(("trace_id".into(), format!("{:032x}", arrival.trace_id).into()));
        self.send(self.started + arrival.done, values, tags);
    }

    /// An arrival that never started; its wait is a lower bound.
    pub(crate) fn not_started(&mut self, scenario: usize, arrival: &Arrival) {
        let waited = arrival.done.saturating_sub(arrival.due);
        let values =
            vec![(count("dropped_iterations", Unit::None), 1.0), (time("http_req_response"), ms(waited))];
        let mut tags = self.tags(Sender { scenario, user: 0 }, arrival.operation);
        tags.push(("expected_response".into(), "false".into()));
        self.send(self.started + arrival.done, values, tags);
    }

    pub(crate) fn check(&mut self, sender: Sender, operation: u32, name: &str, passed: bool) {
        let mut tags = self.tags(sender, operation);
        tags.push(("check".into(), name.to_owned().into()));
        self.send(Instant::now(), vec![(CHECKS, f64::from(u8::from(passed)))], tags);
    }

    /// One turn of a user, from its start to the end of its last request.
    pub(crate) fn iteration(&mut self, sender: Sender, took: Duration) {
        let values = vec![(count("iterations", Unit::None), 1.0), (time("iteration_duration"), ms(took))];
        let mut tags = self.scenarios.get(sender.scenario).cloned().unwrap_or_default();
        tags.push(("vu".into(), sender.user.to_string().into()));
        self.send(Instant::now(), values, tags);
    }

    /// About once per second: how many users are at work; hands over what has gathered.
    pub(crate) fn tick(&mut self, busy_users: u32) {
        self.send(Instant::now(), vec![(BUSY_USERS, f64::from(busy_users))], Vec::new());
        self.feed.flush();
    }

    fn tags(&self, sender: Sender, operation: u32) -> Vec<(Text, Text)> {
        let mut tags = Vec::with_capacity(12);
        tags.extend(self.scenarios.get(sender.scenario).into_iter().flatten().cloned());
        let name = self.operations.get(operation as usize).cloned().unwrap_or_default();
        tags.push(("name".into(), name.into()));
        if sender.user > 0 {
            tags.push(("vu".into(), sender.user.to_string().into()));
        }
        tags
    }

    fn send(&mut self, at: Instant, values: Vec<(Metric, f64)>, tags: Vec<(Text, Text)>) {
        self.feed.send(Samples { time_ns: self.clock.unix_ns(at), values, tags });
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
