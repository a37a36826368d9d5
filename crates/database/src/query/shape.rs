//! What a statement asks of each table: one [`Use`] for each table of each of its query blocks. Conditions joined by AND
//! are read, those under OR are passed over.

use super::lexer::{Dialect, identifier, tokens};
use super::schema::Schema;
use crate::tokens::Token;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Query blocks within each other; deeper ones are passed over.
const MAX_DEPTH: usize = 32;
/// Tables of a statement; more are passed over.
const MAX_USES: usize = 64;

/// A column that is compared, or the function of one argument that is applied to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) column: String,
    pub(crate) function: Option<String>,
    /// `IN (...)`: more than one value.
    pub(crate) list: bool,
    /// `BETWEEN`: a range with two ends.
    pub(crate) closed: bool,
}

/// What one query block asks of one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Use {
    /// As the schema writes it.
    pub(crate) table: String,
    /// The name that plans show.
    pub(crate) alias: String,
    pub(crate) equal: Vec<Term>,
    pub(crate) ranges: Vec<Term>,
    /// Compared by equality with a column of another table of the block.
    pub(crate) joins: Vec<Term>,
    /// The whole ORDER BY (without one, GROUP BY), if all of it is columns of this table: column, descending.
    pub(crate) order: Vec<(String, bool)>,
    pub(crate) limited: bool,
}

/// What a value in the text stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A value of this column of this table, and the function that is applied to the column.
    Column {
        table: String,
        column: String,
        function: Option<String>,
    },
    Limit,
    Offset,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) uses: Vec<Use>,
    /// Columns that it sets itself.
    pub(crate) written: BTreeSet<String>,
    /// Each row that it finds is one that it sends or changes: no grouping, no aggregate, no LIMIT, one table.
    pub(crate) plain: bool,
    /// Where in the text values or placeholders begin, as far as it is known what they are compared with.
    pub(crate) asked: BTreeMap<usize, Asked>,
}

impl Shape {
    /// Columns of which a value is asked for: table and column, lower case.
    pub(crate) fn wanted(&self) -> BTreeSet<(String, String)> {
        let column = |asked: &Asked| match asked {
            Asked::Column { table, column, .. } => Some((table.to_lowercase(), column.to_lowercase())),
            Asked::Limit | Asked::Offset => None,
        };
        self.asked.values().filter_map(column).collect()
    }
}

/// Reads a statement.
pub(crate) fn shape(text: &str, dialect: Dialect, schema: &Schema) -> Shape {
    let all = tokens(text, dialect);
    let mut reader =
        Reader { close: brackets(&all), all: &all, schema, shape: Shape::default(), ctes: Vec::new() };
    reader.block(0..all.len(), &[], 0);
    let mut shape = reader.shape;
    let folds = |token: &Token<'_>| FOLDING.iter().any(|word| token.is_word(word));
    shape.plain = shape.uses.len() == 1 && !all.iter().any(folds);
    shape
}

/// For each opening bracket where it closes.
fn brackets(all: &[Token<'_>]) -> BTreeMap<usize, usize> {
    let mut open = Vec::new();
    let mut pairs = BTreeMap::new();
    for (at, token) in all.iter().enumerate() {
        if token.is("(") {
            open.push(at);
        } else if token.is(")")
            && let Some(from) = open.pop()
        {
            pairs.insert(from, at);
        }
    }
    pairs
}

/// Words of statements that send fewer rows than they find.
const FOLDING: [&str; 12] =
    ["avg", "count", "distinct", "group", "having", "limit", "max", "min", "sum", "union", "or", "exists"];

/// A table, or what stands for one, in a FROM.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) alias: String,
    /// Key of the schema; `None`: a subquery, a view, a common table expression.
    pub(super) table: Option<String>,
    /// Its place among the uses, where it is one.
    pub(super) place: Option<usize>,
}

pub(super) struct Reader<'a> {
    pub(super) all: &'a [Token<'a>],
    pub(super) close: BTreeMap<usize, usize>,
    schema: &'a Schema,
    pub(super) shape: Shape,
    ctes: Vec<String>,
}

/// Words that end a table's place in a FROM.
const AFTER_TABLE: [&str; 22] = [
    "on",
    "using",
    "join",
    "inner",
    "left",
    "right",
    "full",
    "cross",
    "outer",
    "natural",
    "straight_join",
    "set",
    "where",
    "indexed",
    "not",
    "use",
    "force",
    "ignore",
    "partition",
    "values",
    "group",
    "order",
];
const CLAUSES: [&str; 14] = [
    "from",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "set",
    "window",
    "returning",
    "for",
    "into",
    "lock",
    "procedure",
];

