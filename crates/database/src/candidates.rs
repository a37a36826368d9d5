//! Indexes that could serve a statement, read from its plan: columns compared by equality first, then one range or the
//! sort key. What exists already, what is too small and what selects too much is left out. It measures nothing.

use crate::catalog::{Table, TableName};
use crate::explain::Node;
use crate::expression::{
    Column, Comparison, Condition, Operand, SortKey, alternatives, conditions, sort_key,
};
use crate::index::{Key, NewIndex, Predicate, quoted};
use std::collections::{BTreeMap, BTreeSet};

/// Wider indexes cost more than they give.
const MAX_COLUMNS: usize = 3;
/// Smaller tables are read faster than anybody notices: 1 MiB.
const MIN_BLOCKS: f64 = 128.0;
/// Equality that leaves a greater share of the rows is served as well by a sequential scan.
const MAX_EQUALITY_SHARE: f64 = 0.1;
/// An index that finds so many times more rows than pass the filter is not the right one.
const HEAVY_FILTER: f64 = 10.0;
/// The planner's guess for the length of a list that it does not know.
const LIST_LENGTH: f64 = 10.0;
/// The planner's guesses for a range of unknown ends, open and closed.
const OPEN_RANGE: f64 = 1.0 / 3.0;
const CLOSED_RANGE: f64 = 0.005;
/// A partial index is for fewer of the rows than this.
const MAX_PARTIAL_SHARE: f64 = 0.5;
/// A value of so many rows is one that nobody looks up: without it the rest may be worth an index.
const MIN_COMMON_SHARE: f64 = 0.5;
/// A longer value is not written into a predicate.
const MAX_VALUE_CHARS: usize = 40;
/// Built-in functions of one argument whose result follows from it alone, so that an index may hold it.
const IMMUTABLE: [&str; 9] = ["abs", "btrim", "length", "lower", "ltrim", "md5", "reverse", "rtrim", "upper"];
/// Without statistics: the planner's guess for equality.
const UNKNOWN_EQUALITY: f64 = 0.005;

/// A scan in a plan and what surrounds it.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'p> {
    pub(crate) node: &'p Node,
    pub(crate) table: TableName,
    pub(crate) conditions: Vec<Condition>,
    /// Conditions that join it to another relation, above it.
    joins: Vec<Condition>,
    /// The sort right above it, if all its keys are columns of this relation.
    pub(crate) sort: Option<Sort<'p>>,
    /// How often the plan runs it.
    pub(crate) times: f64,
    /// Share of the node (the sort, if there is one) that a LIMIT above asks for.
    pub(crate) share: f64,
    /// Rows of the relation that it is joined to.
    pub(crate) partner_rows: Option<f64>,
    /// Several workers share it; an index look-up needs none.
    pub(crate) parallel: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Sort<'p> {
    pub(crate) node: &'p Node,
    keys: Vec<SortKey>,
    /// Rows that a LIMIT above asks for.
    pub(crate) limit: Option<f64>,
}

/// A possible index for a scan.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) index: NewIndex,
    /// Share of the table's rows that one look-up finds, as the planner sees it.
    pub(crate) selectivity: f64,
    /// It gives the order of the sort above the scan.
    pub(crate) ordered: bool,
    /// It is looked up once for each row of the relation that the scan is joined to.
    pub(crate) joined: bool,
}

/// What the walk down a plan knows of the nodes above.
#[derive(Clone, Default)]
struct Above<'p> {
    sort: Option<Sort<'p>>,
    limit: Option<f64>,
    share: f64,
    times: f64,
    joins: Vec<Condition>,
    partner_rows: Option<f64>,
    parallel: bool,
}

/// The scans of a plan that read more than they should.
pub(crate) fn scans(root: &Node) -> Vec<Scan<'_>> {
    let mut found = Vec::new();
    descend(root, &Above { share: 1.0, times: 1.0, ..Above::default() }, &mut found);
    found
}

