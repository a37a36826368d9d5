//! Spans in columns: fixed fields as arrays, attributes as 8-byte pairs, every string once.
//! A table of 20 attributes a span costs about 230 bytes a span. It holds what was received, unjudged:
//! attribute generations, trace trees and endpoints are the diagnosis's matter.

use crate::strings::{Strings, Sym};

/// A span's kind as sent; many instruments send none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum SpanKind {
    #[default]
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

impl SpanKind {
    /// OTLP's number; anything unknown is `Unspecified`.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }
}

/// A span's status as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SpanStatus {
    #[default]
    Unset = 0,
    Ok = 1,
    Error = 2,
}

impl SpanStatus {
    /// OTLP's number; anything unknown is `Unset`.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }
}

/// An attribute's value. Arrays, maps and bytes are kept as JSON text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl<'a> Value<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&'a str> {
        if let Self::Text(text) = *self { Some(text) } else { None }
    }

    /// The number, also where it was sent as a string.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match *self {
            Self::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            Self::Int(int) => Some(int as f64),
            Self::Float(float) => Some(float).filter(|n| n.is_finite()),
            Self::Bool(_) => None,
        }
    }
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => write!(f, "{float}"),
            Self::Bool(bool) => write!(f, "{bool}"),
        }
    }
}

/// A value in 32 bits: two bits of tag, thirty of symbol, small integer, index of a wide number, or truth value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackedValue(u32);

const TAG_SHIFT: u32 = 30;
const PAYLOAD: u32 = (1 << TAG_SHIFT) - 1;
const TAG_SYM: u32 = 0;
const TAG_INT: u32 = 1;
const TAG_WIDE: u32 = 2;
const TAG_BOOL: u32 = 3;

impl PackedValue {
    /// A text value by its symbol.
    #[must_use]
    pub fn text(sym: Sym) -> Self {
        Self(sym.0 & PAYLOAD)
    }

    /// The symbol, if the value is a text.
    #[must_use]
    pub fn as_sym(self) -> Option<Sym> {
        (self.0 >> TAG_SHIFT == TAG_SYM).then_some(Sym(self.0 & PAYLOAD))
    }
}

/// A key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attribute {
    pub key: Sym,
    pub value: PackedValue,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wide {
    Int(i64),
    Float(f64),
}

/// The number of a resource (service, host, container ...) in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ResourceId(pub u32);

/// The fixed fields of a span. Times are Unix nanoseconds; a missing id is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpanFields {
    pub trace_id: u128,
    pub span_id: u64,
    pub parent_id: u64,
    pub start_ns: u64,
    /// Negative where the end lies before the start; kept as sent, counted by the diagnosis.
    pub duration_ns: i64,
    pub name: Sym,
    pub kind: SpanKind,
    pub status: SpanStatus,
    pub resource: ResourceId,
    pub scope: Sym,
}

/// All spans of a recording, or one batch of them.
#[derive(Clone, Debug)]
pub struct SpanTable {
    pub strings: Strings,
    pub trace_ids: Vec<u128>,
    pub span_ids: Vec<u64>,
    pub parent_ids: Vec<u64>,
    pub starts_ns: Vec<u64>,
    pub durations_ns: Vec<i64>,
    pub names: Vec<Sym>,
    pub kinds: Vec<SpanKind>,
    pub statuses: Vec<SpanStatus>,
    pub resources: Vec<ResourceId>,
    pub scopes: Vec<Sym>,
    attribute_ends: Vec<u32>,
    attributes: Vec<Attribute>,
    wides: Vec<Wide>,
    resource_attributes: Vec<Vec<Attribute>>,
    /// Links between spans: (row, trace id, span id of the other), in row order.
    pub links: Vec<(u32, u128, u64)>,
}

impl Default for SpanTable {
    fn default() -> Self {
        Self::with_strings(Strings::default())
    }
}

