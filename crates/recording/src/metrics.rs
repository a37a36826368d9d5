//! `metrics.parquet`: one row a point, the points of a series together under its number.

use crate::table;
use anyhow::{Context, Result};
use arrow_array::builder::{MapBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, Float64Array, MapArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use model::{MetricKind, MetricSeries, Point};
use std::collections::BTreeMap;
use std::sync::Arc;

const KINDS: [(MetricKind, &str); 3] =
    [(MetricKind::Gauge, "gauge"), (MetricKind::Counter, "counter"), (MetricKind::Quantile, "quantile")];

/// The bytes of the file. A series without points is not kept.
pub(crate) fn encode(series: &[MetricSeries]) -> Result<Vec<u8>> {
    let points = || series.iter().enumerate().flat_map(|(at, s)| s.points.iter().map(move |p| (at, s, p)));
    let mut attributes = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (_, series, _) in points() {
        for (key, value) in &series.attributes {
            attributes.keys().append_value(key);
            attributes.values().append_value(value);
        }
        attributes.append(true)?;
    }
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let columns: Vec<(String, ArrayRef)> = vec![
        ("series".into(), Arc::new(UInt32Array::from_iter_values(points().map(|(at, ..)| number(at))))),
        ("name".into(), Arc::new(StringArray::from_iter_values(points().map(|(_, s, _)| &s.name)))),
        ("unit".into(), Arc::new(StringArray::from_iter_values(points().map(|(_, s, _)| &s.unit)))),
        ("kind".into(), Arc::new(StringArray::from_iter_values(points().map(|(_, s, _)| word(s.kind))))),
        ("attributes".into(), Arc::new(attributes.finish())),
        ("time_ns".into(), Arc::new(UInt64Array::from_iter_values(points().map(|(_, _, p)| p.time_ns)))),
        ("value".into(), Arc::new(Float64Array::from_iter_values(points().map(|(_, _, p)| p.value)))),
    ];
    table::encode(columns, table::settings().build())
}

fn word(kind: MetricKind) -> &'static str {
    KINDS.iter().find(|(k, _)| *k == kind).map_or("gauge", |(_, word)| word)
}

/// The series of the file's batches.
pub(crate) fn decode(batches: &[RecordBatch]) -> Result<Vec<MetricSeries>> {
    let mut all: Vec<MetricSeries> = Vec::new();
    let mut last = None;
    for batch in batches {
        let numbers = table::column(batch, "series")?.as_primitive_opt::<UInt32Type>().context("series")?;
        let names = table::column(batch, "name")?.as_string_opt::<i32>().context("name")?;
        let units = table::column(batch, "unit")?.as_string_opt::<i32>().context("unit")?;
        let kinds = table::column(batch, "kind")?.as_string_opt::<i32>().context("kind")?;
        let attributes = table::column(batch, "attributes")?.as_map_opt().context("attributes")?;
        let times = table::column(batch, "time_ns")?.as_primitive_opt::<UInt64Type>().context("time_ns")?;
        let values = table::column(batch, "value")?.as_primitive_opt::<Float64Type>().context("value")?;
        for row in 0..batch.num_rows() {
            if last.replace(numbers.value(row)) != Some(numbers.value(row)) {
                let kind = kinds.value(row);
                let known = KINDS.iter().find(|(_, word)| *word == kind);
                all.push(MetricSeries {
                    name: names.value(row).to_owned(),
                    unit: units.value(row).to_owned(),
                    kind: known.with_context(|| format!("unknown kind `{kind}`"))?.0,
                    attributes: pairs(attributes, row)?,
                    points: Vec::new(),
                });
            }
            if let Some(series) = all.last_mut() {
                series.points.push(Point { time_ns: times.value(row), value: values.value(row) });
            }
        }
    }
    Ok(all)
}

fn pairs(map: &MapArray, row: usize) -> Result<BTreeMap<String, String>> {
    let entries = map.value(row);
    let keys = entries.column(0).as_string_opt::<i32>().context("attributes: keys")?;
    let values = entries.column(1).as_string_opt::<i32>().context("attributes: values")?;
    Ok(keys.iter().zip(values).map(|(k, v)| (k.unwrap_or("").into(), v.unwrap_or("").into())).collect())
}
