//! Reads the conditions and sort keys of a plan, as Postgres deparses them with `VERBOSE`: columns carry their alias,
//! operators stand in brackets. It knows comparisons joined by AND; everything else is passed over.

use crate::tokens::{Kind, Token, tokens};

/// A column of a relation in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) alias: String,
    pub(crate) name: String,
    /// The type that it is cast to before it is compared.
    pub(crate) cast: Option<String>,
    /// The function of one argument that is applied to it: `lower`.
    pub(crate) function: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    /// `= ANY (...)`, `IN (...)`.
    AnyOf,
    Less,
    Greater,
    IsNull,
    IsNotNull,
    /// A boolean column by itself.
    IsTrue,
    IsFalse,
    /// Any other operator: no btree lookup.
    Other,
}

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Parameters by number, as they are: one, or the members of a list.
    Parameters(Vec<u32>),
    /// A column of another relation.
    Column(Column),
    /// Something computed without a column.
    Computed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) column: Column,
    pub(crate) comparison: Comparison,
    pub(crate) operand: Operand,
}

/// A sort key that is a plain column; `order` is empty or like `DESC NULLS LAST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortKey {
    pub(crate) column: Column,
    pub(crate) order: String,
}

fn all_of(part: &[Token<'_>]) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut open: Vec<&[Token<'_>]> = vec![part];
    while let Some(part) = open.pop() {
        let part = unwrapped(part);
        let parts = split(part, "and");
        if parts.len() > 1 {
            open.extend(parts.into_iter().rev());
        } else if split(part, "or").len() == 1 {
            found.extend(comparison(part));
        }
    }
    found
}

/// The conditions of each side of the first OR among what all has to hold; empty if there is none.
pub(crate) fn alternatives(text: &str) -> Vec<Vec<Condition>> {
    let all = tokens(text);
    let mut open: Vec<&[Token<'_>]> = vec![&all];
    while let Some(part) = open.pop() {
        let part = unwrapped(part);
        let both = split(part, "and");
        if both.len() > 1 {
            open.extend(both.into_iter().rev());
            continue;
        }
        let sides = split(part, "or");
        if sides.len() > 1 {
            return sides.into_iter().map(all_of).collect();
        }
    }
    Vec::new()
}

/// The comparisons that all have to hold.
pub(crate) fn conditions(text: &str) -> Vec<Condition> {
    all_of(&tokens(text))
}

/// A sort key, if it is a plain column in an order that an index can have.
pub(crate) fn sort_key(text: &str) -> Option<SortKey> {
    let all = tokens(text);
    let words = |from: usize| all[from..].iter().map(|t| t.text).collect::<Vec<_>>().join(" ");
    let end = all.iter().position(|t| ["desc", "nulls", "collate", "using"].iter().any(|w| t.is_word(w)));
    let end = end.unwrap_or(all.len());
    let order = words(end);
    let known = ["", "DESC", "DESC NULLS LAST", "NULLS FIRST"].contains(&order.as_str());
    let column = column(&all[..end]).filter(|c| c.cast.is_none() && c.function.is_none())?;
    known.then_some(SortKey { column, order })
}

/// Depth of brackets before each token.
fn depths(part: &[Token<'_>]) -> Vec<usize> {
    let mut depth = 0_usize;
    part.iter()
        .map(|t| {
            let before = depth;
            if t.is("(") || t.is("[") {
                depth += 1;
            } else if t.is(")") || t.is("]") {
                depth = depth.saturating_sub(1);
                return depth;
            }
            before
        })
        .collect()
}

/// Without the brackets around all of it.
fn unwrapped<'s, 'a>(mut part: &'s [Token<'a>]) -> &'s [Token<'a>] {
    loop {
        let [first, inner @ .., last] = part else { return part };
        let closes_early = || depths(part)[1..part.len() - 1].contains(&0);
        if !first.is("(") || !last.is(")") || closes_early() {
            return part;
        }
        part = inner;
    }
}

/// The parts between a word outside of brackets.
fn split<'s, 'a>(part: &'s [Token<'a>], word: &str) -> Vec<&'s [Token<'a>]> {
    let depths = depths(part);
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, token) in part.iter().enumerate() {
        if depths[at] == 0 && token.is_word(word) {
            parts.push(&part[from..at]);
            from = at + 1;
        }
    }
    parts.push(&part[from..]);
    parts
}