impl SpanTable {
    /// An empty table over `strings` (which may be bounded).
    #[must_use]
    pub fn with_strings(strings: Strings) -> Self {
        Self {
            strings,
            trace_ids: Vec::new(),
            span_ids: Vec::new(),
            parent_ids: Vec::new(),
            starts_ns: Vec::new(),
            durations_ns: Vec::new(),
            names: Vec::new(),
            kinds: Vec::new(),
            statuses: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
            attribute_ends: Vec::new(),
            attributes: Vec::new(),
            wides: Vec::new(),
            resource_attributes: Vec::new(),
            links: Vec::new(),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.trace_ids.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trace_ids.is_empty()
    }

    /// Adds a resource, or finds the equal one that is there. Attribute order matters.
    pub fn add_resource(&mut self, attributes: &[Attribute]) -> ResourceId {
        // Resources are few and repeat in runs: the newest is the likeliest.
        let found = self.resource_attributes.iter().rposition(|r| r == attributes);
        match found {
            Some(at) => ResourceId(u32::try_from(at).unwrap_or(u32::MAX)),
            None => self.add_new_resource(attributes),
        }
    }

    /// Adds a resource without looking whether it is there: for callers with an index of their own.
    pub fn add_new_resource(&mut self, attributes: &[Attribute]) -> ResourceId {
        self.resource_attributes.push(attributes.to_vec());
        ResourceId(u32::try_from(self.resource_attributes.len() - 1).unwrap_or(u32::MAX))
    }

    /// Packs a value, interning a text and keeping a wide number aside.
    pub fn pack(&mut self, value: Value<'_>) -> PackedValue {
        match value {
            Value::Text(text) => PackedValue::text(self.strings.intern(text)),
            Value::Bool(truth) => PackedValue(TAG_BOOL << TAG_SHIFT | u32::from(truth)),
            Value::Int(int) => match i32::try_from(int) {
                Ok(small) if (-(1 << 29)..1 << 29).contains(&small) => {
                    PackedValue(TAG_INT << TAG_SHIFT | (small.cast_unsigned() & PAYLOAD))
                }
                _ => self.pack_wide(Wide::Int(int)),
            },
            Value::Float(float) => self.pack_wide(Wide::Float(float)),
        }
    }

    fn pack_wide(&mut self, wide: Wide) -> PackedValue {
        let at = u32::try_from(self.wides.len()).unwrap_or(PAYLOAD).min(PAYLOAD);
        self.wides.push(wide);
        PackedValue(TAG_WIDE << TAG_SHIFT | at)
    }

    /// Reads a packed value back; of a foreign index, the integer 0.
    #[must_use]
    pub fn unpack(&self, packed: PackedValue) -> Value<'_> {
        let payload = packed.0 & PAYLOAD;
        match packed.0 >> TAG_SHIFT {
            TAG_SYM => Value::Text(self.strings.get(Sym(payload))),
            TAG_INT => Value::Int(i64::from((payload << 2).cast_signed() >> 2)),
            TAG_WIDE => match self.wides.get(payload as usize) {
                Some(&Wide::Int(int)) => Value::Int(int),
                Some(&Wide::Float(float)) => Value::Float(float),
                None => Value::Int(0),
            },
            _ => Value::Bool(payload == 1),
        }
    }

    /// Appends a span with its attributes.
    pub fn push(&mut self, fields: SpanFields, attributes: &[Attribute]) {
        self.trace_ids.push(fields.trace_id);
        self.span_ids.push(fields.span_id);
        self.parent_ids.push(fields.parent_id);
        self.starts_ns.push(fields.start_ns);
        self.durations_ns.push(fields.duration_ns);
        self.names.push(fields.name);
        self.kinds.push(fields.kind);
        self.statuses.push(fields.status);
        self.resources.push(fields.resource);
        self.scopes.push(fields.scope);
        self.attributes.extend_from_slice(attributes);
        self.attribute_ends.push(u32::try_from(self.attributes.len()).unwrap_or(u32::MAX));
    }

    /// Takes back the newest spans until `rows` are left; their strings and resources stay.
    pub fn truncate(&mut self, rows: usize) {
        if rows >= self.len() {
            return;
        }
        self.trace_ids.truncate(rows);
        self.span_ids.truncate(rows);
        self.parent_ids.truncate(rows);
        self.starts_ns.truncate(rows);
        self.durations_ns.truncate(rows);
        self.names.truncate(rows);
        self.kinds.truncate(rows);
        self.statuses.truncate(rows);
        self.resources.truncate(rows);
        self.scopes.truncate(rows);
        self.attribute_ends.truncate(rows);
        self.attributes.truncate(self.attribute_ends.last().map_or(0, |&end| end as usize));
        self.links.retain(|link| (link.0 as usize) < rows);
    }

