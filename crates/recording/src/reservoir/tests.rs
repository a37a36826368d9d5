//! The reservoir: what is kept, what is counted, and that both are always the same.

use super::*;
use model::{Attribute, SpanFields, Value};
use std::collections::BTreeMap;

/// Traces of `width` spans from number `from` on, each span of `attributes` attributes; every hundredth is of `/rare`.
fn traces(from: u64, count: u64, width: u64, part: std::ops::Range<u64>) -> SpanTable {
    let mut table = SpanTable::default();
    let key = table.strings.intern("service.name");
    let value = table.pack(Value::Text("api"));
    let resource = table.add_resource(&[Attribute { key, value }]);
    for trace in from..from + count {
        for nth in part.clone().filter(|nth| *nth < width) {
            let rare = trace % 100 == 0;
            let name = match (nth, rare) {
                (0, true) => "GET /rare",
                (0, false) => "GET /often",
                _ => "SELECT",
            };
            let name = table.strings.intern(name);
            let key = table.strings.intern("request.id");
            let value = table.pack(Value::Text(&format!("request {trace}")));
            // One in fifty is slow.
            let duration_ns = if trace % 50 == 7 { 900_000_000 } else { 1_000_000 + trace.cast_signed() };
            let fields = SpanFields {
                trace_id: u128::from(trace + 1),
                span_id: nth + 1,
                parent_id: u64::from(nth > 0),
                start_ns: 1_000 + trace,
                duration_ns,
                name,
                resource,
                ..SpanFields::default()
            };
            table.push(fields, &[Attribute { key, value }]);
        }
    }
    table
}

const MAX_BYTES: usize = 1 << 20;

fn fed(tables: &[SpanTable]) -> (SpanTable, Option<Thinned>) {
    let mut reservoir = Reservoir::new(MAX_BYTES);
    for table in tables {
        reservoir.add(table);
        assert!(reservoir.pool.resident_bytes() <= MAX_BYTES * 3 / 2, "{}", reservoir.pool.resident_bytes());
    }
    reservoir.finish(SpanTable::default())
}

#[test]
fn what_fits_is_kept_as_it_is() {
    let table = traces(0, 10, 3, 0..3);
    let (kept, thinned) = Reservoir::new(MAX_BYTES).finish(table);
    assert_eq!((kept.len(), thinned), (30, None));
}

#[test]
fn whole_traces_are_kept_and_all_are_counted() {
    let tables: Vec<_> = (0..20).map(|n| traces(n * 1000, 1000, 5, 0..5)).collect();
    let (kept, thinned) = fed(&tables);
    let thinned = thinned.unwrap();
    assert_eq!((thinned.spans, thinned.traces), (100_000, 20_000));
    assert!(thinned.kept_traces > 1000 && thinned.kept_traces < 10_000, "{}", thinned.kept_traces);
    let mut sizes: BTreeMap<u128, u32> = BTreeMap::new();
    kept.trace_ids.iter().for_each(|trace| *sizes.entry(*trace).or_default() += 1);
    assert!(sizes.values().all(|spans| *spans == 5), "no trace is kept in part");
    let counts: Vec<_> = thinned.roots.iter().map(|r| (r.name.as_str(), r.durations.count())).collect();
    assert_eq!(counts, [("GET /often", 19_800), ("GET /rare", 200)]);
    assert_eq!((thinned.start_ns, thinned.end_ns), (1_000, 900_000_000 + 1_000 + 19_957));
    let rare = kept.rows().filter(|span| span.name() == "GET /rare").count();
    assert_eq!(rare, 200, "an endpoint of fewer than 256 traces is kept whole");
    assert!(kept.rows().all(|span| {
        let id = span.fields().trace_id - 1;
        span.service() == "api" && span.attribute("request.id") == Some(Value::Text(&format!("request {id}")))
    }));
}

#[test]
fn roots_stand_for_all_requests() {
    let tables: Vec<_> = (0..20).map(|n| traces(n * 1000, 1000, 5, 0..5)).collect();
    let (kept, _) = fed(&tables);
    let of = |name: &str| -> f64 {
        let roots = kept.rows().filter(|span| span.name() == name);
        roots.map(|s| s.attribute(STANDS_FOR).and_then(|v| v.as_number()).unwrap_or(1.0)).sum()
    };
    assert!((of("GET /often") - 19_800.0).abs() < 1.0 && (of("GET /rare") - 200.0).abs() < 1e-6);
    assert!(kept.rows().filter(|s| s.name() == "SELECT").all(|s| s.attribute(STANDS_FOR).is_none()));
}

#[test]
fn the_share_of_slow_requests_stays() {
    let tables: Vec<_> = (0..40).map(|n| traces(n * 1000, 1000, 5, 0..5)).collect();
    let (kept, _) = fed(&tables);
    let roots: Vec<_> = kept.rows().filter(|s| s.name() == "GET /often").collect();
    let slow = roots.iter().filter(|s| s.fields().duration_ns == 900_000_000).count();
    let share = slow as f64 / roots.len() as f64;
    assert!((share - 0.02).abs() < 0.01, "{slow} of {}", roots.len());
}

#[test]
fn parts_of_a_trace_meet_in_whatever_order_they_come() {
    // The roots come last, when most traces were dropped already.
    let mut tables: Vec<_> = (0..20).map(|n| traces(n * 1000, 1000, 6, 3..6)).collect();
    tables.extend((0..20).map(|n| traces(n * 1000, 1000, 6, 0..3)));
    let (kept, thinned) = fed(&tables);
    let thinned = thinned.unwrap();
    let mut sizes: BTreeMap<u128, u32> = BTreeMap::new();
    kept.trace_ids.iter().for_each(|trace| *sizes.entry(*trace).or_default() += 1);
    assert!(sizes.values().all(|spans| *spans == 6), "no trace is kept in part");
    assert_eq!((thinned.traces, thinned.roots.iter().map(|r| r.durations.count()).sum()), (20_000, 20_000));
}

#[test]
fn the_same_input_gives_the_same_sample() {
    let tables: Vec<_> = (0..10).map(|n| traces(n * 1000, 1000, 5, 0..5)).collect();
    let ((first, told), (second, again)) = (fed(&tables), fed(&tables));
    assert_eq!((first.trace_ids, first.span_ids, told), (second.trace_ids, second.span_ids, again));
}

#[test]
fn one_trace_larger_than_the_memory_is_cut_and_told() {
    let (kept, thinned) = fed(&[traces(7, 1, 60_000, 0..60_000), traces(8, 1, 60_000, 0..60_000)]);
    let thinned = thinned.unwrap();
    assert!(kept.len() > 1000 && kept.resident_bytes() < MAX_BYTES * 3 / 2, "{}", kept.len());
    assert!(thinned.cut_spans > 1000 && thinned.gap().reason.contains("very large"), "{thinned:?}");
}

#[test]
fn links_stay_with_their_spans() {
    let mut table = traces(0, 5000, 5, 0..5);
    table.links = (0..25_000_u32).map(|row| (row, u128::from(row), 1)).collect();
    let (kept, _) = fed(&[table]);
    assert_eq!(kept.links.len(), kept.len());
    assert!(kept.links.iter().zip(0..).all(|(link, row): (_, u32)| link.0 == row));
    let same = kept.links.iter().zip(&kept.trace_ids).all(|(link, trace)| link.1 / 5 + 1 == *trace);
    assert!(same, "each link is its span's");
}