fn comparison(part: &[Token<'_>]) -> Option<Condition> {
    let depths = depths(part);
    let mut operators = (0..part.len())
        .filter(|&at| depths[at] == 0 && part[at].kind == Kind::Operator && !part[at].is("::"));
    let Some(at) = operators.next() else { return state(part) };
    if operators.next().is_some() {
        return None;
    }
    let (left, right) = (&part[..at], &part[at + 1..]);
    let mut kind = match part[at].text {
        "=" => Comparison::Equal,
        "<" | "<=" => Comparison::Less,
        ">" | ">=" => Comparison::Greater,
        _ => Comparison::Other,
    };
    let many = right.first().is_some_and(|t| t.is_word("any") || t.is_word("all"));
    if many {
        let any = right[0].is_word("any") && kind == Comparison::Equal;
        kind = if any { Comparison::AnyOf } else { Comparison::Other };
        return Some(Condition { column: column(left)?, comparison: kind, operand: operand(&right[1..])? });
    }
    if let Some(column) = column(left) {
        return Some(Condition { column, comparison: kind, operand: operand(right)? });
    }
    let mirrored = match kind {
        Comparison::Less => Comparison::Greater,
        Comparison::Greater => Comparison::Less,
        other => other,
    };
    Some(Condition { column: column(right)?, comparison: mirrored, operand: operand(left)? })
}

/// A condition without an operator: `a IS NULL`, `NOT a`, `a`.
fn state(part: &[Token<'_>]) -> Option<Condition> {
    let is = |words: &[&str]| {
        let from = part.len().checked_sub(words.len())?;
        part[from..].iter().zip(words).all(|(t, w)| t.is_word(w)).then_some(&part[..from])
    };
    let (part, comparison) = if let Some(rest) = is(&["is", "not", "null"]) {
        (rest, Comparison::IsNotNull)
    } else if let Some(rest) = is(&["is", "null"]) {
        (rest, Comparison::IsNull)
    } else {
        match part {
            [not, rest @ ..] if not.is_word("not") => (rest, Comparison::IsFalse),
            _ => (part, Comparison::IsTrue),
        }
    };
    let column = column(part).filter(|c| c.cast.is_none() && c.function.is_none())?;
    Some(Condition { column, comparison, operand: Operand::Computed })
}

/// The expression before a cast, and the cast's type.
fn uncast<'s, 'a>(part: &'s [Token<'a>]) -> (&'s [Token<'a>], Option<String>) {
    let part = unwrapped(part);
    let depths = depths(part);
    match (0..part.len()).find(|&at| depths[at] == 0 && part[at].is("::")) {
        Some(at) => {
            let cast = part[at + 1..].iter().map(|t| t.text).collect::<Vec<_>>().join(" ");
            (unwrapped(&part[..at]), Some(cast))
        }
        None => (part, None),
    }
}

