//! OpenAPI 3 (and Swagger 2): each operation with values from examples, enumerations and schemas.

use crate::guess::{encoded, unused, variable_name};
use crate::plan::{Operation, Options, Plan, Source, Variable};
use crate::secrets::{Removed, is_secret};
use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const METHODS: &[&str] = &["get", "head", "post", "put", "patch", "delete"];
/// Schemas within schemas that bodies are made of.
const MAX_DEPTH: usize = 8;
/// Members of one object of a body.
const MAX_MEMBERS: usize = 60;
/// References that are followed from one to the next.
const MAX_REFERENCES: usize = 20;
const MAX_LIST: usize = 100;

/// The scenario of a description.
///
/// # Errors
/// It is none, or describes no operation.
pub fn openapi(document: &Value, name: &str, options: &Options) -> Result<Plan> {
    // Without quotes a version such as 3.0 is a number.
    let version = [&document["openapi"], &document["swagger"]].into_iter().find(|version| !version.is_null());
    ensure!(
        version.is_some() && document["paths"].is_object(),
        "no `openapi` and `paths`: this is no OpenAPI description"
    );
    let mut plan = Plan::default();
    let mut reader = Reader { document, removed: Removed::default(), taken: BTreeSet::new() };
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let item = reader.followed(item);
        for method in METHODS {
            if item[*method].is_object() && path.starts_with('/') {
                let operation = reader.operation(path, method, item, &mut plan);
                plan.operations.push(operation);
            }
        }
    }
    ensure!(!plan.operations.is_empty(), "it describes no operation");
    plan.source = Source {
        name: name.to_owned(),
        what: format!("an OpenAPI description of {} operations", plan.operations.len()),
    };
    let server = server(document);
    plan.set_base(options, server.as_deref().filter(|url| url.starts_with("http")));
    plan.base_url.push_str(base_path(&plan.base_url, server.as_deref()));
    reader.security(&mut plan);
    plan.rate = 10.0;
    "a description tells neither rate nor mix: choose them".clone_into(&mut plan.rate_comment);
    plan.notes.push("weights are all alike: give each operation its share".to_owned());
    plan.notes.extend(reader.removed.note());
    plan.finish(options);
    Ok(plan)
}

/// The path of the first server, where the service's own address has none: `/api/v1`.
fn base_path<'s>(url: &str, server: Option<&'s str>) -> &'s str {
    fn path(url: &str) -> &str {
        let from = url.find("://").map_or(0, |at| at + 3);
        url[from..].find('/').map_or("", |at| url[from + at..].trim_end_matches('/'))
    }
    if path(url).is_empty() { server.map_or("", path) } else { "" }
}

/// The first server with its variables' defaults, or its path alone; of Swagger 2 host and base path.
fn server(document: &Value) -> Option<String> {
    let first = &document["servers"][0];
    if let Some(url) = first["url"].as_str() {
        let mut url = url.to_owned();
        for (name, variable) in first["variables"].as_object().into_iter().flatten() {
            url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or(""));
        }
        return Some(url);
    }
    let path = document["basePath"].as_str().unwrap_or("");
    let Some(host) = document["host"].as_str() else { return Some(path.to_owned()) };
    let scheme = document["schemes"][0].as_str().unwrap_or("https");
    Some(format!("{scheme}://{host}{path}"))
}

struct Reader<'d> {
    document: &'d Value,
    removed: Removed,
    taken: BTreeSet<String>,
}

