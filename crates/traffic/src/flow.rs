//! What one user did, in its order: the requests of a HAR file as one flow with the pauses between them. A value that a
//! response gave and a later request sends again is taken from the response, so that ids and tokens are fresh in each run.

use crate::guess::{decoded, encoded, unused, variable_name};
use crate::har::{origin, url};
use crate::plan::{Operation, Options, Plan, Source};
use crate::secrets::{Removed, is_secret, is_secret_segment, looks_secret, without_secrets};
use access_log::Routes;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Requests of one flow.
const MAX_STEPS: usize = 200;
/// Values of one response that are remembered.
const MAX_LEAVES: usize = 2000;
const MAX_DEPTH: usize = 12;
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longer pauses are a user who went away.
const MAX_PAUSE_S: f64 = 60.0;

/// The flow of a HAR file's requests to `base`, ascending by time.
///
/// # Errors
/// No request is left.
pub(crate) fn flow(entries: &[&Value], base: &str, name: &str, options: &Options) -> Result<Plan> {
    let mut plan = Plan { source: source(entries, name), ..Plan::default() };
    plan.set_base(options, Some(base));
    let kept = kept(entries, options, &mut plan.notes);
    ensure!(!kept.is_empty(), "none of its requests can be repeated");
    let mut maker = Maker { routes: Routes::default(), ..Maker::default() };
    for entry in &kept {
        maker.routes.learn(path_and_query(entry).0);
    }
    let mut steps: Vec<Operation> = Vec::with_capacity(kept.len());
    let mut ended_s: Option<f64> = None;
    for (at, entry) in kept.iter().enumerate() {
        let began_s = began_s(entry);
        let mut step = maker.step(entry, &mut steps);
        let pause = ended_s.zip(began_s).map_or(0.0, |(ended, began)| began - ended);
        step.pause_s = (pause.clamp(0.0, MAX_PAUSE_S) * 10.0).round() / 10.0;
        let took_s = entry["time"].as_f64().filter(|ms| (0.0..1e9).contains(ms)).unwrap_or(0.0) / 1e3;
        ended_s = began_s.map(|began| began + took_s).or(ended_s);
        maker.remember(at, entry);
        steps.push(step);
    }
    let mut rest = steps.split_off(1);
    let mut first = steps.pop().context("no first request")?;
    first.then.append(&mut rest);
    first.weight = 1.0;
    plan.headers.insert("accept".to_owned(), "*/*".to_owned());
    plan.rate = 1.0;
    "flows that begin each second; a recording of one user tells none: choose it"
        .clone_into(&mut plan.rate_comment);
    plan.notes.extend(maker.removed.note());
    if maker.taken_from > 0 {
        let values = maker.taken_from;
        plan.notes
            .push(format!("{values} values are taken from earlier responses; the others are as recorded"));
    }
    plan.operations.push(first);
    plan.finish(options);
    Ok(plan)
}

fn source(entries: &[&Value], name: &str) -> Source {
    Source {
        name: name.to_owned(),
        what: format!("one user's flow of {} requests of a HAR file", entries.len()),
    }
}

/// The requests to repeat, ascending by time; what is left out is noted.
fn kept<'d>(entries: &[&'d Value], options: &Options, notes: &mut Vec<String>) -> Vec<&'d Value> {
    let mut all: Vec<&Value> = entries.to_vec();
    all.sort_by(|a, b| began_s(a).unwrap_or(0.0).total_cmp(&began_s(b).unwrap_or(0.0)));
    let mut left_out = |all: &mut Vec<&'d Value>, what: &str, is: &dyn Fn(&Value) -> bool| {
        let before = all.len();
        all.retain(|entry| !is(entry));
        if all.len() < before {
            notes.push(format!("{} {what}", before - all.len()));
        }
    };
    let method = |entry: &Value| entry["request"]["method"].as_str().unwrap_or("").to_ascii_uppercase();
    left_out(&mut all, "preflight requests of the browser are left out", &|entry| method(entry) == "OPTIONS");
    left_out(
        &mut all,
        "requests for scripts, styles, fonts and images are left out: caches answer them",
        &is_asset,
    );
    left_out(&mut all, "requests with a method that is none are left out", &|entry| {
        let method = method(entry);
        !((3..=20).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase()))
    });
    if !options.writes {
        left_out(&mut all, "requests that change data are left out; --writes keeps them", &|entry| {
            !matches!(method(entry).as_str(), "GET" | "HEAD")
        });
    }
    if all.len() > MAX_STEPS {
        notes.push(format!("only the first {MAX_STEPS} of {} requests are in the flow", all.len()));
        all.truncate(MAX_STEPS);
    }
    all
}