    /// Appends every span of `other`, its strings interned here.
    pub fn append(&mut self, other: &Self) {
        let mut known = vec![None; other.strings.len()];
        let mut moved = Vec::new();
        let mut resources = Vec::with_capacity(other.resource_attributes.len());
        for attributes in &other.resource_attributes {
            moved.clear();
            moved.extend(attributes.iter().map(|a| self.adopt(other, &mut known, *a)));
            resources.push(self.add_resource(&moved));
        }
        let base = u32::try_from(self.len()).unwrap_or(u32::MAX);
        for row in 0..other.len() {
            moved.clear();
            moved.extend(other.packed_attributes(row).iter().map(|a| self.adopt(other, &mut known, *a)));
            let name = self.adopt_text(other, &mut known, other.names[row]);
            let scope = self.adopt_text(other, &mut known, other.scopes[row]);
            let resource = resources.get(other.resources[row].0 as usize).copied().unwrap_or_default();
            self.push(SpanFields { name, scope, resource, ..other.fields(row) }, &moved);
        }
        self.links
            .extend(other.links.iter().map(|&(row, trace, span)| (base.saturating_add(row), trace, span)));
    }

    /// The rows for which `keep` says yes, in their order, over the same strings and resources.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut kept = Self::with_strings(self.strings.clone());
        kept.wides.clone_from(&self.wides);
        kept.resource_attributes.clone_from(&self.resource_attributes);
        let mut links = self.links.iter().peekable();
        for row in 0..self.len() {
            let at = u32::try_from(kept.len()).unwrap_or(u32::MAX);
            let keeps = keep(row);
            while let Some(&&(_, trace, span)) = links.peek().filter(|l| l.0 as usize <= row) {
                links.next();
                if keeps {
                    kept.links.push((at, trace, span));
                }
            }
            if keeps {
                kept.push(self.fields(row), self.packed_attributes(row));
            }
        }
        kept
    }

    fn adopt(&mut self, other: &Self, known: &mut [Option<Sym>], attribute: Attribute) -> Attribute {
        let key = self.adopt_text(other, known, attribute.key);
        let value = match attribute.value.as_sym() {
            Some(text) => PackedValue::text(self.adopt_text(other, known, text)),
            None => self.pack(other.unpack(attribute.value)),
        };
        Attribute { key, value }
    }

    /// Our symbol of a text of `other`, searched for once; `known` holds those found, by their symbols in `other`.
    fn adopt_text(&mut self, other: &Self, known: &mut [Option<Sym>], text: Sym) -> Sym {
        if let Some(&Some(found)) = known.get(text.index()) {
            return found;
        }
        let found = self.strings.intern(other.strings.get(text));
        if let Some(slot) = known.get_mut(text.index()) {
            *slot = Some(found);
        }
        found
    }

    /// The fixed fields of a row. Panics if the row is out of range.
    #[must_use]
    pub fn fields(&self, row: usize) -> SpanFields {
        SpanFields {
            trace_id: self.trace_ids[row],
            span_id: self.span_ids[row],
            parent_id: self.parent_ids[row],
            start_ns: self.starts_ns[row],
            duration_ns: self.durations_ns[row],
            name: self.names[row],
            kind: self.kinds[row],
            status: self.statuses[row],
            resource: self.resources[row],
            scope: self.scopes[row],
        }
    }

    /// The attributes of a row as they are kept.
    #[must_use]
    pub fn packed_attributes(&self, row: usize) -> &[Attribute] {
        let from = if row == 0 { 0 } else { self.attribute_ends[row - 1] as usize };
        &self.attributes[from..self.attribute_ends[row] as usize]
    }

    /// The attributes of a resource as they are kept; none for a foreign id.
    #[must_use]
    pub fn packed_resource(&self, resource: ResourceId) -> &[Attribute] {
        self.resource_attributes.get(resource.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// How many resources there are; ids run from 0.
    #[must_use]
    pub fn resource_count(&self) -> usize {
        self.resource_attributes.len()
    }

    /// A row to read from. Panics if it is out of range.
    #[must_use]
    pub fn row(&self, row: usize) -> SpanRef<'_> {
        assert!(row < self.len(), "row {row} of {}", self.len());
        SpanRef { table: self, row }
    }

    /// Every row, in order of arrival.
    pub fn rows(&self) -> impl Iterator<Item = SpanRef<'_>> {
        (0..self.len()).map(|row| SpanRef { table: self, row })
    }

    /// Bytes held by the columns and strings.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.strings.resident_bytes()
            + self.trace_ids.capacity() * 16
            + (self.span_ids.capacity() + self.parent_ids.capacity() + self.starts_ns.capacity()) * 8
            + self.durations_ns.capacity() * 8
            + (self.names.capacity() + self.scopes.capacity() + self.resources.capacity()) * 4
            + self.kinds.capacity()
            + self.statuses.capacity()
            + self.attribute_ends.capacity() * 4
            + self.attributes.capacity() * size_of::<Attribute>()
            + self.wides.capacity() * size_of::<Wide>()
    }
}

