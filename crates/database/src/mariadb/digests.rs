//! Statement figures of performance_schema (without it of the slow log), and what grew between two looks.

use super::connection::{MariaDb, Refused, Row};
use super::slow_log;
use crate::snapshot::Snapshot;
use anyhow::Result;
use model::{Gap, Plan, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(super) const SIGNAL: &str = "database";
/// Where they come from, in words.
const COUNTERS: &str = "performance_schema";
/// Digests that are read, those with most time first.
const MAX_DIGESTS: usize = 2_000;
/// Texts of what is only of the session, or of a look like this one.
const OWN: [&str; 5] =
    ["performance_schema", "information_schema", "`mysql`.`slow_log`", "mysql.slow_log", "trimtab_"];
const OWN_VERBS: [&str; 6] = ["explain", "set", "show", "use", "kill", "do"];

/// One statement's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) total_ms: f64,
    pub(super) lock_ms: f64,
    pub(super) sent: u64,
    pub(super) affected: u64,
    pub(super) examined: u64,
    pub(super) disk_tables: u64,
    pub(super) merge_passes: u64,
    /// Calls that used no index.
    pub(super) without_index: u64,
    pub(super) errors: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Digest {
    /// As the server writes it.
    pub(super) raw: String,
    /// With its values, where the server keeps one.
    pub(super) sample: Option<String>,
    pub(super) counts: Counts,
}

/// All statements at one moment.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    /// By identity of the text.
    pub(super) all: BTreeMap<String, Digest>,
    /// Calls whose digest was not kept.
    lost: u64,
    /// There was more than is read.
    pub(super) cut: bool,
    uptime_s: u64,
    pub(super) gaps: Vec<Gap>,
    /// What they were read from, in words; empty: nothing.
    pub(super) source: &'static str,
}

