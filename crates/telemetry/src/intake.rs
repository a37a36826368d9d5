//! What is being received: spans in columns, series of metrics, counts; `take` hands over a window's worth.
//! Protobuf, JSON and files all end here, so that bounds and reasons are the same for each.

use crate::bounds::{MAX_ATTRIBUTES, MAX_LINKS, MAX_RESOURCES, MAX_TEXT_BYTES, MAX_VALUE_BYTES, cut_bytes};
use crate::keys::{KeyId, Keys, NoKey};
use crate::metric_store::MetricStore;
use crate::report::{IngestReport, Unusable};
use hashbrown::HashMap;
use model::{
    Attribute, MetricSeries, PackedValue, ResourceId, SpanFields, SpanKind, SpanStatus, SpanTable, Strings,
    Sym, Value,
};
use recording::Reservoir;

/// Everything of one window.
#[derive(Debug, Default)]
pub struct Batch {
    pub spans: SpanTable,
    pub metrics: Vec<MetricSeries>,
    pub report: IngestReport,
}

/// A span before it is checked; ids as sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawSpan<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    /// Empty for a root.
    pub parent_id: &'a [u8],
    pub name: &'a [u8],
    pub kind: SpanKind,
    pub status: SpanStatus,
    pub start_ns: u64,
    pub end_ns: u64,
}

/// Where spans and points are collected.
pub struct Intake {
    pub(crate) spans: SpanTable,
    pub(crate) metrics: MetricStore,
    pub(crate) report: IngestReport,
    keys: Keys,
    /// By the resource as it was sent, so that a known one need not be read again.
    resources: HashMap<Box<[u8]>, ResourceId>,
    resource_bytes: usize,
    resource: Option<ResourceId>,
    scope: Sym,
    last_name: Sym,
    previous_key: KeyId,
    attributes: Vec<Attribute>,
    links: Vec<(u128, u64)>,
    /// A resource that was read from JSON, written so that equal ones are equal bytes.
    scratch: Vec<u8>,
    /// How often spans were taken: rows of before mean nothing any more.
    epoch: u64,
    relief: Option<Relief>,
}

/// Where spans go before they exceed the memory for them.
struct Relief {
    reservoir: Reservoir,
    /// Spans held when memory is looked at next.
    check_at: usize,
}

/// Spans between two looks at the memory that they hold.
const CHECK_EVERY: usize = 4096;

/// Rows of one resource that is not known yet, or of one trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block {
    from: usize,
    known: bool,
}

/// Of rows whose resource comes after them.
const NOT_YET: ResourceId = ResourceId(u32::MAX);

impl Default for Intake {
    fn default() -> Self {
        Self::with_text_bytes(MAX_TEXT_BYTES)
    }
}

impl Intake {
    /// One that keeps at most so many bytes of text between two `take`s.
    #[must_use]
    pub fn with_text_bytes(max_bytes: usize) -> Self {
        Self {
            spans: SpanTable::with_strings(Strings::with_max_bytes(max_bytes)),
            metrics: MetricStore::default(),
            report: IngestReport::default(),
            keys: Keys::new(),
            resources: HashMap::new(),
            resource_bytes: 0,
            resource: None,
            scope: Sym::EMPTY,
            last_name: Sym::EMPTY,
            previous_key: KeyId::default(),
            attributes: Vec::new(),
            links: Vec::new(),
            scratch: Vec::new(),
            epoch: 0,
            relief: None,
        }
    }

    /// One that holds at most about so many bytes of spans: beyond, a sample of whole traces is kept.
    #[must_use]
    pub fn sampling_above(max_resident_bytes: usize) -> Self {
        let reservoir = Reservoir::new(max_resident_bytes);
        Self { relief: Some(Relief { reservoir, check_at: CHECK_EVERY }), ..Self::default() }
    }