/// One span of a table, to read.
#[derive(Clone, Copy)]
pub struct SpanRef<'a> {
    table: &'a SpanTable,
    pub row: usize,
}

impl<'a> SpanRef<'a> {
    #[must_use]
    pub fn fields(&self) -> SpanFields {
        self.table.fields(self.row)
    }

    #[must_use]
    pub fn name(&self) -> &'a str {
        self.table.strings.get(self.table.names[self.row])
    }

    /// `service.name` of its resource, or the empty string.
    #[must_use]
    pub fn service(&self) -> &'a str {
        self.resource_attribute("service.name").and_then(|v| v.as_text()).unwrap_or("")
    }

    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<Value<'a>> {
        find(self.table, self.table.packed_attributes(self.row), key)
    }

    #[must_use]
    pub fn resource_attribute(&self, key: &str) -> Option<Value<'a>> {
        find(self.table, self.table.packed_resource(self.table.resources[self.row]), key)
    }

    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let table = self.table;
        table
            .packed_attributes(self.row)
            .iter()
            .map(move |a| (table.strings.get(a.key), table.unpack(a.value)))
    }
}

fn find<'a>(table: &'a SpanTable, attributes: &[Attribute], key: &str) -> Option<Value<'a>> {
    let sym = table.strings.find(key)?;
    attributes.iter().find(|a| a.key == sym).map(|a| table.unpack(a.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_went_in() {
        let mut table = SpanTable::default();
        let values = [
            Value::Text("SELECT 1"),
            Value::Text(""),
            Value::Int(0),
            Value::Int(-1),
            Value::Int((1 << 29) - 1),
            Value::Int(-(1 << 29)),
            Value::Int(1 << 29),
            Value::Int(i64::MIN),
            Value::Float(0.25),
            Value::Bool(true),
            Value::Bool(false),
        ];
        for value in values {
            let packed = table.pack(value);
            assert_eq!(table.unpack(packed), value);
        }
    }

    #[test]
    fn appending_moves_strings_resources_and_links() {
        let table = |service: &str| {
            let mut table = SpanTable::default();
            let key = table.strings.intern("service.name");
            let value = table.pack(Value::Text(service));
            let resource = table.add_resource(&[Attribute { key, value }]);
            let name = table.strings.intern(&format!("{service} root"));
            table.push(SpanFields { span_id: 7, name, resource, ..SpanFields::default() }, &[]);
            table.links.push((0, 1, 2));
            table
        };
        let mut all = table("a");
        all.append(&table("b"));
        let seen: Vec<_> = all.rows().map(|r| (r.service(), r.name())).collect();
        assert_eq!(seen, [("a", "a root"), ("b", "b root")]);
        assert_eq!(all.links, [(0, 1, 2), (1, 1, 2)]);
    }

    #[test]
    fn truncating_takes_the_newest_spans_back() {
        let mut table = SpanTable::default();
        let key = table.strings.intern("k");
        for id in 1..=3 {
            let value = table.pack(Value::Int(id));
            let row = u32::try_from(table.len()).unwrap_or(0);
            table.push(
                SpanFields { span_id: id.cast_unsigned(), ..SpanFields::default() },
                &[Attribute { key, value }],
            );
            table.links.push((row, 1, 2));
        }
        table.truncate(1);
        table.push(SpanFields { span_id: 9, ..SpanFields::default() }, &[]);
        assert_eq!(table.span_ids, [1, 9]);
        assert_eq!(table.row(0).attribute("k"), Some(Value::Int(1)));
        assert_eq!((table.row(1).attributes().count(), table.links.len()), (0, 1));
    }

    #[test]
    fn filtering_keeps_rows_with_their_values_and_links() {
        let mut table = SpanTable::default();
        let key = table.strings.intern("n");
        for n in 0..4 {
            let value = table.pack(Value::Float(f64::from(n)));
            table.push(SpanFields::default(), &[Attribute { key, value }]);
        }
        table.links = vec![(1, 1, 1), (3, 3, 3)];
        let odd = table.filtered(|row| row % 2 == 1);
        let values: Vec<_> = odd.rows().map(|r| r.attribute("n")).collect();
        assert_eq!(values, [Some(Value::Float(1.0)), Some(Value::Float(3.0))]);
        assert_eq!(odd.links, [(0, 1, 1), (1, 3, 3)]);
    }

    #[test]
    fn numbers_sent_as_strings_are_numbers() {
        assert_eq!(Value::Text("200").as_number(), Some(200.0));
        assert_eq!(Value::Text("NaN").as_number(), None);
        assert_eq!(Value::Float(f64::INFINITY).as_number(), None);
    }
}