impl MariaDb {
    /// Counters of all statements of the database; what cannot be read is a gap.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn digests(&mut self) -> Result<Digests> {
        self.digests_with(true).await
    }

    /// Without `samples` it is quicker, and knows no text with values.
    async fn digests_with(&mut self, samples: bool) -> Result<Digests> {
        let mut digests =
            Digests { uptime_s: self.status("Uptime").await?.unwrap_or(0), ..Digests::default() };
        let on = self.one("SELECT @@performance_schema").await?.is_some_and(|on| on == "1" || on == "ON");
        if !on {
            digests.gaps.push(Gap::new(
                SIGNAL,
                "performance_schema is off (the default of MariaDB): the server counts no statements",
                "performance_schema=ON under [mysqld] in my.cnf and a restart; costs some memory and a few percent of CPU",
            ));
            slow_log::read(self, &mut digests).await?;
            return Ok(digests);
        }
        match self.of_performance_schema(&mut digests, samples).await {
            Ok(()) => digests.source = COUNTERS,
            Err(error) => match error.downcast::<Refused>() {
                Ok(refused) if refused.is_of_rights() => {
                    digests.gaps.push(Gap::new(
                        SIGNAL,
                        format!("the statements cannot be read: {refused}"),
                        format!("GRANT SELECT ON performance_schema.* TO '{}'@...", self.user),
                    ));
                }
                Ok(refused) => {
                    let reason = format!("the statements cannot be read: {refused}");
                    digests.gaps.push(Gap::new(SIGNAL, reason, "see the server's log"));
                }
                Err(error) => return Err(error),
            },
        }
        Ok(digests)
    }

    async fn of_performance_schema(&mut self, digests: &mut Digests, samples: bool) -> Result<()> {
        let newer = !self.is_mariadb() && self.release() >= (8, 0);
        let sample = if newer { "QUERY_SAMPLE_TEXT" } else { "NULL" };
        let sql = format!(
            "SELECT DIGEST, DIGEST_TEXT, {sample}, COUNT_STAR, SUM_TIMER_WAIT / 1e9, SUM_LOCK_TIME / 1e9, SUM_ROWS_SENT,
                    SUM_ROWS_AFFECTED, SUM_ROWS_EXAMINED, SUM_CREATED_TMP_DISK_TABLES, SUM_SORT_MERGE_PASSES,
                    SUM_NO_INDEX_USED, SUM_ERRORS
               FROM performance_schema.events_statements_summary_by_digest
              WHERE SCHEMA_NAME = DATABASE() AND DIGEST IS NOT NULL ORDER BY SUM_TIMER_WAIT DESC LIMIT {MAX_DIGESTS}"
        );
        let rows = self.ask(&sql).await?;
        digests.cut = rows.len() >= MAX_DIGESTS;
        let mut kept = BTreeMap::new();
        for view in ["events_statements_history_long", "events_statements_history"]
            .iter()
            .filter(|_| samples && !newer)
        {
            let sql = format!(
                "SELECT DIGEST, MAX(SQL_TEXT) FROM performance_schema.{view} WHERE CURRENT_SCHEMA = DATABASE() GROUP BY DIGEST"
            );
            // Where it is not kept, values are made up.
            for row in self.ask(&sql).await.unwrap_or_default() {
                if let [Some(digest), Some(text)] = &row[..] {
                    kept.insert(digest.clone(), text.clone());
                }
            }
        }
        for row in rows {
            let text = |n: usize| row.get(n).cloned().flatten();
            let (Some(id), Some(raw)) = (text(0), text(1)) else { continue };
            let sample = text(2).or_else(|| kept.get(&id).cloned()).filter(|s| !s.ends_with("..."));
            digests.add(raw, sample, &counts(&row[3..]));
        }
        let lost = "SELECT SUM(COUNT_STAR) FROM performance_schema.events_statements_summary_by_digest WHERE DIGEST IS NULL";
        digests.lost = self.one(lost).await?.and_then(|n| n.parse().ok()).unwrap_or(0);
        if digests.lost > 0 {
            digests.gaps.push(Gap::new(
                SIGNAL,
                format!("{} calls were of statements for which the server had no room", digests.lost),
                "raise performance_schema_digests_size, or TRUNCATE performance_schema.events_statements_summary_by_digest",
            ));
        }
        Ok(())
    }

    /// The counters for a measurement; where there are none, a gap says why.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn snapshot(&mut self) -> Result<Snapshot> {
        let asked = Instant::now();
        let digests = self.digests_with(false).await?;
        // The slow log is cut at its oldest lines: it does not count.
        let counted = digests.source() == Some(COUNTERS);
        let taken = counted.then(|| asked + asked.elapsed() / 2);
        let system = if self.is_mariadb() { "mariadb" } else { "mysql" };
        let figures = |(text, digest): (String, Digest)| {
            let counts = digest.counts;
            (text, [counts.calls, counts.sent + counts.affected, counts.disk_tables], counts.total_ms)
        };
        let cut = digests.cut;
        let all = digests.all.into_iter().filter(|_| counted).map(figures);
        Ok(Snapshot::of_others(system, (all, cut), taken, digests.gaps))
    }

    /// There and back.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn round_trip(&mut self) -> Result<Duration> {
        let asked = Instant::now();
        self.ask("DO 0").await?;
        Ok(asked.elapsed())
    }

    /// Plans of these statements; `most` are looked at.
    pub(crate) async fn plans(&mut self, statements: &[Statement], most: usize) -> (Vec<Plan>, Vec<Gap>) {
        let looked = async {
            let mut digests = self.digests().await?;
            let wanted: BTreeSet<&str> = statements.iter().map(|s| s.text.as_str()).collect();
            digests.all.retain(|text, _| wanted.contains(text.as_str()));
            let schema = super::schema::read(self).await?;
            let mut look = super::look::Look::default();
            super::advise::advise(self, &schema, &digests, most, &mut look).await?;
            anyhow::Ok((look.plans, look.gaps))
        };
        looked.await.unwrap_or_else(|error| {
            let reason = format!("the statements could not be explained: {error:#}");
            (Vec::new(), vec![Gap::new(SIGNAL, reason, "see the server's log; the rest was measured")])
        })
    }

    /// The first value of the first row.
    pub(super) async fn one(&mut self, sql: &str) -> Result<Option<String>> {
        Ok(self.ask(sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    pub(super) async fn status(&mut self, name: &str) -> Result<Option<u64>> {
        let rows = self.ask(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).await?;
        Ok(rows.first().and_then(|row| row.get(1)?.as_ref()?.parse().ok()))
    }
}

fn counts(row: &[Option<String>]) -> Counts {
    let number = |n: usize| {
        row.get(n).and_then(|v| v.as_ref()?.parse::<f64>().ok()).filter(|n| n.is_finite()).unwrap_or(0.0)
    };
    let whole = |n: usize| number(n) as u64;
    Counts {
        calls: whole(0),
        total_ms: number(1),
        lock_ms: number(2),
        sent: whole(3),
        affected: whole(4),
        examined: whole(5),
        disk_tables: whole(6),
        merge_passes: whole(7),
        without_index: whole(8),
        errors: whole(9),
    }
}

/// The statement's identity: a digest writes a list as `(...)`.
pub(super) fn identity(raw: &str) -> String {
    model::sql::normalise(&raw.replace("(...)", "(?)"))
}

/// Whether it is a look such as this one, or only of the session.
fn is_own(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let verb = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    OWN_VERBS.contains(&verb) || text.starts_with("select @@") || OWN.iter().any(|own| text.contains(own))
}

impl Digests {
    pub(super) fn add(&mut self, raw: String, sample: Option<String>, counts: &Counts) {
        let identity = identity(&raw);
        if identity.is_empty() || is_own(&identity) {
            return;
        }
        // One text may have several digests: of different servers' versions, or white space.
        let digest = self.all.entry(identity).or_default();
        digest.counts = digest.counts.plus(counts);
        digest.sample = digest.sample.take().or(sample);
        digest.raw = raw;
    }

    /// What happened between two looks; nothing, and a gap that says why, where the counters do not span the window.
    #[must_use]
    pub fn since(self, before: &Self) -> Self {
        let mut grown = Self { all: BTreeMap::new(), ..self.clone() };
        let reset = |(text, then): (&String, &Digest)| {
            self.all.get(text).map_or(!self.cut, |now| now.counts.calls < then.counts.calls)
        };
        if self.uptime_s < before.uptime_s || before.source != self.source {
            let reason = "the database server was restarted during the measurement";
            grown.gaps.push(Gap::new(SIGNAL, reason, "measure again; if nobody restarted it, see its log"));
            return grown;
        }
        if self.cut && self.source == slow_log::SOURCE {
            let reason = "the slow log has more lines than are read: what is new in it cannot be told";
            let hint = "TRUNCATE mysql.slow_log, or raise long_query_time, and measure again";
            grown.gaps.push(Gap::new(SIGNAL, reason, hint));
            return grown;
        }
        if before.all.iter().any(reset) {
            let reason = "the counters of statements were truncated during the measurement";
            grown.gaps.push(Gap::new(
                SIGNAL,
                reason,
                "let nothing TRUNCATE performance_schema while measuring",
            ));
            return grown;
        }
        let mut overtaking = 0_u64;
        for (text, now) in self.all {
            // Its calls may be of before: it was beyond the limit then.
            if before.cut && !before.all.contains_key(&text) {
                overtaking += 1;
                continue;
            }
            let none = Counts::default();
            let then = before.all.get(&text).map_or(&none, |digest| &digest.counts);
            let counts = now.counts.minus(then);
            if counts.calls > 0 {
                grown.all.insert(text, Digest { counts, ..now });
            }
        }
        grown.gaps.extend(crate::snapshot::overtaken(overtaking));
        grown
    }

    /// What they were read from, in words; `None`: nothing could be read.
    #[must_use]
    pub fn source(&self) -> Option<&'static str> {
        (!self.source.is_empty()).then_some(self.source)
    }
}

impl Counts {
    fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b, u64::saturating_add)
    }

    fn minus(&self, other: &Self) -> Self {
        self.with(other, |a, b| (a - b).max(0.0), u64::saturating_sub)
    }

    fn with(&self, other: &Self, times: fn(f64, f64) -> f64, whole: fn(u64, u64) -> u64) -> Self {
        Self {
            calls: whole(self.calls, other.calls),
            total_ms: times(self.total_ms, other.total_ms),
            lock_ms: times(self.lock_ms, other.lock_ms),
            sent: whole(self.sent, other.sent),
            affected: whole(self.affected, other.affected),
            examined: whole(self.examined, other.examined),
            disk_tables: whole(self.disk_tables, other.disk_tables),
            merge_passes: whole(self.merge_passes, other.merge_passes),
            without_index: whole(self.without_index, other.without_index),
            errors: whole(self.errors, other.errors),
        }
    }

    /// A counter's share of a call.
    pub(super) fn each(&self, counter: u64) -> f64 {
        counter as f64 / self.calls.max(1) as f64
    }

    pub(super) fn mean_ms(&self) -> f64 {
        self.total_ms / self.calls.max(1) as f64
    }
}

