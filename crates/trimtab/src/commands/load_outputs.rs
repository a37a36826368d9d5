//! `--out`: where the samples of a load go while it runs, and what is told of it at the end.

use super::Setting;
use crate::args::LoadRunArgs;
use anyhow::{Context, Result};
use load::out::{Origin, Outputs, Target, parse_headers};

/// Headers of every push: for both kinds of stores, and, by OpenTelemetry's own name, for OTLP.
const HEADERS: &[&str] = &["TRIMTAB_OUT_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// Opens the outputs that were asked for; `None` where none was.
pub(super) fn open(setting: &Setting, args: &LoadRunArgs) -> Result<Option<Outputs>> {
    if args.out.is_empty() {
        return Ok(None);
    }
    let targets: Vec<Target> = args.out.iter().map(|text| text.parse()).collect::<Result<_>>()?;
    let mut origin = Origin::default();
    for name in HEADERS {
        if let Some(text) = setting.environment.variables.0.get(*name) {
            let only_otlp = *name == "OTEL_EXPORTER_OTLP_HEADERS";
            if !only_otlp || targets.iter().any(|target| matches!(target, Target::Otlp(_))) {
                origin.headers.extend(parse_headers(text).with_context(|| (*name).to_owned())?);
            }
        }
    }
    if let Some(segment) = &args.segment {
        origin.labels.push(("segment".to_owned(), segment.clone()));
    }
    for (name, value) in super::load_script::pairs("--tag", &args.script.tags)? {
        origin.labels.push((name, value));
    }
    Outputs::start(&targets, &origin).map(Some)
}

/// Waits for the last rows and pushes; a loss is a warning.
pub(super) async fn finish(setting: &Setting, outputs: Option<Outputs>) {
    let Some(outputs) = outputs else { return };
    setting.output.progress("writing the last samples");
    for told in outputs.finish().await {
        if told.is_loss {
            setting.output.warn(&format!("--out {}", told.text));
        } else {
            setting.output.note(&format!("--out {}", told.text));
        }
    }
}
