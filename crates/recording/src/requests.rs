//! `requests.parquet`, one row a kept request, and `latencies.parquet`, one row a bucket of a cell's histogram.

use crate::table;
use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, UInt16Array, UInt32Array,
    UInt64Array,
};
use model::{ErrorClass, LatencyCell, RequestPhases, RequestSample};
use std::collections::BTreeMap;
use std::sync::Arc;

const RESPONSE: &str = "response";
const SERVICE: &str = "service";
/// Failed requests of a cell: bucket 0, their number as count.
const ERROR: &str = "error";

/// The bytes of `latencies.parquet`; a cell without anything in it is not kept.
pub(crate) fn encode_latencies(cells: &[LatencyCell]) -> Result<Vec<u8>> {
    let rows: Vec<(&LatencyCell, &str, i32, u64)> = cells
        .iter()
        .flat_map(|cell| {
            let response = cell.response.buckets().iter().map(move |&(b, n)| (cell, RESPONSE, b, n));
            let service = cell.service.buckets().iter().map(move |&(b, n)| (cell, SERVICE, b, n));
            let errors = (cell.errors > 0).then_some((cell, ERROR, 0, u64::from(cell.errors)));
            response.chain(service).chain(errors)
        })
        .collect();
    let columns: Vec<(String, ArrayRef)> = vec![
        ("operation".into(), Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.0.operation)))),
        ("cell".into(), Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.0.cell)))),
        ("kind".into(), Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1)))),
        ("bucket".into(), Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.2)))),
        ("count".into(), Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.3)))),
    ];
    table::encode(columns, table::settings().build())
}

/// The cells of `latencies.parquet`, by operation, then time.
pub(crate) fn decode_latencies(batches: &[RecordBatch]) -> Result<Vec<LatencyCell>> {
    let mut cells: BTreeMap<(u32, u32), LatencyCell> = BTreeMap::new();
    for batch in batches {
        let operations = table::column(batch, "operation")?.as_primitive_opt::<UInt32Type>();
        let operations = operations.context("operation")?;
        let times = table::column(batch, "cell")?.as_primitive_opt::<UInt32Type>().context("cell")?;
        let kinds = table::column(batch, "kind")?.as_string_opt::<i32>().context("kind")?;
        let buckets = table::column(batch, "bucket")?.as_primitive_opt::<Int32Type>().context("bucket")?;
        let counts = table::column(batch, "count")?.as_primitive_opt::<UInt64Type>().context("count")?;
        for row in 0..batch.num_rows() {
            let (operation, time, count) = (operations.value(row), times.value(row), counts.value(row));
            let cell = cells.entry((operation, time)).or_insert_with(|| LatencyCell {
                operation,
                cell: time,
                ..LatencyCell::default()
            });
            match kinds.value(row) {
                RESPONSE => cell.response.add(buckets.value(row), count),
                SERVICE => cell.service.add(buckets.value(row), count),
                ERROR => cell.errors = u32::try_from(count).unwrap_or(u32::MAX),
                other => anyhow::bail!("unknown kind `{other}`"),
            }
        }
    }
    Ok(cells.into_values().collect())
}

/// A phase of a request.
type Phase = fn(&mut RequestPhases) -> &mut u64;

/// Columns of the phases of a request; files of older versions have none.
const PHASES: &[(&str, Phase)] = &[
    ("queue_ns", |phases| &mut phases.queue_ns),
    ("lookup_ns", |phases| &mut phases.lookup_ns),
    ("connect_ns", |phases| &mut phases.connect_ns),
    ("tls_ns", |phases| &mut phases.tls_ns),
    ("send_ns", |phases| &mut phases.send_ns),
    ("wait_ns", |phases| &mut phases.wait_ns),
    ("receive_ns", |phases| &mut phases.receive_ns),
];

/// The bytes of `requests.parquet`.
pub(crate) fn encode_requests(requests: &[RequestSample]) -> Result<Vec<u8>> {
    let errors = requests.iter().map(|r| r.error.map(word).transpose()).collect::<Result<Vec<_>>>()?;
    let numbers = |field: fn(&RequestSample) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(requests.iter().map(field)))
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("operation".into(), Arc::new(UInt32Array::from_iter_values(requests.iter().map(|r| r.operation)))),
        ("due_ns".into(), numbers(|r| r.due_ns)),
        ("response_ns".into(), numbers(|r| r.response_ns)),
        ("service_ns".into(), numbers(|r| r.service_ns)),
        ("status".into(), Arc::new(UInt16Array::from_iter_values(requests.iter().map(|r| r.status)))),
        ("error".into(), Arc::new(StringArray::from_iter(errors))),
        ("received_bytes".into(), numbers(|r| r.received_bytes)),
        ("sent_bytes".into(), numbers(|r| r.sent_bytes)),
        ("trace_id".into(), Arc::new(table::fixed(requests.iter().map(|r| Some(r.trace_id)))?)),
        ("slowest".into(), Arc::new(BooleanArray::from_iter(requests.iter().map(|r| Some(r.slowest))))),
    ];
    for (name, phase) in PHASES {
        let values = requests.iter().map(|request| {
            let mut phases = request.phases;
            *phase(&mut phases)
        });
        columns.push(((*name).to_owned(), Arc::new(UInt64Array::from_iter_values(values))));
    }
    table::encode(columns, table::settings().build())
}

/// The requests of `requests.parquet`.
pub(crate) fn decode_requests(batches: &[RecordBatch]) -> Result<Vec<RequestSample>> {
    let mut requests = Vec::new();
    for batch in batches {
        let number =
            |name: &'static str| table::column(batch, name)?.as_primitive_opt::<UInt64Type>().context(name);
        let operations = table::column(batch, "operation")?.as_primitive_opt::<UInt32Type>();
        let operations = operations.context("operation")?;
        let (due, response, service) = (number("due_ns")?, number("response_ns")?, number("service_ns")?);
        let (received, sent) = (number("received_bytes")?, number("sent_bytes")?);
        let statuses = table::column(batch, "status")?.as_primitive_opt::<UInt16Type>().context("status")?;
        let errors = table::column(batch, "error")?.as_string_opt::<i32>().context("error")?;
        let traces = table::column(batch, "trace_id")?.as_fixed_size_binary_opt().context("trace_id")?;
        let slowest = table::column(batch, "slowest")?.as_boolean_opt().context("slowest")?;
        let mut phases = Vec::new();
        for (name, phase) in PHASES {
            if batch.column_by_name(name).is_some() {
                phases.push((number(name)?, phase));
            }
        }
        for row in 0..batch.num_rows() {
            let mut spent = RequestPhases::default();
            for (values, phase) in &phases {
                *phase(&mut spent) = values.value(row);
            }
            let error = errors.is_valid(row).then(|| class(errors.value(row))).transpose()?;
            requests.push(RequestSample {
                operation: operations.value(row),
                due_ns: due.value(row),
                response_ns: response.value(row),
                service_ns: service.value(row),
                status: statuses.value(row),
                error,
                received_bytes: received.value(row),
                sent_bytes: sent.value(row),
                trace_id: table::trace_id(traces.value(row)),
                slowest: slowest.value(row),
                phases: spent,
            });
        }
    }
    Ok(requests)
}

fn word(class: ErrorClass) -> Result<String> {
    let word = serde_json::to_value(class)?;
    word.as_str().map(str::to_owned).context("an error class is a word")
}

fn class(word: &str) -> Result<ErrorClass> {
    serde_json::from_value(word.into()).with_context(|| format!("error: unknown class `{word}`"))
}