/// Values of a row, as text.
pub(super) fn texts(row: &Row) -> Vec<&str> {
    row.iter().map(|value| value.as_deref().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Counts, Digest, Digests, identity, is_own, slow_log};

    fn look(uptime_s: u64, calls: &[(&str, u64)]) -> Digests {
        let counts = |calls| Counts { calls, total_ms: calls as f64, ..Counts::default() };
        let one = |(text, calls): &(&str, u64)| {
            ((*text).to_owned(), Digest { counts: counts(*calls), ..Digest::default() })
        };
        Digests { uptime_s, all: calls.iter().map(one).collect(), source: "x", ..Digests::default() }
    }

    #[test]
    fn what_grew_is_told() {
        let grown = look(20, &[("a", 9), ("b", 5), ("c", 1)]).since(&look(10, &[("a", 4), ("b", 5)]));
        let calls: Vec<(&str, u64)> = grown.all.iter().map(|(t, d)| (t.as_str(), d.counts.calls)).collect();
        assert_eq!((calls, grown.gaps.len()), (vec![("a", 5), ("c", 1)], 0));
    }

    #[test]
    fn a_restart_and_a_truncation_void_the_window() {
        for after in [look(3, &[("a", 9)]), look(20, &[("a", 3)]), look(20, &[])] {
            let grown = after.since(&look(10, &[("a", 4)]));
            assert!(grown.all.is_empty() && grown.gaps.len() == 1, "{:?}", grown.gaps);
        }
    }

    #[test]
    fn what_is_beyond_the_limit_voids_nothing_and_counts_for_nothing() {
        let cut = |look: Digests| Digests { cut: true, ..look };
        let before = cut(look(10, &[("a", 4), ("b", 2)]));
        let grown = cut(look(20, &[("a", 9), ("c", 700)])).since(&before);
        let calls: Vec<(&str, u64)> = grown.all.iter().map(|(t, d)| (t.as_str(), d.counts.calls)).collect();
        assert_eq!(calls, [("a", 5)]);
        assert!(
            grown.gaps.len() == 1 && grown.gaps[0].reason.starts_with("1 statements"),
            "{:?}",
            grown.gaps
        );
        let log = |look| Digests { source: slow_log::SOURCE, ..cut(look) };
        let grown = log(look(20, &[("a", 3)])).since(&log(look(10, &[("a", 4)])));
        assert!(grown.all.is_empty() && grown.gaps[0].reason.contains("more lines"), "{:?}", grown.gaps);
    }

    #[test]
    fn digests_meet_the_texts_of_spans() {
        assert_eq!(
            identity("SELECT `a` FROM `t` WHERE `b` = ? AND `c` IN (...)"),
            "SELECT `a` FROM `t` WHERE `b` = $1 AND `c` IN ($2, ...)"
        );
        assert!(is_own("SELECT @@`performance_schema`") && is_own("SHOW GLOBAL STATUS LIKE $1"));
        assert!(!is_own("SELECT `set` FROM `t`"));
    }
}