fn descend<'p>(node: &'p Node, above: &Above<'p>, found: &mut Vec<Scan<'p>>) {
    if !node.relation.is_empty()
        && matches!(node.kind.as_str(), "Seq Scan" | "Index Scan" | "Bitmap Heap Scan")
    {
        let own = [&node.filter, &node.index_condition].into_iter().flat_map(|text| conditions(text));
        let of_it = |c: &Condition| c.column.alias == node.alias;
        found.push(Scan {
            node,
            table: (node.schema.clone(), node.relation.clone()),
            conditions: own.filter(of_it).collect(),
            joins: above.joins.iter().filter(|c| of_it(c)).cloned().collect(),
            sort: above.sort.clone().filter(|s| s.keys.iter().all(|k| k.column.alias == node.alias)),
            times: above.times,
            share: above.share,
            partner_rows: above.partner_rows,
            parallel: above.parallel,
        });
    }
    for child in &node.children {
        descend(child, &below(node, child, above), found);
    }
}

/// What is known above `child`, a child of `node`.
fn below<'p>(node: &'p Node, child: &'p Node, above: &Above<'p>) -> Above<'p> {
    let fresh = Above { share: 1.0, times: above.times, parallel: above.parallel, ..Above::default() };
    match (child.role.as_str(), node.kind.as_str()) {
        ("SubPlan", _) => return Above { times: above.times * node.rows.max(1.0), ..fresh },
        ("InitPlan", _) => return fresh,
        (_, "Limit") => {
            let share = (node.total_cost / child.total_cost.max(f64::MIN_POSITIVE)).min(1.0);
            return Above { limit: Some(node.rows), share: above.share * share, ..above.clone() };
        }
        (_, "Sort" | "Incremental Sort") => {
            let keys: Option<Vec<SortKey>> = node.sort_keys.iter().map(|k| sort_key(k)).collect();
            let sort = keys.filter(|k| !k.is_empty()).map(|keys| Sort { node, keys, limit: above.limit });
            return Above { sort, ..above.clone() };
        }
        // The order and the limit pass through these; what was joined as well.
        (_, "Gather" | "Gather Merge") => return Above { parallel: true, ..above.clone() },
        (_, "LockRows" | "Result" | "Subquery Scan") => return above.clone(),
        (_, "Hash" | "Materialize" | "Memoize") => {
            return Above { joins: above.joins.clone(), partner_rows: above.partner_rows, ..fresh };
        }
        _ => {}
    }
    let conditions: Vec<Condition> = node.join_conditions.iter().flat_map(|text| joins(text)).collect();
    let other = node
        .children
        .iter()
        .find(|c| !std::ptr::eq(*c, child) && matches!(c.role.as_str(), "Outer" | "Inner"));
    if node.join_conditions.is_empty() && node.kind != "Nested Loop" {
        return fresh;
    }
    let repeated = node.kind == "Nested Loop" && child.role == "Inner" && child.kind != "Materialize";
    let times = if repeated { other.map_or(1.0, |o| o.rows.max(1.0)) } else { 1.0 };
    Above {
        times: above.times * times,
        joins: conditions,
        partner_rows: other.map(|o| o.rows).filter(|_| !repeated),
        ..fresh
    }
}

/// Equalities between columns, read from both sides.
fn joins(text: &str) -> Vec<Condition> {
    let mut all = Vec::new();
    for condition in conditions(text) {
        if let (Comparison::Equal, Operand::Column(other)) = (condition.comparison, &condition.operand) {
            all.push(Condition {
                column: other.clone(),
                comparison: Comparison::Equal,
                operand: Operand::Column(condition.column.clone()),
            });
            all.push(condition);
        }
    }
    all
}

