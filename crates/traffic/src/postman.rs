//! Postman collections 2.1: each request an operation, the collection's variables the scenario's.

use crate::guess::{encoded, variable_name};
use crate::learn::unseen;
use crate::plan::{Operation, Options, Plan, Source, Variable};
use crate::secrets::{Removed, is_secret, looks_secret};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Folders within folders.
const MAX_DEPTH: usize = 20;
const MAX_REQUESTS: usize = 2000;

/// The scenario of a collection.
///
/// # Errors
/// It is none, or holds no request.
pub fn postman(document: &Value, name: &str, options: &Options) -> Result<Plan> {
    ensure!(
        document["item"].is_array() && document["info"].is_object(),
        "no `info` and `item`: this is no Postman collection"
    );
    let mut reader = Reader {
        removed: Removed::default(),
        known: variables(document),
        used: BTreeSet::new(),
        bases: BTreeMap::new(),
        plan: Plan::default(),
    };
    reader.items(&document["item"], 0);
    let Reader { mut removed, known, used, bases, mut plan } = reader;
    ensure!(!plan.operations.is_empty(), "it holds no request that can be sent");
    plan.source = Source {
        name: name.to_owned(),
        what: format!("{} requests of a Postman collection", plan.operations.len()),
    };
    let base = bases.iter().max_by_key(|(_, count)| **count).map(|(base, _)| base.as_str());
    plan.set_base(options, base.filter(|base| base.starts_with("http")));
    for variable in used {
        let value = known.get(&variable).filter(|value| !value.is_empty());
        let made = match (dynamic(&variable), value) {
            (Some(made), _) => made,
            (None, Some(value)) if is_secret(&variable) || looks_secret(value) => (
                Variable::List(vec![removed.placeholder(&variable)]),
                "a secret of the collection".to_owned(),
            ),
            (None, Some(value)) => (Variable::List(vec![value.clone()]), "the collection's value".to_owned()),
            (None, None) => unseen(),
        };
        plan.variables.insert(variable_name(&variable), made);
    }
    if !document["auth"].is_null() {
        let placeholder = removed.placeholder("authorization");
        plan.headers.insert("authorization".to_owned(), placeholder);
    }
    plan.rate = 10.0;
    "a collection tells no rate: choose one".clone_into(&mut plan.rate_comment);
    plan.notes.extend(removed.note());
    plan.finish(options);
    Ok(plan)
}

