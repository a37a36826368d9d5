//! From statements to indexes: what the planner does now, which indexes could help, and, on a copy, which ones the
//! planner takes and what they bring. All statements are judged together with all indexes that are left.

use super::copy::{Copy, FIRST_EXECUTIONS, RUN_PATIENCE, Timed};
use super::file::{Look, SIGNAL, Sqlite};
use super::health::MIN_ROWS;
use super::plan::{self, Explained};
use super::schema::{Contents, PATIENCE, look_up};
use super::shell::{Shell, complaint};
use super::workload::{Given, Workload};
use crate::health::Observation;
use crate::index::NewIndex;
use crate::query::{Dialect, Known, Shape, candidates, create, fill, shape, shortened, tokens, undo};
use model::{Gap, Plan, Statement, TableFigures, WhatIf, WhatIfMethod};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const DIALECT: Dialect = Dialect::Sqlite;
/// What is asked of the planner; everything else may not be explained safely, or has no plan.
const VERBS: [&str; 7] = ["SELECT", "WITH", "VALUES", "UPDATE", "DELETE", "INSERT", "REPLACE"];
/// Proving ends then, whatever is left.
const BUDGET: Duration = Duration::from_secs(180);
/// Of a statement's time an index has to take more than this ...
const MIN_SHARE: f64 = 0.2;
/// ... and so many milliseconds of a call, or this share of all the time.
const MIN_GAIN_MS: f64 = 1.0;
const MIN_TOTAL_SHARE: f64 = 0.05;
/// Indexes that are made on the copy at once.
const MAX_INDEXES: usize = 64;
/// Scans of smaller tables are not told.
const LARGE_ROWS: f64 = 10_000.0;
const MAX_OF_A_KIND: usize = 10;

/// A statement on its way.
struct Subject<'g> {
    identity: &'g str,
    given: &'g Given,
    explained: Explained,
    shape: Shape,
    /// With values for all of its places, if they are known.
    runnable: Option<String>,
    before: Option<Timed>,
    /// What a call takes at least, where the copy ended it.
    at_least_ms: f64,
    candidates: Vec<NewIndex>,
    what_ifs: Vec<WhatIf>,
}

pub(super) async fn advise(
    sqlite: &Sqlite,
    contents: &Contents,
    workload: &Workload,
    most: usize,
    look: &mut Look,
    tell: &mut dyn FnMut(&str),
) {
    tell("asking for plans");
    let mut subjects = subjects(sqlite, contents, workload, most, look).await;
    if !subjects.is_empty() {
        tell("copying the file");
        match Copy::of(&sqlite.shell, &sqlite.path).await {
            Ok(copy) => prove(&copy, contents, &mut subjects, look, tell).await,
            Err(error) => look.gaps.push(Gap::new(
                SIGNAL,
                format!("no statement was executed and no index was tried, as that needs a copy of the file: {error:#}"),
                "the plans are told all the same; try the indexes on a copy of your own",
            )),
        }
    }
    from_plans(contents, &subjects, &mut look.observations);
    for subject in subjects {
        look.statements.push(subject.statement());
        look.plans.push(subject.plan(contents));
    }
    let known = |s: &Statement| s.total_ms.max(s.at_least_ms.unwrap_or(0.0) * s.calls as f64);
    look.statements.sort_by(|a, b| known(b).total_cmp(&known(a)).then_with(|| a.text.cmp(&b.text)));
    let rank: BTreeMap<&str, usize> =
        look.statements.iter().enumerate().map(|(n, s)| (s.text.as_str(), n)).collect();
    look.plans.sort_by_key(|p| rank.get(p.statement.as_str()).copied());
}

/// Explains the statements that were called most, or took most time.
async fn subjects<'g>(
    sqlite: &Sqlite,
    contents: &Contents,
    workload: &'g Workload,
    most: usize,
    look: &mut Look,
) -> Vec<Subject<'g>> {
    let mut order: Vec<(&String, &Given)> = workload.statements.iter().collect();
    order.sort_by(|(a, x), (b, y)| {
        let time = |g: &Given| g.total_ms.unwrap_or(0.0);
        time(y).total_cmp(&time(x)).then_with(|| y.calls.cmp(&x.calls)).then_with(|| a.cmp(b))
    });
    let left = order.len().saturating_sub(most) as u64 + workload.left_out;
    if left > 0 {
        let reason = format!("{left} statements more were given than are looked at");
        look.gaps.push(Gap::new(
            SIGNAL,
            reason,
            "--most N raises the number; long texts are never looked at",
        ));
    }
    let (mut subjects, mut others, mut known) = (Vec::new(), 0_u64, Known::new());
    for (identity, given) in order.into_iter().take(most) {
        let verb = verb(&given.sample);
        if !VERBS.iter().any(|v| v.eq_ignore_ascii_case(verb)) {
            others += 1;
            continue;
        }
        match subject(sqlite, contents, (identity, given), &mut known).await {
            Ok(subject) => subjects.push(subject),
            Err(said) => look.gaps.push(Gap::new(
                SIGNAL,
                format!("a statement could not be explained: {said}: {}", shortened(identity)),
                "is it whole, of this file, and without functions of the service's own?",
            )),
        }
    }
    if others > 0 {
        let reason = format!("{others} statements are no reads or writes of rows and have no plan");
        look.gaps.push(Gap::new(SIGNAL, reason, "nothing needs to be done"));
    }
    subjects
}

