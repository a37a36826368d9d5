//! An index that could be: its columns, its SQL with everything quoted that needs it, and its size.

use crate::catalog::{Table, TableName};
use std::fmt::Write;

/// A longer name is cut by the server, silently.
const MAX_NAME_BYTES: usize = 63;

/// A column of an index with its order: empty, `DESC`, `DESC NULLS LAST` ...
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) order: String,
    /// A function of the column instead of itself.
    pub(crate) function: Option<String>,
}

impl Key {
    fn sql(&self) -> String {
        let name = quoted(&self.name);
        let what = self.function.as_ref().map_or(name.clone(), |f| format!("{f}({name})"));
        format!("{what} {}", self.order).trim_end().to_owned()
    }
}

/// Which rows a partial index holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Predicate {
    Null(String),
    NotNull(String),
    True(String),
    False(String),
    /// All but those with a value that most rows have.
    Except(String, String),
}

impl Predicate {
    pub(crate) fn column(&self) -> &str {
        let (Self::Null(name)
        | Self::NotNull(name)
        | Self::True(name)
        | Self::False(name)
        | Self::Except(name, _)) = self;
        name
    }

    fn sql(&self) -> String {
        let name = quoted(self.column());
        match self {
            Self::Null(_) => format!("{name} IS NULL"),
            Self::NotNull(_) => format!("{name} IS NOT NULL"),
            Self::True(_) => name,
            Self::False(_) => format!("NOT {name}"),
            Self::Except(_, value) => format!("{name} <> '{}'", value.replace('\'', "''")),
        }
    }