impl Scan<'_> {
    /// The indexes that could serve it, the narrowest first. `observed` is the share of the table's rows that a call
    /// was seen to find, where that can be told.
    pub(crate) fn candidates(
        &self,
        table: &Table,
        written: &BTreeSet<String>,
        observed: Option<f64>,
    ) -> Vec<Candidate> {
        if !table.plain || table.blocks < MIN_BLOCKS || !self.is_worth_it(table) {
            return Vec::new();
        }
        let own: Vec<&Condition> = self.conditions.iter().filter(|c| is_lookup(c, table)).collect();
        let joins: Vec<&Condition> = self.joins.iter().filter(|c| is_lookup(c, table)).collect();
        let mut all = self.variants(table, &own, observed);
        all.extend(self.partial(table, &all, &own, observed));
        all.extend(self.missing_side(table));
        if !joins.is_empty() && self.partner_rows.is_some() {
            let both: Vec<&Condition> = joins.into_iter().chain(own.iter().copied()).collect();
            let joined = self.variants(table, &both, None).into_iter();
            all.extend(joined.filter(|c| !c.ordered).map(|c| Candidate { joined: true, ..c }));
        }
        all.retain(|c| {
            let known = c.index.keys.iter().all(|k| table.columns.contains_key(&k.name));
            let in_order = c.index.predicate.is_some() && self.followed(table).is_some();
            let held = c.index.predicate.iter().map(Predicate::column);
            let mut held = held.chain(c.index.keys.iter().map(|k| k.name.as_str()));
            known && (in_order || !exists(table, c)) && !held.any(|name| written.contains(name))
        });
        all.sort_by(|a, b| a.index.keys.len().cmp(&b.index.keys.len()).then_with(|| a.index.cmp(&b.index)));
        all.dedup_by(|a, b| a.index == b.index);
        all
    }

    /// What `a = $1 OR b = $2` lacks: each side is looked up for itself, so that the only one without an index keeps the
    /// others from being used.
    fn missing_side(&self, table: &Table) -> Option<Candidate> {
        let mut missing = Vec::new();
        for side in alternatives(&self.node.filter) {
            let found = side.iter().filter(|c| is_equality(c) && is_lookup(c, table));
            let alone = |condition: &Condition| Candidate {
                index: NewIndex {
                    table: self.table.clone(),
                    keys: vec![looked_up(condition)],
                    predicate: None,
                },
                selectivity: share(condition, table),
                ordered: false,
                joined: false,
            };
            let sides: Vec<Candidate> = found.map(alone).collect();
            if !sides.iter().any(|c| exists(table, c)) {
                missing.push(sides.into_iter().min_by(|a, b| a.selectivity.total_cmp(&b.selectivity))?);
            }
        }
        let [only] = missing.as_slice() else { return None };
        (only.selectivity <= MAX_EQUALITY_SHARE).then(|| only.clone())
    }

    /// Whether a column is compared, joined or sorted by.
    pub(crate) fn names(&self, column: &str) -> bool {
        let sides = alternatives(&self.node.filter);
        let own = self.conditions.iter().chain(&self.joins).chain(sides.iter().flatten());
        let compared = own.into_iter().any(|c| c.column.name == column);
        compared || self.sort.iter().flat_map(|s| &s.keys).any(|k| k.column.name == column)
    }

    /// A sequential scan, or one by an index whose rows are mostly filtered out again, or sorted for a few of them.
    fn is_worth_it(&self, table: &Table) -> bool {
        if self.node.kind == "Seq Scan" {
            return true;
        }
        // As often as values occur: one tenant may have most of the rows, and ask most.
        let often: f64 =
            conditions(&self.node.index_condition).iter().map(|c| typical_share(c, table)).product();
        let page = self.sort.as_ref().and_then(|sort| sort.limit);
        if page.is_some_and(|limit| often * table.rows >= HEAVY_FILTER * limit.max(1.0)) {
            return true;
        }
        let found: f64 = conditions(&self.node.index_condition).iter().map(|c| share(c, table)).product();
        !self.node.filter.is_empty() && found * table.rows >= HEAVY_FILTER * self.node.rows.max(1.0)
    }

    /// Whole indexes: the columns compared by equality, with a range or the sort's keys behind them.
    fn variants(&self, table: &Table, lookups: &[&Condition], observed: Option<f64>) -> Vec<Candidate> {
        let mut equal: Vec<&Condition> = lookups.iter().copied().filter(|c| is_equality(c)).collect();
        // The most selective first: the index also serves statements that ask for it alone.
        equal.sort_by(|a, b| {
            share(a, table).total_cmp(&share(b, table)).then_with(|| a.column.name.cmp(&b.column.name))
        });
        equal.dedup_by(|a, b| a.column.name == b.column.name && a.column.function == b.column.function);
        equal.truncate(MAX_COLUMNS);
        let planned: f64 = equal.iter().map(|c| share(c, table)).product();
        let typical: f64 = equal.iter().map(|c| typical_share(c, table)).product();
        // What was seen is believed where the key holds all that is asked for.
        let whole = equal.len() == self.conditions.len();
        let selectivity = observed.filter(|_| whole).unwrap_or(planned);
        let selective = observed.filter(|_| whole).unwrap_or(typical) <= MAX_EQUALITY_SHARE;
        let keys: Vec<Key> = equal.iter().map(|c| looked_up(c)).collect();
        let make = |more: Vec<Key>, selectivity: f64, ordered: bool| Candidate {
            index: NewIndex {
                table: self.table.clone(),
                keys: keys.iter().cloned().chain(more).collect(),
                predicate: None,
            },
            selectivity,
            ordered,
            joined: false,
        };
        let mut all = Vec::new();
        if !keys.is_empty() && selective {
            all.push(make(Vec::new(), selectivity, false));
        }
        let room = MAX_COLUMNS - keys.len();
        if room == 0 {
            return all;
        }
        if let Some((range, guess)) = ranged(lookups, &keys) {
            let held = |c: &Condition| keys.iter().chain([&range]).any(|k| k.name == c.column.name);
            let seen = observed.filter(|_| self.conditions.iter().all(held));
            all.push(make(vec![range.clone()], seen.unwrap_or(planned * guess), false));
        }
        let lists = equal.iter().any(|c| c.comparison == Comparison::AnyOf);
        if let Some(sort) = self.sort.as_ref().filter(|_| !lists) {
            let wanted = self.sort_keys(&keys);
            let serves = sort.limit.is_some() || !keys.is_empty() && selective;
            if serves && !wanted.is_empty() && wanted.len() <= room {
                all.push(make(wanted, selectivity, true));
            }
        }
        all
    }

    /// The index for the rows without a column's most frequent value, where one value has most rows: whether it helps
    /// depends on which value is asked for.
    pub(crate) fn for_rare_values(&self, table: &Table) -> Option<NewIndex> {
        let ordered = self.node.kind == "Index Scan" && self.node.index_condition.is_empty();
        let worth = table.plain && table.blocks >= MIN_BLOCKS && (ordered || self.is_worth_it(table));
        let lookups = self.conditions.iter().filter(|c| worth && is_lookup(c, table));
        let (condition, value) = lookups
            .filter(|c| c.comparison == Comparison::Equal && matches!(c.operand, Operand::Parameters(_)))
            .filter(|c| most_frequent(c, table) >= 1.0 - MAX_EQUALITY_SHARE)
            .find_map(|c| Some((c, common_value(c, table)?)))?;
        let predicate = Some(Predicate::Except(condition.column.name.clone(), value));
        Some(NewIndex { table: self.table.clone(), keys: vec![looked_up(condition)], predicate })
    }

    /// Columns of the index that the scan follows from its beginning, for its order alone.
    fn followed<'t>(&self, table: &'t Table) -> Option<&'t [String]> {
        let alone = self.node.kind == "Index Scan" && self.node.index_condition.is_empty();
        let named = format!(" INDEX {} ON ", quoted(&self.node.index));
        let index = table.indexes.iter().find(|i| i.usable && i.definition.contains(&named))?;
        let columns = index.columns.as_slice();
        let plain = columns.len() <= MAX_COLUMNS && columns.iter().all(|c| !c.is_empty());
        (alone && plain).then_some(columns)
    }

    /// The sort's keys that are not fixed by equality.
    fn sort_keys(&self, keys: &[Key]) -> Vec<Key> {
        let all = self.sort.iter().flat_map(|s| s.keys.iter().map(key));
        all.filter(|k| keys.iter().all(|e| e.name != k.name)).collect()
    }

    /// Indexes of the few rows that a condition without a parameter lets through, or of those without a value that most
    /// rows have and that is not asked for.
    fn partial(
        &self,
        table: &Table,
        whole: &[Candidate],
        lookups: &[&Condition],
        observed: Option<f64>,
    ) -> Vec<Candidate> {
        let mut all = Vec::new();
        for predicate in self.conditions.iter().filter_map(predicate) {
            let share = predicate.share(table);
            if share > MAX_PARTIAL_SHARE {
                continue;
            }
            let within = |c: &Candidate| Candidate {
                index: NewIndex { predicate: Some(predicate.clone()), ..c.index.clone() },
                selectivity: c.selectivity.min(1.0) * share,
                ..c.clone()
            };
            let sort = self.sort_keys(&[]);
            let named = |name: &String| Key { name: name.clone(), ..Key::default() };
            let bare = match self.followed(table) {
                // The order that it has already, without the rows that it skips.
                Some(columns) if sort.is_empty() => columns.iter().map(named).collect(),
                _ if sort.is_empty() || sort.len() > MAX_COLUMNS => {
                    vec![Key { name: predicate.column().to_owned(), ..Key::default() }]
                }
                _ => sort,
            };
            let index = NewIndex { table: self.table.clone(), keys: bare, predicate: None };
            let ordered = self.sort.is_some() && index.keys[0].name != predicate.column();
            let alone = Candidate { index, selectivity: 1.0, ordered, joined: false };
            let bases = if lookups.is_empty() { vec![alone] } else { whole.to_vec() };
            all.extend(bases.iter().map(within));
        }
        let rare = observed.filter(|o| *o <= MAX_EQUALITY_SHARE);
        let equal = lookups.iter().filter(|c| c.comparison == Comparison::Equal);
        for (condition, observed) in equal.flat_map(|c| rare.map(|o| (c, o))) {
            let Some(value) = common_value(condition, table) else { continue };
            // That few rows came is its doing only where nothing else is asked for.
            let selectivity =
                if self.conditions.len() == 1 { observed } else { uncommon_share(condition, &value, table) };
            if selectivity > MAX_EQUALITY_SHARE {
                continue;
            }
            let index = NewIndex {
                table: self.table.clone(),
                keys: vec![looked_up(condition)],
                predicate: Some(Predicate::Except(condition.column.name.clone(), value)),
            };
            all.push(Candidate { index, selectivity, ordered: false, joined: false });
        }
        all
    }
}