fn is_asset(entry: &Value) -> bool {
    let kind = entry["response"]["content"]["mimeType"].as_str().unwrap_or("");
    let asset =
        ["image/", "font/", "text/css", "application/font", "application/javascript", "text/javascript"];
    entry["request"]["method"] == "GET" && asset.iter().any(|prefix| kind.starts_with(prefix))
}

fn began_s(entry: &Value) -> Option<f64> {
    entry["startedDateTime"].as_str().and_then(access_log::parse_time).map(|ns| ns as f64 / 1e9)
}

/// Path and query below the origin.
fn path_and_query(entry: &Value) -> (&str, &str) {
    let target = url(entry).and_then(|url| url.get(origin(url)?.len()..)).unwrap_or("");
    let target = target.split('#').next().unwrap_or("");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (if path.is_empty() { "/" } else { path }, query)
}

/// Where a value was first seen: step and JSON pointer. `None`: a request sent it first.
type Origin = Option<(usize, String)>;

#[derive(Default)]
struct Maker {
    routes: Routes,
    removed: Removed,
    origins: HashMap<String, Origin>,
    /// Variable of a value that is used again.
    variables: HashMap<String, String>,
    taken: BTreeSet<String>,
    names: BTreeMap<String, u32>,
    taken_from: usize,
}

