//! The identity of a statement: its text without comments, literals and list lengths; and what it does to which
//! tables. Statement statistics and spans both go through here, so that they meet under one text.
//! No grammar: a lexer and a few rules, which also read the dialects of MySQL, SQLite and SQL Server well enough.

mod lexer;

use lexer::{Kind, Lexer, Token};

/// The text with comments removed, white space folded, literals and every driver's placeholders as `$1`, `$2` ... in
/// the order in which they stand, and lists folded: `IN ($1, ...)`, `ARRAY[$1, ...]` for lists of values of any length,
/// `VALUES ($1, $2), ...` for more than one row. `=`, `IN` and `= ANY` stay apart, quoted names stay as they are.
/// Applying it twice changes nothing. Linear in the length of the text.
#[must_use]
pub fn normalise(text: &str) -> String {
    let mut writer = Writer { out: String::with_capacity(text.len()), ..Writer::default() };
    for token in Lexer::new(text) {
        writer.token(token);
    }
    writer.end_rows();
    writer.out.truncate(writer.out.trim_end_matches([';', ' ']).len());
    writer.out
}

/// A list that is being written and may be folded.
struct List {
    /// Only values, commas and parentheses so far.
    values_only: bool,
    /// Depth of brackets inside the list.
    depth: usize,
    /// Where its first item ends in the output, and the number of placeholders up to there.
    first: Option<(usize, u32)>,
}

/// The rows of a `VALUES`.
struct Rows {
    depth: usize,
    first: Option<(usize, u32)>,
    several: bool,
}

#[derive(Default)]
struct Writer<'a> {
    out: String,
    placeholders: u32,
    depth: usize,
    previous: Option<Token<'a>>,
    lists: Vec<List>,
    rows: Option<Rows>,
}

impl<'a> Writer<'a> {
    fn token(&mut self, token: Token<'a>) {
        self.row_border(&token);
        self.list_border(&token);
        if self.space_before(&token) {
            self.out.push(' ');
        }
        if self.is_value(&token) {
            self.placeholders += 1;
            self.out.push('$');
            push_number(&mut self.out, self.placeholders);
        } else if token.kind == Kind::Operator && token.text == "%%" {
            self.out.push('%');
        } else {
            self.out.push_str(token.text);
        }
        self.open(&token);
        self.previous = Some(token);
    }

    fn is_value(&self, token: &Token<'_>) -> bool {
        match token.kind {
            Kind::Literal | Kind::Placeholder => true,
            Kind::Word if matches!(token.text.len(), 4 | 5) => {
                let constant = ["NULL", "TRUE", "FALSE"].iter().any(|w| token.is_word(w));
                constant && !self.after_words(&["IS", "NOT", "SET", "DEFAULT"]) && !self.after(".")
            }
            _ => false,
        }
    }

    fn after_words(&self, words: &[&str]) -> bool {
        self.previous.is_some_and(|p| words.iter().any(|word| p.is_word(word)))
    }

    fn after(&self, punctuation: &str) -> bool {
        self.previous.is_some_and(|p| p.is(punctuation))
    }

    fn space_before(&self, token: &Token<'_>) -> bool {
        let Some(previous) = &self.previous else { return false };
        let glued = |t: &Token<'_>| t.text == "::" || t.is(".");
        if glued(token) || glued(previous) || previous.is("(") || previous.is("[") {
            return false;
        }
        match token.text {
            "," | ")" | "]" | ";" if token.kind == Kind::Punctuation => return false,
            "(" if self.after_words(&["IN", "VALUES"]) => return true,
            _ => {}
        }
        token.spaced || previous.is(",") || is_comparison(token) || is_comparison(previous)
    }

