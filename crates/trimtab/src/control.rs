//! Controls: what Trimtab may change by itself, as the settings declare it, and which finding each one mends.
//! A control says what it does (rule, endpoint, statement); which one is tried first, only the findings decide.

use model::{Change, ChangeKind, Finding, HttpCall, RemedyKind};
use serde::Deserialize;

/// One `[[control]]` of the settings file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Unique; the change's name.
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Rules whose findings it mends.
    pub remedies: Vec<String>,
    /// Endpoints that it changes; none given: any.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Word that the finding's statement, shape or resource must contain, letter case aside.
    #[serde(default)]
    pub matches: Option<String>,
    /// HTTP calls that switch it on and off while the service runs.
    #[serde(default)]
    pub apply: Option<HttpCall>,
    #[serde(default)]
    pub undo: Option<HttpCall>,
    /// Or commands.
    #[serde(default)]
    pub apply_command: Vec<String>,
    #[serde(default)]
    pub undo_command: Vec<String>,
}

impl Control {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let unknown = self.remedies.iter().find(|rule| !localize::rule_names().contains(&rule.as_str()));
        if self.name.trim().is_empty() {
            return Some("a control needs a `name`".to_owned());
        }
        if let Some(rule) = unknown {
            return Some(format!(
                "control `{}`: remedies: unknown rule `{rule}`, known are {}",
                self.name,
                localize::rule_names().join(", ")
            ));
        }
        let calls = (self.apply.is_some(), self.undo.is_some());
        let commands = (!self.apply_command.is_empty(), !self.undo_command.is_empty());
        let (both, none) = ((true, true), (false, false));
        if !matches!(
            (calls == both, calls == none, commands == both, commands == none),
            (true, _, _, true) | (_, true, true, _)
        ) {
            return Some(format!(
                "control `{}`: give either `apply` and `undo` (HTTP calls) or `apply_command` and `undo_command`",
                self.name
            ));
        }
        None
    }

    /// Whether it mends the finding.
    pub fn mends(&self, finding: &Finding) -> bool {
        self.remedies.contains(&finding.rule)
            && (self.endpoints.is_empty() || self.endpoints.iter().any(|e| same(e, &finding.endpoint)))
            && self.matches.as_ref().is_none_or(|word| mentions(finding, word))
    }

    /// The change that it makes.
    pub fn change(&self) -> Change {
        let description =
            if self.description.is_empty() { self.name.clone() } else { self.description.clone() };
        let kind = match (&self.apply, &self.undo) {
            (Some(apply), Some(undo)) => ChangeKind::Http { apply: apply.clone(), undo: undo.clone() },
            _ => ChangeKind::Command { apply: self.apply_command.clone(), undo: self.undo_command.clone() },
        };
        Change { name: self.name.clone(), description, kind }
    }
}

fn same(declared: &str, endpoint: &str) -> bool {
    model::Goal {
        metric: model::GoalMetric::Mean,
        subject: declared.to_owned(),
        relation: model::Relation::Below,
        limit: 0.0,
    }
    .concerns(endpoint)
}

fn mentions(finding: &Finding, word: &str) -> bool {
    let word = word.to_lowercase();
    let place = &finding.place;
    let function = place.function.as_ref().map(|f| &f.function);
    [place.statement.as_ref(), place.shape.as_ref(), place.resource.as_ref(), function]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(&word))
}

/// The change for a finding, if Trimtab can make one: SQL of its own where a database may be changed, else a control.
pub fn change_for(
    finding: &Finding,
    controls: &[Control],
    sql_allowed: bool,
    used: &[String],
) -> Option<Change> {
    let sql = finding.remedies.iter().find_map(|remedy| match (remedy.kind, &remedy.patch, &remedy.undo) {
        (RemedyKind::Sql, Some(apply), Some(undo)) => Some((apply, undo, &remedy.text)),
        _ => None,
    });
    if let (Some((apply, undo, text)), true) = (sql, sql_allowed) {
        let change = Change {
            name: index_name(apply).unwrap_or_else(|| finding.rule.clone()),
            description: text.clone(),
            kind: ChangeKind::Sql { apply: apply.clone(), undo: undo.clone() },
        };
        if !used.contains(&change.name) {
            return Some(change);
        }
    }
    controls.iter().find(|c| c.mends(finding) && !used.contains(&c.name)).map(Control::change)
}

/// The index that `CREATE INDEX ... name ON ...` makes.
fn index_name(sql: &str) -> Option<String> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let on = words.iter().position(|w| w.eq_ignore_ascii_case("on"))?;
    words.get(on.checked_sub(1)?).map(|w| w.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(rule: &str, endpoints: &[&str], matches: Option<&str>) -> Control {
        let call = HttpCall { method: "PUT".into(), url: "/switches".into(), body: "{}".into() };
        Control {
            name: format!("{rule} control"),
            description: String::new(),
            remedies: vec![rule.to_owned()],
            endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(),
            matches: matches.map(str::to_owned),
            apply: Some(call.clone()),
            undo: Some(call),
            apply_command: Vec::new(),
            undo_command: Vec::new(),
        }
    }

    #[test]
    fn an_index_is_named_after_what_the_sql_creates() {
        let sql = "CREATE INDEX CONCURRENTLY IF NOT EXISTS trimtab_items_idx ON items (order_id)";
        assert_eq!(index_name(sql).as_deref(), Some("trimtab_items_idx"));
        assert_eq!(index_name("ON x"), None);
        assert_eq!(index_name("ANALYZE"), None);
    }

    #[test]
    fn a_control_with_an_unknown_rule_is_named() {
        let problem = control("n_plus_two", &[], None).problem().expect("a problem");
        assert!(problem.contains("`n_plus_two`") && problem.contains("n_plus_one"), "{problem}");
        assert_eq!(control("n_plus_one", &[], None).problem(), None);
    }

    #[test]
    fn half_a_control_is_refused() {
        let whole = || control("n_plus_one", &[], None);
        let without_undo = Control { undo: None, ..whole() };
        let command = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let half_beside_whole = Control { undo_command: command(&["true"]), ..whole() };
        let commands_and_half_a_call = Control {
            apply_command: command(&["true"]),
            undo_command: command(&["true"]),
            undo: None,
            ..whole()
        };
        for wrong in [without_undo, half_beside_whole, commands_and_half_a_call] {
            assert!(wrong.problem().is_some(), "{wrong:?}");
        }
    }
}