/// The first word behind comments.
fn verb(text: &str) -> &str {
    tokens(text, DIALECT).first().map_or("", |token| token.text)
}

async fn subject<'g>(
    sqlite: &Sqlite,
    contents: &Contents,
    (identity, given): (&'g str, &'g Given),
    known: &mut Known,
) -> Result<Subject<'g>, String> {
    let shape = shape(&given.sample, DIALECT, &contents.schema);
    look_up(&sqlite.shell, &contents.schema, &shape.wanted(), known).await;
    let runnable = fill(&given.sample, DIALECT, &shape, known, None);
    let explained = explained(&sqlite.shell, runnable.as_ref().unwrap_or(&given.sample)).await?;
    let insert = ["INSERT", "REPLACE"].iter().any(|v| v.eq_ignore_ascii_case(verb(&given.sample)));
    let candidates = if insert { Vec::new() } else { possible(contents, &shape, &explained) };
    Ok(Subject {
        identity,
        given,
        explained,
        shape,
        runnable,
        before: None,
        at_least_ms: 0.0,
        candidates,
        what_ifs: Vec::new(),
    })
}

/// Indexes for the tables that the plan reads as a whole, sorts, or makes an index for.
fn possible(contents: &Contents, shape: &Shape, explained: &Explained) -> Vec<NewIndex> {
    let named = |names: &[String], alias: &str| names.iter().any(|n| n.eq_ignore_ascii_case(alias));
    let mut all: Vec<NewIndex> = Vec::new();
    for used in &shape.uses {
        let Some(table) = contents.schema.get(&used.table.to_lowercase()).filter(|t| t.rows >= MIN_ROWS)
        else {
            continue;
        };
        let poor = named(&explained.scanned, &used.alias)
            || named(&explained.automatic, &used.alias)
            || !explained.sorts.is_empty() && !used.order.is_empty();
        // A scan of one table of a join may turn into a look-up once the other one leads.
        let reads_whole = !explained.scanned.is_empty() || !explained.automatic.is_empty();
        let joined = reads_whole && !used.joins.is_empty();
        if poor || joined {
            all.extend(candidates(used, table, &shape.written, DIALECT));
        }
    }
    all.sort();
    all.dedup();
    all.truncate(MAX_INDEXES);
    all
}

async fn explained(shell: &Shell, statement: &str) -> Result<Explained, String> {
    let script = format!("EXPLAIN QUERY PLAN {statement}\n;");
    let answer = shell.run(&script, PATIENCE).await.map_err(|error| format!("{error:#}"))?;
    if !answer.err.trim().is_empty() {
        return Err(complaint(&answer.err));
    }
    Ok(plan::read(&answer.tables().into_iter().next().unwrap_or_default()))
}

