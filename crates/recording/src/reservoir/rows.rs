//! Rows of span tables: grouped by trace, and moved into another table with their texts.

use model::{Attribute, ResourceId, SpanFields, SpanTable, Sym, Value};

/// A row of one of two tables. Sorts by trace, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) trace_id: u128,
    pub(super) table: u8,
    pub(super) row: u32,
}

/// Every row of the tables.
pub(super) fn places(tables: &[&SpanTable; 2]) -> Vec<Place> {
    let rows = |table: u8, spans: &SpanTable| -> Vec<Place> {
        let place = |(trace_id, row): (&u128, u32)| Place { trace_id: *trace_id, table, row };
        spans.trace_ids.iter().zip(0..).map(place).collect()
    };
    let mut all = rows(0, tables[0]);
    all.append(&mut rows(1, tables[1]));
    all
}

/// The root of a trace and its duration: the first span without a parent, else the first of all.
pub(super) fn root(tables: &[&SpanTable; 2], trace: &[Place]) -> (Place, u64) {
    let key = |place: &Place| {
        let (table, row) = (tables[usize::from(place.table)], place.row as usize);
        (table.parent_ids[row] != 0, table.starts_ns[row], *place)
    };
    let found = trace.iter().copied().min_by_key(key).unwrap_or(trace[0]);
    let duration = tables[usize::from(found.table)].durations_ns[found.row as usize];
    (found, u64::try_from(duration).unwrap_or(0))
}

/// Moves rows of one table into another, each text and resource once.
pub(super) struct Mover<'a> {
    texts: Vec<Option<Sym>>,
    resources: Vec<Option<ResourceId>>,
    links: std::iter::Peekable<std::slice::Iter<'a, (u32, u128, u64)>>,
    attributes: Vec<Attribute>,
}

pub(super) fn mover(from: &SpanTable) -> Mover<'_> {
    Mover {
        texts: vec![None; from.strings.len()],
        resources: vec![None; from.resource_count()],
        links: from.links.iter().peekable(),
        attributes: Vec::new(),
    }
}

impl Mover<'_> {
    /// Appends a row, with an attribute more where one is given; rows must come in ascending order.
    pub(super) fn push_with(
        &mut self,
        from: &SpanTable,
        row: usize,
        more: Option<(&str, Value<'_>)>,
        into: &mut SpanTable,
    ) {
        let fields = from.fields(row);
        let resource = self.resource(from, fields.resource, into);
        let (name, scope) = (self.text(from, fields.name, into), self.text(from, fields.scope, into));
        self.collect(from, from.packed_attributes(row), into);
        if let Some((key, value)) = more {
            let key = into.strings.intern(key);
            self.attributes.push(Attribute { key, value: into.pack(value) });
        }
        let at = u32::try_from(into.len()).unwrap_or(u32::MAX);
        while let Some((link_row, trace, span)) = self.links.next_if(|link| link.0 as usize <= row) {
            if *link_row as usize == row {
                into.links.push((at, *trace, *span));
            }
        }
        into.push(SpanFields { name, scope, resource, ..fields }, &self.attributes);
    }

    fn text(&mut self, from: &SpanTable, sym: Sym, into: &mut SpanTable) -> Sym {
        let text = || from.strings.get(sym);
        match self.texts.get_mut(sym.index()) {
            Some(known) => *known.get_or_insert_with(|| into.strings.intern(text())),
            None => Sym::EMPTY,
        }
    }

    fn resource(&mut self, from: &SpanTable, id: ResourceId, into: &mut SpanTable) -> ResourceId {
        let at = id.0 as usize;
        if let Some(known) = self.resources.get(at).copied().flatten() {
            return known;
        }
        self.collect(from, from.packed_resource(id), into);
        let moved = into.add_resource(&self.attributes);
        if let Some(slot) = self.resources.get_mut(at) {
            *slot = Some(moved);
        }
        moved
    }

    fn collect(&mut self, from: &SpanTable, attributes: &[Attribute], into: &mut SpanTable) {
        self.attributes.clear();
        for attribute in attributes {
            let key = self.text(from, attribute.key, into);
            let value = match attribute.value.as_sym() {
                Some(sym) => model::PackedValue::text(self.text(from, sym, into)),
                None => into.pack(from.unpack(attribute.value)),
            };
            self.attributes.push(Attribute { key, value });
        }
    }
}