impl<'d> Reader<'d> {
    /// Behind `$ref`, if it points into this document.
    fn followed(&self, value: &'d Value) -> &'d Value {
        let mut at = value;
        for _ in 0..MAX_REFERENCES {
            let Some(pointer) = at["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else { return at };
            let Some(next) = self.document.pointer(pointer) else { return at };
            at = next;
        }
        at
    }

    fn operation(&mut self, path: &str, method: &str, item: &'d Value, plan: &mut Plan) -> Operation {
        let own = &item[method];
        let lists = [&item["parameters"], &own["parameters"]];
        let parameters: Vec<&Value> =
            lists.iter().filter_map(|l| l.as_array()).flatten().map(|p| self.followed(p)).collect();
        let find =
            |name: &str| parameters.iter().rev().find(|p| p["in"] == "path" && p["name"] == name).copied();
        let mut sent = String::new();
        let mut rest = path;
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(b, r)| Some((b, r.split_once('}')?)))
        {
            let parameter = find(name).unwrap_or(&Value::Null);
            sent.push_str(&before.split('/').map(encoded).collect::<Vec<_>>().join("/"));
            sent.push_str(&format!("{{{{{}}}}}", self.variable(name, parameter, plan)));
            rest = after;
        }
        sent.push_str(&rest.split('/').map(encoded).collect::<Vec<_>>().join("/"));
        let mut query = Vec::new();
        for parameter in parameters.iter().filter(|p| p["in"] == "query") {
            let Some(name) = parameter["name"].as_str() else { continue };
            let told = parameter["required"] == true || !example(self, parameter).is_null();
            if is_secret(name) && told {
                query.push(format!("{}={}", encoded(name), self.removed.placeholder(name)));
            } else if told {
                query.push(format!("{}={{{{{}}}}}", encoded(name), self.variable(name, parameter, plan)));
            }
        }
        if !query.is_empty() {
            sent.push_str(&format!("?{}", query.join("&")));
        }
        let mut operation = Operation {
            name: format!("{} {path}", method.to_ascii_uppercase()),
            weight: 1.0,
            method: method.to_ascii_uppercase(),
            path: sent,
            comment: own["summary"].as_str().or_else(|| own["operationId"].as_str()).unwrap_or("").to_owned(),
            ..Operation::default()
        };
        self.body(own, &parameters, &mut operation);
        operation
    }

    /// The name of the variable for a parameter. The same name with another meaning gets a number.
    fn variable(&mut self, name: &str, parameter: &'d Value, plan: &mut Plan) -> String {
        let made = self.values(parameter);
        let wanted = variable_name(name);
        if plan.variables.get(&wanted) == Some(&made) {
            return wanted;
        }
        let free = unused(&wanted, &self.taken);
        self.taken.insert(free.clone());
        plan.variables.insert(free.clone(), made);
        free
    }

    fn values(&self, parameter: &'d Value) -> (Variable, String) {
        let schema =
            if parameter["schema"].is_object() { self.followed(&parameter["schema"]) } else { parameter };
        let example = example(self, parameter);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let Some(all) = schema["enum"].as_array().filter(|all| !all.is_empty()) {
            return (
                Variable::List(all.iter().take(MAX_LIST).map(text).collect()),
                "the description's values".to_owned(),
            );
        }
        if !example.is_null() && !example.is_object() && !example.is_array() {
            return (
                Variable::List(vec![text(example)]),
                "the description's example: give more that exist".to_owned(),
            );
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("integer" | "number"), _) => {
                let from = schema["minimum"].as_i64().unwrap_or(1);
                let to = schema["maximum"].as_i64().unwrap_or(from.saturating_add(99)).max(from);
                (Variable::Integer { from, to, skew: 0.0 }, "by the schema: give ids that exist".to_owned())
            }
            (_, Some("uuid")) => (Variable::Uuid, "random: give a list of those that exist".to_owned()),
            (Some("boolean"), _) => {
                (Variable::List(vec!["true".to_owned(), "false".to_owned()]), "by the schema".to_owned())
            }
            (_, Some("date")) => (Variable::List(vec!["2026-01-31".to_owned()]), "by the schema".to_owned()),
            (_, Some("date-time")) => {
                (Variable::List(vec!["2026-01-31T12:00:00Z".to_owned()]), "by the schema".to_owned())
            }
            (Some("string"), _) => {
                (Variable::Text { length: 8 }, "random text: give values that exist".to_owned())
            }
            _ => crate::learn::unseen(),
        }
    }