    /// Hands over what came since the last time. Cumulative histograms keep their last state, so that the next
    /// window's differences are right.
    pub fn take(&mut self) -> Batch {
        let mut spans = self.take_spans();
        if let Some(relief) = &mut self.relief {
            let max_bytes = relief.reservoir.max_bytes();
            let used = std::mem::replace(&mut relief.reservoir, Reservoir::new(max_bytes));
            let (sample, thinned) = used.finish(spans);
            spans = sample;
            self.report.thinned = thinned;
            relief.check_at = CHECK_EVERY;
        }
        let metrics = self.metrics.take();
        Batch { spans, metrics, report: std::mem::take(&mut self.report) }
    }

    pub(crate) fn take_spans(&mut self) -> SpanTable {
        let fresh = SpanTable::with_strings(Strings::with_max_bytes(self.spans.strings.max_bytes()));
        let spans = std::mem::replace(&mut self.spans, fresh);
        self.report.count(Unusable::TextMemory, spans.strings.refused());
        self.keys = Keys::new();
        self.resources.clear();
        self.resource_bytes = 0;
        (self.resource, self.scope, self.last_name) = (None, Sym::EMPTY, Sym::EMPTY);
        self.start_span();
        self.epoch += 1;
        spans
    }

    /// Hands spans over to the reservoir if they hold too much memory. Rows change: no block or mark may be open.
    pub(crate) fn relieve(&mut self) {
        let held = self.spans.len();
        let Some(relief) = self.relief.as_ref().filter(|relief| held >= relief.check_at) else { return };
        let full = relief.reservoir.is_full_with(self.resident_bytes());
        let spans = full.then(|| self.take_spans());
        if let Some(relief) = &mut self.relief {
            relief.check_at = if full { CHECK_EVERY } else { held + CHECK_EVERY };
            spans.into_iter().for_each(|spans| relief.reservoir.add(&spans));
        }
    }

    /// A list of spans begins whose resource may come before or after them.
    pub(crate) fn begin_block(&mut self) -> Block {
        self.resource = Some(NOT_YET);
        Block { from: self.spans.len(), known: false }
    }

    /// Takes what was collected as the resource of the block.
    pub(crate) fn resource_of_block(&mut self, block: &mut Block) {
        self.collected_resource();
        block.known = true;
    }

    /// Gives the block's rows their resource. How many rows could not be kept.
    pub(crate) fn end_block(&mut self, block: Block) -> u64 {
        if !block.known {
            self.start_span();
            self.collected_resource();
        }
        let lost = match self.resource {
            Some(id) => {
                self.spans.resources[block.from..].fill(id);
                0
            }
            None => self.drop_rows(block.from, Unusable::TooManyResources),
        };
        self.relieve();
        lost
    }

    /// Takes the rows from one on back, for a reason that is counted. How many they were.
    pub(crate) fn drop_rows(&mut self, from: usize, reason: Unusable) -> u64 {
        let lost = self.spans.len().saturating_sub(from) as u64;
        self.spans.truncate(from);
        self.report.spans -= lost;
        self.report.count(reason, lost);
        lost
    }

    /// The resource that `collect` names, without a change to what is collected for a span.
    pub(crate) fn resource_aside(&mut self, collect: impl FnOnce(&mut Self)) -> Option<ResourceId> {
        let attributes = std::mem::take(&mut self.attributes);
        let (scope, previous_key) = (self.scope, std::mem::take(&mut self.previous_key));
        collect(self);
        let found = self.collected_resource();
        self.attributes = attributes;
        (self.scope, self.previous_key) = (scope, previous_key);
        found
    }

    /// The resource that was collected, found among the known ones or added.
    pub(crate) fn collected_resource(&mut self) -> Option<ResourceId> {
        let mut sent = std::mem::take(&mut self.scratch);
        sent.clear();
        // No protobuf message begins like this.
        sent.push(u8::MAX);
        for attribute in &self.attributes {
            sent.extend((attribute.key.index() as u64).to_le_bytes());
            match self.spans.unpack(attribute.value) {
                Value::Text(text) => {
                    sent.push(b't');
                    sent.extend((text.len() as u64).to_le_bytes());
                    sent.extend(text.as_bytes());
                }
                Value::Int(int) => sent.extend([b'i'].into_iter().chain(int.to_le_bytes())),
                Value::Float(float) => sent.extend([b'f'].into_iter().chain(float.to_le_bytes())),
                Value::Bool(truth) => sent.extend([b'b', u8::from(truth)]),
            }
        }
        if !self.known_resource(&sent) {
            self.end_resource(&sent);
        }
        self.scratch = sent;
        self.resource
    }