impl<'a> Reader<'a> {
    /// Places in the range that are outside of brackets.
    pub(super) fn outside(&self, range: Range<usize>) -> Vec<usize> {
        let mut places = Vec::new();
        let mut at = range.start;
        while at < range.end {
            places.push(at);
            at = self.close.get(&at).map_or(at, |close| (*close).min(range.end - 1).max(at)) + 1;
        }
        places
    }

    pub(super) fn word(&self, at: usize, word: &str) -> bool {
        self.all.get(at).is_some_and(|t| t.is_word(word))
    }

    pub(super) fn is_query(&self, at: usize) -> bool {
        ["select", "with", "values"].iter().any(|w| self.word(at, w))
    }

    /// A query with its WITH and its UNION.
    fn block(&mut self, range: Range<usize>, outer: &[Source], depth: usize) {
        if depth > MAX_DEPTH || range.is_empty() {
            return;
        }
        let mut range = range;
        if self.word(range.start, "with") {
            range.start = self.common_tables(range.clone(), outer, depth);
        }
        let borders: Vec<usize> = self
            .outside(range.clone())
            .into_iter()
            .filter(|at| ["union", "except", "intersect"].iter().any(|w| self.word(*at, w)))
            .collect();
        let mut from = range.start;
        for end in borders.iter().copied().chain([range.end]) {
            while self.word(from, "all") || self.word(from, "distinct") {
                from += 1;
            }
            let inner = self.unwrapped(from..end);
            if inner != (from..end) && self.is_query(inner.start) {
                self.block(inner, outer, depth + 1);
            } else {
                self.query(from..end, outer, !borders.is_empty(), depth);
            }
            from = end + 1;
        }
    }

    /// Reads the bodies of a WITH; where the main part begins.
    fn common_tables(&mut self, range: Range<usize>, outer: &[Source], depth: usize) -> usize {
        let mut name = None;
        for at in self.outside(range.clone()) {
            let token = self.all[at];
            if ["select", "insert", "update", "delete", "replace", "values"].iter().any(|w| token.is_word(w))
            {
                return at;
            }
            let previous_as =
                at > range.start && (self.word(at - 1, "as") || self.word(at - 1, "materialized"));
            match self.close.get(&at).copied() {
                Some(close) if previous_as => {
                    self.ctes.extend(name.take());
                    self.block(at + 1..close, outer, depth + 1);
                }
                None if !["with", "recursive", "as", "materialized", "not"]
                    .iter()
                    .any(|w| token.is_word(w)) =>
                {
                    name = identifier(&token).or(name);
                }
                _ => {}
            }
        }
        range.end
    }

    /// One SELECT, UPDATE, DELETE, or the query within an INSERT.
    fn query(&mut self, range: Range<usize>, outer: &[Source], compound: bool, depth: usize) {
        let outside = self.outside(range.clone());
        let find =
            |words: &[&str]| outside.iter().copied().find(|at| words.iter().any(|w| self.word(*at, w)));
        if self.word(range.start, "insert") || self.word(range.start, "replace") {
            if let Some(select) = find(&["select", "with"]) {
                self.block(select..range.end, outer, depth + 1);
            }
            return;
        }
        let mut clauses: Vec<usize> = outside
            .iter()
            .copied()
            .filter(|at| CLAUSES.iter().any(|w| self.word(*at, w)))
            .filter(|at| !self.word(at.wrapping_sub(1), "distinct"))
            .collect();
        let update = self.word(range.start, "update");
        if update {
            clauses.insert(0, range.start);
        }
        let mut sources = Vec::new();
        let mut conditions = Vec::new();
        let mut parts: BTreeMap<String, Range<usize>> = BTreeMap::new();
        for (n, at) in clauses.iter().enumerate() {
            let end = clauses.get(n + 1).copied().unwrap_or(range.end);
            parts.entry(self.all[*at].text.to_lowercase()).or_insert(at + 1..end);
        }
        for from in ["update", "from"].iter().filter_map(|word| parts.get(*word)) {
            self.from(from.clone(), outer, &mut sources, &mut conditions, depth);
        }
        let scope: Vec<Source> = sources.iter().chain(outer).cloned().collect();
        conditions.extend(parts.get("where").cloned());
        for condition in conditions {
            self.conditions(condition, &sources, outer);
        }
        if let Some(set) = parts.get("set") {
            self.set(set.clone(), &sources);
        }
        self.limits(&parts, &sources);
        if !compound {
            let by = parts.get("order").or_else(|| parts.get("group"));
            self.order(by.cloned(), &sources);
        }
        // Subqueries of a FROM were read with it.
        let from = parts.get("from").cloned().unwrap_or(0..0);
        self.subqueries(range.start..from.start.max(range.start), &scope, depth);
        self.subqueries(from.end.max(range.start)..range.end, &scope, depth);
    }

