//! How many replicas a rate needs, under an assumption that is stated, and what this cannot know.

use model::{Estimate, LevelState, Replicas, ResourceUse, Scaling};

/// Without goals, one replica is planned at its knee, or at this share of its ceiling where no knee was seen.
const SHARE_OF_CEILING: f64 = 0.7;
/// More replicas than this are not told.
const MOST: f64 = 1e6;

/// Replicas for a rate, from all else that is known.
pub(crate) fn needed(scaling: &Scaling, for_rate: f64) -> Replicas {
    let (each, planned) = each(scaling);
    let shared = shared(&scaling.resources);
    let mut assumption = format!(
        "each replica has a machine like this one to itself and is planned at {planned}; the load is spread evenly; the replicas slow each other down in nothing but what they share"
    );
    let mut out = Replicas {
        for_rate,
        count: None,
        low: None,
        high: None,
        each_per_s: each,
        shared_full_at_per_s: shared.and_then(|r| r.full_at_per_s),
        shared_resource: shared.map(ResourceUse::title),
        assumption: String::new(),
        reason: String::new(),
    };
    if let Some(r) = shared {
        assumption.push_str(&format!("; {} is shared by all of them and stays as it is", r.title()));
    } else {
        assumption.push_str("; what they share (a database, a cache, a queue) was not watched, so that its own ceiling is not known");
    }
    out.assumption = assumption;
    let Some(each) = each.filter(|e| e.value > 0.0) else {
        out.reason =
            "no level answers within the goals: more replicas do not make one of them quicker".to_owned();
        return out;
    };
    if let Some((full, name)) = out.shared_full_at_per_s.zip(out.shared_resource.as_ref())
        && for_rate > full.value
    {
        let high = full.high.map_or("no upper end".to_owned(), |h| format!("{h:.0}/s"));
        out.reason = format!(
            "no number of replicas is enough: {name} is full at {:.0}/s ({:.0}/s to {high})",
            full.value, full.low
        );
        return out;
    }
    let count = |rate: f64| whole((for_rate / rate).ceil().max(1.0));
    out.count = count(each.value);
    out.low = each.high.and_then(count);
    out.high = if each.low > 0.0 { count(each.low) } else { None };
    out.reason = format!("{for_rate:.1}/s over {:.1}/s each", each.value);
    if let Some((full, name)) = out.shared_full_at_per_s.zip(out.shared_resource.as_ref())
        && for_rate > full.low
    {
        out.reason.push_str(&format!(
            "; it may be too much for {name} already, which is full at {:.0}/s (from {:.0}/s)",
            full.value, full.low
        ));
    }
    out
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MOST")]
fn whole(count: f64) -> Option<u32> {
    (count <= MOST).then_some(count as u32)
}

/// What one replica answers, and how that is called.
fn each(scaling: &Scaling) -> (Option<Estimate>, &'static str) {
    if let Some(goals) = &scaling.goal_rate {
        return (goals.rate, "the rate that meets the goals");
    }
    if let Some(rate) = scaling.knee.rate.filter(|_| scaling.knee.seen) {
        return (Some(rate), "its knee");
    }
    if let Some(ceiling) = &scaling.ceiling {
        let of = |v: f64| v * SHARE_OF_CEILING;
        let rate = ceiling.rate;
        let planned = Estimate { value: of(rate.value), low: of(rate.low), high: rate.high.map(of) };
        return (Some(planned), "70 % of its ceiling");
    }
    let steady =
        scaling.levels.iter().filter(|l| matches!(l.state, LevelState::Steady | LevelState::Unsettled));
    let most = steady.map(|l| l.throughput_per_s.value).reduce(f64::max);
    let most = most.map(|value| Estimate { value, low: value, high: None });
    (most, "the highest level that was measured, as no limit was seen")
}

/// The shared resource that is full first.
fn shared(resources: &[ResourceUse]) -> Option<&ResourceUse> {
    let shared = resources.iter().filter(|r| r.shared && r.full_at_per_s.is_some());
    shared.min_by(|a, b| {
        let at = |r: &ResourceUse| r.full_at_per_s.map_or(f64::INFINITY, |e| e.value);
        at(a).total_cmp(&at(b))
    })
}
