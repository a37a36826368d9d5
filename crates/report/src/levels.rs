//! Stepped load for the page: the same nouns, with texts from outside made harmless and lists bounded.

use crate::clip::{LABEL, SENTENCE, line, without_secrets};
use model::Scaling;

const MAX_LEVELS: usize = 40;
const MAX_RESOURCES: usize = 30;
const MAX_DOUBTS: usize = 8;

/// What the page shows of it.
pub(crate) fn shown(scaling: &Scaling) -> Scaling {
    let mut out = scaling.clone();
    let label = |text: &mut String| *text = line(&without_secrets(text), LABEL);
    let sentence = |text: &mut String| *text = line(&without_secrets(text), SENTENCE);
    label(&mut out.recording);
    label(&mut out.target);
    out.levels.truncate(MAX_LEVELS);
    out.resources.truncate(MAX_RESOURCES);
    for level in &mut out.levels {
        level.doubts.truncate(MAX_DOUBTS);
        level.doubts.iter_mut().for_each(sentence);
        level.goals.truncate(MAX_RESOURCES);
        level.goals.iter_mut().for_each(|g| label(&mut g.goal));
    }
    for resource in &mut out.resources {
        label(&mut resource.name);
        label(&mut resource.owner);
        resource.used.truncate(MAX_LEVELS);
    }
    sentence(&mut out.limit.reason);
    sentence(&mut out.knee.reason);
    sentence(&mut out.stop.reason);
    if let Some(goals) = &mut out.goal_rate {
        sentence(&mut goals.reason);
    }
    out
}