/// Times every statement, tries its candidates, and judges what is left together.
async fn prove(
    copy: &Copy,
    contents: &Contents,
    subjects: &mut [Subject<'_>],
    look: &mut Look,
    tell: &mut dyn FnMut(&str),
) {
    let begin = Instant::now();
    let mut unproved = Unproved::default();
    for subject in subjects.iter_mut() {
        let asked = Instant::now();
        subject.before = subject.time(copy, begin, &mut unproved).await;
        if subject.before.is_none() && asked.elapsed() >= RUN_PATIENCE {
            subject.at_least_ms = RUN_PATIENCE.as_secs_f64() * 1e3 / FIRST_EXECUTIONS;
        }
    }
    let total_ms: f64 = subjects.iter().map(Subject::total_ms).sum();
    let mut kept: BTreeSet<NewIndex> = BTreeSet::new();
    let count = subjects.len();
    for (n, subject) in
        subjects.iter_mut().enumerate().filter(|(_, s)| !s.candidates.is_empty() && s.before.is_some())
    {
        tell(&format!("trying indexes, statement {} of {count}", n + 1));
        if begin.elapsed() > BUDGET {
            unproved.late += 1;
            continue;
        }
        let made = make(copy, contents, &subject.candidates).await;
        if let Some((used, after)) = subject.with(copy, &made).await
            && subject.gains(after, total_ms)
        {
            kept.extend(used);
        }
        remove(copy, &made).await;
    }
    let whole: Vec<NewIndex> = kept
        .iter()
        .filter(|one| !kept.iter().any(|other| *one != other && one.begins(other)))
        .cloned()
        .collect();
    tell("trying all indexes together");
    let made = make(copy, contents, &whole).await;
    for subject in subjects.iter_mut().filter(|s| s.before.is_some()) {
        if begin.elapsed() > BUDGET + BUDGET {
            unproved.late += 1;
            break;
        }
        match subject.with(copy, &made).await {
            Some((used, after)) if subject.gains(after, total_ms) => {
                subject.what_ifs =
                    used.iter().map(|index| subject.what_if(contents, index, after, &made)).collect();
            }
            _ if subject.writes() && !made.is_empty() => look.observations.extend(subject.slowed(copy).await),
            _ => {}
        }
    }
    unproved.tell(look);
}

/// Why statements have no time.
#[derive(Default)]
struct Unproved {
    without_values: Vec<String>,
    failed: Vec<String>,
    late: u64,
}

impl Unproved {
    fn tell(self, look: &mut Look) {
        let mut gap = |what: &str, list: &[String], hint: &str| {
            for text in list.iter().take(MAX_OF_A_KIND) {
                look.gaps.push(Gap::new(SIGNAL, format!("{what}: {text}"), hint));
            }
        };
        gap(
            "a statement was not executed, as it is not known what its places stand for",
            &self.without_values,
            "give it with values instead of placeholders",
        );
        gap("a statement could not be executed on the copy", &self.failed, "see what sqlite3 says of it");
        if self.late > 0 {
            let reason = format!("{} statements were left when the time for trying was up", self.late);
            look.gaps.push(Gap::new(SIGNAL, reason, "--most N looks at fewer statements"));
        }
    }
}

/// Indexes that are there now, and their bytes.
type Made = Vec<(NewIndex, u64)>;

async fn make(copy: &Copy, contents: &Contents, wanted: &[NewIndex]) -> Made {
    let mut made = Vec::new();
    let mut bytes = copy.used_bytes().await;
    for index in wanted {
        let Some(table) = contents.schema.get(&index.table.1.to_lowercase()) else { continue };
        if copy.execute(&create(index, table, DIALECT)).await.is_ok() {
            let now = copy.used_bytes().await;
            made.push((index.clone(), now.saturating_sub(bytes)));
            bytes = now;
        }
    }
    made
}

async fn remove(copy: &Copy, made: &Made) {
    let all: Vec<String> = made.iter().map(|(index, _)| undo(index, DIALECT)).collect();
    // One that stays is seen by the planner for the others, too; it is no worse an index for that.
    drop(copy.execute(&all.join(";\n")).await);
}

impl Subject<'_> {
    fn writes(&self) -> bool {
        let verb = model::sql::operation_and_tables(&self.given.sample).verb;
        !matches!(verb.as_str(), "SELECT" | "VALUES")
    }

    async fn time(&self, copy: &Copy, begin: Instant, unproved: &mut Unproved) -> Option<Timed> {
        let Some(runnable) = &self.runnable else {
            unproved.without_values.push(shortened(self.identity));
            return None;
        };
        if begin.elapsed() > BUDGET {
            unproved.late += 1;
            return None;
        }
        match copy.time(runnable, self.writes()).await {
            Ok(timed) => Some(timed),
            Err(error) => {
                unproved.failed.push(format!("{error:#}: {}", shortened(self.identity)));
                None
            }
        }
    }

    /// All calls: as they were seen, or as the copy took.
    fn total_ms(&self) -> f64 {
        let timed = self.before.map_or(0.0, |t| t.ms * self.given.calls as f64);
        self.given.total_ms.unwrap_or(timed)
    }

    /// Of a call whose time is not known.
    fn at_least_ms(&self) -> Option<f64> {
        (self.before.is_none() && self.given.total_ms.is_none()).then_some(self.at_least_ms)
    }

    /// The indexes of these that the planner takes, and the time with them.
    async fn with(&self, copy: &Copy, made: &Made) -> Option<(Vec<NewIndex>, Timed)> {
        let runnable = self.runnable.as_ref()?;
        let explained = explained(copy.shell(), runnable).await.ok()?;
        let taken =
            |index: &NewIndex| explained.indexes.iter().any(|name| name.trim_matches('"') == index.name());
        let used: Vec<NewIndex> =
            made.iter().map(|(index, _)| index).filter(|index| taken(index)).cloned().collect();
        if used.is_empty() {
            return None;
        }
        let after = copy.time(runnable, self.writes()).await.ok()?;
        Some((used, after))
    }

    /// What the indexes that are there now cost a write.
    async fn slowed(&self, copy: &Copy) -> Option<Observation> {
        let (before, runnable) = (self.before?, self.runnable.as_ref()?);
        let after = copy.time(runnable, true).await.ok()?;
        let reason = format!(
            "with all indexes that are advised each call takes {:.2} ms instead of {:.2}, and {:.0} steps instead of {:.0}",
            after.ms, before.ms, after.steps, before.steps
        );
        let look = format!("EXPLAIN QUERY PLAN {}", shortened(self.identity));
        (after.steps > before.steps).then(|| Observation::new("write_cost", self.identity, reason, &look))
    }

    fn gains(&self, after: Timed, total_ms: f64) -> bool {
        let Some(before) = self.before else { return false };
        let gain = before.ms - after.ms;
        let fewer = before.steps <= 0.0 || after.steps < (1.0 - MIN_SHARE) * before.steps;
        let enough = gain >= MIN_GAIN_MS || gain * self.given.calls as f64 >= MIN_TOTAL_SHARE * total_ms;
        fewer && gain > MIN_SHARE * before.ms && enough
    }

    fn what_if(&self, contents: &Contents, index: &NewIndex, after: Timed, made: &Made) -> WhatIf {
        let before = self.before.unwrap_or_default();
        let table = contents.schema.get(&index.table.1.to_lowercase()).cloned().unwrap_or_default();
        WhatIf {
            table: index.table.1.clone(),
            columns: index.columns(),
            create: create(index, &table, DIALECT),
            undo: undo(index, DIALECT),
            method: WhatIfMethod::Executed,
            cost_before: before.steps,
            cost_after: after.steps,
            ms_before: Some(before.ms),
            ms_after: Some(after.ms),
            bytes: made.iter().find(|(one, _)| one == index).map_or(0, |(_, bytes)| *bytes),
        }
    }

    fn statement(&self) -> Statement {
        Statement {
            text: self.identity.to_owned(),
            system: "sqlite".to_owned(),
            calls: self.given.calls,
            total_ms: self.total_ms(),
            at_least_ms: self.at_least_ms(),
            rows: self.before.map_or(0, |t| t.rows.saturating_mul(self.given.calls)),
            ..Statement::default()
        }
    }

    fn plan(self, contents: &Contents) -> Plan {
        let tables: BTreeSet<String> = self.shape.uses.iter().map(|used| used.table.to_lowercase()).collect();
        let figures = tables.iter().filter_map(|key| contents.schema.get(key)).map(|table| TableFigures {
            name: table.name.clone(),
            rows: table.rows,
            indexes: table.indexes.iter().map(|i| i.definition.clone()).filter(|d| !d.is_empty()).collect(),
            ..TableFigures::default()
        });
        Plan {
            statement: self.identity.to_owned(),
            tables: figures.collect(),
            root: self.explained.root,
            executed: None,
            what_ifs: self.what_ifs,
        }
    }
}

