//! The rules as a document, made from their table.

use crate::rules::RULES;
use crate::{code, outside};
use std::fmt::Write;

/// `docs/rules.md`.
#[must_use]
pub fn rules_markdown() -> String {
    let mut out = String::from(
        "# The rules\n\nMade from the table of rules in `crates/localize`; `UPDATE_EXPECT=1 cargo test -p localize --test docs` writes it anew.\n\
         A rule that lacks a signal does not run, and the diagnosis says so.\n",
    );
    for rule in RULES {
        let needs: Vec<&str> = rule.needs.iter().map(|n| n.word()).collect();
        let (name, why, how, predicts, needs) =
            (rule.name, rule.why, rule.how, rule.predicts, needs.join(", "));
        // Writing to a string cannot fail.
        let _infallible = write!(
            out,
            "\n## `{name}`\n\n{why}\n\n- Fires: {how}\n- Predicts: {predicts}\n- Needs: {needs}\n"
        );
    }
    out.push_str("\n# Rules on profiles\n\nThey need a profile of the service and no traces; `trimtab measure` takes one where it may.\n");
    for rule in code::RULES {
        let (name, why, how, predicts) = (rule.name, rule.why, rule.how, rule.predicts);
        let _infallible = write!(
            out,
            "\n## `{name}` (profile)\n\n{why}\n\n- Fires: {how}\n- Predicts: {predicts}\n- Needs: a profile\n"
        );
    }
    out.push_str("\n# Rules on requests from outside\n\nThey need an access log, or the load's own figures; they claim no cause and predict nothing.\n");
    for rule in outside::RULES {
        let (name, why, how) = (rule.name, rule.why, rule.how);
        let _infallible = write!(out, "\n## `{name}` (outside)\n\n{why}\n\n- Fires: {how}\n");
    }
    out
}