    /// Opens lists after their bracket has been written.
    fn open(&mut self, token: &Token<'_>) {
        if token.is_word("VALUES") {
            self.rows = Some(Rows { depth: self.depth, first: None, several: false });
        }
        match token.text {
            "(" | "[" if token.kind == Kind::Punctuation => {
                self.depth += 1;
                let foldable =
                    if token.is("(") { self.after_words(&["IN"]) } else { self.after_words(&["ARRAY"]) };
                if foldable {
                    self.lists.push(List { values_only: true, depth: self.depth, first: None });
                }
            }
            ")" | "]" if token.kind == Kind::Punctuation => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Notes the end of a list's first item, and folds the list where it closes.
    fn list_border(&mut self, token: &Token<'_>) {
        let is_value = self.is_value(token);
        let Some(list) = self.lists.last_mut() else { return };
        let closes = (token.is(")") || token.is("]")) && self.depth == list.depth;
        if list.first.is_none() && self.depth == list.depth && (token.is(",") || closes) {
            list.first = Some((self.out.len(), self.placeholders));
        }
        if closes {
            let list = self.lists.pop();
            if let Some(List { values_only: true, first: Some((end, placeholders)), .. }) = list
                && !self.out[..end].ends_with(['(', '['])
            {
                self.out.truncate(end);
                self.out.push_str(", ...");
                self.placeholders = placeholders;
            }
            return;
        }
        let part = is_value
            || token.kind == Kind::Ellipsis
            || token.text == "::"
            || self.previous.is_some_and(|p| p.text == "::") && token.kind == Kind::Word
            || token.kind == Kind::Punctuation && matches!(token.text, "," | "(" | ")");
        list.values_only &= part;
    }

    /// Follows the rows of a `VALUES`, and folds them where they end.
    fn row_border(&mut self, token: &Token<'_>) {
        let Some(rows) = &mut self.rows else { return };
        if self.depth > rows.depth {
            return;
        }
        if token.is(",") && rows.first.is_none() {
            rows.first = Some((self.out.len(), self.placeholders));
        }
        let continues = token.is("(") || token.is(",") || token.kind == Kind::Ellipsis;
        rows.several |= rows.first.is_some() && (token.is("(") || token.kind == Kind::Ellipsis);
        if !continues {
            self.end_rows();
        }
    }

    fn end_rows(&mut self) {
        let Some(rows) = self.rows.take() else { return };
        if let Rows { first: Some((end, placeholders)), several: true, .. } = rows {
            self.out.truncate(end);
            self.out.push_str(", ...");
            self.placeholders = placeholders;
        }
    }
}

fn is_comparison(token: &Token<'_>) -> bool {
    token.kind == Kind::Operator && matches!(token.text, "=" | "<" | ">" | "<=" | ">=" | "<>" | "!=")
}

fn push_number(out: &mut String, number: u32) {
    use std::fmt::Write;
    // Writing to a string cannot fail.
    let _infallible = write!(out, "{number}");
}

/// What a statement does, to which tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// `SELECT`, `INSERT`, `UPDATE`, `DELETE` ..., upper case; of a `WITH` the verb of its main part. Empty for an
    /// empty text.
    pub verb: String,
    /// Tables in the order in which they stand, each once, as written without quotes; the first is the main one.
    /// Names of common table expressions are left out.
    pub tables: Vec<String>,
}

impl Operation {
    /// The main table; empty where there is none.
    #[must_use]
    pub fn table(&self) -> &str {
        self.tables.first().map_or("", String::as_str)
    }
}

/// More tables than this are not listed.
const MAX_TABLES: usize = 64;
const VERBS: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES"];

/// Verb and tables of a statement, normalised or not.
#[must_use]
pub fn operation_and_tables(text: &str) -> Operation {
    let mut reader = Reader::default();
    for token in Lexer::new(text) {
        reader.token(token);
    }
    reader.finish_name();
    let ctes = reader.ctes;
    reader.operation.tables.retain(|table| !ctes.iter().any(|cte| cte.eq_ignore_ascii_case(table)));
    reader.operation
}

/// What the next name would be.
#[derive(Clone, Copy, Default, PartialEq)]
enum Expect {
    #[default]
    Nothing,
    Table,
    /// Within a table's name, after its first part.
    Rest,
}

#[derive(Default)]
struct Reader<'a> {
    operation: Operation,
    ctes: Vec<String>,
    name: String,
    expect: Expect,
    depth: usize,
    /// Depths of brackets in which commas separate tables.
    from: Vec<usize>,
    /// Depths of calls such as `extract(... FROM ...)`, whose FROM names no table.
    calls: Vec<usize>,
    previous: [Option<Token<'a>>; 2],
}

impl<'a> Reader<'a> {
    fn token(&mut self, token: Token<'a>) {
        self.verb(&token);
        self.common_table(&token);
        match (self.expect, token.kind) {
            (Expect::Table, Kind::Quoted | Kind::Word) if !is_noise(&token) => {
                self.name.push_str(token.text.trim_matches(['"', '`']));
                self.expect = Expect::Rest;
            }
            (Expect::Rest, Kind::Quoted | Kind::Word) if self.previous[1].is_some_and(|p| p.is(".")) => {
                self.name.push('.');
                self.name.push_str(token.text.trim_matches(['"', '`']));
            }
            (Expect::Rest, Kind::Punctuation) if token.is(".") => {}
            // A function in the place of a table.
            (Expect::Rest, Kind::Punctuation) if token.is("(") && !self.in_insert() => {
                self.name.clear();
                self.expect = Expect::Nothing;
            }
            (Expect::Rest, _) => self.finish_name(),
            (Expect::Table, Kind::Punctuation) if token.is("(") => self.expect = Expect::Nothing,
            _ => {}
        }
        self.brackets(&token);
        self.clause(&token);
        self.previous = [self.previous[1], Some(token)];
    }