fn looked_up(condition: &Condition) -> Key {
    let Column { name, function, .. } = condition.column.clone();
    Key { name, function, order: String::new() }
}

/// The condition as a predicate of an index: only those without a parameter can be one.
fn predicate(condition: &Condition) -> Option<Predicate> {
    let name = condition.column.name.clone();
    Some(match condition.comparison {
        Comparison::IsNull => Predicate::Null(name),
        Comparison::IsNotNull => Predicate::NotNull(name),
        Comparison::IsTrue => Predicate::True(name),
        Comparison::IsFalse => Predicate::False(name),
        _ => return None,
    })
}

/// Share of the rows that have the column's most frequent value.
fn most_frequent(condition: &Condition, table: &Table) -> f64 {
    let statistics = table.columns.get(&condition.column.name).and_then(|c| c.statistics.as_ref());
    statistics.iter().flat_map(|s| &s.common).map(|(_, share)| *share).fold(0.0, f64::max)
}

/// Share of the rows that a value other than `common` has, on average.
fn uncommon_share(condition: &Condition, common: &str, table: &Table) -> f64 {
    let statistics = table.columns.get(&condition.column.name).and_then(|c| c.statistics.as_ref());
    statistics.map_or(UNKNOWN_EQUALITY, |s| {
        let of_it = s.common.iter().find(|(value, _)| value == common).map_or(0.0, |(_, share)| *share);
        ((1.0 - s.null_share - of_it) / (s.distinct - 1.0).max(1.0)).clamp(0.0, 1.0)
    })
}

