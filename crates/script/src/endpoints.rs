//! Latencies by endpoint without any tagging: method and path template, or the script's own name.

use crate::http::Call;
use crate::metrics::Trend;
use load::http::Response;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// Endpoints that are told apart; all others share one row.
const MAX_ENDPOINTS: usize = 500;
const OTHERS: &str = "(others)";

#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) received_bytes: u64,
    /// Milliseconds from sending to the last byte.
    pub(crate) service: Trend,
    /// Milliseconds from the scheduled start of the iteration; in open models, of its first request.
    pub(crate) from_schedule: Trend,
}

#[derive(Default)]
pub(crate) struct Endpoints {
    rows: RefCell<BTreeMap<String, Endpoint>>,
    /// Row names by what calls have at hand.
    names: RefCell<HashMap<Rc<str>, Rc<str>>>,
}

impl Endpoints {
    pub(crate) fn count(&self, call: &Call, response: &Response, failed: bool, waited: Option<Duration>) {
        let name = match &call.name {
            Some(name) => Rc::clone(name),
            None => self.template(&call.path),
        };
        let mut rows = self.rows.borrow_mut();
        let mut key = String::with_capacity(name.len() + 8);
        key.push_str(call.method.as_str());
        key.push(' ');
        key.push_str(&name);
        if !rows.contains_key(&key) && rows.len() >= MAX_ENDPOINTS {
            OTHERS.clone_into(&mut key);
        }
        let row = rows.entry(key).or_default();
        row.requests += 1;
        row.failed += u64::from(failed);
        row.received_bytes += response.received_bytes;
        row.service.add(response.phases.exchange().as_secs_f64() * 1e3);
        if let Some(waited) = waited {
            row.from_schedule.add(waited.as_secs_f64() * 1e3);
        }
    }

    fn template(&self, path: &Rc<str>) -> Rc<str> {
        if let Some(known) = self.names.borrow().get(path) {
            return Rc::clone(known);
        }
        let name: Rc<str> = model::template::path(path).into();
        let mut names = self.names.borrow_mut();
        if names.len() >= MAX_ENDPOINTS * 8 {
            names.clear();
        }
        names.insert(Rc::clone(path), Rc::clone(&name));
        name
    }

    /// By name.
    pub(crate) fn rows(&self) -> BTreeMap<String, Endpoint> {
        self.rows.borrow().clone()
    }
}