impl Maker {
    fn step(&mut self, entry: &Value, before: &mut [Operation]) -> Operation {
        let (path, query) = path_and_query(entry);
        let method = entry["request"]["method"].as_str().unwrap_or("GET").to_ascii_uppercase();
        let mut last = String::new();
        let segments = path.split('/').map(|segment| {
            let plain = decoded(segment);
            let hidden = is_secret_segment(&last, &plain);
            let made = self.taken_or(&plain, before);
            let kept = made.unwrap_or_else(|| match hidden {
                true => self.removed.placeholder(&last),
                false => encoded(&plain),
            });
            last = plain;
            kept
        });
        let mut sent = segments.collect::<Vec<_>>().join("/");
        let pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let (key, value) = (decoded(key), decoded(value));
                let made = self.taken_or(&value, before);
                let secret = is_secret(&key) || looks_secret(&value);
                let value = made.unwrap_or_else(|| match secret {
                    true => self.removed.placeholder(&key),
                    false => encoded(&value).replace('&', "%26"),
                });
                format!("{}={value}", encoded(&key))
            })
            .collect();
        if !pairs.is_empty() {
            sent.push_str(&format!("?{}", pairs.join("&")));
        }
        let mut values = Vec::new();
        let pattern = self.routes.find(path, &mut values).map(|route| self.routes.pattern(route));
        Operation {
            name: self.named(format!("{method} {}", without_secrets(pattern.as_deref().unwrap_or(path)))),
            weight: 1.0,
            path: sent,
            headers: self.headers(entry, before),
            body: self.body(entry, before),
            method,
            ..Operation::default()
        }
    }

    /// Names are of one operation each.
    fn named(&mut self, name: String) -> String {
        let count = self.names.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 { format!("{name} #{count}") } else { name }
    }

    fn headers(&mut self, entry: &Value, before: &mut [Operation]) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for header in entry["request"]["headers"].as_array().into_iter().flatten() {
            let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) else {
                continue;
            };
            let lower = name.trim_start_matches(':').to_ascii_lowercase();
            if lower.is_empty() || !lower.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            {
                continue;
            }
            let (scheme, token) = value.split_once(' ').map_or(("", value), |(scheme, rest)| (scheme, rest));
            let sendable = scheme.bytes().all(|b| b.is_ascii_alphanumeric());
            let wanted = sendable && (is_secret(&lower) || looks_secret(value));
            match wanted.then(|| self.taken_or(token, before)).flatten() {
                Some(taken) if scheme.is_empty() => _ = out.insert(lower, taken),
                Some(taken) => _ = out.insert(lower, format!("{scheme} {taken}")),
                None => out.extend(self.removed.header(&lower, value)),
            }
        }
        out
    }

    fn body(&mut self, entry: &Value, before: &mut [Operation]) -> String {
        let post = &entry["request"]["postData"];
        let text = post["text"].as_str().filter(|text| text.len() <= MAX_BODY_BYTES).unwrap_or("");
        let Ok(mut json) = serde_json::from_str::<Value>(text) else {
            return self.removed.body(text, post["mimeType"].as_str().unwrap_or("")).replace("{{", "{ {");
        };
        let mut marks: Vec<(String, String)> = Vec::new();
        self.mark(&mut json, before, &mut marks, 0);
        let mut sent = self.removed.body(&json.to_string(), "application/json").replace("{{", "{ {");
        for (mark, variable) in marks {
            sent = sent.replace(&mark, &variable);
        }
        sent
    }

    /// Puts a mark in the place of each value that a response gave.
    fn mark(
        &mut self,
        json: &mut Value,
        before: &mut [Operation],
        marks: &mut Vec<(String, String)>,
        depth: usize,
    ) {
        match json {
            Value::Object(members) if depth < MAX_DEPTH => {
                members.values_mut().for_each(|value| self.mark(value, before, marks, depth + 1));
            }
            Value::Array(items) if depth < MAX_DEPTH => {
                items.iter_mut().for_each(|value| self.mark(value, before, marks, depth + 1));
            }
            Value::String(_) | Value::Number(_) => {
                let text = leaf(json).unwrap_or_default();
                if let Some(taken) = self.taken_or(&text, before) {
                    let mark = format!("\u{1}{}\u{1}", marks.len());
                    // A number stays one: its quotes go with the mark.
                    let quoted = Value::String(mark.clone()).to_string();
                    let wanted = if json.is_number() { taken } else { format!("\"{taken}\"") };
                    *json = Value::String(mark);
                    marks.push((quoted, wanted));
                }
            }
            _ => {}
        }
    }

    /// `{{variable}}` for a value that an earlier response gave first; that step then extracts it.
    fn taken_or(&mut self, value: &str, before: &mut [Operation]) -> Option<String> {
        if !is_telling(value) {
            return None;
        }
        let (step, pointer) = self.origins.entry(value.to_owned()).or_insert(None).clone()?;
        if let Some(known) = self.variables.get(value) {
            return Some(format!("{{{{{known}}}}}"));
        }
        let key =
            pointer.rsplit('/').find(|part| !part.bytes().all(|b| b.is_ascii_digit())).unwrap_or("value");
        let name = unused(&variable_name(key), &self.taken);
        self.taken.insert(name.clone());
        before.get_mut(step)?.extract.insert(name.clone(), pointer);
        self.variables.insert(value.to_owned(), name.clone());
        self.taken_from += 1;
        Some(format!("{{{{{name}}}}}"))
    }

    /// What the response of a step gave that nobody had sent before.
    fn remember(&mut self, step: usize, entry: &Value) {
        let content = &entry["response"]["content"];
        let text = content["text"]
            .as_str()
            .filter(|text| text.len() <= MAX_BODY_BYTES && content["encoding"].is_null());
        let Some(json) = text.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return };
        let mut leaves = Vec::new();
        collect(&json, &mut String::new(), 0, &mut leaves);
        for (value, pointer) in leaves.into_iter().filter(|(value, _)| is_telling(value)) {
            self.origins.entry(value).or_insert(Some((step, pointer)));
        }
    }
}

/// Whether a value that comes twice is the same thing: ids and tokens, not words and small numbers.
fn is_telling(value: &str) -> bool {
    let number = value.bytes().all(|b| b.is_ascii_digit());
    let digits = value.bytes().any(|b| b.is_ascii_digit());
    (3..=4096).contains(&value.len()) && (number || digits && value.len() >= 6 || value.len() >= 16)
}

fn leaf(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Texts and numbers with their JSON pointers (RFC 6901).
fn collect(json: &Value, pointer: &mut String, depth: usize, out: &mut Vec<(String, String)>) {
    if depth > MAX_DEPTH || out.len() >= MAX_LEAVES {
        return;
    }
    let members: Vec<(String, &Value)> = match json {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => {
            out.extend(leaf(json).map(|value| (value, pointer.clone())));
            return;
        }
    };
    for (key, value) in members {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        collect(value, pointer, depth + 1, out);
        pointer.truncate(length);
    }
}
