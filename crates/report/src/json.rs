//! The JSON that other programs may rely on: keys in the order of the nouns' fields, times in milliseconds.
//! A figure that is not finite is `null`. `docs/schema` holds every key path with its type.

use model::{Diagnosis, Judgement, Scaling};
use serde::Serialize;

/// What `trimtab localize --format json` prints: one object, two spaces of indentation, a line feed at the end.
#[must_use]
pub fn json(diagnosis: &Diagnosis) -> String {
    let mut sorted = diagnosis.clone();
    sorted.gaps.sort();
    sorted.rules_not_run.sort();
    pretty(&sorted)
}

/// What `trimtab verify --format json` prints, in the same form.
#[must_use]
pub fn judgement_json(judgement: &Judgement) -> String {
    pretty(judgement)
}

/// What `trimtab measure --levels --format json` prints, in the same form.
#[must_use]
pub fn scaling_json(scaling: &Scaling) -> String {
    pretty(scaling)
}

/// The nouns hold string keys only and no foreign serializer, so that writing to memory cannot fail.
fn pretty<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
