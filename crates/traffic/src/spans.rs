//! Server spans as requests that were seen: what entered the system, not what its services asked each other.

use crate::learn::Exchange;
use hashbrown::HashSet;
use model::{SpanKind, SpanTable, Value};
use std::borrow::Cow;

/// The entry requests of a table, each handed to `each`; `service` keeps those of one service.
pub fn spans(table: &SpanTable, service: Option<&str>, mut each: impl FnMut(&Exchange<'_>)) {
    let known: HashSet<(u128, u64)> =
        table.trace_ids.iter().copied().zip(table.span_ids.iter().copied()).collect();
    for row in 0..table.len() {
        let parent = table.parent_ids[row];
        let inner = parent != 0 && known.contains(&(table.trace_ids[row], parent));
        let entry = match service {
            Some(service) => {
                table.kinds[row] == SpanKind::Server
                    && text(table, row, &["service.name"]).as_deref() == Some(service)
            }
            None => !inner && matches!(table.kinds[row], SpanKind::Server | SpanKind::Unspecified),
        };
        if entry && let Some(exchange) = exchange(table, row) {
            each(&exchange);
        }
    }
}

fn exchange(table: &SpanTable, row: usize) -> Option<Exchange<'_>> {
    let name = table.strings.get(table.names[row]);
    let (first, rest) = name.split_once(' ').unwrap_or((name, ""));
    let by_name = rest.starts_with('/') && first.bytes().all(|b| b.is_ascii_uppercase());
    let method = text(table, row, &["http.request.method", "http.method"])
        .or_else(|| by_name.then_some(Cow::Borrowed(first)))?;
    let route = text(table, row, &["http.route", "url.template"])
        .or_else(|| by_name.then_some(Cow::Borrowed(rest)))
        .unwrap_or_default();
    let target = text(table, row, &["url.path", "http.target", "http.path"])
        .or_else(|| text(table, row, &["url.full", "http.url"]).map(|url| Cow::Owned(without_origin(&url))))
        .unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), query.to_owned()),
        None => (target.into_owned(), String::new()),
    };
    let query = match text(table, row, &["url.query"]) {
        Some(told) if query.is_empty() => told.trim_start_matches('?').to_owned(),
        _ => query,
    };
    let status = text(table, row, &["http.response.status_code", "http.status_code"]);
    Some(Exchange {
        at_ns: table.starts_ns[row],
        duration_ns: u64::try_from(table.durations_ns[row]).ok(),
        method,
        path: Cow::Owned(path),
        query: Cow::Owned(query),
        route,
        status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
        ..Exchange::default()
    })
}

fn without_origin(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find(['/', '?']).map_or_else(|| "/".to_owned(), |at| rest[at..].to_owned())
}

/// The first of the keys that the span or its resource has.
fn text<'t>(table: &'t SpanTable, row: usize, keys: &[&str]) -> Option<Cow<'t, str>> {
    keys.iter().find_map(|key| {
        let value = table.row(row).attribute(key).or_else(|| table.row(row).resource_attribute(key))?;
        Some(match value {
            Value::Text(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_string()),
        })
    })
}
