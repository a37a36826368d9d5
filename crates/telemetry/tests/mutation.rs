//! Real files with random damage: whatever comes in, nothing panics, memory stays bounded, and what was kept is what
//! was counted.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]
#![expect(dead_code, reason = "the writer of wire format serves other tests as well")]
#![expect(clippy::cast_possible_truncation, reason = "positions within small files")]

mod wire;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use telemetry::{Batch, Intake, files};

const SEED: u64 = 20_261_123;
/// Bytes of a file that are damaged, so that a round is quick.
const MAX_SEED_BYTES: usize = 24 << 10;
const MAX_RESIDENT_BYTES: usize = 1 << 20;

fn testdata(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces").join(name);
    let bytes = fs::read(path).unwrap();
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&*bytes).take(MAX_SEED_BYTES as u64).read_to_end(&mut plain).unwrap();
    plain
}

/// One small file of each kind.
fn seeds() -> Vec<Vec<u8>> {
    let names = [
        "online-boutique/healthy.jsonl.gz",
        "online-boutique/healthy.metrics.jsonl.gz",
        "critical-path/19.json",
        "zipkin/messaging.json",
        "zipkin/simple-db-p6.json",
        "zipkin/skew.json",
    ];
    let mut seeds: Vec<Vec<u8>> = names.map(testdata).into();
    let message = wire::traces(&[wire::Span::default(), wire::Span::default()]);
    seeds.push(message.repeat(4));
    let framed = [&(message.len() as u32).to_be_bytes()[..], &message].concat();
    seeds.push(framed.repeat(4));
    seeds.iter_mut().for_each(|seed| seed.truncate(MAX_SEED_BYTES));
    seeds
}

/// What damage looks like: bits, bytes, parts that are missing, doubled or moved, structure in the wrong place.
fn damage(bytes: &mut Vec<u8>, random: &mut Xoshiro256PlusPlus) {
    const STRUCTURE: [&[u8]; 10] = [b"{", b"}", b"[", b"]", b"\"", b",", b"\n", b"null", b"\xff", b"-1e999"];
    let mut below = |bound: usize| (random.next_u64() % bound.max(1) as u64) as usize;
    for _ in 0..=below(6) {
        if bytes.is_empty() {
            return;
        }
        let at = below(bytes.len());
        let end = (at + below(64)).min(bytes.len());
        match below(6) {
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                let to = below(bytes.len());
                bytes.splice(to..to, part);
            }
            4 => {
                let word = STRUCTURE[below(STRUCTURE.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
}

fn check(batch: &Batch, what: &str) {
    let kept = batch.report.thinned.as_ref().map_or(batch.report.spans, |thinned| thinned.kept_spans);
    assert_eq!(batch.spans.len() as u64, kept, "{what}");
    assert!(batch.spans.resident_bytes() < 4 * MAX_RESIDENT_BYTES, "{what}");
    let rows =
        batch.spans.rows().filter(|span| !span.name().is_empty() && !span.service().is_empty()).count();
    assert!(rows <= batch.spans.len(), "every row can be read");
    assert!(batch.metrics.iter().flat_map(|s| &s.points).all(|p| p.value.is_finite()), "{what}");
}

#[test]
fn damaged_files_are_read_or_told() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let (mut read, mut told) = (0, 0);
    for (nth, seed) in seeds().iter().enumerate() {
        for round in 0..150 {
            let mut bytes = seed.clone();
            damage(&mut bytes, &mut random);
            let mut intake = Intake::sampling_above(MAX_RESIDENT_BYTES);
            match files::read_body(&bytes, "damaged", &mut intake) {
                Ok(()) => read += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    told += 1;
                }
            }
            check(&intake.take(), &format!("seed {SEED}, file {nth}, round {round}"));
        }
    }
    assert!(read > 100 && told > 20, "{read} read, {told} told: damage is neither too weak nor too strong");
}

#[test]
fn damaged_packing_is_read_or_told() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let folder = tempfile::tempdir().unwrap();
    let plain = testdata("online-boutique/healthy.jsonl.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for (nth, packed) in [gzip.finish().unwrap(), zstd::encode_all(&*plain, 1).unwrap()].iter().enumerate() {
        for round in 0..60 {
            let mut bytes = packed.clone();
            damage(&mut bytes, &mut random);
            let path = folder.path().join("t");
            fs::write(&path, &bytes).unwrap();
            match files::read_within(std::slice::from_ref(&path), MAX_RESIDENT_BYTES) {
                Ok(batch) => check(&batch, &format!("seed {SEED}, packing {nth}, round {round}")),
                Err(error) => {
                    assert!(format!("{error:#}").contains(&path.display().to_string()), "{error:#}")
                }
            }
        }
    }
}

#[test]
fn structure_without_end_stops_at_its_bounds() {
    let open = 200_000;
    for (bytes, what) in [
        (b"[".repeat(open), "lists in lists"),
        (b"{\"data\":".repeat(open), "data in data"),
        (b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"attributes\":[{\"value\":{\"arrayValue\":{\"values\":[".repeat(1000), "values in values"),
        (b"\n".repeat(open), "empty lines"),
        (b"{}\n".repeat(open), "empty documents"),
        (b"{\n".repeat(open), "objects in objects"),
        ([&b"\x0a\xff\xff\xff\xff\x0f"[..], &[0; 64]].concat(), "a message of 4 GiB"),
        ([&b"\x07\xff\xff\xff\x0a"[..], &[0; 64]].concat(), "a framed message of 128 MiB"),
    ] {
        let mut intake = Intake::sampling_above(MAX_RESIDENT_BYTES);
        let read = files::read_body(&bytes, what, &mut intake);
        assert!(read.is_err() || intake.take().spans.is_empty(), "{what}");
    }
}

#[test]
fn one_trace_of_two_hundred_thousand_siblings_is_bounded() {
    let span = |id: u32, parent: &str| {
        format!(
            r#"{{"traceId":"{:032x}","spanId":"{id:016x}","parentSpanId":"{parent}","name":"s","startTimeUnixNano":1,"endTimeUnixNano":2}}"#,
            7
        )
    };
    let mut text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}"#, span(1, ""));
    for id in 2..200_000 {
        text.push(',');
        text.push_str(&span(id, "0000000000000001"));
    }
    text.push_str("]}]}]}");
    let mut intake = Intake::sampling_above(MAX_RESIDENT_BYTES);
    files::read_body(text.as_bytes(), "siblings", &mut intake).unwrap();
    let batch = intake.take();
    let thinned = batch.report.thinned.unwrap();
    assert_eq!((thinned.spans, thinned.traces, thinned.kept_traces), (199_999, 1, 1));
    assert!(batch.spans.resident_bytes() < 2 * MAX_RESIDENT_BYTES && thinned.cut_spans > 0);
}