    fn body(&mut self, own: &'d Value, parameters: &[&'d Value], operation: &mut Operation) {
        let body = self.followed(&own["requestBody"]);
        let json_type = body["content"]
            .as_object()
            .and_then(|kinds| kinds.iter().find(|(kind, _)| kind.contains("json")));
        let of_swagger = parameters.iter().find(|p| p["in"] == "body");
        let (kind, media) = match (json_type, of_swagger) {
            (Some((kind, media)), _) => (kind.as_str(), media),
            (None, Some(parameter)) => ("application/json", *parameter),
            (None, None) => return,
        };
        let told = example(self, media);
        let value = if told.is_null() { self.made(&media["schema"], &mut Vec::new()) } else { told.clone() };
        let text = self.removed.body(&value.to_string(), kind);
        // Scenarios give two braces a meaning; JSON does not mind a space.
        operation.body = text.replace("{{", "{ {");
        operation.headers.insert("content-type".to_owned(), kind.to_owned());
    }

    /// A value that fits a schema; null where the schema holds itself.
    fn made(&self, schema: &'d Value, within: &mut Vec<&'d Value>) -> Value {
        let schema = self.followed(schema);
        let told = [
            &schema["example"],
            &schema["examples"][0],
            &schema["default"],
            &schema["const"],
            &schema["enum"][0],
        ];
        if let Some(told) = told.into_iter().find(|value| !value.is_null()) {
            return told.clone();
        }
        if within.len() >= MAX_DEPTH || within.iter().any(|outer| std::ptr::eq(*outer, schema)) {
            return Value::Null;
        }
        within.push(schema);
        let value = self.made_within(schema, within);
        within.pop();
        value
    }

    fn made_within(&self, schema: &'d Value, within: &mut Vec<&'d Value>) -> Value {
        if let Some(first) = ["oneOf", "anyOf"].iter().find_map(|key| schema[*key].get(0)) {
            return self.made(first, within);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut all = Map::new();
            for part in parts.iter().take(MAX_MEMBERS) {
                if let Value::Object(members) = self.made(part, within) {
                    all.extend(members);
                }
            }
            return Value::Object(all);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match (kind, schema["format"].as_str()) {
            (Some("object") | None, _) if schema["properties"].is_object() => {
                let members = schema["properties"].as_object().into_iter().flatten().take(MAX_MEMBERS);
                let made = members.map(|(name, of)| (name.clone(), self.made(of, within)));
                Value::Object(made.filter(|(_, value)| !value.is_null()).collect())
            }
            (Some("array"), _) => json!([self.made(&schema["items"], within)]),
            (Some("integer" | "number"), _) => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
            (Some("boolean"), _) => json!(true),
            (Some("string"), Some("date")) => json!("2026-01-31"),
            (Some("string"), Some("date-time")) => json!("2026-01-31T12:00:00Z"),
            (Some("string"), Some("uuid")) => json!("3fa85f64-5717-4562-b3fc-2c963f66afa6"),
            (Some("string"), Some("email")) => json!("ann@example.com"),
            (Some("string"), _) => json!("text"),
            (Some("object"), _) => json!({}),
            _ => Value::Null,
        }
    }

    /// What the service asks of every caller.
    fn security(&mut self, plan: &mut Plan) {
        let schemes =
            [&self.document["components"]["securitySchemes"], &self.document["securityDefinitions"]];
        for scheme in schemes.iter().filter_map(|s| s.as_object()).flat_map(Map::values) {
            match (scheme["type"].as_str(), scheme["in"].as_str(), scheme["name"].as_str()) {
                (Some("apiKey"), Some("header"), Some(name))
                    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') =>
                {
                    let placeholder = self.removed.placeholder(name);
                    plan.headers.insert(name.to_ascii_lowercase(), placeholder);
                }
                (Some("http" | "oauth2" | "openIdConnect" | "basic"), ..) => {
                    let placeholder = self.removed.placeholder("authorization");
                    plan.headers.insert("authorization".to_owned(), placeholder);
                }
                _ => {}
            }
        }
    }
}

/// What a parameter or a body gives as its example.
fn example<'d>(reader: &Reader<'d>, of: &'d Value) -> &'d Value {
    let named =
        of["examples"].as_object().and_then(|all| all.values().next()).map(|e| &reader.followed(e)["value"]);
    let schema = reader.followed(&of["schema"]);
    let all = [
        &of["example"],
        named.unwrap_or(&Value::Null),
        &schema["example"],
        &schema["default"],
        &of["x-example"],
    ];
    all.into_iter().find(|value| !value.is_null()).unwrap_or(&Value::Null)
}
