//! Reasons to hold back, in words and with their figure: they stand beside a finding and change nothing in it.

use crate::facts::Facts;
use crate::goals::quantile_ms;
use crate::shape::EndpointId;
use crate::standing::Standing;
use model::{Gap, Prediction};

/// What speaks against acting on a finding at once.
#[must_use]
pub(crate) fn reasons(
    facts: &Facts<'_>,
    endpoint: EndpointId,
    standing: Standing,
    prediction: Option<&Prediction>,
    noise_ms: Option<f64>,
) -> Vec<String> {
    let t = facts.thresholds;
    let mut out = Vec::new();
    let p95 = || quantile_ms(facts, endpoint, 0.95);
    match standing {
        Standing::Met => {
            out.push(format!("hold back: all goals of this endpoint are met, its p95 is {:.1} ms", p95()))
        }
        Standing::Quick if prediction.is_some() => {
            out.push(format!("hold back: nobody set a goal, and a p95 of {:.1} ms is quick", p95()));
        }
        _ => {}
    }
    let gain = prediction.map(Prediction::gain_ms).filter(|gain| *gain > 0.0);
    if let Some((gain, noise)) = gain.zip(noise_ms).filter(|(gain, noise)| gain < noise) {
        out.push(format!(
            "the gain, {gain:.1} ms, is within what chance moves this p95 by: {noise:.1} ms either way"
        ));
    }
    let covered = facts.coverage.get(endpoint as usize).copied().unwrap_or(1.0);
    let traced = !facts.is_attributed(endpoint) && !facts.only_outside;
    if prediction.is_some() && covered < t.min_coverage && traced {
        out.push(format!(
            "spans explain {:.0} % of this endpoint's time only: the rest is not judged",
            covered * 100.0
        ));
    }
    if prediction.is_some()
        && let Some(reason) = facts.saturation.generator_invalid.first()
    {
        out.push(format!("the load's figures are not to be trusted: {reason}"));
    }
    out
}

/// Endpoints with too few traces for any rule that asks for several.
#[must_use]
pub(crate) fn too_few(facts: &Facts<'_>) -> Vec<Gap> {
    if facts.single_trace {
        return Vec::new();
    }
    let least = facts.thresholds.min_traces;
    let few = facts.endpoints().filter(|(_, e)| (e.trees.len() as u64) < least);
    let names: Vec<&str> = few.map(|(id, _)| facts.load.name(id)).collect();
    let Some(first) = names.first() else { return Vec::new() };
    let others = names.len() - 1;
    let whom =
        if others == 0 { format!("`{first}`") } else { format!("`{first}` and {others} other endpoints") };
    let reason =
        format!("of {whom} fewer than {least} traces were seen: too few to tell a pattern from chance");
    vec![Gap::new("traces", reason, "measure longer, or judge one trace alone by giving only that")]
}

#[cfg(test)]
mod tests {
    use crate::testing::drawn;
    use crate::{Options, localize};

    const SLOW: &str = "repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT * FROM items WHERE order_id = $1\" 5..12 x10 gap 1 db.query.parameter.0={n}";

    fn lines(drawing: &str, goal: &str) -> Vec<String> {
        let options = Options { goals: vec![goal.parse().expect("a goal")], ..Options::default() };
        let found = localize(&drawn(drawing), &options).findings;
        found.iter().find(|f| f.rule == "n_plus_one").expect("a finding").evidence.lines.clone()
    }

    #[test]
    fn a_goal_that_is_met_is_said_with_its_figure() {
        let met = lines(SLOW, "p95(GET /a) < 300 ms");
        assert!(
            met.iter().any(|l| l.contains("all goals of this endpoint are met, its p95 is 100.0 ms")),
            "{met:?}"
        );
        assert!(lines(SLOW, "p95(GET /a) < 50 ms").iter().all(|l| !l.contains("hold back")));
    }

    #[test]
    fn a_gain_within_the_noise_is_said() {
        let noisy = format!("{SLOW}\n\nrepeat 1\napi server \"GET /a\" 0..900\n  api db \"SELECT 1\" 5..890");
        let found = lines(&noisy, "p95(GET /a) < 50 ms");
        assert!(found.iter().any(|l| l.contains("within what chance moves this p95")), "{found:?}");
    }

    #[test]
    fn too_few_traces_are_a_gap() {
        let few = drawn("repeat 2\napi server \"GET /a\" 0..100\n\nrepeat 9\napi server \"GET /b\" 0..10");
        let gaps = localize(&few, &Options::default()).gaps;
        assert!(gaps.iter().any(|g| g.reason.starts_with("of `GET /a` fewer than 3 traces")), "{gaps:?}");
    }
}
