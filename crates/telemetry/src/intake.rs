//! What is being received: spans in columns, series of metrics, counts; `take` hands over a window's worth.
//! Protobuf, JSON and files all end here, so that bounds and reasons are the same for each.

use crate::bounds::{MAX_ATTRIBUTES, MAX_LINKS, MAX_RESOURCES, MAX_TEXT_BYTES};
use crate::keys::{KeyId, Keys, NoKey};
use crate::metric_store::MetricStore;
use crate::report::{IngestReport, Unusable};
use hashbrown::HashMap;
use model::{
    Attribute, MetricSeries, PackedValue, ResourceId, SpanFields, SpanKind, SpanStatus, SpanTable, Strings,
    Sym, Value,
};

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
}

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
        }
    }

    /// Hands over what came since the last time. Cumulative histograms keep their last state, so that the next
    /// window's differences are right.
    pub fn take(&mut self) -> Batch {
        let spans = self.take_spans();
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
        spans
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
        self.scope = std::str::from_utf8(name).map_or(Sym::EMPTY, |name| self.spans.strings.intern(name));
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
        }
    }

    /// Adds a text attribute; one that is not UTF-8 is counted and left out.
    pub(crate) fn text(&mut self, key: KeyId, text: &[u8]) {
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

    fn attribute(&mut self, key: KeyId, value: PackedValue) {
        self.attributes.push(Attribute { key: self.keys.sym(key), value });
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
        if self.spans.strings.get(self.last_name).as_bytes() != name {
            let text = std::str::from_utf8(name).map_err(|_| Unusable::NotUtf8)?;
            self.last_name = self.spans.strings.intern(text);
        }
        Ok(self.last_name)
    }

    /// Where to come back to if the rest of a body turns out to be broken.
    pub(crate) fn mark(&self) -> Mark {
        Mark { rows: self.spans.len(), spans: self.report.spans }
    }

    /// Takes back every span since `mark`.
    pub(crate) fn take_back(&mut self, mark: Mark) {
        self.spans.truncate(mark.rows);
        self.report.spans = mark.spans;
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Mark {
    rows: usize,
    spans: u64,
}