/// Large tables that are read as a whole, and indexes that are made for each call.
fn from_plans(contents: &Contents, subjects: &[Subject<'_>], found: &mut Vec<Observation>) {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for subject in subjects {
        let rows_of = |alias: &String| {
            let used = subject.shape.uses.iter().find(|used| used.alias.eq_ignore_ascii_case(alias))?;
            let table = contents.schema.get(&used.table.to_lowercase())?;
            (table.rows >= LARGE_ROWS).then(|| (table.name.clone(), table.rows))
        };
        let scans = subject.explained.scanned.iter().filter_map(rows_of);
        let scans = scans
            .map(|(table, rows)| ("full_scan", format!("each call reads all {rows:.0} rows of {table}")));
        let automatic = subject.explained.automatic.iter().filter_map(rows_of);
        let automatic = automatic.map(|(table, rows)| {
            (
                "automatic_index",
                format!("each call makes an index of {table} ({rows:.0} rows) and throws it away"),
            )
        });
        for (kind, reason) in scans.chain(automatic) {
            let count = told.entry(kind).or_default();
            *count += 1;
            if *count > MAX_OF_A_KIND {
                continue;
            }
            let look = format!("EXPLAIN QUERY PLAN {}", shortened(subject.identity));
            let mut seen = Observation::new(kind, subject.identity, reason, &look);
            if let Some(index) = subject.what_ifs.first() {
                seen = seen.mend(index.create.clone(), index.undo.clone());
            }
            found.push(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::verb;

    #[test]
    fn comments_stand_before_verbs() {
        assert_eq!(verb("/* action='list' */ -- of the shop\nSELECT 1"), "SELECT");
        assert_eq!((verb("PRAGMA x"), verb("/* SELECT"), verb("")), ("PRAGMA", "", ""));
    }
}
