//! Which endpoint a profile's time belongs to: each function's growth, with all that it calls, against the requests in
//! the same windows. What is too light for a fit of its own follows its callers.

use crate::fit::Regression;
use crate::mix::Mix;
use model::{Estimate, FunctionTime, Gap, Growth, OperationTime, Profile, states};
use std::collections::BTreeMap;

/// A node has a fit of its own from this share of its state's time on.
const MIN_SHARE: f64 = 0.005;
/// Fits of one state at most: the heaviest nodes.
const MAX_FITS: usize = 400;
/// A fit counts as much as its caller's division where this much time is behind it, milliseconds: about twenty samples.
const PRIOR_MS: f64 = 200.0;
/// Functions with a figure of their own.
const MAX_FUNCTIONS: usize = 60;
/// As the fit has it: beyond it figures cannot be told apart.
const MAX_CONDITION: f64 = 30.0;
const STATES: usize = 4;

/// Divides a profile among the operations of `mix`, whose windows are those of `growth`. What could not be told is
/// returned.
pub fn divide(profile: &mut Profile, growth: &Growth, mix: &Mix) -> Vec<Gap> {
    let regression = Regression::new(mix);
    let windows = mix.windows.len();
    let operations = mix.operations.len();
    profile.operations.clone_from(&mix.operations);
    profile.residual = 1.0;
    profile.condition = regression.condition().min(1e9);
    profile.windows = windows;
    let requests: Vec<f64> =
        (0..operations).map(|o| mix.windows.iter().filter_map(|w| w.requests.get(o)).sum()).collect();
    let time = |requests: &f64| OperationTime { requests: *requests, cpu_ms: None };
    profile.times = requests.iter().map(time).collect();
    let seconds: f64 = mix.windows.iter().map(|w| w.seconds).sum();
    let mut nothing = vec![0.0; operations + 1];
    nothing[operations] = 1.0;
    profile.splits = vec![nothing];
    if let Some(only) = only_one(&requests).filter(|_| regression.condition() > MAX_CONDITION) {
        lay_on(profile, only);
        return regression.gaps().to_vec();
    }
    let fitter = Fitter { regression: &regression, requests: &requests, seconds };
    for state in 0..STATES {
        let total = inclusive(profile, growth, state, windows);
        fitter.split_state(profile, &total, state);
        if state == states::ON_CPU {
            fitter.tell_operations(profile, total.first().map_or(&[], Vec::as_slice));
        }
    }
    fitter.tell_functions(profile, growth, windows);
    regression.gaps().to_vec()
}

/// The only operation with requests.
fn only_one(requests: &[f64]) -> Option<usize> {
    let mut busy = requests.iter().enumerate().filter(|(_, n)| **n > 0.0).map(|(at, _)| at);
    busy.next().filter(|_| busy.next().is_none())
}

/// One operation at a steady rate: what no request causes cannot be told from it, and all that is computed counts for it.
/// Waits do not: most are those of idle threads.
fn lay_on(profile: &mut Profile, operation: usize) {
    let width = profile.operations.len() + 1;
    profile.splits.push((0..width).map(|at| if at == operation { 1.0 } else { 0.0 }).collect());
    for node in &mut profile.nodes {
        node.split = [1, 1, 0, 1];
    }
}

/// By node, its time in each window with all that it calls.
fn inclusive(profile: &Profile, growth: &Growth, state: usize, windows: usize) -> Vec<Vec<f64>> {
    let mut total = vec![vec![0.0; windows]; profile.nodes.len()];
    for grown in growth.own.iter().filter(|g| usize::from(g.state) == state) {
        if let Some(sum) = total.get_mut(grown.node as usize).and_then(|t| t.get_mut(grown.window as usize)) {
            *sum += grown.ms;
        }
    }
    for at in (1..profile.nodes.len()).rev() {
        let own = total[at].clone();
        let parent = profile.nodes[at].parent as usize;
        total[parent].iter_mut().zip(own).for_each(|(sum, ms)| *sum += ms);
    }
    total
}

struct Fitter<'a> {
    regression: &'a Regression,
    requests: &'a [f64],
    seconds: f64,
}

