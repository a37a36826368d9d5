//! Spans as one Parquet file with one row group: a column per attribute key, chosen anew for each file, so that no
//! key has to be known in advance. A value whose type is not its column's, a second value of one key, and keys that
//! are rare or named like one of our columns go to the map `attrs_rest` as typed text.

use crate::table::{self, Fixed};
use crate::{KEY_COLUMNS, rest};
use anyhow::{Context, Result};
use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray,
    StringArray, UInt32Array, UInt64Array,
};
use model::{Attribute, PackedValue, ResourceId, SpanKind, SpanStatus, SpanTable, Sym, Value};
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Key of the file's metadata: resources by the number in column `resource`, as JSON `[[[key, typed value] ...] ...]`.
pub(crate) const RESOURCES: &str = "trimtab.resources";
/// Columns `resource.<key>` repeat the resources for those who read with SQL; we read [`RESOURCES`].
pub(crate) const RESOURCE_PREFIX: &str = "resource.";
pub(crate) const REST: &str = "attrs_rest";
/// Our own columns; an attribute of such a name is kept in `attrs_rest`.
pub(crate) const OWN: &[&str] = &[
    "trace_id",
    "span_id",
    "parent_id",
    "start_ns",
    "duration_ns",
    "name",
    "kind",
    "status",
    "scope",
    "resource",
    "link_trace_ids",
    "link_span_ids",
    REST,
];
pub(crate) const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
pub(crate) const STATUSES: [&str; 3] = ["unset", "ok", "error"];

/// Every string of a table as the one dictionary of all its text columns.
pub(crate) fn dictionary(spans: &SpanTable) -> Arc<LargeStringArray> {
    Arc::new(LargeStringArray::from_iter_values(spans.strings.iter()))
}

/// The bytes of a Parquet file of `rows` of `spans`; `texts` is [`dictionary`] of them.
///
/// # Errors
/// The Parquet library refuses (a table beyond its limits).
pub(crate) fn encode(
    spans: &SpanTable,
    texts: &Arc<LargeStringArray>,
    rows: Range<usize>,
) -> Result<Vec<u8>> {
    let keys = Keys::of(spans, rows.clone());
    let (resources, resource_numbers) = resources(spans, rows.clone());
    let mut columns = fixed_columns(spans, texts, rows.clone(), &resource_numbers)?;
    columns.extend(link_columns(spans, rows.clone())?);
    columns.extend(resource_columns(spans, &resources, &resource_numbers)?);
    let mut settings = table::settings();
    let (attributes, mixed) = attribute_columns(spans, texts, rows, &keys)?;
    for (name, _) in attributes.iter().filter(|(name, _)| keys.unique(name, spans)) {
        settings = settings.set_column_dictionary_enabled(ColumnPath::from(name.as_str()), false);
    }
    columns.extend(attributes);
    columns.push(mixed);
    let listed = resources.iter().map(|id| listed(spans, *id)).collect::<Vec<_>>();
    let listed = serde_json::to_string(&listed).context("resources as JSON")?;
    let settings = encodings(settings)
        .set_key_value_metadata(Some(vec![KeyValue::new(RESOURCES.to_owned(), listed)]))
        .build();
    table::encode(columns, settings)
}

/// Columns that files are chosen by; of the others the least and greatest value are not worth finding out.
const SEARCHED: [&str; 3] = ["trace_id", "start_ns", "duration_ns"];

/// Times as differences; ids that are random as they are.
fn encodings(mut settings: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
    settings = settings.set_statistics_enabled(EnabledStatistics::None);
    for name in SEARCHED {
        settings = settings.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Chunk);
    }
    for name in ["start_ns", "duration_ns"] {
        settings = settings
            .set_column_dictionary_enabled(ColumnPath::from(name), false)
            .set_column_encoding(ColumnPath::from(name), Encoding::DELTA_BINARY_PACKED);
    }
    settings
        .set_column_dictionary_enabled(ColumnPath::from("span_id"), false)
        .set_column_compression(ColumnPath::from("span_id"), Compression::UNCOMPRESSED)
}

type Column = (String, ArrayRef);

fn named(name: &str, array: impl Array + 'static) -> Column {
    (name.to_owned(), Arc::new(array))
}

