//! `hot_function`: one function of the service's own takes much of an endpoint's time on a CPU.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Endpoint, Told, names};
use model::states::ON_CPU;
use std::collections::BTreeMap;

pub(super) const RULE: CodeRule = CodeRule {
    name: "hot_function",
    why: "No index and no cache below will help where the code itself computes; the profile names the function and its line.",
    how: "Of the time on a CPU that the endpoint's requests take, 20 % or more lies in one function of the service's own, with the library code that it calls.",
    predicts: "The function becomes five times as fast, as a better algorithm or data structure makes it: from half of that gain to all of its time. Of slow requests the same share goes as of average ones; on a CPU (or a thread that works alone) more than 70 % busy, what stays waits less: 1 / (1 - rho^c) before and after.",
    run,
};

/// What mending makes of a function's speed.
const SPEEDUP: f64 = 5.0;

fn run(code: &Code<'_>) -> Vec<Told> {
    let told = |(at, endpoint): (usize, &Endpoint)| of_endpoint(code, at, endpoint);
    code.endpoints.iter().enumerate().flat_map(told).collect()
}

fn of_endpoint(code: &Code<'_>, at: usize, endpoint: &Endpoint) -> Vec<Told> {
    let all = endpoint.ms[ON_CPU];
    let mut owned: Vec<(u32, Owned)> = owned(code, endpoint).into_iter().collect();
    owned.sort_by(|a, b| b.1.ms.total_cmp(&a.1.ms).then(a.0.cmp(&b.0)));
    let hot = owned
        .into_iter()
        .filter(|(_, o)| all > 0.0 && o.ms >= code.facts.thresholds.hot_function_share * all);
    hot.map(|(frame, owned)| tell(code, (at, endpoint), frame, &owned)).collect()
}

/// Time on CPU that counts for a function of the service's own.
#[derive(Default)]
struct Owned {
    ms: f64,
    /// By the innermost frame, where that is another.
    inner: BTreeMap<u32, f64>,
}

fn owned(code: &Code<'_>, endpoint: &Endpoint) -> BTreeMap<u32, Owned> {
    let mut out: BTreeMap<u32, Owned> = BTreeMap::new();
    for node in 1..code.profile.nodes.len() {
        let ms = code.own(endpoint, node)[ON_CPU];
        let Some(owner) = (ms > 0.0).then(|| code.owner(node)).flatten() else { continue };
        // What a codec takes below it is told as that.
        let mut below = code.upward(node).take_while(|frame| *frame != owner);
        if below.any(|frame| names::is_codec(code.frame(frame))) {
            continue;
        }
        let of = out.entry(owner).or_default();
        of.ms += ms;
        let leaf = code.profile.nodes[node].frame;
        if leaf != owner {
            *of.inner.entry(leaf).or_default() += ms;
        }
    }
    out
}

fn tell(code: &Code<'_>, (at, endpoint): (usize, &Endpoint), frame: u32, owned: &Owned) -> Told {
    let share = owned.ms / endpoint.ms[ON_CPU];
    let mean = endpoint.responses.mean_ms();
    let of_latency = mean.map(|mean| (owned.ms / mean).min(1.0));
    let name = code.named(frame);
    let title = match mean {
        Some(_) => format!("{:.1} ms of CPU a request in {name}", owned.ms),
        None => format!("{:.0} % of the time on CPU in {name}", share * 100.0),
    };
    let mut lines =
        vec![format!("{:.0} % of the endpoint's {:.1} ms on CPU", share * 100.0, endpoint.ms[ON_CPU])];
    if let Some(of_latency) = of_latency {
        lines.push(format!(
            "{:.0} % of its mean response time of {:.1} ms",
            of_latency * 100.0,
            mean.unwrap_or(0.0)
        ));
    }
    lines.extend(interval(code, endpoint, frame));
    let agrees = busy_spans(code, endpoint, &mut lines);
    let inner = owned.inner.iter().max_by(|a, b| a.1.total_cmp(b.1)).filter(|(_, ms)| **ms >= 0.3 * owned.ms);
    if let Some((leaf, ms)) = inner {
        let leaf = code.shown(*leaf);
        lines.push(format!("{:.0} % of it within {leaf}, which it calls", 100.0 * ms / owned.ms));
    }
    Told {
        endpoint: at,
        title,
        function: Some(code.place(frame)),
        resource: None,
        share: of_latency.or(Some(share)),
        lines,
        prediction: saved(
            code,
            endpoint,
            Saved::faster(owned.ms, SPEEDUP),
            "the function can be made five times as fast",
        ),
        remedy: "mend this function: a set or map instead of a list, no work in loops that can be done once, a cached result, a smaller input; and keep CPU work off the threads that serve requests",
        confidence: if endpoint.operation.is_some() && agrees { 0.85 } else { 0.7 },
        claims: vec![frame],
    }
}

