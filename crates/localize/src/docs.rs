//! The rules as a document, made from their table.

use crate::rules::{NOT_RUN, RULES};
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
    out.push_str("\n## Rules that cannot run yet\n\nNo recording has a place for their signal; each diagnosis lists them as not run.\n\n");
    for (name, missing) in NOT_RUN {
        let _infallible = writeln!(out, "- `{name}` needs {missing}");
    }
    out
}
