//! A change: one thing, reversible.

use serde::{Deserialize, Serialize};

/// One HTTP request that sets something. Header values may hold secrets: they are never saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCall {
    #[serde(default = "put")]
    pub method: String,
    /// Absolute, or a path on the service's base URL.
    pub url: String,
    #[serde(default)]
    pub body: String,
}

fn put() -> String {
    "PUT".to_owned()
}

/// How a change is made and undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChangeKind {
    /// Statements on the service's database.
    Sql { apply: String, undo: String },
    /// A switch or feature flag behind HTTP: quick both ways, so that it can be toggled under load.
    Http { apply: HttpCall, undo: HttpCall },
    /// A command of the user's.
    Command { apply: Vec<String>, undo: Vec<String> },
    /// Trimtab cannot do it: the text says what a person should.
    Manual { text: String },
}

/// A change with the words that a report needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Short and stable: the control's name, or the index's.
    pub name: String,
    pub description: String,
    pub kind: ChangeKind,
}

impl Change {
    /// Whether it can be switched back and forth within a measurement.
    #[must_use]
    pub fn toggles_at_run_time(&self) -> bool {
        matches!(self.kind, ChangeKind::Http { .. })
    }
}
