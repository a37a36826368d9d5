//! `trimtab localize --from jaeger://...`: traces that are kept somewhere already, fetched once, as a recording.

use super::Setting;
use crate::clock;
use anyhow::{Context, Result};
use model::Recording;
use telemetry::query::{Headers, Query, fetch};

/// Variable of the environment that holds the headers of each request: a token has no place on a command line.
const HEADERS: &str = "TRIMTAB_FROM_HEADERS";

/// The newest traces of an address.
pub(super) fn read(setting: &Setting, address: &str) -> Result<Recording> {
    let query = Query::parse(address)?;
    let sent = setting.environment.from_headers.as_deref().unwrap_or_default();
    let headers = Headers::parse(sent).with_context(|| format!("in {HEADERS}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the async runtime")?;
    let fetched = runtime.block_on(Box::pin(fetch(&query, &headers, clock::now_ns())))?;
    let mut recording = Recording { spans: fetched.spans, ..Recording::default() };
    recording.run.id = query.display();
    recording.run.complete = true;
    recording.run.gaps = fetched.report.gaps();
    Ok(recording)
}