fn fixed_columns(
    spans: &SpanTable,
    texts: &Arc<LargeStringArray>,
    rows: Range<usize>,
    resource_numbers: &[u32],
) -> Result<Vec<Column>> {
    let parents = spans.parent_ids[rows.clone()].iter().map(|&id| (id != 0).then_some(id));
    let kinds = spans.kinds[rows.clone()].iter().map(|&kind| kind as i8);
    let statuses = spans.statuses[rows.clone()].iter().map(|&status| status as i8);
    Ok(vec![
        named("trace_id", table::fixed(spans.trace_ids[rows.clone()].iter().map(|&id| Some(id)))?),
        named("span_id", table::fixed(spans.span_ids[rows.clone()].iter().map(|&id| Some(id)))?),
        named("parent_id", table::fixed(parents)?),
        named("start_ns", UInt64Array::from_iter_values(spans.starts_ns[rows.clone()].iter().copied())),
        named("duration_ns", Int64Array::from_iter_values(spans.durations_ns[rows.clone()].iter().copied())),
        named("name", by_symbol(texts, spans.names[rows.clone()].iter().map(|&sym| number(sym)).collect())?),
        named("kind", words(kinds, &KINDS)?),
        named("status", words(statuses, &STATUSES)?),
        named("scope", by_symbol(texts, spans.scopes[rows].iter().map(|&sym| number(sym)).collect())?),
        named("resource", UInt32Array::from_iter_values(resource_numbers.iter().copied())),
    ])
}

fn by_symbol(texts: &Arc<LargeStringArray>, symbols: Vec<i32>) -> Result<DictionaryArray<Int32Type>> {
    let keys: Int32Array = if symbols.contains(&NO_TEXT) {
        symbols.iter().map(|&sym| (sym != NO_TEXT).then_some(sym)).collect()
    } else {
        symbols.into()
    };
    Ok(DictionaryArray::try_new(keys, Arc::<LargeStringArray>::clone(texts))?)
}

/// In a column of symbols: there is none.
const NO_TEXT: i32 = -1;

fn number(sym: Sym) -> i32 {
    i32::try_from(sym.index()).unwrap_or(NO_TEXT)
}

fn words(numbers: impl Iterator<Item = i8>, words: &[&str]) -> Result<DictionaryArray<Int8Type>> {
    let words = Arc::new(StringArray::from_iter_values(words));
    Ok(DictionaryArray::try_new(numbers.map(Some).collect(), words)?)
}

fn link_columns(spans: &SpanTable, rows: Range<usize>) -> Result<[Column; 2]> {
    let mut traces = ListBuilder::new(FixedSizeBinaryBuilder::new(16));
    let mut ids = ListBuilder::new(FixedSizeBinaryBuilder::new(8));
    let from = spans.links.partition_point(|link| (link.0 as usize) < rows.start);
    let mut links = spans.links[from..].iter().peekable();
    for row in rows {
        let mut any = false;
        while let Some((_, trace, span)) = links.next_if(|link| link.0 as usize == row) {
            traces.values().append_value(trace.to_be_bytes())?;
            ids.values().append_value(span.to_be_bytes())?;
            any = true;
        }
        traces.append(any);
        ids.append(any);
    }
    Ok([named("link_trace_ids", traces.finish()), named("link_span_ids", ids.finish())])
}

/// The resources of the rows in order of appearance, and each row's number among them.
fn resources(spans: &SpanTable, rows: Range<usize>) -> (Vec<ResourceId>, Vec<u32>) {
    let mut numbers: Vec<Option<u32>> = vec![None; spans.resource_count()];
    let mut found = Vec::new();
    let mut of_rows = Vec::with_capacity(rows.len());
    for &id in &spans.resources[rows] {
        let at = id.0 as usize;
        if at >= numbers.len() {
            numbers.resize(at + 1, None);
        }
        let number = *numbers[at].get_or_insert_with(|| {
            found.push(id);
            u32::try_from(found.len() - 1).unwrap_or(u32::MAX)
        });
        of_rows.push(number);
    }
    (found, of_rows)
}

fn listed(spans: &SpanTable, resource: ResourceId) -> Vec<(&str, String)> {
    let encode = |a: &Attribute| (spans.strings.get(a.key), rest::encode(spans.unpack(a.value)));
    spans.packed_resource(resource).iter().map(encode).collect()
}