impl Fitter<'_> {
    /// Shares of each operation and of what no request causes; `None` where the windows tell nothing.
    fn shares(&self, growth: &[f64]) -> Option<Vec<f64>> {
        let told = self.regression.attribute(growth)?;
        let mut shares: Vec<f64> = told
            .per_request
            .iter()
            .zip(self.requests)
            .map(|(rate, requests)| rate.map_or(0.0, |r| r.value.max(0.0) * requests))
            .collect();
        shares.push(told.background_per_second.map_or(0.0, |r| r.value.max(0.0) * self.seconds));
        let sum: f64 = shares.iter().sum();
        // What the fit lays on nobody, as where two operations cannot be told apart, is nobody's.
        let all: f64 = growth.iter().sum();
        if sum < all
            && let Some(background) = shares.last_mut()
        {
            *background += all - sum;
        }
        let sum = sum.max(all);
        (sum > 0.0 && sum.is_finite()).then(|| shares.into_iter().map(|s| s / sum).collect())
    }

    /// From the root down: a node's own fit as far as there is time behind it, its caller's for the rest.
    fn split_state(&self, profile: &mut Profile, total: &[Vec<f64>], state: usize) {
        let sums: Vec<f64> = total.iter().map(|windows| windows.iter().sum()).collect();
        let all = sums.first().copied().unwrap_or(0.0);
        if all <= 0.0 {
            return;
        }
        let mut heavy: Vec<usize> = (0..sums.len()).filter(|at| sums[*at] >= MIN_SHARE * all).collect();
        heavy.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]).then(a.cmp(b)));
        heavy.truncate(MAX_FITS);
        heavy.sort_unstable();
        for at in 0..profile.nodes.len() {
            let parent = profile.nodes[at].parent as usize;
            let above = if at == 0 { 0 } else { profile.nodes[parent].split[state] };
            let same_as_above = at != 0 && (sums[parent] - sums[at]).abs() < 1e-9;
            let fitted = (!same_as_above && heavy.binary_search(&at).is_ok())
                .then(|| self.shares(&total[at]))
                .flatten();
            profile.nodes[at].split[state] = match fitted {
                None => above,
                Some(fit) => {
                    let weight = if at == 0 { 1.0 } else { sums[at] / (sums[at] + PRIOR_MS) };
                    let prior = profile.splits[above as usize].clone();
                    let mixed: Vec<f64> = fit
                        .iter()
                        .zip(prior)
                        .map(|(own, above)| weight * own + (1.0 - weight) * above)
                        .collect();
                    profile.splits.push(mixed);
                    u32::try_from(profile.splits.len() - 1).unwrap_or(0)
                }
            };
        }
    }

    fn tell_operations(&self, profile: &mut Profile, total: &[f64]) {
        let told = self.regression.attribute(total);
        profile.residual = told.as_ref().map_or(1.0, |t| t.residual);
        let cpu_ms = |at: usize| {
            let rate = told.as_ref()?.per_request.get(at).copied().flatten()?;
            Some(Estimate { value: rate.value, low: rate.low, high: Some(rate.high) })
        };
        let time = |(at, requests): (usize, &f64)| OperationTime { requests: *requests, cpu_ms: cpu_ms(at) };
        profile.times = self.requests.iter().enumerate().map(time).collect();
    }

    fn tell_functions(&self, profile: &mut Profile, growth: &Growth, windows: usize) {
        let mut by_frame: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for grown in growth.own.iter().filter(|g| usize::from(g.state) == states::ON_CPU && g.node != 0) {
            let Some(node) = profile.nodes.get(grown.node as usize) else { continue };
            let of = by_frame.entry(node.frame).or_insert_with(|| vec![0.0; windows]);
            if let Some(sum) = of.get_mut(grown.window as usize) {
                *sum += grown.ms;
            }
        }
        let mut all: Vec<(u32, Vec<f64>)> = by_frame.into_iter().collect();
        let sum = |growth: &[f64]| growth.iter().sum::<f64>();
        all.sort_by(|a, b| sum(&b.1).total_cmp(&sum(&a.1)).then(a.0.cmp(&b.0)));
        all.truncate(MAX_FUNCTIONS);
        let told = all.into_iter().filter_map(|(frame, growth)| {
            let told = self.regression.attribute(&growth)?;
            let estimate = |rate: &Option<crate::Rate>| {
                rate.map(|r| Estimate { value: r.value, low: r.low, high: Some(r.high) })
            };
            let per_request = told.per_request.iter().map(estimate).collect();
            Some(FunctionTime { frame, per_request, residual: told.residual })
        });
        profile.functions = told.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::divide;
    use crate::mix::{Mix, Window, varied};
    use model::{CallNode, CodeFrame, Grown, Growth, Profile, states};

    const WINDOWS: usize = 24;
    /// Milliseconds on CPU of one request of each of two operations, by node; node 4 has no request.
    const TRUTH: [[f64; 2]; 5] = [[0.0, 0.0], [0.0, 0.0], [8.0, 0.0], [1.0, 3.0], [0.0, 0.0]];

    /// main -> build, parse, and main -> sweep in the background, with the noise of a sampler of 10 ms.
    fn made() -> (Profile, Growth, Mix) {
        let node = |parent, frame| CallNode { parent, frame, ..CallNode::default() };
        let names = ["main", "build", "parse", "sweep"];
        let frames = names.map(|n| CodeFrame { function: n.to_owned(), ..CodeFrame::default() }).to_vec();
        let mut nodes = vec![CallNode::default(), node(0, 0), node(1, 1), node(1, 2), node(1, 3)];
        let factors = varied(2, WINDOWS);
        let rates = [21.0, 43.0];
        let window = |f: &Vec<f64>| Window {
            seconds: 1.0,
            requests: f.iter().zip(rates).map(|(f, r)| f * r).collect(),
            void: None,
        };
        let windows: Vec<Window> = factors.iter().map(window).collect();
        let mut own = Vec::new();
        let mut chance = 7_u64;
        for (at, window) in windows.iter().enumerate() {
            for (n, truth) in TRUTH.iter().enumerate() {
                let work: f64 = truth.iter().zip(&window.requests).map(|(t, r)| t * r).sum();
                let work = if n == 4 { 50.0 } else { work };
                // Samples: whole ticks of 10 ms, up or down by chance.
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let ms = 10.0 * ((work / 10.0) + (chance >> 40) as f64 / (1 << 24) as f64).floor();
                if ms > 0.0 {
                    own.push(Grown { node: n as u32, state: 0, window: at as u32, ms });
                    nodes[n].own_ms[states::ON_CPU] += ms;
                }
            }
        }
        let profile = Profile { nodes, frames, splits: vec![vec![1.0]], ..Profile::default() };
        let mix = Mix { operations: vec!["GET /a".into(), "GET /b".into()], windows };
        (profile, Growth { borders_ns: Vec::new(), own }, mix)
    }

    #[test]
    fn functions_fall_to_the_operations_that_call_them() {
        let (mut profile, growth, mix) = made();
        assert_eq!(divide(&mut profile, &growth, &mix), []);
        let of = |node: usize, operation: usize| {
            profile.own_ms(&profile.nodes[node], states::ON_CPU, operation)
                / profile.times.get(operation).map_or(1.0, |t| t.requests)
        };
        assert!((of(2, 0) - 8.0).abs() < 0.8, "{}", of(2, 0));
        assert!(of(2, 1) < 0.4, "{}", of(2, 1));
        assert!((of(3, 1) - 3.0).abs() < 0.6, "{}", of(3, 1));
        let cpu = profile.times[0].cpu_ms.unwrap();
        assert!((cpu.value - 9.0).abs() < 1.0 && cpu.low < 9.1 && cpu.high.unwrap() > 8.9, "{cpu:?}");
        let build = profile.functions.iter().find(|f| profile.frames[f.frame as usize].function == "build");
        let build = build.unwrap().per_request[0].unwrap();
        assert!((build.value - 8.0).abs() < 0.8, "{build:?}");
    }

    #[test]
    fn the_parts_sum_to_the_whole() {
        let (mut profile, growth, mix) = made();
        divide(&mut profile, &growth, &mix);
        for node in &profile.nodes {
            let parts: f64 = (0..=2).map(|o| profile.own_ms(node, states::ON_CPU, o)).sum();
            assert!((parts - node.own_ms[states::ON_CPU]).abs() < 1e-6, "{node:?}");
        }
        let background = profile.own_ms(&profile.nodes[4], states::ON_CPU, 2);
        assert!(background > 0.75 * profile.nodes[4].own_ms[0], "{background}");
    }

    #[test]
    fn one_operation_at_a_steady_rate_has_all_that_is_computed() {
        let (mut profile, growth, mut mix) = made();
        mix.operations.truncate(1);
        mix.windows.iter_mut().for_each(|window| window.requests = vec![20.0]);
        assert!(!divide(&mut profile, &growth, &mix).is_empty());
        let computed = profile.per_request_ms(states::ON_CPU, 0) * 20.0 * WINDOWS as f64;
        let all: f64 = profile.nodes.iter().map(|n| n.own_ms[states::ON_CPU]).sum();
        assert!((computed - all).abs() < 1e-6, "{computed} of {all}");
    }

    #[test]
    fn too_few_windows_tell_nothing_and_say_so() {
        let (mut profile, growth, mut mix) = made();
        mix.windows.truncate(3);
        let gaps = divide(&mut profile, &growth, &mix);
        assert!(gaps.iter().any(|g| g.reason.contains("too few")), "{gaps:?}");
        assert!(profile.times.iter().all(|t| t.cpu_ms.is_none()));
        let node = &profile.nodes[2];
        assert!((profile.own_ms(node, 0, 2) - node.own_ms[0]).abs() < 1e-9);
    }
}