    /// Share of the table's rows that it holds for.
    pub(crate) fn share(&self, table: &Table) -> f64 {
        let Some(s) = table.columns.get(self.column()).and_then(|c| c.statistics.as_ref()) else {
            return 1.0;
        };
        let of = |value: &str| s.common.iter().find(|(v, _)| v == value).map_or(0.0, |(_, share)| *share);
        match self {
            Self::Null(_) => s.null_share,
            Self::NotNull(_) => 1.0 - s.null_share,
            Self::True(_) => of("t"),
            Self::False(_) => of("f"),
            Self::Except(_, value) => 1.0 - s.null_share - of(value),
        }
        .clamp(0.0, 1.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NewIndex {
    pub(crate) table: TableName,
    pub(crate) keys: Vec<Key>,
    pub(crate) predicate: Option<Predicate>,
}

impl NewIndex {
    /// Whether `other` begins with this one's keys and holds the same rows: it serves what this one serves.
    pub(crate) fn begins(&self, other: &Self) -> bool {
        self.table == other.table && self.predicate == other.predicate && other.keys.starts_with(&self.keys)
    }

    /// The columns with their order, for people.
    pub(crate) fn columns(&self) -> Vec<String> {
        let plain = |k: &Key| match &k.function {
            Some(function) => format!("{function}({}) {}", k.name, k.order),
            None => format!("{} {}", k.name, k.order),
        };
        self.keys.iter().map(|k| plain(k).trim_end().to_owned()).collect()
    }

    /// SQL that makes it without blocking writers.
    pub(crate) fn create(&self) -> String {
        format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON {}", quoted(&self.name()), self.on())
    }

    /// SQL that removes what [`NewIndex::create`] made.
    pub(crate) fn undo(&self) -> String {
        // An index lives in its table's schema.
        let schema =
            if self.table.0 == "public" { String::new() } else { format!("{}.", quoted(&self.table.0)) };
        format!("DROP INDEX CONCURRENTLY IF EXISTS {schema}{}", quoted(&self.name()))
    }

    /// `schema.table (columns) WHERE predicate`.
    pub(crate) fn on(&self) -> String {
        let (schema, table) = &self.table;
        let schema = if schema == "public" { String::new() } else { format!("{}.", quoted(schema)) };
        let keys: Vec<String> = self.keys.iter().map(Key::sql).collect();
        let predicate = self.predicate.as_ref().map(|p| format!(" WHERE {}", p.sql())).unwrap_or_default();
        format!("{schema}{} ({}){predicate}", quoted(table), keys.join(", "))
    }

    /// `trimtab_<table>_<columns>_idx`; too long a name is cut and told apart by a hash.
    pub(crate) fn name(&self) -> String {
        let mut middle = self.table.1.clone();
        for key in &self.keys {
            middle.push('_');
            if let Some(function) = &key.function {
                middle.push_str(function);
                middle.push('_');
            }
            middle.push_str(&key.name);
            for word in key.order.split_whitespace() {
                middle.push('_');
                middle.push_str(&word.to_lowercase());
            }
        }
        if let Some(predicate) = &self.predicate {
            middle.push_str("_where_");
            middle.push_str(predicate.column());
        }
        let odd = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric();
        let middle = middle.replace(odd, "_");
        let whole = format!("trimtab_{middle}_idx");
        if whole.len() <= MAX_NAME_BYTES {
            return whole;
        }
        let suffix = format!("_{:08x}_idx", fnv(&whole));
        let mut room = MAX_NAME_BYTES - "trimtab_".len() - suffix.len();
        while !middle.is_char_boundary(room) {
            room -= 1;
        }
        format!("trimtab_{}{suffix}", &middle[..room])
    }

    /// Estimated size: an entry holds its columns behind 12 bytes of header and pointer, each rounded up to 8 bytes,
    /// and pages are 90 % full. Entries of equal keys may be stored in less.
    pub(crate) fn bytes(&self, table: &Table) -> u64 {
        let width: f64 = self.keys.iter().map(|k| table.columns.get(&k.name).map_or(8.0, |c| c.width)).sum();
        let rows = table.rows * self.predicate.as_ref().map_or(1.0, |p| p.share(table));
        (rows * entry_bytes(width) / 0.9) as u64
    }
}

/// An entry of a btree for keys of so many bytes.
pub(crate) fn entry_bytes(width: f64) -> f64 {
    12.0 + (width / 8.0).ceil() * 8.0
}

/// FNV-1a, 32 bits.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A name as SQL wants it: quoted unless it is plainly lower case and no reserved word.
pub(crate) fn quoted(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = starts && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain && !RESERVED.contains(&name) {
        return name.to_owned();
    }
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _infallible = write!(out, "\"{}\"", name.replace('"', "\"\""));
    out
}

/// Words that cannot name a table or column unquoted (appendix C of the manual, reserved and type or function names).
const RESERVED: [&str; 101] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
];

#[cfg(test)]
mod tests {
    use super::{Key, NewIndex, Predicate, quoted};

    fn index(schema: &str, table: &str, keys: &[(&str, &str)]) -> NewIndex {
        NewIndex {
            table: (schema.to_owned(), table.to_owned()),
            keys: keys
                .iter()
                .map(|(n, o)| Key { name: (*n).to_owned(), order: (*o).to_owned(), function: None })
                .collect(),
            predicate: None,
        }
    }

    #[test]
    fn plain_names_stay_unquoted() {
        let index = index("public", "orders", &[("customer_id", ""), ("created_at", "DESC")]);
        assert_eq!(
            index.create(),
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS trimtab_orders_customer_id_created_at_desc_idx \
             ON orders (customer_id, created_at DESC)"
        );
        assert_eq!(
            index.undo(),
            "DROP INDEX CONCURRENTLY IF EXISTS trimtab_orders_customer_id_created_at_desc_idx"
        );
    }

    #[test]
    fn other_names_are_quoted() {
        let index = index("Sales", "Order \"Lines\"", &[("orderId", "")]);
        assert_eq!(
            index.create(),
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS \"trimtab_Order__Lines__orderId_idx\" \
             ON \"Sales\".\"Order \"\"Lines\"\"\" (\"orderId\")"
        );
        assert!(index.undo().ends_with("IF EXISTS \"Sales\".\"trimtab_Order__Lines__orderId_idx\""));
        assert_eq!(quoted("order"), "\"order\"");
        assert_eq!(quoted("where"), "\"where\"");
        assert_eq!(quoted("1a"), "\"1a\"");
    }

    #[test]
    fn expressions_and_predicates_are_part_of_the_index() {
        let mut index = index("public", "users", &[("eMail", "")]);
        index.keys[0].function = Some("lower".to_owned());
        index.predicate = Some(Predicate::Except("kind".to_owned(), "it's".to_owned()));
        assert_eq!(
            index.create(),
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS \"trimtab_users_lower_eMail_where_kind_idx\" \
             ON users (lower(\"eMail\")) WHERE kind <> 'it''s'"
        );
        index.predicate = Some(Predicate::False("done".to_owned()));
        assert!(index.create().ends_with("WHERE NOT done"));
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "ä".repeat(40);
        let (one, other) = (index("public", &long, &[("a", "")]), index("public", &long, &[("b", "")]));
        assert!(one.name().len() <= 63 && one.name().ends_with("_idx"), "{}", one.name());
        assert_ne!(one.name(), other.name());
    }
}