fn column(part: &[Token<'_>]) -> Option<Column> {
    let (part, cast) = uncast(part);
    match part {
        [alias, dot, name] if dot.is(".") => {
            Some(Column { alias: alias.name()?, name: name.name()?, cast, function: None })
        }
        [function, open, inner @ .., close] if open.is("(") && close.is(")") => {
            let plain = |c: &Column| c.function.is_none() && c.cast.as_deref().is_none_or(|k| k == "text");
            let inner = column(inner).filter(plain)?;
            let function = Some(function.name().filter(|_| function.kind == Kind::Word)?);
            Some(Column { cast, function, ..inner })
        }
        _ => None,
    }
}

/// `None` for what holds a column without being one.
fn operand(part: &[Token<'_>]) -> Option<Operand> {
    if let Some(column) = column(part) {
        return Some(Operand::Column(column));
    }
    if part.windows(2).any(|w| w[1].is(".") && w[0].name().is_some()) {
        return None;
    }
    let (part, _) = uncast(part);
    let members = match part {
        [array, open, inner @ .., close] if array.is_word("array") && open.is("[") && close.is("]") => inner,
        one => one,
    };
    let single = |member: &[Token<'_>]| match uncast(member).0 {
        [one] => one.parameter(),
        _ => None,
    };
    let numbers: Option<Vec<u32>> = members.split(|t| t.is(",")).map(single).collect();
    Some(numbers.map_or(Operand::Computed, Operand::Parameters))
}

#[cfg(test)]
mod tests {
    use super::{Condition, Operand, alternatives, conditions, sort_key};

    fn shown(condition: &Condition) -> String {
        let function = condition.column.function.as_ref().map(|f| format!("{f} of ")).unwrap_or_default();
        let cast = condition.column.cast.as_ref().map(|c| format!("::{c}")).unwrap_or_default();
        let operand = match &condition.operand {
            Operand::Parameters(numbers) => format!("{numbers:?}"),
            Operand::Column(other) => format!("{}.{}", other.alias, other.name),
            Operand::Computed => "computed".to_owned(),
        };
        let column = &condition.column;
        format!("{function}{}.{}{cast} {:?} {operand}", column.alias, column.name, condition.comparison)
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = conditions(text).iter().map(shown).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn comparisons_joined_by_and_are_read() {
        check("(orders.customer_id = $1)", &["orders.customer_id Equal [1]"]);
        check("((t.a = $1) AND (t.b > $2))", &["t.a Equal [1]", "t.b Greater [2]"]);
        check(
            "(((t.a = $1) AND (t.b <= ($2)::bigint)) AND (t.c <> $3))",
            &["t.a Equal [1]", "t.b Less [2]", "t.c Other [3]"],
        );
        check("($1 < t.a)", &["t.a Greater [1]"]);
    }

    #[test]
    fn lists_are_told_from_single_values() {
        check("(t.a = ANY ($1))", &["t.a AnyOf [1]"]);
        check("(t.a = ANY (ARRAY[$1, $2]))", &["t.a AnyOf [1, 2]"]);
        check("(t.a = ANY (($1)::integer[]))", &["t.a AnyOf [1]"]);
        check("(t.a <> ALL ($1))", &["t.a Other [1]"]);
    }

    #[test]
    fn casts_joins_and_quotes_are_kept() {
        check("((t.email)::text = $1)", &["t.email::text Equal [1]"]);
        check("(i.order_id = o.id)", &["i.order_id Equal o.id"]);
        check("(\"Order Lines\".\"orderId\" = $1)", &["Order Lines.orderId Equal [1]"]);
        check("(t.at > (now() - ($1)::interval))", &["t.at Greater computed"]);
    }

    #[test]
    fn what_is_no_lookup_is_passed_over() {
        check("((t.a = $1) OR (t.b = $2))", &[]);
        check("(lower(t.email, t.b) = $1)", &[]);
        check("(lower((t.a || t.b)) = $1)", &[]);
        check("(t.a = (t.b + 1))", &[]);
        check("(lower(t.a) IS NULL)", &[]);
        check("", &[]);
        check("((((", &[]);
        check(") AND (", &[]);
    }

    #[test]
    fn alternatives_are_read_side_by_side() {
        let read = |text: &str| -> Vec<Vec<String>> {
            alternatives(text).iter().map(|side| side.iter().map(shown).collect()).collect()
        };
        assert_eq!(
            read("((t.z = $3) AND ((t.a = $1) OR ((t.b = $2) AND t.c)))"),
            [vec!["t.a Equal [1]"], vec!["t.b Equal [2]", "t.c IsTrue computed"]]
        );
        assert_eq!(read("((t.a = $1) OR (lower((t.b || t.c)) = $2))"), [vec!["t.a Equal [1]"], vec![]]);
        assert!(read("((t.a = $1) AND (t.b = $2))").is_empty());
    }

    #[test]
    fn functions_and_states_are_read() {
        check("(lower(t.email) = $1)", &["lower of t.email Equal [1]"]);
        check("(lower((t.email)::text) = ($1)::text)", &["lower of t.email Equal [1]"]);
        check(
            "((t.deleted_at IS NULL) AND (t.sent_at IS NOT NULL) AND t.paid AND (NOT t.done))",
            &[
                "t.deleted_at IsNull computed",
                "t.sent_at IsNotNull computed",
                "t.paid IsTrue computed",
                "t.done IsFalse computed",
            ],
        );
    }

    #[test]
    fn sort_keys_keep_their_order() {
        assert_eq!(sort_key("orders.created_at DESC").unwrap().order, "DESC");
        assert_eq!(sort_key("o.\"At\"").unwrap().column.name, "At");
        assert_eq!(sort_key("o.at DESC NULLS LAST").unwrap().order, "DESC NULLS LAST");
        assert!(sort_key("lower(o.name)").is_none());
        assert!(sort_key("o.name COLLATE \"C\"").is_none());
    }
}
