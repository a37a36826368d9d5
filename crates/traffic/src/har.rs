//! HAR 1.2: what a browser did, as requests that were seen. Only those to the host that was asked most.

use crate::flow::flow;
use crate::learn::{Exchange, Learner};
use crate::plan::{Options, Plan, Source};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The scenario of a HAR file.
///
/// # Errors
/// It is none, or holds no request.
pub fn har(document: &Value, name: &str, options: &Options) -> Result<Plan> {
    let entries = document["log"]["entries"].as_array().context("no `log.entries`: this is no HAR file")?;
    let mut origins: BTreeMap<&str, u64> = BTreeMap::new();
    for origin in entries.iter().filter_map(|entry| origin(url(entry)?)) {
        *origins.entry(origin).or_default() += 1;
    }
    let busiest = origins.iter().max_by_key(|(_, count)| **count).map(|(origin, _)| *origin);
    let base = busiest.context("it holds no request with a URL")?;
    let of_base = |entry: &&Value| url(entry).and_then(origin) == Some(base);
    let mut others = entries.len();
    if options.flow {
        let own: Vec<&Value> = entries.iter().filter(of_base).collect();
        others -= own.len();
        let mut plan = flow(&own, base, name, options)?;
        note_others(&mut plan, others, base);
        return Ok(plan);
    }
    let mut learner = Learner::default();
    for exchange in entries.iter().filter(of_base).filter_map(exchange) {
        learner.learn(&exchange);
    }
    for exchange in entries.iter().filter(of_base).filter_map(exchange) {
        learner.count(&exchange);
    }
    let kept = entries.iter().filter(of_base).count();
    let source = Source { name: name.to_owned(), what: format!("{kept} requests of a HAR file") };
    let mut plan = learner.plan(source, Some(base), options);
    ensure!(!plan.operations.is_empty(), "none of its requests can be repeated");
    others -= kept;
    note_others(&mut plan, others, base);
    Ok(plan)
}

fn note_others(plan: &mut Plan, others: usize, base: &str) {
    if others > 0 {
        plan.notes.push(format!("{others} requests to other hosts than {base} are left out"));
        plan.notes.sort();
    }
}

pub(crate) fn url(entry: &Value) -> Option<&str> {
    entry["request"]["url"].as_str()
}

/// `https://host:port` of a URL of the web, without user and password.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let end = url.len() - rest.len() + rest.find(['/', '?', '#']).unwrap_or(rest.len());
    (!url[..end].contains('@')).then_some(&url[..end])
}

fn exchange(entry: &Value) -> Option<Exchange<'_>> {
    let request = &entry["request"];
    let url = request["url"].as_str()?;
    let target = url.get(origin(url)?.len()..)?.split('#').next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = request["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |header: &Value| {
        Some((
            header["name"].as_str()?.trim_start_matches(':').to_owned(),
            header["value"].as_str()?.to_owned(),
        ))
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    let duration_ns = entry["time"].as_f64().filter(|ms| (0.0..1e9).contains(ms)).map(|ms| (ms * 1e6) as u64);
    let status = request_status(entry);
    Some(Exchange {
        at_ns: entry["startedDateTime"].as_str().and_then(access_log::parse_time).unwrap_or(0),
        duration_ns,
        method: Cow::Borrowed(request["method"].as_str()?),
        path: Cow::Borrowed(if path.is_empty() { "/" } else { path }),
        query: Cow::Borrowed(query),
        headers: headers.iter().filter_map(pair).collect(),
        body: Cow::Borrowed(request["postData"]["text"].as_str().unwrap_or("")),
        status,
        ..Exchange::default()
    })
}

fn request_status(entry: &Value) -> u16 {
    entry["response"]["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0)
}
