//! Spans back from their files. Values are interned once per dictionary, not once per row; attributes that nobody
//! wants are not decoded. A file that cannot be read becomes a gap, the others are read.

use crate::spans::{OWN, RESOURCE_PREFIX, RESOURCES, REST};
use crate::{disk, rest, spans, table};
use anyhow::{Context, Result, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use model::{Attribute, Gap, PackedValue, ResourceId, SpanFields, SpanTable, Sym, Value};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The spans of a recording's folder, in the order of writing; with `wanted`, no attributes but those (resources are
/// always complete). Each file that cannot be read is told as a gap.
///
/// # Errors
/// The folder cannot be read.
pub fn read_spans(folder: &Path, wanted: Option<&[&str]>) -> Result<(SpanTable, Vec<Gap>)> {
    let mut spans = SpanTable::default();
    let mut gaps = Vec::new();
    for path in files(folder)? {
        let before = spans.len();
        let read =
            disk::get(&path).and_then(|bytes| table::guarded(|| read_file(&mut spans, bytes.into(), wanted)));
        if let Err(error) = read {
            spans.truncate(before);
            gaps.push(Gap::new(
                "traces",
                format!("{} cannot be read: {error:#}", path.display()),
                "its spans are missing from the recording; copy the file again or measure again",
            ));
        }
    }
    Ok((spans, gaps))
}

/// `spans.parquet`, `spans-0001.parquet` ... by number.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
        if let Some(number) = name.to_str().and_then(number_of) {
            found.push((number, folder.join(&name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The number of a file of spans: 0 for the first, which has none in its name.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix("spans")?.strip_suffix(".parquet")?;
    if number.is_empty() { Some(0) } else { number.strip_prefix('-')?.parse().ok() }
}

fn read_file(table: &mut SpanTable, bytes: Bytes, wanted: Option<&[&str]>) -> Result<()> {
    let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new())?;
    let resources = resources(table, &metadata)?;
    let schema = Schema::new(
        metadata.schema().fields().iter().map(|f| as_dictionary(f, &metadata)).collect::<Vec<_>>(),
    );
    let rows = usize::try_from(metadata.metadata().file_metadata().num_rows()).context("rows")?;
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
    let read = |name: &str| {
        let own = OWN.contains(&name);
        own || (!name.starts_with(RESOURCE_PREFIX) && wanted.is_none_or(|wanted| wanted.contains(&name)))
    };
    let roots = metadata.schema().fields().iter().enumerate();
    let roots: Vec<usize> = roots.filter(|(_, field)| read(field.name())).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    // One batch a file: then each column has one dictionary.
    let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
        .with_projection(mask)
        .with_batch_size(rows.clamp(1, crate::SPANS_PER_FILE))
        .build()?;
    for batch in batches {
        add(table, &batch?, &resources, wanted)?;
    }
    Ok(())
}

/// A text column that was written with a dictionary is read as one.
fn as_dictionary(field: &Arc<Field>, metadata: &ArrowReaderMetadata) -> Arc<Field> {
    let groups = metadata.metadata().row_groups();
    let chunks = groups.iter().flat_map(|group| group.columns());
    let mut own = chunks.filter(|chunk| chunk.column_path().parts() == [field.name().as_str()]);
    let has = field.data_type() == &DataType::Utf8 && own.all(|c| c.dictionary_page_offset().is_some());
    if !has {
        return Arc::clone(field);
    }
    let of_texts = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(field.as_ref().clone().with_data_type(of_texts))
}

fn resources(table: &mut SpanTable, metadata: &ArrowReaderMetadata) -> Result<Vec<ResourceId>> {
    let pairs = metadata.metadata().file_metadata().key_value_metadata();
    let listed = pairs.into_iter().flatten().find(|pair| pair.key == RESOURCES);
    let listed = listed.and_then(|pair| pair.value.as_deref()).context("the list of resources is missing")?;
    let listed: Vec<Vec<(String, String)>> =
        serde_json::from_str(listed).context("the list of resources cannot be read")?;
    listed.iter().map(|pairs| resource(table, pairs)).collect()
}

fn resource(table: &mut SpanTable, pairs: &[(String, String)]) -> Result<ResourceId> {
    let mut attributes = Vec::with_capacity(pairs.len());
    for (key, text) in pairs {
        let value = rest::decode(text).with_context(|| format!("value of resource attribute `{key}`"))?;
        attributes.push(Attribute { key: table.strings.intern(key), value: table.pack(value.value()) });
    }
    Ok(table.add_resource(&attributes))
}

fn add(
    table: &mut SpanTable,
    batch: &RecordBatch,
    resources: &[ResourceId],
    wanted: Option<&[&str]>,
) -> Result<()> {
    let fixed = FixedColumns::of(table, batch)?;
    let columns = attribute_columns(table, batch)?;
    let rest = table::column(batch, REST)?.as_map_opt().context(REST)?;
    let link_traces =
        table::column(batch, "link_trace_ids")?.as_list_opt::<i32>().context("link_trace_ids")?;
    let link_spans = table::column(batch, "link_span_ids")?.as_list_opt::<i32>().context("link_span_ids")?;
    let mut attributes = Vec::with_capacity(columns.len());
    for row in 0..batch.num_rows() {
        attributes.clear();
        for (key, cells) in &columns {
            if let Some(value) = cells.get(table, row) {
                attributes.push(Attribute { key: *key, value });
            }
        }
        if rest.value_length(row) > 0 {
            add_rest(table, rest, row, wanted, &mut attributes)?;
        }
        if link_traces.value_length(row) > 0 {
            add_links(table, link_traces, link_spans, row)?;
        }
        table.push(fixed.get(row, resources)?, &attributes);
    }
    Ok(())
}

struct FixedColumns<'a> {
    batch: &'a RecordBatch,
    trace_ids: &'a [u8],
    span_ids: &'a [u8],
    parent_ids: &'a arrow_array::FixedSizeBinaryArray,
    starts: &'a [u64],
    durations: &'a [i64],
    names: Vec<Sym>,
    scopes: Vec<Sym>,
    kinds: Vec<Sym>,
    statuses: Vec<Sym>,
    kind_words: Vec<(Sym, model::SpanKind)>,
    status_words: Vec<(Sym, model::SpanStatus)>,
    resources: &'a [u32],
}

impl<'a> FixedColumns<'a> {
    fn of(table: &mut SpanTable, batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &'static str| table::column(batch, name);
        let ids = |name: &'static str, width: i32| {
            let ids = column(name)?.as_fixed_size_binary_opt().context(name)?;
            ensure!(ids.value_length() == width, "{name} is {} bytes wide", ids.value_length());
            Ok(ids)
        };
        let kind_words = spans::KINDS.map(|word| (table.strings.intern(word), spans::kind_of(word)));
        let status_words = spans::STATUSES.map(|word| (table.strings.intern(word), spans::status_of(word)));
        Ok(Self {
            batch,
            trace_ids: ids("trace_id", 16)?.value_data(),
            span_ids: ids("span_id", 8)?.value_data(),
            parent_ids: ids("parent_id", 8)?,
            starts: column("start_ns")?.as_primitive_opt::<UInt64Type>().context("start_ns")?.values(),
            durations: column("duration_ns")?
                .as_primitive_opt::<Int64Type>()
                .context("duration_ns")?
                .values(),
            names: symbols(table, column("name")?).context("name")?,
            scopes: symbols(table, column("scope")?).context("scope")?,
            kinds: symbols(table, column("kind")?).context("kind")?,
            statuses: symbols(table, column("status")?).context("status")?,
            kind_words: kind_words.to_vec(),
            status_words: status_words.to_vec(),
            resources: column("resource")?.as_primitive_opt::<UInt32Type>().context("resource")?.values(),
        })
    }

    fn get(&self, row: usize, resources: &[ResourceId]) -> Result<SpanFields> {
        debug_assert!(row < self.batch.num_rows(), "the loop is over the batch's rows");
        let parent = self.parent_ids.is_valid(row).then(|| table::span_id(self.parent_ids.value(row)));
        let resource = resources.get(self.resources[row] as usize);
        Ok(SpanFields {
            trace_id: table::trace_id(&self.trace_ids[row * 16..][..16]),
            span_id: table::span_id(&self.span_ids[row * 8..][..8]),
            parent_id: parent.unwrap_or(0),
            start_ns: self.starts[row],
            duration_ns: self.durations[row],
            name: self.names[row],
            kind: word(&self.kind_words, self.kinds[row]),
            status: word(&self.status_words, self.statuses[row]),
            resource: *resource.with_context(|| format!("row {row} names a resource that is not listed"))?,
            scope: self.scopes[row],
        })
    }
}

fn word<T: Copy + Default>(words: &[(Sym, T)], sym: Sym) -> T {
    words.iter().find(|(known, _)| *known == sym).map_or_else(T::default, |(_, word)| *word)
}

/// A text column as symbols; a missing value is the empty text.
fn symbols(table: &mut SpanTable, column: &ArrayRef) -> Result<Vec<Sym>> {
    match Cells::of(table, column)? {
        Cells::Symbols(symbols) => Ok(symbols.into_iter().map(Option::unwrap_or_default).collect()),
        _ => anyhow::bail!("is no text"),
    }
}

enum Cells {
    Symbols(Vec<Option<Sym>>),
    Int(ArrayRef),
    Float(ArrayRef),
    Bool(ArrayRef),
}

impl Cells {
    fn of(table: &mut SpanTable, column: &ArrayRef) -> Result<Self> {
        if let Some(texts) = column.as_dictionary_opt::<Int32Type>() {
            let values = texts.values().as_string_opt::<i32>().context("is no text")?;
            let known: Vec<Sym> = values.iter().map(|v| table.strings.intern(v.unwrap_or(""))).collect();
            let sym = |key: Option<i32>| known.get(usize::try_from(key?).ok()?).copied();
            return Ok(Self::Symbols(texts.keys().iter().map(sym).collect()));
        }
        if let Some(texts) = column.as_string_opt::<i32>() {
            let push = |text: Option<&str>| text.map(|text| table.strings.push_unshared(text));
            return Ok(Self::Symbols(texts.iter().map(push).collect()));
        }
        Ok(match column.data_type() {
            DataType::Int64 => Self::Int(Arc::clone(column)),
            DataType::Float64 => Self::Float(Arc::clone(column)),
            DataType::Boolean => Self::Bool(Arc::clone(column)),
            other => anyhow::bail!("has the unknown type {other}"),
        })
    }

    fn get(&self, table: &mut SpanTable, row: usize) -> Option<PackedValue> {
        let value = match self {
            Self::Symbols(symbols) => return symbols[row].map(PackedValue::text),
            Self::Int(ints) => {
                let ints = ints.as_primitive::<Int64Type>();
                ints.is_valid(row).then(|| Value::Int(ints.value(row)))
            }
            Self::Float(floats) => {
                let floats = floats.as_primitive::<Float64Type>();
                floats.is_valid(row).then(|| Value::Float(floats.value(row)))
            }
            Self::Bool(truths) => {
                let truths = truths.as_boolean();
                truths.is_valid(row).then(|| Value::Bool(truths.value(row)))
            }
        };
        value.map(|value| table.pack(value))
    }
}

fn attribute_columns(table: &mut SpanTable, batch: &RecordBatch) -> Result<Vec<(Sym, Cells)>> {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(batch.columns());
    let attributes = fields.filter(|(field, _)| !OWN.contains(&field.name().as_str()));
    attributes
        .map(|(field, column)| {
            let cells = Cells::of(table, column).with_context(|| format!("column `{}`", field.name()))?;
            Ok((table.strings.intern(field.name()), cells))
        })
        .collect()
}

fn add_rest(
    table: &mut SpanTable,
    rest: &MapArray,
    row: usize,
    wanted: Option<&[&str]>,
    attributes: &mut Vec<Attribute>,
) -> Result<()> {
    let entries = rest.value(row);
    let keys = entries.column(0).as_string_opt::<i32>().context("attrs_rest: keys")?;
    let values = entries.column(1).as_string_opt::<i32>().context("attrs_rest: values")?;
    for (key, value) in keys.iter().zip(values) {
        let (key, text) = (key.unwrap_or(""), value.unwrap_or(""));
        if wanted.is_none_or(|wanted| wanted.contains(&key)) {
            let value = rest::decode(text).with_context(|| format!("attrs_rest: value of `{key}`"))?;
            attributes.push(Attribute { key: table.strings.intern(key), value: table.pack(value.value()) });
        }
    }
    Ok(())
}

fn add_links(table: &mut SpanTable, traces: &ListArray, spans: &ListArray, row: usize) -> Result<()> {
    let (traces, spans) = (traces.value(row), spans.value(row));
    let traces = traces.as_fixed_size_binary_opt().context("link_trace_ids")?;
    let spans = spans.as_fixed_size_binary_opt().context("link_span_ids")?;
    let at = u32::try_from(table.len()).unwrap_or(u32::MAX);
    for (trace, span) in traces.iter().zip(spans.iter()) {
        let ids = (table::trace_id(trace.unwrap_or_default()), table::span_id(span.unwrap_or_default()));
        table.links.push((at, ids.0, ids.1));
    }
    Ok(())
}