fn resource_columns(spans: &SpanTable, resources: &[ResourceId], numbers: &[u32]) -> Result<Vec<Column>> {
    let keys: BTreeSet<&str> = resources
        .iter()
        .flat_map(|id| spans.packed_resource(*id))
        .map(|attribute| spans.strings.get(attribute.key))
        .collect();
    let column = |key: &str| -> Result<Column> {
        let values: StringArray = resources
            .iter()
            .map(|id| {
                let attributes = spans.packed_resource(*id);
                let found = attributes.iter().find(|a| spans.strings.get(a.key) == key);
                found.map(|a| spans.unpack(a.value).to_string())
            })
            .collect();
        let of_rows = numbers.iter().map(|&number| {
            let number = i32::try_from(number).ok()?;
            values.is_valid(usize::try_from(number).ok()?).then_some(number)
        });
        let of_rows: Int32Array = of_rows.collect();
        let column = DictionaryArray::<Int32Type>::try_new(of_rows, Arc::new(values))?;
        Ok(named(&format!("{RESOURCE_PREFIX}{key}"), column))
    };
    keys.into_iter().take(KEY_COLUMNS).map(column).collect()
}

/// What was seen of one key: how often with each type, and how many different texts.
#[derive(Clone, Default)]
struct Seen {
    counts: [u32; 4],
}

impl Seen {
    fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    fn commonest(&self) -> Fixed {
        let most = self.counts.iter().copied().max().unwrap_or(0);
        let at = self.counts.iter().position(|&n| n == most).unwrap_or(0);
        [Fixed::Text, Fixed::Int, Fixed::Float, Fixed::Bool][at]
    }
}

/// Which keys become columns of this file.
struct Keys {
    /// Key and type, by name.
    columns: Vec<(Sym, Fixed)>,
    /// By symbol: which column, where it has one.
    slots: Vec<Option<usize>>,
    /// By column: does a text hardly ever repeat?
    unique: Vec<bool>,
}

impl Keys {
    fn of(spans: &SpanTable, rows: Range<usize>) -> Self {
        let mut seen: Vec<Seen> = Vec::new();
        for row in rows.clone() {
            for attribute in spans.packed_attributes(row) {
                let at = attribute.key.index();
                if at >= seen.len() {
                    seen.resize(at + 1, Seen::default());
                }
                seen[at].counts[type_of(spans, attribute.value) as usize] += 1;
            }
        }
        let mut keys: Vec<(Sym, Seen)> = spans
            .strings
            .symbols()
            .zip(seen)
            .filter(|(key, seen)| seen.total() > 0 && may_be_column(spans.strings.get(*key)))
            .collect();
        keys.sort_by_key(|(key, seen)| (std::cmp::Reverse(seen.total()), spans.strings.get(*key)));
        keys.truncate(KEY_COLUMNS);
        keys.sort_by_key(|(key, _)| spans.strings.get(*key));
        let mut slots = Vec::new();
        for (column, (key, _)) in keys.iter().enumerate() {
            if key.index() >= slots.len() {
                slots.resize(key.index() + 1, None);
            }
            slots[key.index()] = Some(column);
        }
        let columns: Vec<(Sym, Fixed)> = keys.iter().map(|(key, seen)| (*key, seen.commonest())).collect();
        let mut keys = Self { unique: vec![false; columns.len()], columns, slots };
        keys.find_unique(spans, rows);
        keys
    }

    fn slot(&self, key: Sym) -> Option<usize> {
        self.slots.get(key.index()).copied().flatten()
    }

    fn unique(&self, name: &str, spans: &SpanTable) -> bool {
        let found = self.columns.binary_search_by(|(key, _)| spans.strings.get(*key).cmp(name));
        found.is_ok_and(|at| self.unique[at])
    }

    /// A dictionary of values that hardly repeat only costs: look at the first rows of each key.
    fn find_unique(&mut self, spans: &SpanTable, rows: Range<usize>) {
        const LOOKED_AT: usize = 4096;
        let mut texts: Vec<Vec<Sym>> = vec![Vec::new(); self.columns.len()];
        for row in rows.take(LOOKED_AT) {
            for attribute in spans.packed_attributes(row) {
                if let (Some(slot), Some(text)) = (self.slot(attribute.key), attribute.value.as_sym()) {
                    texts[slot].push(text);
                }
            }
        }
        // Equal texts may have two symbols only where texts hardly repeat anyway.
        for (texts, unique) in texts.iter_mut().zip(&mut self.unique) {
            let count = texts.len();
            texts.sort_unstable();
            texts.dedup();
            *unique = texts.len() * 4 > count * 3 && count > LOOKED_AT / 64;
        }
    }
}

