//! OTLP over HTTP, received and kept: our receiver with its recording on disk beside rotel, which keeps nothing. The
//! same sender drives them in turns; each is a process of its own, measured from outside.

pub(crate) mod receiver;
mod rotel;
mod sender;

use crate::args::IngestArgs;
use crate::figures::{Cell, Figures, Target, median};
use crate::process::Helper;
use crate::traffic;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use receiver::{KEEP, Kept};
use rotel::Rotel;
use std::path::Path;

/// Promised: received over HTTP and kept.
const SPANS_PER_CPU_S: f64 = 400_000.0;
const RESIDENT_BYTES: f64 = 350.0;
const DISK_BYTES: f64 = 45.0;
/// As the program runs it: spans stay in memory and go to disk at the end of a measurement.
const IN_MEMORY: usize = 1 << 30;
/// So little that most spans go to disk while others arrive.
const AT_ONCE: usize = 32 << 20;

/// One receiver in one round.
#[derive(Clone, Debug)]
struct Round {
    receive_s: f64,
    /// Receiving, and writing what was received.
    keep_s: Option<f64>,
    resident_bytes: Option<f64>,
    disk_bytes: Option<f64>,
    retries: u64,
}

pub(crate) async fn run(args: &IngestArgs) -> Result<Figures> {
    let bodies = traffic::bodies(args.spans.max(1));
    let spans = (bodies.len() * traffic::BATCH) as f64;
    let bytes = bodies.iter().map(Bytes::len).sum::<usize>() as f64 / spans;
    let mut notes = Vec::new();
    let rotel = if args.alone { Err(anyhow::anyhow!("not asked for")) } else { Rotel::install() };
    if let Err(error) = &rotel {
        notes.push(format!("skipped rotel: {error:#}"));
    }
    let (mut memory, mut disk, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds.max(1) {
        memory.push(ours(&bodies, IN_MEMORY).await?);
        if let Ok(rotel) = &rotel {
            peer.push(theirs(&bodies, rotel).await?);
        }
        disk.push(ours(&bodies, AT_ONCE).await?);
    }
    let version = rotel.as_ref().map_or("rotel", |rotel| rotel.version.as_str());
    let peer_rate = middle(&peer, |r| Some(r.receive_s)).map(|s| spans / s);
    let kept_rate = middle(&memory, |r| r.keep_s).map(|s| spans / s);
    let resident = middle(&memory, |r| r.resident_bytes).map(|b| b / spans);
    let on_disk = middle(&memory, |r| r.disk_bytes).map(|b| b / spans);
    let mut rows = vec![
        row("trimtab: kept in memory, then on disk", &memory, spans, peer_rate),
        row("trimtab: to disk as they come", &disk, spans, peer_rate),
    ];
    if !peer.is_empty() {
        rows.push(row(&format!("{version}: nothing kept"), &peer, spans, peer_rate));
    }
    let what = "received over HTTP and kept on disk, spans per CPU-second";
    Ok(Figures {
        name: "ingest",
        title: format!(
            "{spans} spans of {bytes:.0} bytes and 20 attributes, bodies of {} spans over OTLP/HTTP; median of {} rounds in turns.",
            traffic::BATCH,
            args.rounds.max(1)
        ),
        columns: &[
            "receiver",
            "received/CPU-s",
            "kept/CPU-s",
            "received, ratio to rotel",
            "kept, ratio to rotel",
            "resident B/span",
            "disk B/span",
            "bodies sent again",
        ],
        rows,
        targets: vec![
            Target::at_least(what, kept_rate, SPANS_PER_CPU_S, 0),
            Target::at_most("resident bytes a span", resident, RESIDENT_BYTES, 0),
            Target::at_most("bytes a span on disk", on_disk, DISK_BYTES, 1),
        ],
        notes,
    })
}

fn middle(rounds: &[Round], of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
    median(&rounds.iter().filter_map(of).collect::<Vec<_>>())
}

fn row(name: &str, rounds: &[Round], spans: f64, peer_rate: Option<f64>) -> Vec<Cell> {
    let received = middle(rounds, |r| Some(r.receive_s)).map(|s| spans / s);
    let kept = middle(rounds, |r| r.keep_s).map(|s| spans / s);
    let to_peer = |rate: Option<f64>| Cell::maybe(rate.zip(peer_rate).map(|(own, peer)| own / peer), 2);
    vec![
        Cell::text(name),
        Cell::maybe(received, 0),
        Cell::maybe(kept, 0),
        to_peer(received),
        to_peer(kept),
        Cell::maybe(middle(rounds, |r| r.resident_bytes).map(|b| b / spans), 0),
        Cell::maybe(middle(rounds, |r| r.disk_bytes).map(|b| b / spans), 1),
        Cell::number(rounds.iter().map(|r| r.retries).sum::<u64>() as f64, 0),
    ]
}

async fn ours(bodies: &[Bytes], max_resident_bytes: usize) -> Result<Round> {
    let folder = tempfile::tempdir().context("could not make a folder")?;
    let max = max_resident_bytes.to_string();
    let words = ["internal-receiver".as_ref(), folder.path().as_os_str(), max.as_ref()];
    let mut receiver = Helper::this(words)?;
    let address = receiver.hear()?;
    let (begin_s, (begin_bytes, _)) = (receiver.cpu_s()?, receiver.resident_bytes()?);
    let retries = sender::send(bodies, &address).await?;
    let (received_s, (received_bytes, _)) = (receiver.cpu_s()?, receiver.resident_bytes()?);
    receiver.tell(KEEP)?;
    let kept: Kept = serde_json::from_str(&receiver.hear()?).context("the receiver's answer")?;
    let kept_s = receiver.cpu_s()?;
    let spans = bodies.len() * traffic::BATCH;
    let (read, _) = recording::read_spans(folder.path(), Some(&[]))?;
    ensure!(read.len() == spans, "{} of {spans} spans are on disk", read.len());
    Ok(Round {
        receive_s: received_s - begin_s,
        keep_s: Some(kept_s - begin_s),
        resident_bytes: (kept.flushed == 0).then_some(received_bytes - begin_bytes),
        disk_bytes: Some(size(folder.path())?),
        retries,
    })
}

async fn theirs(bodies: &[Bytes], rotel: &Rotel) -> Result<Round> {
    let (receiver, address) = rotel.start().await?;
    let begin_s = receiver.cpu_s()?;
    let retries = sender::send(bodies, &address).await?;
    rotel::settle().await;
    Ok(Round {
        receive_s: receiver.cpu_s()? - begin_s,
        keep_s: None,
        resident_bytes: None,
        disk_bytes: None,
        retries,
    })
}

/// Bytes of all files of spans.
fn size(folder: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("spans") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes as f64)
}
