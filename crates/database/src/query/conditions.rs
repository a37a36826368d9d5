//! The clauses of a query block: conditions joined by AND, SET, LIMIT and ORDER BY, as what they ask of which table.

use super::lexer::identifier;
use super::shape::{Asked, Reader, Source, Term};
use crate::tokens::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    Equal,
    Range,
    List,
    /// No lookup in an index.
    Other,
}

impl Reader<'_> {
    /// The parts that all have to hold.
    pub(super) fn conditions(&mut self, range: Range<usize>, sources: &[Source], outer: &[Source]) {
        let mut open = vec![range];
        while let Some(part) = open.pop() {
            let part = self.unwrapped(part);
            if self.is_query(part.start) {
                continue;
            }
            let outside = self.outside(part.clone());
            if outside
                .iter()
                .any(|at| self.word(*at, "or") || self.word(*at, "xor") || self.all[*at].is("||"))
            {
                continue;
            }
            let mut borders = Vec::new();
            let mut between = false;
            for at in outside {
                between |= self.word(at, "between");
                if self.word(at, "and") || self.all[at].is("&&") {
                    if !between {
                        borders.push(at);
                    }
                    between = false;
                }
            }
            if borders.is_empty() {
                self.comparison(part, sources, outer);
                continue;
            }
            let mut end = part.end;
            for border in borders.into_iter().rev() {
                open.push(border + 1..end);
                end = border;
            }
            open.push(part.start..end);
        }
    }

    fn comparison(&mut self, part: Range<usize>, sources: &[Source], outer: &[Source]) {
        let outside = self.outside(part.clone());
        let words = ["in", "between", "is", "like", "glob", "regexp", "rlike", "match", "not"];
        let operator = |at: usize| {
            let token = self.all[at];
            token.kind == Kind::Operator && ["=", "==", "<=>", "<", ">", "<=", ">="].contains(&token.text)
                || words.iter().any(|w| token.is_word(w))
        };
        let Some(at) = outside.iter().copied().find(|at| operator(*at)) else { return };
        let (left, right) = (part.start..at, at + 1..part.end);
        let text = self.all[at].text.to_lowercase();
        let kind = match text.as_str() {
            "=" | "==" | "<=>" => Compared::Equal,
            "<" | ">" | "<=" | ">=" | "between" => Compared::Range,
            "in" => Compared::List,
            "is" if !self.word(at + 1, "not") => Compared::Equal,
            _ => Compared::Other,
        };
        for (one, other) in [(&left, &right), (&right, &left)] {
            let Some((place, term)) = self.column(one.clone(), sources) else { continue };
            self.note_values(place, &term, other.clone(), sources);
            let own = sources[place].place;
            let Some(own) = own.filter(|_| kind != Compared::Other) else { continue };
            let named = self.sources_named(other.clone(), sources, outer);
            if named.contains(&place) {
                continue;
            }
            let term = Term { list: kind == Compared::List, closed: text == "between", ..term };
            let used = &mut self.shape.uses[own];
            match kind {
                Compared::Range if named.is_empty() => used.ranges.push(term),
                Compared::Equal | Compared::List if named.is_empty() => used.equal.push(term),
                Compared::Equal => used.joins.push(term),
                _ => {}
            }
            if kind == Compared::List || text == "between" {
                break;
            }
        }
    }

    /// A column, or a function of one: its source and itself.
    fn column(&self, range: Range<usize>, sources: &[Source]) -> Option<(usize, Term)> {
        let range = self.unwrapped(range);
        let term = |column: String, function| Term { column, function, list: false, closed: false };
        let part = &self.all[range.clone()];
        match part {
            [name] => {
                let name = identifier(name)?;
                let mut with = sources.iter().enumerate().filter(|(_, s)| self.has(s, &name));
                let (place, _) = with.next().filter(|_| with.next().is_none())?;
                Some((place, term(name, None)))
            }
            [.., alias, dot, name] if dot.is(".") && (part.len() == 3 || part.len() == 5) => {
                let (alias, name) = (identifier(alias)?, identifier(name)?);
                let place = sources.iter().position(|s| s.alias.eq_ignore_ascii_case(&alias))?;
                self.has(&sources[place], &name).then(|| (place, term(name, None)))
            }
            // Short, so that it is a column and no call within a call.
            [function, open, _, ..]
                if open.is("(")
                    && part.len() <= 8
                    && self.close.get(&(range.start + 1)) == Some(&(range.end - 1)) =>
            {
                let (place, inner) = self.column(range.start + 2..range.end - 1, sources)?;
                let function = identifier(function)
                    .filter(|_| function.kind == Kind::Word && inner.function.is_none())?;
                Some((place, term(inner.column, Some(function.to_lowercase()))))
            }
            _ => None,
        }
    }

    /// The sources of this block whose columns stand in the range.
    fn sources_named(&self, range: Range<usize>, sources: &[Source], outer: &[Source]) -> BTreeSet<usize> {
        let mut named = BTreeSet::new();
        for at in range {
            if self.all.get(at + 1).is_some_and(|t| t.is(".")) || self.is_call(at) {
                continue;
            }
            let Some(name) = identifier(&self.all[at]) else { continue };
            if at >= 2 && self.all[at - 1].is(".") {
                let alias = identifier(&self.all[at - 2]).unwrap_or_default();
                named.extend(sources.iter().position(|s| s.alias.eq_ignore_ascii_case(&alias)));
            } else if !outer.iter().any(|s| self.has(s, &name)) || sources.iter().any(|s| self.has(s, &name))
            {
                named.extend(sources.iter().position(|s| self.has(s, &name)));
            }
        }
        named
    }

    /// Notes which column the values in the range are compared with.
    fn note_values(&mut self, place: usize, term: &Term, range: Range<usize>, sources: &[Source]) {
        let Some(table) = &sources[place].table else { return };
        for at in range {
            let token = self.all[at];
            if self.is_query(at) {
                return;
            }
            if matches!(token.kind, Kind::Literal | Kind::Parameter) {
                let (column, function) = (term.column.clone(), term.function.clone());
                let asked = Asked::Column { table: table.clone(), column, function };
                self.shape.asked.entry(token.at).or_insert(asked);
            }
        }
    }

    pub(super) fn set(&mut self, range: Range<usize>, sources: &[Source]) {
        let outside = self.outside(range.clone());
        let mut from = range.start;
        for end in outside.iter().copied().filter(|at| self.all[*at].is(",")).chain([range.end]) {
            let sign = (from..end).find(|at| self.all[*at].is("="));
            if let Some((place, term)) = sign.and_then(|sign| self.column(from..sign, sources)) {
                self.shape.written.insert(term.column.to_lowercase());
                if let [one] = &self.all[sign.unwrap_or(from) + 1..end]
                    && let Some(table) = &sources[place].table
                {
                    let asked = Asked::Column { table: table.clone(), column: term.column, function: None };
                    self.shape.asked.entry(one.at).or_insert(asked);
                }
            }
            from = end + 1;
        }
    }

    pub(super) fn limits(&mut self, parts: &BTreeMap<String, Range<usize>>, sources: &[Source]) {
        if let Some(limit) = parts.get("limit") {
            for place in sources.iter().filter_map(|s| s.place) {
                self.shape.uses[place].limited = true;
            }
            // `LIMIT offset, count` of MySQL and SQLite.
            let comma = limit.clone().find(|at| self.all[*at].is(","));
            for at in limit.clone() {
                let asked = if comma.is_some_and(|c| at < c) { Asked::Offset } else { Asked::Limit };
                self.shape.asked.insert(self.all[at].at, asked);
            }
        }
        for at in parts.get("offset").cloned().unwrap_or(0..0) {
            self.shape.asked.insert(self.all[at].at, Asked::Offset);
        }
    }

    /// `BY a, b DESC`, where all keys are columns of one table.
    pub(super) fn order(&mut self, by: Option<Range<usize>>, sources: &[Source]) {
        let Some(by) = by.filter(|by| self.word(by.start, "by")) else { return };
        let mut keys = Vec::new();
        let mut owner = None;
        let mut from = by.start + 1;
        let commas: Vec<usize> =
            self.outside(by.clone()).into_iter().filter(|at| self.all[*at].is(",")).collect();
        for end in commas.into_iter().chain([by.end]) {
            let last = self.all[from.min(end)..end].last();
            let descending = last.is_some_and(|t| t.is_word("desc"));
            let directed = descending || last.is_some_and(|t| t.is_word("asc"));
            let end_of_key = if directed { end - 1 } else { end };
            let Some((place, term)) = self.column(from.min(end_of_key)..end_of_key, sources) else { return };
            if term.function.is_some() || owner.is_some_and(|owner| owner != place) {
                return;
            }
            owner = Some(place);
            keys.push((term.column, descending));
            from = end + 1;
        }
        if let Some(place) = owner.and_then(|place| sources[place].place) {
            self.shape.uses[place].order = keys;
        }
    }
}