fn may_be_column(key: &str) -> bool {
    !key.is_empty() && !OWN.contains(&key) && !key.starts_with(RESOURCE_PREFIX)
}

fn type_of(spans: &SpanTable, value: PackedValue) -> Fixed {
    // Most are texts, and the text itself is of no interest here.
    if value.as_sym().is_some() {
        return Fixed::Text;
    }
    match spans.unpack(value) {
        Value::Text(_) => Fixed::Text,
        Value::Int(_) => Fixed::Int,
        Value::Float(_) => Fixed::Float,
        Value::Bool(_) => Fixed::Bool,
    }
}

enum Cells {
    /// Numbers of symbols, or [`NO_TEXT`].
    Text(Vec<i32>),
    Int(Vec<Option<i64>>),
    Float(Vec<Option<f64>>),
    Bool(Vec<Option<bool>>),
}

impl Cells {
    fn new(fixed: Fixed, rows: usize) -> Self {
        match fixed {
            Fixed::Text => Self::Text(vec![NO_TEXT; rows]),
            Fixed::Int => Self::Int(vec![None; rows]),
            Fixed::Float => Self::Float(vec![None; rows]),
            Fixed::Bool => Self::Bool(vec![None; rows]),
        }
    }

    /// Sets a cell; `false` if it is taken or of another type.
    fn set(&mut self, row: usize, attribute: Attribute, spans: &SpanTable) -> bool {
        fn fill<T>(cell: &mut Option<T>, value: T) -> bool {
            let free = cell.is_none();
            if free {
                *cell = Some(value);
            }
            free
        }
        match (self, attribute.value.as_sym()) {
            (Self::Text(cells), Some(sym)) => {
                let free = cells[row] == NO_TEXT;
                if free {
                    cells[row] = number(sym);
                }
                free
            }
            (_, Some(_)) => false,
            (cells, None) => match (cells, spans.unpack(attribute.value)) {
                (Self::Int(cells), Value::Int(int)) => fill(&mut cells[row], int),
                (Self::Float(cells), Value::Float(float)) => fill(&mut cells[row], float),
                (Self::Bool(cells), Value::Bool(truth)) => fill(&mut cells[row], truth),
                _ => false,
            },
        }
    }

    fn finish(self, texts: &Arc<LargeStringArray>) -> Result<ArrayRef> {
        Ok(match self {
            Self::Text(cells) => Arc::new(by_symbol(texts, cells)?),
            Self::Int(cells) => Arc::new(Int64Array::from(cells)),
            Self::Float(cells) => Arc::new(Float64Array::from(cells)),
            Self::Bool(cells) => Arc::new(BooleanArray::from(cells)),
        })
    }
}

fn attribute_columns(
    spans: &SpanTable,
    texts: &Arc<LargeStringArray>,
    rows: Range<usize>,
    keys: &Keys,
) -> Result<(Vec<Column>, Column)> {
    let mut columns: Vec<Cells> =
        keys.columns.iter().map(|&(_, fixed)| Cells::new(fixed, rows.len())).collect();
    let mut rest = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for (at, row) in rows.enumerate() {
        let mut any = false;
        for &attribute in spans.packed_attributes(row) {
            let column = keys.slot(attribute.key);
            if !column.is_some_and(|column| columns[column].set(at, attribute, spans)) {
                rest.keys().append_value(spans.strings.get(attribute.key));
                rest.values().append_value(rest::encode(spans.unpack(attribute.value)));
                any = true;
            }
        }
        rest.append(any)?;
    }
    let mut named_columns = Vec::with_capacity(columns.len());
    for (cells, (key, _)) in columns.into_iter().zip(&keys.columns) {
        named_columns.push((spans.strings.get(*key).to_owned(), cells.finish(texts)?));
    }
    Ok((named_columns, named(REST, rest.finish())))
}

/// The kind of a word in the file; what is unknown is `Unspecified`.
pub(crate) fn kind_of(word: &str) -> SpanKind {
    let at = KINDS.iter().position(|kind| *kind == word).unwrap_or(0);
    SpanKind::from_number(at as u64)
}

/// The status of a word in the file; what is unknown is `Unset`.
pub(crate) fn status_of(word: &str) -> SpanStatus {
    let at = STATUSES.iter().position(|status| *status == word).unwrap_or(0);
    SpanStatus::from_number(at as u64)
}
