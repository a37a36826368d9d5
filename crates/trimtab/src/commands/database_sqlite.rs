//! `trimtab database sqlite:FILE`: the state of a file, and of statements that are given their plans and the indexes that
//! help, proved on a copy.

use super::database::{Seen, tell};
use super::{Answer, Setting};
use crate::args::DatabaseArgs;
use anyhow::{Context, Result, bail};
use database::{Sqlite, Workload};
use model::{Gap, SpanTable, Value};
use std::io::Read;
use std::path::Path;

/// Of a file of statements.
const MAX_SQL_BYTES: u64 = 32 << 20;
/// Looked at to tell SQL from traces.
const HEAD_BYTES: usize = 64;

pub(super) async fn run(setting: &Setting, args: &DatabaseArgs, url: &str) -> Result<Answer> {
    if args.over > 0.0 || args.may_build {
        bail!(
            "--over and --may-build are for servers: a SQLite file counts no statements, and indexes are made on a copy only"
        );
    }
    let (workload, source) = match &args.statements {
        Some(path) => (given(path)?, format!("with the statements of {}", path.display())),
        None => (Workload::default(), "without statements".to_owned()),
    };
    let sqlite = Sqlite::open(url).await?;
    let mut show = |what: &str| setting.output.progress(what);
    let looked = tokio::select! {
        looked = sqlite.look(&workload, args.most, &mut show) => Some(looked?),
        () = setting.shutdown.wait() => None,
    };
    setting.output.clear_line();
    let Some(mut look) = looked else { bail!("ended early: the copy is removed, nothing was changed") };
    if workload.is_empty() {
        look.gaps.push(Gap::new(
            "database",
            "no statement was looked at: SQLite keeps no statistics of them",
            "--statements FILE: SQL ended by `;` or one a line, traces of the service (db.query.text), or a recording",
        ));
    }
    let seen = Seen {
        url: sqlite.shown_url(),
        source: format!("{source}, planned by SQLite {}", look.version),
        server_version: Some(look.version),
        statements: look.statements,
        plans: look.plans,
        observations: look.observations,
        gaps: look.gaps,
        ..Seen::default()
    };
    tell(setting, args, &seen)?;
    Ok(Answer::Yes)
}

/// The statements of a file of SQL, of traces, or of a recording.
fn given(path: &Path) -> Result<Workload> {
    let shown = path.display();
    let recorded = path.is_dir() || is_trace(path)?;
    let workload = if recorded {
        of_spans(&super::localize::read(&[path.to_owned()])?.spans)
    } else {
        let length = std::fs::metadata(path).with_context(|| format!("could not read {shown}"))?.len();
        if length > MAX_SQL_BYTES {
            bail!(
                "{shown} has {} MiB; {} MiB of SQL are read at the most",
                length >> 20,
                MAX_SQL_BYTES >> 20
            );
        }
        let bytes = std::fs::read(path).with_context(|| format!("could not read {shown}"))?;
        Workload::of_sql(&String::from_utf8_lossy(&bytes))
    };
    if workload.is_empty() {
        let what = if recorded {
            "no span with db.query.text (or db.statement) of a SQLite database"
        } else {
            "no statement; expected SQL ended by `;`, or one statement a line"
        };
        bail!("{shown} holds {what}");
    }
    Ok(workload)
}

/// Whether the file begins as JSON, or is compressed: then it is one of traces.
fn is_trace(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("could not read {}", path.display()))?;
    file.take(HEAD_BYTES as u64)
        .read_to_end(&mut head)
        .with_context(|| format!("could not read {}", path.display()))?;
    let packed = head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let first = head.iter().copied().find(|b| !b.is_ascii_whitespace());
    // A statement may begin with [, but none does with {: names in brackets come later.
    Ok(packed || matches!(first, Some(b'{' | b'[')))
}

/// Spans of SQLite databases, or of databases that are not named.
fn of_spans(spans: &SpanTable) -> Workload {
    let mut workload = Workload::default();
    for row in 0..spans.len() {
        let (mut text, mut system) = (None, None);
        for attribute in spans.packed_attributes(row) {
            let value = || match spans.unpack(attribute.value) {
                Value::Text(text) => Some(text),
                _ => None,
            };
            match spans.strings.get(attribute.key) {
                "db.query.text" | "db.statement" => text = value().or(text),
                "db.system.name" | "db.system" => system = value().or(system),
                _ => {}
            }
        }
        if let Some(text) = text.filter(|_| system.is_none_or(|s| s.eq_ignore_ascii_case("sqlite"))) {
            workload.add(text, Some(spans.durations_ns[row] as f64 / 1e6));
        }
    }
    workload
}