fn variables(document: &Value) -> BTreeMap<String, String> {
    let all = document["variable"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter_map(|v| {
            let value = &v["value"];
            Some((
                v["key"].as_str()?.to_owned(),
                value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            ))
        })
        .collect()
}

/// Postman's own variables.
fn dynamic(name: &str) -> Option<(Variable, String)> {
    let variable = match name.strip_prefix('$')? {
        "guid" | "randomUUID" => Variable::Uuid,
        "timestamp" => Variable::Sequence,
        "randomInt" => Variable::Integer { from: 0, to: 1000, skew: 0.0 },
        _ => Variable::Text { length: 8 },
    };
    Some((variable, format!("Postman's {{{{{name}}}}}")))
}

struct Reader {
    removed: Removed,
    known: BTreeMap<String, String>,
    used: BTreeSet<String>,
    bases: BTreeMap<String, u64>,
    plan: Plan,
}

impl Reader {
    fn items(&mut self, items: &Value, depth: usize) {
        for item in items.as_array().map(Vec::as_slice).unwrap_or_default() {
            if item["item"].is_array() && depth < MAX_DEPTH {
                self.items(&item["item"], depth + 1);
            } else if self.plan.operations.len() < MAX_REQUESTS
                && let Some(operation) = self.request(item)
            {
                self.plan.operations.push(operation);
            }
        }
    }

    fn request(&mut self, item: &Value) -> Option<Operation> {
        let request = &item["request"];
        let raw = request["url"].as_str().or_else(|| request["url"]["raw"].as_str())?;
        let method = request["method"].as_str().unwrap_or("GET").to_ascii_uppercase();
        if !(3..=20).contains(&method.len()) || !method.bytes().all(|b| b.is_ascii_alphabetic()) {
            return None;
        }
        let raw = raw.split('#').next()?;
        let (target, query) = raw.split_once('?').unwrap_or((raw, ""));
        let (base, path) = split_base(target);
        let base = self.resolved(base);
        *self.bases.entry(base).or_default() += 1;
        let path = self.path(path, &request["url"]["variable"]);
        let query: Vec<String> =
            query.split('&').filter(|pair| !pair.is_empty()).map(|pair| self.pair(pair)).collect();
        let mut headers = BTreeMap::new();
        for header in request["header"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if let (Some(name), Some(value), false) = (
                header["key"].as_str(),
                header["value"].as_str(),
                header["disabled"].as_bool().unwrap_or(false),
            ) {
                headers.extend(self.removed.header(name, value));
            }
        }
        if request["auth"].is_object() {
            headers.insert("authorization".to_owned(), self.removed.placeholder("authorization"));
        }
        let body = self.body(&request["body"], &mut headers);
        let name = path_pattern(&path);
        Some(Operation {
            name: format!("{method} {name}"),
            weight: 1.0,
            path: if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) },
            method,
            headers,
            body,
            comment: item["name"].as_str().unwrap_or("").to_owned(),
            ..Operation::default()
        })
    }

    /// `{{host}}/v1` with the collection's values.
    fn resolved(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (key, value) in &self.known {
            text = text.replace(&format!("{{{{{key}}}}}"), value);
        }
        text.trim_end_matches('/').to_owned()
    }

    fn path(&mut self, path: &str, own: &Value) -> String {
        let segments = path.split('/').filter(|segment| !segment.is_empty()).map(|segment| {
            let Some(name) = segment.strip_prefix(':') else { return self.text(segment, true) };
            let values = own.as_array().map(Vec::as_slice).unwrap_or_default();
            let value =
                values.iter().find(|v| v["key"].as_str() == Some(name)).and_then(|v| v["value"].as_str());
            if let Some(value) = value {
                self.known.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
            self.used.insert(name.to_owned());
            format!("{{{{{}}}}}", variable_name(name))
        });
        format!("/{}", segments.collect::<Vec<_>>().join("/"))
    }

    fn pair(&mut self, pair: &str) -> String {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if (is_secret(key) || looks_secret(value)) && !value.contains("{{") {
            return format!("{}={}", encoded(key), self.removed.placeholder(key));
        }
        format!("{}={}", encoded(key), self.text(value, true))
    }

    /// Text with `{{variable}}` renamed to what scenarios allow, the rest encoded where asked.
    fn text(&mut self, text: &str, encode: bool) -> String {
        let kept = |text: &str| if encode { encoded(text) } else { text.to_owned() };
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, (name, after))) =
            rest.split_once("{{").and_then(|(b, r)| Some((b, r.split_once("}}")?)))
        {
            out.push_str(&kept(before));
            self.used.insert(name.trim().to_owned());
            out.push_str(&format!("{{{{{}}}}}", variable_name(name)));
            rest = after;
        }
        out.push_str(&kept(&rest.replace("{{", "{ {")));
        out
    }

    fn body(&mut self, body: &Value, headers: &mut BTreeMap<String, String>) -> String {
        let pairs = |list: &Value| -> String {
            let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let pair =
                |v: &Value| Some(format!("{}={}", v["key"].as_str()?, v["value"].as_str().unwrap_or("")));
            items.iter().filter_map(pair).collect::<Vec<_>>().join("&")
        };
        let (text, kind) = match body["mode"].as_str() {
            Some("raw") => {
                let json = body["options"]["raw"]["language"].as_str() == Some("json");
                (body["raw"].as_str().unwrap_or("").to_owned(), if json { "application/json" } else { "" })
            }
            Some("urlencoded") => (pairs(&body["urlencoded"]), "application/x-www-form-urlencoded"),
            Some("graphql") => {
                (serde_json::json!({ "query": body["graphql"]["query"] }).to_string(), "application/json")
            }
            _ => return String::new(),
        };
        if !kind.is_empty() {
            headers.entry("content-type".to_owned()).or_insert_with(|| kind.to_owned());
        }
        let clean = self.removed.body(&text, kind);
        self.text(&clean, false)
    }
}

/// What stands before the path: `{{base}}`, `https://host`, `host`.
fn split_base(target: &str) -> (&str, &str) {
    let from = target.find("://").map_or(0, |at| at + 3);
    let at = target[from..].find('/').map_or(target.len(), |at| from + at);
    target.split_at(at)
}

/// `{{order_id}}` as `{order_id}`.
fn path_pattern(path: &str) -> String {
    path.replace("{{", "{").replace("}}", "}")
}
