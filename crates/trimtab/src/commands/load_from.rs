//! `trimtab load from`: what was seen of a service, or is written about it, as a scenario to edit. Sends nothing.

use super::{Answer, Setting};
use crate::access_logs;
use crate::args::LoadFromArgs;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use traffic::{Exchange, Learner, Options, Plan, Source};

/// A larger HAR, OpenAPI or Postman file is refused.
const MAX_DOCUMENT_BYTES: u64 = 512 << 20;
/// As many as the load engine takes.
const MAX_OPERATIONS: usize = 1000;

pub(super) fn run(setting: &Setting, args: &LoadFromArgs) -> Result<Answer> {
    if let Some(url) = &args.url {
        net::Target::parse(url).context("--url")?;
    }
    if let Some(path) = args.output.as_ref().filter(|path| path.exists() && !args.force) {
        bail!("{} exists already; --force overwrites it", path.display());
    }
    let options = Options {
        url: args.url.clone(),
        writes: args.writes,
        peak: args.peak,
        max_operations: args.max_operations.clamp(1, MAX_OPERATIONS),
        flow: args.flow,
    };
    let (plan, described) = plan_of(&args.inputs, &args.logs.options(), args.service.as_deref(), &options)?;
    for line in &described {
        setting.output.note(line);
    }
    if plan.used().next().is_none() {
        bail!("all {} operations change data; --writes keeps them", plan.operations.len());
    }
    let text = traffic::toml(&plan);
    match &args.output {
        Some(path) => {
            std::fs::write(path, &text).with_context(|| format!("could not write {}", path.display()))?
        }
        None => setting.output.result(&text),
    }
    setting.output.note(&summary(&plan, args.output.as_deref()));
    Ok(Answer::Yes)
}

fn summary(plan: &Plan, output: Option<&Path>) -> String {
    let mut text = format!(
        "{}: {}; {} operations, {} in use, rate {}/s ({}), service {} ({})",
        plan.source.name,
        plan.source.what,
        plan.operations.len(),
        plan.used().count(),
        plan.rate,
        plan.rate_comment,
        net::display_url(&plan.base_url),
        plan.base_url_comment
    );
    for note in &plan.notes {
        text.push_str(&format!("\n- {note}"));
    }
    if let Some(path) = output {
        text.push_str(&format!("\nwrote {0}; edit it, then: trimtab load run {0}", path.display()));
    }
    text
}