    fn in_insert(&self) -> bool {
        self.operation.tables.is_empty()
            && matches!(self.operation.verb.as_str(), "INSERT" | "REPLACE" | "MERGE")
    }

    fn verb(&mut self, token: &Token<'_>) {
        if token.kind != Kind::Word {
            return;
        }
        let pending = self.operation.verb == "WITH" && self.depth == 0;
        if self.operation.verb.is_empty() || pending && VERBS.iter().any(|verb| token.is_word(verb)) {
            self.operation.verb = token.text.to_ascii_uppercase();
        }
    }

    /// `name AS (`, `name AS MATERIALIZED (` in a WITH.
    fn common_table(&mut self, token: &Token<'_>) {
        let [Some(name), Some(previous)] = self.previous else { return };
        let opens = token.is("(") || token.is_word("MATERIALIZED") || token.is_word("NOT");
        if self.operation.verb == "WITH" && self.depth == 0 && opens && previous.is_word("AS") {
            if matches!(name.kind, Kind::Word | Kind::Quoted) && self.ctes.len() < MAX_TABLES {
                self.ctes.push(name.text.trim_matches('"').to_owned());
            }
        } else if self.operation.verb == "WITH"
            && self.depth == 0
            && token.is("(")
            && self.ctes.len() < MAX_TABLES
        {
            // `name (columns) AS (`: the word before the bracket.
            if matches!(previous.kind, Kind::Word | Kind::Quoted) && !previous.is_word("MATERIALIZED") {
                self.ctes.push(previous.text.trim_matches('"').to_owned());
            }
        }
    }

    fn brackets(&mut self, token: &Token<'_>) {
        if token.is("(") {
            self.depth += 1;
            let call = ["EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"];
            if self.previous[1].is_some_and(|p| call.iter().any(|name| p.is_word(name))) {
                self.calls.push(self.depth);
            }
        } else if token.is(")") {
            self.from.retain(|&depth| depth < self.depth);
            self.calls.retain(|&depth| depth < self.depth);
            self.depth = self.depth.saturating_sub(1);
        }
    }

    fn clause(&mut self, token: &Token<'_>) {
        let after = |word: &str| self.previous[1].is_some_and(|p| p.is_word(word));
        if token.is(",") && self.from.last() == Some(&self.depth) {
            self.expect = Expect::Table;
        } else if token.kind != Kind::Word {
        } else if token.is_word("FROM") {
            if !after("DISTINCT") && self.calls.last() != Some(&self.depth) {
                self.expect = Expect::Table;
                self.from.push(self.depth);
            }
        } else if ["JOIN", "INTO", "TABLE", "USING"].iter().any(|word| token.is_word(word)) {
            self.expect = Expect::Table;
        } else if token.is_word("UPDATE") {
            let lock = after("FOR") || after("KEY") || after("DO") || after("ON");
            self.expect = if lock { Expect::Nothing } else { Expect::Table };
        } else if ["WHERE", "SET", "GROUP", "ORDER", "LIMIT", "HAVING", "RETURNING", "SELECT", "ON", "UNION"]
            .iter()
            .any(|word| token.is_word(word))
        {
            self.from.retain(|&depth| depth < self.depth);
        }
    }

    fn finish_name(&mut self) {
        self.expect = Expect::Nothing;
        let name = std::mem::take(&mut self.name);
        if !name.is_empty()
            && self.operation.tables.len() < MAX_TABLES
            && !self.operation.tables.contains(&name)
        {
            self.operation.tables.push(name);
        }
    }
}

/// Words that may stand before a table's name.
fn is_noise(token: &Token<'_>) -> bool {
    ["ONLY", "LATERAL", "IF", "NOT", "EXISTS", "TABLE", "SELECT", "IGNORE", "UNNEST"]
        .iter()
        .any(|word| token.is_word(word))
}

#[cfg(test)]
mod tests;
