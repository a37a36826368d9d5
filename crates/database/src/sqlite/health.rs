//! The state of a file: statistics of the planner, journal, caches, free pages, indexes that no statement needs, foreign
//! keys without an index. Each with what mends it and what takes that back.

use super::copy::beside;
use super::file::{Look, SIGNAL, Sqlite};
use super::schema::{Contents, PATIENCE, TABLES, name, number, text};
use crate::health::Observation;
use crate::query::Table;
use model::{Gap, WhatIf};
use std::collections::BTreeMap;

/// Observations of one kind.
const MAX_OF_A_KIND: usize = 10;
/// A table of fewer rows is read quickly whatever the planner thinks.
pub(super) const MIN_ROWS: f64 = 1_000.0;
/// Files below it fit into every cache.
const SMALL_BYTES: u64 = 8 << 20;
/// A log that grows beyond this was not taken over for long.
const LARGE_WAL_BYTES: u64 = 64 << 20;
/// Share of free pages that is worth a VACUUM.
const FREE_SHARE: f64 = 0.25;
const USUAL_PAGE_BYTES: u64 = 4096;
/// What a connection holds of the file unless it asks for more.
const DEFAULT_CACHE_BYTES: u64 = 2_000 << 10;
/// Proposed for a file that is larger, at the most.
const MAX_CACHE_BYTES: u64 = 256 << 20;
/// Statistics that are off by so much mislead.
const STALE_FACTOR: f64 = 2.0;

pub(super) async fn look(sqlite: &Sqlite, contents: &Contents, look: &mut Look) {
    statistics(contents, &mut look.observations);
    journal(sqlite, &mut look.observations).await;
    look.observations.extend(cache(sqlite.bytes));
    pages(sqlite, look).await;
    redundant(contents, &mut look.observations);
    look.gaps.push(Gap::new(
        SIGNAL,
        "whether the file is sound was not checked: that reads all of it",
        format!("sqlite3 -readonly '{}' 'PRAGMA quick_check'", sqlite.path.display()),
    ));
}

/// Tables that the planner knows nothing about.
fn statistics(contents: &Contents, found: &mut Vec<Observation>) {
    let look = "SELECT * FROM sqlite_stat1";
    let indexed = |t: &&Table| t.rows >= MIN_ROWS && t.indexes.iter().any(|i| !i.primary);
    let unknown = |t: &&Table| indexed(t) && !contents.analysed.contains(&t.name.to_lowercase());
    let without: Vec<&str> = contents.schema.values().filter(unknown).map(|t| t.name.as_str()).collect();
    if !without.is_empty() {
        let reason = format!(
            "the planner has no statistics of {} ({}): where several indexes fit, it guesses",
            told(&without),
            if contents.analysed.is_empty() {
                "ANALYZE never ran"
            } else {
                "they came after the last ANALYZE"
            }
        );
        let undo = if contents.analysed.is_empty() { "DROP TABLE sqlite_stat1" } else { "" };
        found.push(Observation::new("no_statistics", "sqlite_stat1", reason, look).mend("ANALYZE", undo));
    }
    for (table, counted) in
        contents.schema.values().filter_map(|t| Some((t, *contents.counted.get(&t.name.to_lowercase())?)))
    {
        let (most, least) = (table.rows.max(counted), table.rows.min(counted).max(1.0));
        if most >= MIN_ROWS && most / least >= STALE_FACTOR && found.len() < MAX_OF_A_KIND {
            let reason = format!(
                "{} has {:.0} rows, the planner's statistics say {counted:.0}",
                table.name, table.rows
            );
            let mend = format!("ANALYZE {}", name(&table.name));
            found.push(Observation::new("stale_statistics", &table.name, reason, look).mend(mend, ""));
        }
    }
}