/// The plan, and a line for each access log that was read.
fn plan_of(
    inputs: &[PathBuf],
    log: &access_log::Options,
    service: Option<&str>,
    options: &Options,
) -> Result<(Plan, Vec<String>)> {
    let Some(first) = inputs.first() else {
        bail!("name a file: an access log, traces, HAR, OpenAPI, Postman")
    };
    let name = inputs.iter().map(|path| file_name(path)).collect::<Vec<_>>().join(" ");
    if inputs.iter().all(|path| access_logs::is_log(path, log)) {
        return of_logs(inputs, log, &name, options);
    }
    let plan = match inputs {
        [one] if one.is_dir() => traffic::recorded(&recording::read(one)?, &name, service, options)?,
        _ => {
            if let [one] = inputs
                && let Some(plan) = of_document(one, &name, options)?
            {
                return Ok((plan, Vec::new()));
            }
            let read = telemetry::files::read(inputs).with_context(|| {
                format!(
                    "{} is no access log, HAR, OpenAPI or Postman file, and no trace file either",
                    first.display()
                )
            })?;
            let recording = model::Recording { spans: read.spans, ..model::Recording::default() };
            traffic::recorded(&recording, &name, service, options)?
        }
    };
    Ok((plan, Vec::new()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads each log twice: for the paths' patterns, then for everything else.
fn of_logs(
    paths: &[PathBuf],
    read: &access_log::Options,
    name: &str,
    options: &Options,
) -> Result<(Plan, Vec<String>)> {
    let mut learner = Learner::default();
    let open =
        |path: &PathBuf| File::open(path).with_context(|| format!("could not read {}", path.display()));
    for path in paths {
        access_log::scan(open(path)?, read, |request| learner.learn(&Exchange::from(request)))?;
    }
    let mut requests = 0;
    let mut described = Vec::new();
    for path in paths {
        let scan = access_log::scan(open(path)?, read, |request| learner.count(&Exchange::from(request)))?;
        requests += scan.requests;
        described.push(access_log::describe(&file_name(path), &scan));
    }
    let source = Source { name: name.to_owned(), what: format!("{requests} requests of an access log") };
    Ok((learner.plan(source, None, options), described))
}

/// HAR, OpenAPI or Postman, told by the keys at the top; `None` where it is none of them.
fn of_document(path: &Path, name: &str, options: &Options) -> Result<Option<Plan>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("could not read {}", path.display()))?;
    file.take(MAX_DOCUMENT_BYTES)
        .read_to_end(&mut bytes)
        .with_context(|| format!("could not read {}", path.display()))?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let yaml =
        start.lines().take(200).any(|line| line.starts_with("openapi:") || line.starts_with("swagger:"));
    if !yaml && !start.starts_with('{') {
        return Ok(None);
    }
    let document = match traffic::document(start) {
        Ok(document) => document,
        Err(error) if yaml => {
            return Err(error).with_context(|| format!("could not read {}", path.display()));
        }
        Err(_) => return Ok(None),
    };
    let made = if document["log"]["entries"].is_array() {
        traffic::har(&document, name, options)
    } else if !document["openapi"].is_null() || !document["swagger"].is_null() {
        traffic::openapi(&document, name, options)
    } else if document["item"].is_array() && document["info"].is_object() {
        traffic::postman(&document, name, options)
    } else {
        return Ok(None);
    };
    made.map(Some).with_context(|| format!("could not read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::plan_of;
    use crate::args::LoadOverrides;
    use crate::settings::{Environment, Settings};
    use traffic::Options;

    fn accepted(name: &str, text: &str) -> Settings {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let options = Options { writes: true, ..Options::default() };
        let (plan, _) = plan_of(&[path], &access_log::Options::default(), None, &options)
            .unwrap_or_else(|e| panic!("{e:#}"));
        let written = traffic::toml(&plan);
        Settings::parse(&written, "trimtab.toml", &Environment::default(), &LoadOverrides::default())
            .unwrap_or_else(|error| panic!("{error:#}\n{written}"))
    }

    #[test]
    fn what_is_written_is_a_settings_file_whatever_it_came_from() {
        let log = "10.0.0.7 - - [22/Nov/2026:21:03:05 +0000] \"GET /orders/17?page=2 HTTP/1.1\" 200 5 \"-\" \"x\" 0.120\n";
        let har = r#"{"log":{"entries":[{"request":{"method":"GET","url":"http://127.0.0.1:1/a"},"response":{"status":200}}]}}"#;
        let openapi = "openapi: 3.1.0\npaths:\n  /orders/{id}:\n    get: {}\n";
        let postman = r#"{"info":{"name":"x"},"item":[{"name":"a","request":{"method":"GET","url":"http://127.0.0.1:1/a"}}]}"#;
        let zipkin = r#"[{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"48485a3953bb6124","name":"get /a","kind":"SERVER","timestamp":1795381385000000,"duration":1000,"tags":{"http.method":"GET","http.path":"/a"}}]"#;
        for (name, text, operation) in [
            ("access.log", log, "GET /orders/{id}"),
            ("a.har", har, "GET /a"),
            ("openapi.yaml", openapi, "GET /orders/{id}"),
            ("collection.json", postman, "GET /a"),
            ("traces.json", zipkin, "GET /a"),
        ] {
            let settings = accepted(name, text);
            assert_eq!(settings.scenario.operations[0].name, operation, "{name}");
            assert!(!settings.goals.is_empty(), "{name}");
        }
    }
}
