//! A recording's profile as the page draws it: the tree in columns, small parts folded into their callers.

use crate::clip::{LABEL, line};
use crate::data::When;
use crate::{Inputs, Measured};
use model::{CodeKind, Profile, StateMs};
use serde::Serialize;

/// Boxes of one flame graph at most.
const MAX_BOXES: usize = 4000;
/// A box stays where it has this share of all time in one of the states.
const MIN_SHARE: f64 = 5e-4;

/// One flame graph; node 0 is the root.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flame {
    pub(crate) when: When,
    pub(crate) title: String,
    pub(crate) wall_ms: f64,
    /// The profiler's own cost, share of a core.
    pub(crate) own_share: f64,
    /// Samples on CPU against the kernel's count before they were scaled to it, as share of it.
    pub(crate) unscaled_error: Option<f64>,
    pub(crate) residual: f64,
    pub(crate) operations: Vec<String>,
    pub(crate) requests: Vec<f64>,
    /// Name, place, and kind: 0 code, 1 interpreted code, 2 kernel, 3 a wait, 4 threads.
    pub(crate) frames: Vec<(String, String, u8)>,
    pub(crate) parents: Vec<u32>,
    pub(crate) frame: Vec<u32>,
    /// Own milliseconds by state.
    pub(crate) own: Vec<StateMs>,
    /// By state: which of `splits`.
    pub(crate) split: Vec<[u32; 4]>,
    /// Shares of the operations, and last what no request causes.
    pub(crate) splits: Vec<Vec<f64>>,
}

/// Before and after, where they were profiled.
pub(crate) fn all(inputs: &Inputs<'_>) -> Vec<Flame> {
    let of = |measured: Option<Measured<'_>>, when| {
        let profile = measured?.recording.profile.as_ref()?;
        (profile.nodes.len() > 1).then(|| view(profile, when))
    };
    [of(inputs.before, When::Before), of(inputs.after, When::After)].into_iter().flatten().collect()
}

fn view(profile: &Profile, when: When) -> Flame {
    let mut flame = Flame {
        when,
        title: line(&profile.title, LABEL),
        wall_ms: round(profile.wall_ms),
        own_share: round(profile.own_share),
        unscaled_error: profile.unscaled_error.map(round),
        residual: round(profile.residual),
        operations: profile.operations.iter().map(|o| line(o, LABEL)).collect(),
        requests: profile.times.iter().map(|t| round(t.requests)).collect(),
        frames: profile.frames.iter().map(frame).collect(),
        parents: vec![0],
        frame: vec![0],
        own: vec![profile.nodes[0].own_ms],
        split: vec![profile.nodes[0].split],
        splits: profile.splits.iter().map(|s| s.iter().map(|v| round(*v)).collect()).collect(),
    };
    fold(profile, &mut flame);
    flame.own.iter_mut().for_each(|own| *own = own.map(round));
    flame
}

/// Takes the nodes that are large enough; the time of the others goes to their callers.
fn fold(profile: &Profile, flame: &mut Flame) {
    let nodes = &profile.nodes;
    let mut total: Vec<StateMs> = nodes.iter().map(|node| node.own_ms).collect();
    for at in (1..nodes.len()).rev() {
        let own = total[at];
        let parent = (nodes[at].parent as usize).min(at - 1);
        total[parent].iter_mut().zip(own).for_each(|(sum, ms)| *sum += ms);
    }
    let all = total[0];
    let share = |of: &StateMs| {
        of.iter().zip(all).map(|(ms, all)| if all > 0.0 { ms / all } else { 0.0 }).fold(0.0, f64::max)
    };
    let mut least = MIN_SHARE;
    while total.iter().filter(|t| share(t) >= least).count() > MAX_BOXES {
        least *= 2.0;
    }
    let mut place = vec![0_u32; nodes.len()];
    for at in 1..nodes.len() {
        let node = &nodes[at];
        let parent = place[(node.parent as usize).min(at - 1)];
        if share(&total[at]) < least {
            place[at] = parent;
            let own = &mut flame.own[parent as usize];
            own.iter_mut().zip(node.own_ms).for_each(|(sum, ms)| *sum += ms);
            continue;
        }
        place[at] = u32::try_from(flame.parents.len()).unwrap_or(0);
        flame.parents.push(parent);
        flame.frame.push(node.frame.min(u32::try_from(profile.frames.len().saturating_sub(1)).unwrap_or(0)));
        flame.own.push(node.own_ms);
        flame.split.push(node.split);
    }
}

fn frame(frame: &model::CodeFrame) -> (String, String, u8) {
    let file = if frame.file.is_empty() { &frame.module } else { &frame.file };
    let place = if frame.line > 0 { format!("{file}:{}", frame.line) } else { file.clone() };
    let kind = match frame.kind {
        CodeKind::Native => 0,
        CodeKind::Python | CodeKind::JavaScript => 1,
        CodeKind::Kernel => 2,
        CodeKind::Label => 3,
        CodeKind::Threads => 4,
    };
    (line(&frame.function, LABEL), line(&place, LABEL), kind)
}

fn round(value: f64) -> f64 {
    if value.is_finite() { (value * 1e4).round() / 1e4 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{When, view};
    use model::{CallNode, CodeFrame, Profile};

    #[test]
    fn many_small_boxes_fold_and_no_time_is_lost() {
        let mut profile = Profile { nodes: vec![CallNode::default()], ..Profile::default() };
        for n in 0..20_000_u32 {
            profile.frames.push(CodeFrame { function: format!("f{n}"), ..CodeFrame::default() });
            let own_ms = [if n == 0 { 5000.0 } else { 1.0 }, 0.0, 0.0, 0.0];
            profile.nodes.push(CallNode { parent: 0, frame: n, own_ms, ..CallNode::default() });
        }
        let flame = view(&profile, When::Before);
        assert!(flame.parents.len() <= super::MAX_BOXES);
        let sum: f64 = flame.own.iter().map(|own| own[0]).sum();
        assert!((sum - 24_999.0).abs() < 1.0, "{sum}");
    }
}