/// Spans that know their time on a CPU are a second witness. Whether it says the same.
fn busy_spans(code: &Code<'_>, endpoint: &Endpoint, lines: &mut Vec<String>) -> bool {
    const NEAR: f64 = 1.5;
    let Some(busy_ms) = code.busy_ms(endpoint) else { return true };
    let profiled_ms = endpoint.ms[ON_CPU];
    let agrees = busy_ms < NEAR * profiled_ms && profiled_ms < NEAR * busy_ms;
    let word = if agrees { "and the profile agrees" } else { "which is far from the profile's figure" };
    lines.push(format!("by the busy time of its spans a request takes {busy_ms:.1} ms on a CPU, {word}"));
    agrees
}

/// The regression's own figure with its interval.
fn interval(code: &Code<'_>, endpoint: &Endpoint, frame: u32) -> Option<String> {
    let operation = endpoint.operation?;
    let told = code.profile.functions.iter().find(|f| f.frame == frame)?;
    let estimate = told.per_request.get(operation).copied().flatten()?;
    Some(format!(
        "by the load's windows {:.1} ms a request in its own lines ({:.1} to {:.1}, residual {:.0} %)",
        estimate.value,
        estimate.low.max(0.0),
        estimate.high.unwrap_or(estimate.value),
        told.residual * 100.0
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const HOT: &str = "
        = GET /report 100 80
        = GET /ping 1000 2
        GET /report cpu 4000 | t:web;p:dispatch@/x/site-packages/flask/app.py:5;p:report@/srv/app.py:3;p:score@/srv/app.py:41
        GET /report cpu 500 | t:web;p:dispatch@/x/site-packages/flask/app.py:5;p:report@/srv/app.py:3
        GET /ping cpu 100 | t:web;p:dispatch@/x/site-packages/flask/app.py:5
    ";

    #[test]
    fn a_function_that_computes_is_one_finding_with_its_line() {
        check(
            "hot_function",
            &profiled(HOT),
            &expect![[r#"
                hot_function GET /report | 40.0 ms of CPU a request in score (srv/app.py:41) | p95 80.2 -> 48.2 (40.2..64.2) C
            "#]],
        );
    }

    #[test]
    fn many_functions_with_a_little_each_are_none() {
        let mut text = String::from("= GET /report 100 80\n");
        for n in 0..8 {
            text.push_str(&format!("GET /report cpu 500 | t:web;p:part{n}@/srv/app.py:{n}\n"));
        }
        check("hot_function", &profiled(&text), &expect![[""]]);
    }

    #[test]
    fn what_starts_a_server_is_not_what_is_hot() {
        let framework = "p:run@/x/site-packages/uvicorn/main.py:5";
        let text = |between: &str, leaf: &str| {
            format!(
                "= GET /books 100 80\nGET /books cpu 3000 | t:web;p:<module>@/x/bin/uvicorn:8;{between}{leaf}"
            )
        };
        check("hot_function", &profiled(&text("", framework)), &expect![[""]]);
        check("hot_function", &profiled(&text("p:serve@/srv/app.py:9;", framework)), &expect![[""]]);
        let handled = format!("{framework};p:books@/srv/app.py:30;p:dumps@/x/site-packages/fast/enc.py:5");
        check(
            "hot_function",
            &profiled(&text("", &handled)),
            &expect![[r#"
                hot_function GET /books | 30.0 ms of CPU a request in books (srv/app.py:30) | p95 80.2 -> 56.2 (50.2..68.2) C
            "#]],
        );
        check(
            "hot_function",
            &profiled(&text("p:serve@/srv/app.py:9;", "p:score@/srv/app.py:20")),
            &expect![[r#"
                hot_function GET /books | 30.0 ms of CPU a request in score (srv/app.py:20) | p95 80.2 -> 56.2 (50.2..68.2) C
            "#]],
        );
    }

    #[test]
    fn without_a_profile_the_rule_does_not_run() {
        check(
            "hot_function",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: hot_function (a profile)
        "#]],
        );
    }

    #[test]
    fn the_prediction_is_larger_on_a_thread_that_is_nearly_full() {
        let gain = |text: &str| {
            let found = crate::localize(&profiled(text), &crate::Options::default()).findings;
            found
                .iter()
                .find(|f| f.rule == "hot_function")
                .and_then(|f| f.prediction.clone())
                .unwrap()
                .gain_ms()
        };
        let full = HOT.replace("GET /ping cpu 100", "GET /ping cpu 4500");
        assert!(gain(&full) > gain(HOT) + 5.0, "{} {}", gain(&full), gain(HOT));
    }

    #[test]
    fn a_file_of_another_profiler_names_the_function_without_any_endpoint() {
        let mut recording = profiled(
            "- cpu 900 | t:web;n:main@main.rs:1;n:build@report.rs:7\n- cpu 100 | t:web;n:main@main.rs:1",
        );
        recording.profile.as_mut().unwrap().foreign = true;
        check(
            "hot_function",
            &recording,
            &expect![[r#"
            hot_function server | 90 % of the time on CPU in build (report.rs:7) | no prediction
        "#]],
        );
    }
}