    fn subqueries(&mut self, range: Range<usize>, scope: &[Source], depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        for at in self.outside(range) {
            let Some(close) = self.close.get(&at).copied() else { continue };
            if self.is_query(at + 1) {
                self.block(at + 1..close, scope, depth + 1);
            } else {
                self.subqueries(at + 1..close, scope, depth + 1);
            }
        }
    }

    /// Tables of a FROM, and the ranges of their ON conditions.
    fn from(
        &mut self,
        range: Range<usize>,
        outer: &[Source],
        sources: &mut Vec<Source>,
        conditions: &mut Vec<Range<usize>>,
        depth: usize,
    ) {
        let outside = self.outside(range.clone());
        let mut next = 0;
        let mut expects = true;
        while let Some(&at) = outside.get(next) {
            next += 1;
            let token = self.all[at];
            if token.is(",") || token.is_word("join") || token.is_word("straight_join") {
                expects = true;
            } else if token.is_word("on") {
                let ends = ["join", "inner", "left", "right", "full", "cross", "natural", "straight_join"];
                let end = outside[next..].iter().copied().find(|at| {
                    self.all[*at].is(",") || ends.iter().any(|w| self.word(*at, w) && !self.is_call(*at))
                });
                conditions.push(at + 1..end.unwrap_or(range.end));
                next = end.and_then(|end| outside.iter().position(|o| *o == end)).unwrap_or(outside.len());
            } else if token.is_word("using") && self.close.contains_key(&(at + 1)) {
                self.using(at + 1, sources);
                next += 1;
            } else if let Some(close) = self.close.get(&at).copied().filter(|_| expects) {
                if self.is_query(at + 1) {
                    self.block(at + 1..close, outer, depth + 1);
                    let alias = self.alias(close + 1);
                    sources.push(Source { alias, table: None, place: None });
                } else if depth < MAX_DEPTH {
                    self.from(at + 1..close, outer, sources, conditions, depth + 1);
                }
                expects = false;
            } else if expects
                && !["lateral", "only", "low_priority", "ignore", "or"].iter().any(|w| token.is_word(w))
            {
                let mut last = at;
                while self.all.get(last + 1).is_some_and(|t| t.is(".")) && last + 2 < range.end {
                    last += 2;
                }
                expects = false;
                next = outside.iter().position(|o| *o > last).unwrap_or(outside.len());
                self.source(last, sources);
            }
        }
    }

    pub(super) fn is_call(&self, at: usize) -> bool {
        self.close.contains_key(&(at + 1))
    }

    /// The alias that begins here; empty without one.
    fn alias(&self, at: usize) -> String {
        let at = if self.word(at, "as") { at + 1 } else { at };
        let Some(token) = self.all.get(at) else { return String::new() };
        let ends = AFTER_TABLE.iter().chain(&CLAUSES).any(|w| token.is_word(w));
        identifier(token).filter(|_| !ends).unwrap_or_default()
    }

    fn source(&mut self, at: usize, sources: &mut Vec<Source>) {
        let Some(name) = identifier(&self.all[at]) else { return };
        let mut alias = self.alias(at + 1);
        if alias.is_empty() {
            alias.clone_from(&name);
        }
        let cte = self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(&name));
        let key = name.to_lowercase();
        let table = self.schema.get(&key).filter(|_| !cte && !self.is_call(at));
        let place = table.filter(|_| self.shape.uses.len() < MAX_USES).map(|table| {
            let table = table.name.clone();
            self.shape.uses.push(Use { table, alias: alias.clone(), ..Use::default() });
            self.shape.uses.len() - 1
        });
        sources.push(Source { alias, table: table.map(|_| key), place });
    }

    /// `USING (a, b)`: joins of the last two tables.
    fn using(&mut self, open: usize, sources: &[Source]) {
        let close = self.close[&open];
        for column in self.all[open + 1..close].iter().filter_map(identifier) {
            let with = sources.iter().rev().filter(|s| self.has(s, &column));
            let places: Vec<usize> = with.filter_map(|s| s.place).take(2).collect();
            for place in places {
                let term = Term { column: column.clone(), function: None, list: false, closed: false };
                self.shape.uses[place].joins.push(term);
            }
        }
    }

    pub(super) fn has(&self, source: &Source, column: &str) -> bool {
        let table = source.table.as_ref().and_then(|key| self.schema.get(key));
        table.is_some_and(|t| t.column(column).is_some())
    }

    /// Without the brackets around all of it.
    pub(super) fn unwrapped(&self, mut range: Range<usize>) -> Range<usize> {
        while range.len() > 1 && self.close.get(&range.start) == Some(&(range.end - 1)) {
            range = range.start + 1..range.end - 1;
        }
        range
    }
}
