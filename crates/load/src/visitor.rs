//! The scenario front's users: each iteration sends a drawn operation and those that follow it, and has it recorded.

use crate::drive::{Control, Ended, Iteration, User, Users};
use crate::http::{Phases, Pool, Request, Step};
use crate::record::{Arrival, Record};
use crate::requests::{Draw, Requests};
use crate::tell::{Sender, Teller};
use crate::trace::TraceIds;
use anyhow::Result;
use model::{ErrorClass, Histogram};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What all visitors of a run write to.
pub(crate) struct Book {
    pub(crate) requests: Requests,
    pub(crate) record: Record,
    /// The first request of each operation, until another one differs.
    pub(crate) keys: Vec<Key>,
    pub(crate) trace_random: Xoshiro256PlusPlus,
    pub(crate) lateness: Histogram,
    pub(crate) started_count: u64,
    pub(crate) held_back: u64,
    pub(crate) in_flight: usize,
    /// Where samples are wanted.
    pub(crate) teller: Option<Teller>,
}

impl Book {
    fn check(&mut self, sender: Sender, operation: u32, name: &str, passed: bool) {
        self.record.check(operation, name, passed);
        if let Some(teller) = &mut self.teller {
            teller.check(sender, operation, name, passed);
        }
    }
}

/// Whether all requests of an operation were the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    One(u64),
    Many,
}

/// Makes visitors; hears of arrivals that never started.
pub(crate) struct Visitors {
    pub(crate) book: Rc<RefCell<Book>>,
    pub(crate) control: Control,
    pub(crate) pool: Pool,
    pub(crate) blank: Request,
    /// Why an arrival may not have started.
    pub(crate) max_in_flight: usize,
}

pub(crate) struct Visitor {
    book: Rc<RefCell<Book>>,
    control: Control,
    pool: Pool,
    request: Request,
}

impl Users for Visitors {
    type User = Visitor;

    async fn create(&self, _user: u32) -> Result<Visitor> {
        Ok(Visitor {
            book: Rc::clone(&self.book),
            control: self.control.clone(),
            pool: self.pool.clone(),
            request: self.blank.clone(),
        })
    }

    /// Counted with the time that it waited, which is a lower bound.
    fn not_started(&self, scenario: usize, due: Instant, now: Instant) {
        let started = self.control.started().unwrap_or(due);
        let mut book = self.book.borrow_mut();
        let after = due.saturating_duration_since(started);
        let operation = book.requests.draw(scenario, after).steps[0].operation;
        let text = format!("{} requests were in flight already", self.max_in_flight);
        let arrival = Arrival {
            operation,
            due: due.saturating_duration_since(started),
            done: now.saturating_duration_since(started),
            service: None,
            status: 0,
            failure: Some((ErrorClass::NotStarted, text)),
            sent_bytes: 0,
            received_bytes: 0,
            trace_id: 0,
            phases: Phases::default(),
        };
        book.record.take(&arrival);
        if let Some(teller) = &mut book.teller {
            teller.not_started(scenario, &arrival);
        }
    }
}

impl User for Visitor {
    async fn iterate(&mut self, iteration: &Iteration) -> Ended {
        let mut due = iteration.due.unwrap_or(iteration.started);
        let started = self.control.started().unwrap_or(due);
        let mut draw = {
            let mut book = self.book.borrow_mut();
            book.held_back += u64::from(iteration.was_held_back());
            if iteration.due.is_some() {
                book.lateness.record(crate::options::nanos(iteration.lateness()));
            }
            book.requests.draw(iteration.scenario, due.saturating_duration_since(started))
        };
        let sender = Sender { scenario: iteration.scenario, user: iteration.user };
        for step in 0..draw.steps.len() {
            if !draw.steps[step].pause.is_zero() {
                tokio::time::sleep(draw.steps[step].pause).await;
            }
            if step > 0 {
                due = Instant::now();
            }
            if !self.send(&mut draw, step, due, sender).await {
                break;
            }
        }
        if let Some(teller) = &mut self.book.borrow_mut().teller {
            teller.iteration(sender, iteration.started.elapsed());
        }
        Ended::Done
    }
}

impl Visitor {
    /// One request; whether it was answered as expected.
    async fn send(&mut self, draw: &mut Draw, step: usize, due: Instant, sender: Sender) -> bool {
        let operation = draw.steps[step].operation;
        let key = draw.fill(step, &mut self.request);
        let trace = {
            let mut book = self.book.borrow_mut();
            book.started_count += 1;
            book.in_flight += 1;
            let known = &mut book.keys[operation as usize];
            *known = match *known {
                Key::None => Key::One(key),
                Key::One(other) if other == key => Key::One(key),
                _ => Key::Many,
            };
            TraceIds {
                trace: book.trace_random.random::<u128>().max(1),
                span: book.trace_random.random::<u64>().max(1),
            }
        };
        // A scenario's own traceparent gives way.
        drop(self.request.headers.set("traceparent", trace.traceparent()));
        let started = self.control.started().unwrap_or(due);
        let mut going = Going {
            book: &self.book,
            sender,
            request: &self.request,
            started,
            begun: Instant::now(),
            arrival: Some(Arrival {
                operation,
                due: due.saturating_duration_since(started),
                done: Duration::ZERO,
                service: None,
                status: 0,
                failure: None,
                sent_bytes: self.request.body.len() as u64,
                received_bytes: 0,
                trace_id: trace.trace,
                phases: Phases::default(),
            }),
        };
        let response = self.pool.send(&self.request).await;
        let Some(mut arrival) = going.arrival.take() else { return false };
        drop(going);
        arrival.done = response.done.saturating_duration_since(started);
        arrival.service = response.sent.map(|sent| response.done.saturating_duration_since(sent));
        arrival.received_bytes = response.body_bytes;
        arrival.phases = response.phases;
        arrival.failure = match &response.failure {
            Some(failure) => {
                // Without a connection nothing was sent.
                if failure.step < Step::Send {
                    arrival.service = None;
                }
                Some((failure.class, failure.text.clone()))
            }
            None => {
                arrival.status = response.status;
                let mut checked =
                    |name: &str, passed| self.book.borrow_mut().check(sender, operation, name, passed);
                draw.take(step, &response, &mut checked)
            }
        };
        let mut book = self.book.borrow_mut();
        book.record.take(&arrival);
        if let Some(teller) = &mut book.teller {
            teller.request(sender, &self.request, &arrival, Some(&response));
        }
        arrival.failure.is_none()
    }
}

/// A request in flight. If the run ends first, it is recorded as it is.
struct Going<'a> {
    book: &'a RefCell<Book>,
    sender: Sender,
    request: &'a Request,
    started: Instant,
    begun: Instant,
    arrival: Option<Arrival>,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        let mut book = self.book.borrow_mut();
        book.in_flight -= 1;
        let Some(mut arrival) = self.arrival.take() else { return };
        let now = Instant::now();
        let open = now.saturating_duration_since(self.begun);
        arrival.done = now.saturating_duration_since(self.started);
        arrival.service = Some(open);
        let text = format!("no complete response when the run ended, {open:?} after sending");
        arrival.failure = Some((ErrorClass::Timeout, text));
        book.record.take(&arrival);
        if let Some(teller) = &mut book.teller {
            teller.request(self.sender, self.request, &arrival, None);
        }
    }
}
