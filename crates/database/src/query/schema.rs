//! Tables with columns and indexes, as far as advice needs them. Names compare without case, as these servers do for
//! columns.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The declared type, lower case.
    pub(crate) kind: String,
}

/// An index that exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    pub(crate) name: String,
    /// Column and whether it descends; `None` for an expression.
    pub(crate) keys: Vec<(Option<String>, bool)>,
    pub(crate) unique: bool,
    /// It holds some of the rows only, or the first characters of a column only.
    pub(crate) partial: bool,
    pub(crate) primary: bool,
    /// SQL that makes it; empty where the table's own definition does.
    pub(crate) definition: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) rows: f64,
    /// With its indexes; 0 where that is not known.
    pub(crate) bytes: u64,
    pub(crate) columns: Vec<Column>,
    /// The primary key is one of them.
    pub(crate) indexes: Vec<Index>,
}

/// By name in lower case.
pub(crate) type Schema = BTreeMap<String, Table>;

impl Index {
    /// Whether its keys begin with these columns in any order, or in exactly this one with directions alike.
    pub(crate) fn begins_with(&self, keys: &[(String, bool)], ordered: bool) -> bool {
        if self.partial || self.keys.len() < keys.len() {
            return false;
        }
        let head = &self.keys[..keys.len()];
        let is = |own: &(Option<String>, bool), name: &str| {
            own.0.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        if ordered {
            let same = head.iter().zip(keys).all(|(own, (name, down))| is(own, name) && own.1 == *down);
            let mirrored = head.iter().zip(keys).all(|(own, (name, down))| is(own, name) && own.1 != *down);
            return same || mirrored;
        }
        keys.iter().all(|(name, _)| head.iter().any(|own| is(own, name)))
    }
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// Indexes that another one, or the primary key, begins with: `(index, the other)`.
    pub(crate) fn redundant(&self) -> Vec<(&Index, &Index)> {
        let mut found = Vec::new();
        for (place, index) in self.indexes.iter().enumerate() {
            let keys: Option<Vec<(String, bool)>> =
                index.keys.iter().map(|(name, down)| Some((name.clone()?, *down))).collect();
            let Some(keys) = keys.filter(|_| !index.unique && !index.partial && !index.primary) else {
                continue;
            };
            let serves = |(at, other): &(usize, &Index)| {
                let exact = other.keys.iter().take(keys.len()).zip(&keys).all(|(own, key)| {
                    own.0.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&key.0)) && own.1 == key.1
                });
                let twin = other.keys.len() == keys.len() && !other.unique && !other.primary;
                *at != place
                    && !other.partial
                    && other.keys.len() >= keys.len()
                    && exact
                    && (!twin || *at < place)
            };
            found.extend(self.indexes.iter().enumerate().find(serves).map(|(_, other)| (index, other)));
        }
        found
    }
}