/// A value that most rows of a column have; one that could name a person is too rare to be it.
fn common_value(condition: &Condition, table: &Table) -> Option<String> {
    let statistics = table.columns.get(&condition.column.name)?.statistics.as_ref()?;
    let plain = condition.column.function.is_none();
    let (value, _) = statistics.common.iter().find(|(_, share)| plain && *share >= MIN_COMMON_SHARE)?;
    let short = value.chars().count() <= MAX_VALUE_CHARS && !value.chars().any(char::is_control);
    short.then(|| value.clone())
}

fn key(sort: &SortKey) -> Key {
    Key { name: sort.column.name.clone(), order: sort.order.clone(), function: None }
}

/// The first column with a range, and the share that the planner takes it for.
fn ranged(lookups: &[&Condition], keys: &[Key]) -> Option<(Key, f64)> {
    let range = |c: &&&Condition| matches!(c.comparison, Comparison::Less | Comparison::Greater);
    let free = |c: &&&Condition| keys.iter().all(|k| k.name != c.column.name);
    let first = lookups.iter().filter(range).find(free)?;
    let closed = lookups
        .iter()
        .filter(range)
        .any(|c| c.column.name == first.column.name && c.comparison != first.comparison);
    Some((looked_up(first), if closed { CLOSED_RANGE } else { OPEN_RANGE }))
}