    /// Bytes held by spans and their texts.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.spans.resident_bytes() + self.keys.resident_bytes() + self.resource_bytes
    }

    /// Spans held.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.spans.len()
    }

    /// Ids of the traces of the spans held, as often as they have spans.
    pub(crate) fn trace_ids(&self) -> impl Iterator<Item = u128> {
        self.spans.trace_ids.iter().copied()
    }

    /// Forgets attributes and links that were collected: a new span or resource begins.
    pub(crate) fn start_span(&mut self) {
        self.attributes.clear();
        self.links.clear();
        self.previous_key = KeyId::default();
    }

    /// Is this resource, as it was sent, known? Then it is that of the spans that follow.
    pub(crate) fn known_resource(&mut self, sent: &[u8]) -> bool {
        self.set_scope(b"");
        self.resource = self.resources.get(sent).copied();
        self.resource.is_some()
    }

    /// Takes what was collected as the resource of the spans that follow.
    pub(crate) fn end_resource(&mut self, sent: &[u8]) {
        self.resource = (self.resources.len() < MAX_RESOURCES).then(|| {
            let id = self.spans.add_new_resource(&self.attributes);
            self.resources.insert(sent.into(), id);
            // The copy here, and what the table keeps of it.
            self.resource_bytes += sent.len() + size_of_val(self.attributes.as_slice());
            id
        });
    }

    pub(crate) fn set_scope(&mut self, name: &[u8]) {
        let name = std::str::from_utf8(cut_bytes(name, MAX_VALUE_BYTES));
        self.scope = name.map_or(Sym::EMPTY, |name| self.spans.strings.intern(name));
    }

    /// The key for the attribute that follows; `None` if it cannot be kept, which is counted.
    pub(crate) fn key(&mut self, text: &[u8]) -> Option<KeyId> {
        if self.attributes.len() >= MAX_ATTRIBUTES {
            self.report.count(Unusable::TooManyAttributes, 1);
            return None;
        }
        match self.keys.find(&mut self.spans.strings, self.previous_key, text) {
            Ok(id) => {
                self.previous_key = id;
                Some(id)
            }
            Err(NoKey::Full) => {
                self.report.count(Unusable::TooManyKeys, 1);
                None
            }
            Err(NoKey::NotUtf8) => {
                self.report.count(Unusable::NotUtf8, 1);
                None
            }
            Err(NoKey::TooLong) => {
                self.report.count(Unusable::LongText, 1);
                None
            }
        }
    }

    /// Adds a text attribute; one that is not UTF-8 is counted and left out.
    pub(crate) fn text(&mut self, key: KeyId, text: &[u8]) {
        let text = self.bounded(text);
        match self.keys.text(&mut self.spans.strings, key, text) {
            Some(value) => self.attribute(key, value),
            None => self.report.count(Unusable::NotUtf8, 1),
        }
    }

    /// Adds an attribute of any type.
    pub(crate) fn value(&mut self, key: KeyId, value: Value<'_>) {
        if let Value::Text(text) = value {
            self.text(key, text.as_bytes());
        } else {
            let packed = self.spans.pack(value);
            self.attribute(key, packed);
        }
    }

    /// A text, or the beginning of one that is too long, which is counted.
    #[inline]
    fn bounded<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        if text.len() <= MAX_VALUE_BYTES {
            return text;
        }
        self.report.count(Unusable::LongText, 1);
        cut_bytes(text, MAX_VALUE_BYTES)
    }

    fn attribute(&mut self, key: KeyId, value: PackedValue) {
        self.attributes.push(Attribute { key: self.keys.sym(key), value });
    }

    /// Keeps a trace state as an attribute if OpenTelemetry's part is in it, which tells how traces were sampled.
    pub(crate) fn trace_state(&mut self, sent: &[u8]) {
        if sent.windows(3).any(|part| part == b"ot=")
            && let Ok(text) = std::str::from_utf8(sent)
        {
            self.named("tracestate", Value::Text(text));
        }
    }

    /// Adds an attribute by name, as readers of files do.
    pub(crate) fn named(&mut self, key: &str, value: Value<'_>) {
        if let Some(key) = self.key(key.as_bytes()) {
            self.value(key, value);
        }
    }

    pub(crate) fn link(&mut self, trace_id: &[u8], span_id: &[u8]) {
        let ids = (<[u8; 16]>::try_from(trace_id), <[u8; 8]>::try_from(span_id));
        match ids {
            (Ok(trace), Ok(span)) if self.links.len() < MAX_LINKS => {
                self.links.push((u128::from_be_bytes(trace), u64::from_be_bytes(span)));
            }
            _ => self.report.count(Unusable::Links, 1),
        }
    }

    /// Ends a span with what was collected for it. `false` if it was not kept; why is counted.
    pub(crate) fn end_span(&mut self, raw: &RawSpan<'_>) -> bool {
        let kept = self.checked(raw).map(|fields| self.push(fields));
        match kept {
            Ok(()) => true,
            Err(reason) => {
                self.report.count(reason, 1);
                false
            }
        }
    }

    /// Ends a span whose ids were read elsewhere.
    pub(crate) fn push(&mut self, fields: SpanFields) {
        if !self.links.is_empty() {
            let row = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
            self.spans.links.extend(self.links.iter().map(|&(trace, span)| (row, trace, span)));
        }
        self.spans.push(fields, &self.attributes);
        self.report.spans += 1;
    }

    fn checked(&mut self, raw: &RawSpan<'_>) -> Result<SpanFields, Unusable> {
        let trace_id = <[u8; 16]>::try_from(raw.trace_id).map_or(0, u128::from_be_bytes);
        let span_id = <[u8; 8]>::try_from(raw.span_id).map_or(0, u64::from_be_bytes);
        if trace_id == 0 {
            return Err(Unusable::TraceId);
        }
        if span_id == 0 {
            return Err(Unusable::SpanId);
        }
        let parent_id = match raw.parent_id {
            [] => 0,
            bytes => u64::from_be_bytes(bytes.try_into().map_err(|_| Unusable::ParentId)?),
        };
        if raw.start_ns == 0 || raw.end_ns == 0 {
            return Err(Unusable::NoTime);
        }
        Ok(SpanFields {
            trace_id,
            span_id,
            parent_id,
            start_ns: raw.start_ns,
            duration_ns: raw.end_ns.wrapping_sub(raw.start_ns).cast_signed(),
            name: self.name(raw.name)?,
            kind: raw.kind,
            status: raw.status,
            resource: self.current_resource()?,
            scope: self.scope,
        })
    }

    pub(crate) fn current_resource(&self) -> Result<ResourceId, Unusable> {
        self.resource.ok_or(Unusable::TooManyResources)
    }

    pub(crate) fn scope(&self) -> Sym {
        self.scope
    }

    pub(crate) fn name(&mut self, name: &[u8]) -> Result<Sym, Unusable> {
        let name = self.bounded(name);
        if self.spans.strings.get(self.last_name).as_bytes() != name {
            let text = std::str::from_utf8(name).map_err(|_| Unusable::NotUtf8)?;
            self.last_name = self.spans.strings.intern(text);
        }
        Ok(self.last_name)
    }

    /// Where to come back to if the rest of a body turns out to be broken.
    pub(crate) fn mark(&self) -> Mark {
        Mark { rows: self.spans.len(), spans: self.report.spans, epoch: self.epoch }
    }

    /// Takes back every span since `mark`; those that went to the reservoir in between stay.
    pub(crate) fn take_back(&mut self, mark: Mark) {
        if mark.epoch == self.epoch {
            self.spans.truncate(mark.rows);
            self.report.spans = mark.spans;
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Mark {
    rows: usize,
    spans: u64,
    epoch: u64,
}
