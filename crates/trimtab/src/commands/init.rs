//! `trimtab init`: looks at the service and writes a settings file to edit.

use super::{Answer, Setting};
use crate::args::InitArgs;
use crate::files;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};
use traffic::{Operation, Options, Plan};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Where frameworks serve their OpenAPI description.
const DESCRIPTIONS: &[&str] = &[
    "/openapi.json",
    "/api/openapi.json",
    "/swagger.json",
    "/v3/api-docs",
    "/api-docs",
    "/swagger/v1/swagger.json",
    "/openapi.yaml",
    "/openapi.yml",
];
/// Operations that are written out; the rest is left to the user.
const MAX_OPERATIONS: usize = 20;

pub(super) async fn run(setting: &Setting, args: &InitArgs) -> Result<Answer> {
    let path = &setting.common.config;
    if path.exists() && !args.force {
        bail!("{} exists already; --force overwrites it", path.display());
    }
    let base = net::Target::parse(&args.url).with_context(|| format!("`{}`", net::display_url(&args.url)))?;
    let url = base.display().trim_end_matches('/').to_owned();
    let begun = Instant::now();
    net::get(&args.url, &[], TIMEOUT)
        .await
        .with_context(|| format!("the service at {url} does not answer; is it running?"))?;
    let first_ms = begun.elapsed().as_secs_f64() * 1e3;
    let plan = described(args, &url).await.unwrap_or_else(|| undescribed(&url));
    let prometheus = answers_metrics(&args.url).await;
    files::write_whole(path, settings(&plan, &url, prometheus).as_bytes())?;
    let used = plan.used().count();
    setting.output.result(&if setting.output.json() {
        json!({
            "version": model::SCHEMA_VERSION,
            "service": url,
            "first_request_ms": first_ms,
            "settings": path.display().to_string(),
            "operations": used,
            "held_back": plan.operations.len() - used,
            "description": plan.source.name,
            "prometheus": prometheus,
        })
        .to_string()
    } else {
        said(&plan, &format!("{url} answers (first request {first_ms:.0} ms)."), &path.display().to_string())
    });
    Ok(Answer::Yes)
}

fn said(plan: &Plan, answers: &str, path: &str) -> String {
    let used = plan.used().count();
    let from = match plan.source.name.as_str() {
        "" => " (it serves no OpenAPI description: name its endpoints)".to_owned(),
        place => format!(" of {place}"),
    };
    let mut text = format!("{answers} Wrote {path} with {used} operations{from}");
    let held_back = plan.operations.len() - used;
    if held_back > 0 {
        text.push_str(&format!("; {held_back} that change data are comments in it"));
    }
    text.push_str(".\nEdit goals, mix and ids, then run `trimtab measure`.");
    text
}

/// The operations of the service's own description.
async fn described(args: &InitArgs, url: &str) -> Option<Plan> {
    let options = Options {
        url: Some(url.to_owned()),
        max_operations: MAX_OPERATIONS,
        writes: args.writes,
        ..Options::default()
    };
    for place in DESCRIPTIONS {
        let at = format!("{}{place}", args.url.trim_end_matches('/'));
        let Ok(response) = net::get(&at, &[], TIMEOUT).await else { continue };
        let Some(text) = std::str::from_utf8(&response.body).ok().filter(|_| response.is_success()) else {
            continue;
        };
        let plan = traffic::document(text).and_then(|document| traffic::openapi(&document, place, &options));
        if let Ok(plan) = plan {
            return Some(plan);
        }
    }
    None
}

/// Where nothing tells what the service has.
fn undescribed(url: &str) -> Plan {
    let root = Operation {
        name: "GET /".to_owned(),
        weight: 1.0,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        comment: "name the endpoints that matter; {{id}} in a path is a variable of [load.variables]"
            .to_owned(),
        ..Operation::default()
    };
    Plan {
        base_url: url.to_owned(),
        base_url_comment: "as given".to_owned(),
        rate: 10.0,
        rate_comment: "requests per second over all operations".to_owned(),
        operations: vec![root],
        goals: vec![("p95(GET /) < 250 ms".to_owned(), String::new())],
        ..Plan::default()
    }
}

async fn answers_metrics(url: &str) -> bool {
    let at = format!("{}/metrics", url.trim_end_matches('/'));
    let answer = net::get(&at, &[], TIMEOUT).await;
    answer.is_ok_and(|r| r.is_success() && r.body.starts_with(b"#"))
}

/// The file, as TOML that `measure` accepts as it is.
fn settings(plan: &Plan, url: &str, prometheus: bool) -> String {
    let written = traffic::toml(plan);
    let (_, scenario) = written.split_once('\n').unwrap_or_default();
    let mut text = format!(
        "# Made by `trimtab init {url}`.\n# Goals: p50 to p99.9, mean, errors, rate, cpu. `*` is every endpoint.\n{scenario}"
    );
    text.push_str("\n[telemetry]\nlisten = \"127.0.0.1:4318\"       # start the service with OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\nlisten_grpc = \"127.0.0.1:4317\"\n");
    if prometheus {
        text.push_str(&format!("prometheus = [{}]\n", toml::Value::String(format!("{url}/metrics"))));
    }
    text.push_str("\n# [database]\n# url = \"postgres://...\"          # better: the environment variable TRIMTAB_DATABASE_URL\n");
    text
}

#[cfg(test)]
mod tests {
    use super::{MAX_OPERATIONS, Options, said, settings, undescribed};
    use crate::args::LoadOverrides;
    use crate::settings::{Environment, Settings};
    use serde_json::json;

    const URL: &str = "http://127.0.0.1:1";

    fn parsed(plan: &traffic::Plan) -> Settings {
        let text = settings(plan, URL, true);
        let parsed =
            Settings::parse(&text, "trimtab.toml", &Environment::default(), &LoadOverrides::default());
        parsed.unwrap_or_else(|error| panic!("{error:#}\n{text}"))
    }

    #[test]
    fn what_is_written_is_accepted() {
        let document = json!({
            "openapi": "3.1.0",
            "paths": {
                "/orders/{id}": { "get": {}, "delete": {} },
                "/it's \"x\"": { "get": { "parameters": [{ "in": "query", "name": "q", "required": true }] } },
            },
        });
        let options =
            Options { url: Some(URL.to_owned()), max_operations: MAX_OPERATIONS, ..Options::default() };
        let plan = traffic::openapi(&document, "/openapi.json", &options).unwrap();
        assert_eq!(parsed(&plan).goals.len(), 3);
        let text = said(&plan, "It answers.", "trimtab.toml");
        assert!(text.contains("2 operations of /openapi.json; 1 that change data are comments"), "{text}");
    }

    #[test]
    fn a_service_that_is_not_described_gets_its_root() {
        assert_eq!(parsed(&undescribed(URL)).goals.len(), 2);
    }
}