/// The first names, and how many there are beside.
fn told(names: &[&str]) -> String {
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

async fn journal(sqlite: &Sqlite, found: &mut Vec<Observation>) {
    let look = "PRAGMA journal_mode";
    if !sqlite.header.wal {
        let reason =
            "its journal is no write-ahead log: while one connection writes, no other reads".to_owned();
        found.push(Observation::new("journal_mode", "journal", reason, look).mend(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL",
        ));
        return;
    }
    let bytes = tokio::fs::metadata(beside(&sqlite.path, "-wal")).await.map_or(0, |m| m.len());
    if bytes >= LARGE_WAL_BYTES {
        let reason = format!(
            "its write-ahead log has {} MiB: readers that never pause keep it from being taken over, and every read looks through it",
            bytes >> 20
        );
        found.push(
            Observation::new("large_log", "journal", reason, "PRAGMA wal_checkpoint(PASSIVE)")
                .mend("PRAGMA wal_checkpoint(TRUNCATE)", ""),
        );
    }
}

/// The cache is a matter of each connection: only what happens without asking can be told.
fn cache(bytes: u64) -> Option<Observation> {
    let wanted = bytes.next_power_of_two().min(MAX_CACHE_BYTES);
    let reason = format!(
        "it has {} MiB, and a connection that asks for no more holds {:.0} of them; what the service asks for is not in the file",
        bytes >> 20,
        DEFAULT_CACHE_BYTES as f64 / f64::from(1 << 20)
    );
    (bytes >= SMALL_BYTES).then(|| {
        Observation::new("page_cache", "connection", reason, "PRAGMA cache_size; PRAGMA mmap_size").mend(
            format!("PRAGMA cache_size = -{}; PRAGMA mmap_size = {wanted}", wanted >> 10),
            "PRAGMA cache_size = -2000; PRAGMA mmap_size = 0",
        )
    })
}

async fn pages(sqlite: &Sqlite, look: &mut Look) {
    let sql = "SELECT c.page_count AS pages, f.freelist_count AS free FROM pragma_page_count c, pragma_freelist_count f";
    match sqlite.shell.rows(sql, PATIENCE).await {
        Ok(rows) => {
            let (all, free) =
                rows.first().map_or((0.0, 0.0), |row| (number(row, "pages"), number(row, "free")));
            let bytes = free * sqlite.header.page_bytes as f64;
            let reason = format!(
                "{free:.0} of {all:.0} pages are free ({:.0} MiB): deleted rows left them",
                bytes / f64::from(1 << 20)
            );
            if free >= FREE_SHARE * all.max(1.0) && bytes >= SMALL_BYTES as f64 {
                look.observations.push(
                    Observation::new(
                        "free_pages",
                        "file",
                        reason,
                        "PRAGMA freelist_count; PRAGMA page_count",
                    )
                    .mend("VACUUM", ""),
                );
            }
        }
        Err(error) => look.gaps.push(Gap::new(
            SIGNAL,
            format!("free pages could not be counted: {error:#}"),
            "see the other gaps",
        )),
    }
    let page = sqlite.header.page_bytes;
    if page < USUAL_PAGE_BYTES && sqlite.bytes >= SMALL_BYTES {
        let reason =
            format!("its pages have {page} bytes, as before 2016: trees are deeper, and each page is a read");
        let wal = if sqlite.header.wal { "PRAGMA journal_mode = DELETE; " } else { "" };
        let to = |bytes: u64| format!("{wal}PRAGMA page_size = {bytes}; VACUUM");
        let seen = Observation::new("page_size", "file", reason, "PRAGMA page_size");
        look.observations.push(seen.mend(to(USUAL_PAGE_BYTES), to(page)));
    }
}

fn redundant(contents: &Contents, found: &mut Vec<Observation>) {
    let all = contents.schema.values().flat_map(|t| t.redundant().into_iter().map(move |pair| (t, pair)));
    for (table, (index, other)) in
        all.filter(|(_, (index, _))| !index.definition.is_empty()).take(MAX_OF_A_KIND)
    {
        let reason = format!(
            "the index {} of {} is the beginning of {}, which serves the same statements",
            index.name, table.name, other.name
        );
        let look = format!("PRAGMA index_list({})", name(&table.name));
        let mend = format!("DROP INDEX {}", name(&index.name));
        found.push(
            Observation::new("redundant_index", &index.name, reason, &look)
                .mend(mend, index.definition.clone()),
        );
    }
}

/// The parent, and the child's columns as those of an index.
type ForeignKey = (String, Vec<(String, bool)>);

/// Children are looked for with every delete of a parent. An index that statements want may serve that, too.
pub(super) async fn foreign_keys(sqlite: &Sqlite, contents: &Contents, look: &mut Look) {
    let sql = format!(
        "SELECT m.name AS tbl, f.id AS id, f.\"table\" AS parent, f.\"from\" AS col
           FROM (SELECT * FROM {TABLES}) m JOIN pragma_foreign_key_list(m.name) f ORDER BY m.name, f.id, f.seq"
    );
    let rows = match sqlite.shell.rows(&sql, PATIENCE).await {
        Ok(rows) => rows,
        Err(error) => {
            let reason = format!("foreign keys could not be read: {error:#}");
            look.gaps.push(Gap::new(SIGNAL, reason, "see the other gaps"));
            return;
        }
    };
    let mut keys: BTreeMap<(String, i64), ForeignKey> = BTreeMap::new();
    for row in &rows {
        let key = keys.entry((text(row, "tbl").to_owned(), number(row, "id") as i64)).or_default();
        text(row, "parent").clone_into(&mut key.0);
        key.1.push((text(row, "col").to_owned(), false));
    }
    let mut told = 0;
    for ((table, _), (parent, columns)) in keys {
        let Some(child) = contents.schema.get(&table.to_lowercase()).filter(|t| t.rows >= MIN_ROWS) else {
            continue;
        };
        if child.indexes.iter().any(|i| i.begins_with(&columns, false)) || told >= MAX_OF_A_KIND {
            continue;
        }
        told += 1;
        let list: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let reason = format!(
            "{table} ({}) refers to {parent} and no index begins so: with foreign_keys on, each delete of a row of {parent} reads all {:.0} rows of {table}",
            list.join(", "),
            child.rows
        );
        let (create, undo) = advised(look, &table, &list).unwrap_or_else(|| {
            let index = format!("trimtab_{table}_{}_idx", list.join("_"));
            let on: Vec<String> = list.iter().map(|column| name(column)).collect();
            let create = format!(
                "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
                name(&index),
                name(&table),
                on.join(", ")
            );
            (create, format!("DROP INDEX IF EXISTS {}", name(&index)))
        });
        let shown = format!("PRAGMA foreign_key_list({})", name(&table));
        look.observations
            .push(Observation::new("foreign_key_without_index", &table, reason, &shown).mend(create, undo));
    }
}

/// An index that was proved to help statements and begins with these columns.
fn advised(look: &Look, table: &str, columns: &[&str]) -> Option<(String, String)> {
    let plain = |column: &String| column.split(' ').next().unwrap_or_default().to_owned();
    let begins = |index: &&WhatIf| {
        let head: Vec<String> = index.columns.iter().take(columns.len()).map(plain).collect();
        index.table == table && columns.iter().all(|column| head.iter().any(|own| own == column))
    };
    let index = look.plans.iter().flat_map(|plan| &plan.what_ifs).find(begins)?;
    Some((index.create.clone(), index.undo.clone()))
}
