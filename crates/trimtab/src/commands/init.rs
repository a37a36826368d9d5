//! `trimtab init`: looks at the service and writes a settings file to edit.

use super::{Answer, Setting};
use crate::args::InitArgs;
use crate::files;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Where frameworks serve their OpenAPI description.
const DESCRIPTIONS: &[&str] = &[
    "/openapi.json",
    "/api/openapi.json",
    "/swagger.json",
    "/v3/api-docs",
    "/api-docs",
    "/swagger/v1/swagger.json",
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
    let operations = described(&args.url).await;
    let prometheus = answers_metrics(&args.url).await;
    let text = settings(&url, &operations, prometheus);
    files::write_whole(path, text.as_bytes())?;
    let count = operations.len().max(1);
    setting.output.result(&if setting.output.json() {
        json!({
            "version": model::SCHEMA_VERSION,
            "service": url,
            "first_request_ms": first_ms,
            "settings": path.display().to_string(),
            "operations": count,
            "prometheus": prometheus,
        })
        .to_string()
    } else {
        format!(
            "{url} answers (first request {first_ms:.0} ms). Wrote {} with {count} operations: edit goals and load, then run `trimtab measure`.",
            path.display()
        )
    });
    Ok(Answer::Yes)
}

/// Operations that change nothing, from the service's own description: (name, path with variables).
async fn described(url: &str) -> Vec<(String, String)> {
    for place in DESCRIPTIONS {
        let at = format!("{}{place}", url.trim_end_matches('/'));
        let Ok(response) = net::get(&at, &[], TIMEOUT).await else { continue };
        let Ok(document) = serde_json::from_slice::<Value>(&response.body) else { continue };
        let Some(paths) = document["paths"].as_object() else { continue };
        let readable = paths.iter().filter(|(_, methods)| methods.get("get").is_some());
        return readable
            .take(MAX_OPERATIONS)
            .map(|(path, _)| (format!("GET {path}"), with_variables(path)))
            .collect();
    }
    Vec::new()
}

/// `/orders/{id}` becomes `/orders/{{id}}`.
fn with_variables(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}")
}

async fn answers_metrics(url: &str) -> bool {
    let at = format!("{}/metrics", url.trim_end_matches('/'));
    let answer = net::get(&at, &[], TIMEOUT).await;
    answer.is_ok_and(|r| r.is_success() && r.body.starts_with(b"#"))
}

/// The file, as TOML that `measure` accepts as it is.
fn settings(url: &str, operations: &[(String, String)], prometheus: bool) -> String {
    let fallback = [("GET /".to_owned(), "/".to_owned())];
    let operations = if operations.is_empty() { &fallback[..] } else { operations };
    let mut text =
        String::from("# Goals: p50 to p99.9, mean, errors, rate, cpu. `*` is every endpoint.\ngoals = [\n");
    let line = |text: &mut String, args: std::fmt::Arguments<'_>| text.push_str(&args.to_string());
    for (name, _) in operations {
        line(&mut text, format_args!("    {},\n", quoted(&format!("p95({name}) < 250 ms"))));
    }
    line(&mut text, format_args!("    \"errors(*) < 1 %\",\n]\n\n[service]\nurl = {}\n\n", quoted(url)));
    text.push_str("[load]\nrate = 10            # requests per second over all operations\nwarm_up_s = 3\nduration_s = 30\n");
    let mut variables = std::collections::BTreeSet::new();
    for (name, path) in operations {
        line(
            &mut text,
            format_args!(
                "\n[[load.operation]]\nname = {}\npath = {}\nweight = 1\n",
                quoted(name),
                quoted(path)
            ),
        );
        variables
            .extend(path.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).map(str::to_owned));
    }
    if !variables.is_empty() {
        text.push_str(
            "\n# Drawn anew for each request: give ranges or lists of ids that exist.\n[load.variables]\n",
        );
        for name in variables {
            line(&mut text, format_args!("{} = {{ kind = \"integer\", from = 1, to = 100 }}\n", key(&name)));
        }
    }
    text.push_str("\n[telemetry]\nlisten = \"127.0.0.1:4318\"       # start the service with OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\nlisten_grpc = \"127.0.0.1:4317\"\n");
    if prometheus {
        line(&mut text, format_args!("prometheus = [{}]\n", quoted(&format!("{url}/metrics"))));
    }
    text.push_str("\n# [database]\n# url = \"postgres://...\"          # better: the environment variable TRIMTAB_DATABASE_URL\n");
    text
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use super::settings;
    use crate::args::LoadOverrides;
    use crate::settings::{Environment, Settings};

    #[test]
    fn what_is_written_is_accepted() {
        let described = [
            ("GET /orders/{id}".to_owned(), "/orders/{{id}}".to_owned()),
            ("GET /it's \"x\"".to_owned(), "/its".to_owned()),
        ];
        for operations in [&described[..], &[]] {
            let text = settings("http://127.0.0.1:1", operations, true);
            let parsed =
                Settings::parse(&text, "trimtab.toml", &Environment::default(), &LoadOverrides::default());
            let parsed = parsed.unwrap_or_else(|error| panic!("{error:#}\n{text}"));
            assert_eq!(parsed.goals.len(), operations.len().max(1) + 1);
        }
    }
}