fn is_equality(condition: &Condition) -> bool {
    matches!(condition.comparison, Comparison::Equal | Comparison::AnyOf)
}

/// A btree can look it up: a comparison of the column itself, or of what an immutable function makes of it. A `varchar`
/// cast to `text` is still itself.
fn is_lookup(condition: &Condition, table: &Table) -> bool {
    let column = &condition.column;
    let itself = match (column.cast.as_deref(), column.function.as_deref()) {
        (None, None) => true,
        (None, Some(function)) => IMMUTABLE.contains(&function),
        (Some("text"), None) => {
            table.columns.get(&column.name).is_some_and(|c| c.kind == "character varying")
        }
        (Some(_), _) => false,
    };
    itself
        && (is_equality(condition) || matches!(condition.comparison, Comparison::Less | Comparison::Greater))
}

/// Share of the rows that pass, as the planner sees it.
pub(crate) fn share(condition: &Condition, table: &Table) -> f64 {
    let statistics = table.columns.get(&condition.column.name).and_then(|c| c.statistics.as_ref());
    let one = statistics.map_or(UNKNOWN_EQUALITY, |s| s.equality_planned());
    match condition.comparison {
        Comparison::Equal => one,
        Comparison::AnyOf => (one * list_length(condition)).min(1.0),
        Comparison::Less | Comparison::Greater => OPEN_RANGE,
        _ => predicate(condition).map_or(1.0, |p| p.share(table)),
    }
}

/// Share of the rows that pass where values are asked for as often as they occur.
fn typical_share(condition: &Condition, table: &Table) -> f64 {
    let statistics = table.columns.get(&condition.column.name).and_then(|c| c.statistics.as_ref());
    // How long the list is does not change whether the column is worth an index.
    statistics.map_or(UNKNOWN_EQUALITY, |s| s.equality())
}

fn list_length(condition: &Condition) -> f64 {
    match &condition.operand {
        Operand::Parameters(members) if members.len() > 1 => members.len() as f64,
        _ => LIST_LENGTH,
    }
}

/// An index that begins with the candidate's columns is there: those compared by equality in any order. Directions are
/// not compared, as an index is read both ways.
fn exists(table: &Table, candidate: &Candidate) -> bool {
    let keys = &candidate.index.keys;
    let same = |index: &crate::catalog::Index, (place, key): (usize, &Key)| match &key.function {
        None => index.columns[place] == key.name,
        // The server prints a cast that it added itself.
        Some(function) => [format!("{function}({})", key.name), format!("{function}(({})::", key.name)]
            .iter()
            .any(|text| index.columns[place].is_empty() && index.definition.contains(text)),
    };
    table.indexes.iter().filter(|i| i.usable && i.columns.len() >= keys.len()).any(|index| {
        let same_order = keys.iter().enumerate().all(|key| same(index, key));
        let leading = &index.columns[..keys.len()];
        let same_set = keys.iter().all(|k| k.function.is_none() && leading.contains(&k.name));
        same_order || same_set && !candidate.ordered
    })
}

/// Columns of each table that statements set, with the calls that do so: an index on them makes every such update pay.
pub(crate) fn written_columns(statements: &[model::Statement]) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut written: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for statement in statements {
        for (table, column) in assignments(&statement.text) {
            *written.entry(table).or_default().entry(column).or_default() += statement.calls;
        }
    }
    written
}

/// Table and column of each `column =` between SET and WHERE of an UPDATE.
pub(crate) fn assignments(text: &str) -> Vec<(String, String)> {
    let operation = model::sql::operation_and_tables(text);
    if operation.verb != "UPDATE" {
        return Vec::new();
    }
    let table = operation.table().rsplit('.').next().unwrap_or_default().to_owned();
    let all = crate::tokens::tokens(text);
    let from = all.iter().position(|t| t.is_word("set")).map_or(all.len(), |p| p + 1);
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, token) in all.iter().enumerate().skip(from) {
        if token.is("(") {
            depth += 1;
        } else if token.is(")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0
            && (token.is_word("where") || token.is_word("from") || token.is_word("returning"))
        {
            break;
        } else if depth == 0 && token.is("=") {
            found.extend(all[at - 1].name().map(|column| (table.clone(), column)));
        }
    }
    found
}
