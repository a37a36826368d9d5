//! The recording's own figures, and what it could not show.

use crate::facts::Facts;
use crate::goals::{error_share, quantile_ms};
use crate::predict::round;
use model::{EndpointFigures, Gap, RecordingFigures};

/// Endpoints by name, with their figures.
#[must_use]
pub(crate) fn recording(facts: &Facts<'_>) -> RecordingFigures {
    let run = &facts.recording.run;
    let mut endpoints: Vec<EndpointFigures> = facts
        .endpoints()
        .map(|(id, endpoint)| {
            let load = &facts.load.endpoints[id as usize];
            let drawn = facts.is_attributed(id) || facts.only_outside;
            let traces = if drawn { 0 } else { endpoint.trees.len() as u64 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let stood_for = endpoint.requests.round() as u64;
            EndpointFigures {
                endpoint: load.name.clone(),
                service: facts.name(endpoint.service).to_owned(),
                requests: if load.responses.is_empty() { stood_for } else { load.responses.count() },
                rate_per_s: round(facts.rate_per_s(id)),
                p50_ms: round(quantile_ms(facts, id, 0.5)),
                p95_ms: round(quantile_ms(facts, id, 0.95)),
                p99_ms: round(quantile_ms(facts, id, 0.99)),
                error_share: round(error_share(facts, id)),
                traces,
                coverage: facts.coverage.get(id as usize).map(|c| round(*c)).filter(|_| !drawn),
            }
        })
        .collect();
    endpoints.extend(facts.load.unjoined.iter().map(|load| EndpointFigures {
        endpoint: load.name.clone(),
        service: String::new(),
        requests: load.responses.count(),
        rate_per_s: round(load.responses.count() as f64 / facts.seconds()),
        p50_ms: round(load.responses.quantile_ms(0.5).unwrap_or(0.0)),
        p95_ms: round(load.responses.quantile_ms(0.95).unwrap_or(0.0)),
        p99_ms: round(load.responses.quantile_ms(0.99).unwrap_or(0.0)),
        error_share: round(load.error_share()),
        traces: 0,
        coverage: None,
    }));
    endpoints.sort_by(|a, b| (&a.endpoint, &a.service).cmp(&(&b.endpoint, &b.service)));
    RecordingFigures {
        id: run.id.clone(),
        start_ns: run.start_ns,
        end_ns: run.end_ns,
        spans: facts.recording.spans.len() as u64,
        traces: facts.forest.traces,
        endpoints,
        validity: run.validity.clone(),
    }
}

/// What was unusable in the spans.
#[must_use]
pub(crate) fn gaps(facts: &Facts<'_>) -> Vec<Gap> {
    let seen = facts.forest.ingest;
    let mut gaps = Vec::new();
    let mut add = |count: u64, what: &str, hint: &str| {
        if count > 0 {
            gaps.push(Gap::new("traces", format!("{count} {what}"), hint));
        }
    };
    add(
        seen.orphans,
        "spans name a parent that was not received; what lies below them is not judged",
        "check that every service exports to the same place, and that no span processor drops spans",
    );
    add(seen.cycles, "spans were their own ancestors", "check the propagation of span ids");
    add(
        seen.negative_durations,
        "spans end before they start; they count as 0 ms",
        "check the clock that the instrumentation reads",
    );
    add(seen.missing_times, "spans have no start time", "check the exporter");
    add(
        seen.duplicates,
        "spans were received twice; each counts once",
        "check for two exporters of one service",
    );
    add(
        seen.realigned,
        "server spans lay outside their client's time and were moved into it: clocks differ",
        "synchronise the clocks of the hosts; times on the way between services are estimates until then",
    );
    add(
        facts.shapes.lone,
        "spans stand alone beside the requests of their service, and take little; they are no endpoints",
        "none needed, unless they are requests: mark those with the kind SERVER",
    );
    add(
        facts.shapes.unshaped,
        "spans were not told apart: names or statements hold values that are not recognised",
        "keep values out of span names; send statements with placeholders",
    );
    let invalid = facts.recording.run.validity.issues.iter().filter(|i| i.invalid);
    let invalid: Vec<Gap> = invalid.map(|i| Gap::new("load", i.reason.as_str(), i.hint.as_str())).collect();
    add(
        facts.calls.without_statement,
        "database spans do not tell their statement",
        "let the instrumentation send db.query.text (or db.statement)",
    );
    gaps.extend(invalid);
    let attributed: Vec<&str> = facts
        .endpoints()
        .filter(|(id, _)| facts.is_attributed(*id))
        .map(|(id, _)| facts.load.name(id))
        .collect();
    if !attributed.is_empty() {
        let names = named(&attributed);
        let reason = format!("no trace shows what {names}: what was found there, the load's mix told");
        let hint = "send traces of the service to trimtab (OTLP), with its database calls, to see the rest";
        gaps.push(Gap::new("traces", reason, hint));
    }
    gaps.extend(facts.load.unjoined.iter().map(|load| {
        let reason = format!("no trace of `{}` was received: nothing can be found on it", load.name);
        let hint = "send traces of the service to trimtab (OTLP), and let it take the traceparent header";
        Gap::new("traces", reason, hint)
    }));
    gaps
}

/// `` `GET /a` does ``, `` 9 endpoints do: `GET /a`, `GET /b` and 7 more ``.
fn named(endpoints: &[&str]) -> String {
    const SHOWN: usize = 8;
    if let [one] = endpoints {
        return format!("`{one}` does");
    }
    let shown: Vec<String> = endpoints.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let rest = endpoints.len() - shown.len();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{} endpoints do ({}{more})", endpoints.len(), shown.join(", "))
}
