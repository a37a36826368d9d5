//! The helper that receives: our receiver and our recording, put together as a session of the program does it.

use crate::args::ReceiverArgs;
use crate::process;
use anyhow::{Context, Result, ensure};
use model::Recording;
use recording::Writer;
use serde::{Deserialize, Serialize};
use std::io::Write;
use telemetry::{Options, Receiver};

/// What it is told when everything was sent.
pub(crate) const KEEP: &str = "keep";

/// What it says when everything is on disk.
#[derive(Deserialize, Serialize)]
pub(crate) struct Kept {
    /// Spans that were written at the end.
    pub at_end: u64,
    /// Spans that went to disk while others arrived.
    pub flushed: u64,
}

/// Says its address, receives until it is told to keep, says what it kept, waits for the end of its standard input.
pub(crate) async fn serve(args: &ReceiverArgs) -> Result<()> {
    let listener = telemetry::bind("127.0.0.1:0").await?;
    let options = Options { max_resident_bytes: args.max_resident_bytes, ..Options::default() };
    let handle = Receiver::start(vec![listener], options)?;
    let writer = Writer::create(&args.folder)?;
    ensure!(handle.set_sink(Some(writer.span_sink())).await.is_none(), "a sink was there already");
    say(&handle.addresses()[0].to_string())?;
    if process::told().await?.as_deref() != Some(KEEP) {
        return Ok(());
    }
    let mut sink = handle.set_sink(None).await.context("the disk failed")?;
    sink.flush()?;
    let spans = handle.take().spans;
    let at_end = spans.len() as u64;
    writer.finish(&Recording { spans, ..Recording::default() })?;
    say(&serde_json::to_string(&Kept { at_end, flushed: sink.written() })?)?;
    process::told().await.map(drop)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("nobody listens")
}
