//! Jaeger's JSON: a trace is a list of spans and a map of the processes that they are of, in either order. Times are
//! microseconds. Ids that are no hexadecimal number are named by a hash.

use crate::bounds::{MAX_ATTRIBUTES, MAX_LINKS};
use crate::intake::Intake;
use crate::json::{Many, One, Record, Scalar, hex_number, skip, text};
use crate::otlp::{EXCEPTION_KEYS, add_scalar};
use crate::report::Unusable;
use model::{ResourceId, SpanFields, SpanKind, SpanStatus, Sym, Value};
use serde::de::MapAccess;
use std::borrow::Cow;
use std::collections::HashMap;

const NS_PER_US: u64 = 1000;

/// A span that brings its own process.
const INLINE: u32 = u32::MAX;

/// A trace while it is read.
#[derive(Default)]
pub(super) struct Trace {
    /// Its first row.
    from: usize,
    has_spans: bool,
    has_processes: bool,
    /// Numbers of processes by the name that spans use, and the number of each row.
    numbers: HashMap<String, u32>,
    of_rows: Vec<u32>,
    last: (String, u32),
    resources: HashMap<String, Option<ResourceId>>,
}

impl Trace {
    pub(super) fn begin(intake: &Intake) -> Self {
        Self { from: intake.span_count(), last: (String::new(), INLINE), ..Self::default() }
    }

    /// Reads the list of its spans.
    ///
    /// # Errors
    /// The input is broken.
    pub(super) fn spans<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        intake: &mut Intake,
    ) -> Result<(), A::Error> {
        self.has_spans = true;
        map.next_value_seed(Many(&mut Span::new(self, intake)))
    }

    /// Reads the map of its processes.
    ///
    /// # Errors
    /// The input is broken.
    pub(super) fn processes<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        intake: &mut Intake,
    ) -> Result<(), A::Error> {
        map.next_value_seed(One(&mut Processes { trace: self, intake }))?;
        self.has_processes = true;
        Ok(())
    }

    /// Gives its spans their processes. Whether it was a trace at all.
    pub(super) fn end(&mut self, whole: bool, intake: &mut Intake) -> bool {
        if !self.has_spans {
            return false;
        }
        if !whole && !self.has_processes && !self.numbers.is_empty() {
            intake.drop_rows(self.from, Unusable::CutOff);
            return true;
        }
        let mut known = vec![None; self.numbers.len()];
        for (name, number) in &self.numbers {
            let resource = self.resources.get(name).copied();
            let resource = resource.unwrap_or_else(|| Process::default().resource(intake));
            if let Some(slot) = known.get_mut(*number as usize) {
                *slot = resource;
            }
        }
        if known.iter().any(Option::is_none) {
            intake.drop_rows(self.from, Unusable::TooManyResources);
            return true;
        }
        for (row, number) in (self.from..).zip(&self.of_rows) {
            let resource = known.get(*number as usize).copied().flatten();
            if let (Some(resource), Some(slot)) = (resource, intake.spans.resources.get_mut(row)) {
                *slot = resource;
            }
        }
        true
    }

    /// The number of the process that a span names. Spans of one process mostly follow each other.
    fn number(&mut self, name: &str) -> u32 {
        if self.last.1 == INLINE || self.last.0 != name {
            let next = u32::try_from(self.numbers.len()).unwrap_or(INLINE);
            let number = match self.numbers.get(name) {
                Some(known) => *known,
                None => *self.numbers.entry(name.to_owned()).or_insert(next),
            };
            self.last = (name.to_owned(), number);
        }
        self.last.1
    }
}

/// The processes of a trace by their names.
struct Processes<'a, 'i> {
    trace: &'a mut Trace,
    intake: &'i mut Intake,
}

impl<'de> Record<'de> for Processes<'_, '_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let mut process = Process::default();
        map.next_value_seed(One(&mut process))?;
        let resource = process.resource(self.intake);
        self.trace.resources.insert(name.to_owned(), resource);
        Ok(())
    }
}

/// A service's process.
#[derive(Default)]
struct Process<'de> {
    service: Cow<'de, str>,
    tags: Vec<(Cow<'de, str>, Scalar<'de>)>,
}

impl Process<'_> {
    fn resource(&self, intake: &mut Intake) -> Option<ResourceId> {
        intake.resource_aside(|intake| {
            intake.named("service.name", Value::Text(&self.service));
            self.tags.iter().for_each(|(key, value)| add_scalar(key, value, intake));
        })
    }
}

impl<'de> Record<'de> for Process<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "serviceName" => self.service = text(map)?,
            "tags" => map.next_value_seed(Many(&mut Listed { tag: Tag::default(), all: &mut self.tags }))?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// `{"key": ..., "type": ..., "value": ...}`, in any order.
#[derive(Default)]
struct Tag<'de> {
    key: Cow<'de, str>,
    value: Scalar<'de>,
}

impl<'de> Tag<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = text(map)?,
            "value" => self.value = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Tags into a list.
struct Listed<'a, 'de> {
    tag: Tag<'de>,
    all: &'a mut Vec<(Cow<'de, str>, Scalar<'de>)>,
}

impl<'de> Record<'de> for Listed<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.tag.read(name, map)
    }

    fn end(&mut self, _whole: bool) {
        let Tag { key, value } = std::mem::take(&mut self.tag);
        if self.all.len() < MAX_ATTRIBUTES {
            self.all.push((key, value));
        }
    }
}

/// One span after another.
struct Span<'a, 'i, 'de> {
    trace: &'a mut Trace,
    intake: &'i mut Intake,
    fields: SpanFields,
    name: Cow<'de, str>,
    process: Cow<'de, str>,
    inline: Option<Process<'de>>,
    parent_id: Cow<'de, str>,
    references: Vec<Reference>,
}

impl<'a, 'i> Span<'a, 'i, '_> {
    fn new(trace: &'a mut Trace, intake: &'i mut Intake) -> Self {
        Self {
            trace,
            intake,
            fields: SpanFields::default(),
            name: Cow::default(),
            process: Cow::default(),
            inline: None,
            parent_id: Cow::default(),
            references: Vec::new(),
        }
    }

    /// The parent by its reference: the first that is not a `FOLLOWS_FROM`, else the first. The others become links.
    fn relate(&mut self) -> u64 {
        let parent =
            self.references.iter().position(|r| r.is_child).or((!self.references.is_empty()).then_some(0));
        for (at, other) in self.references.iter().enumerate() {
            if Some(at) != parent {
                self.intake.link(&other.trace_id.to_be_bytes(), &low(other.span_id).to_be_bytes());
            }
        }
        let parent = parent.and_then(|at| self.references.get(at));
        low(parent.map_or_else(|| id(&self.parent_id), |parent| parent.span_id))
    }
}

impl<'de> Record<'de> for Span<'_, '_, 'de> {
    fn begin(&mut self) {
        self.intake.start_span();
        self.intake.set_scope(b"");
        self.fields = SpanFields::default();
        (self.name, self.process, self.parent_id) = (Cow::default(), Cow::default(), Cow::default());
        self.inline = None;
        self.references.clear();
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "traceID" => self.fields.trace_id = id(&text(map)?),
            "spanID" => self.fields.span_id = low(id(&text(map)?)),
            "parentSpanID" => self.parent_id = text(map)?,
            "operationName" => self.name = text(map)?,
            "processID" => self.process = text(map)?,
            "startTime" => {
                let us = map.next_value::<Scalar<'de>>()?.whole().unwrap_or(0);
                self.fields.start_ns = us.saturating_mul(NS_PER_US);
            }
            "duration" => self.fields.duration_ns = duration(&map.next_value()?),
            "tags" => {
                let fields = &mut self.fields;
                map.next_value_seed(Many(&mut SpanTags {
                    intake: self.intake,
                    fields,
                    tag: Tag::default(),
                }))?;
            }
            "logs" => map.next_value_seed(Many(&mut Log { intake: self.intake }))?,
            "references" => map.next_value_seed(Many(&mut References(&mut self.references)))?,
            "process" => {
                let mut process = Process::default();
                map.next_value_seed(One(&mut process))?;
                self.inline = Some(process);
            }
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, whole: bool) {
        if !whole {
            return;
        }
        self.fields.parent_id = self.relate();
        let (number, resource) = match &self.inline {
            Some(process) => (INLINE, process.resource(self.intake)),
            None => (self.trace.number(&self.process), Some(ResourceId(INLINE))),
        };
        if finish(self.fields, resource, &self.name, self.intake) {
            self.trace.of_rows.push(number);
        }
    }
}

/// The tags of a span: some tell its kind, scope or status.
struct SpanTags<'a, 'de> {
    intake: &'a mut Intake,
    fields: &'a mut SpanFields,
    tag: Tag<'de>,
}

impl<'de> Record<'de> for SpanTags<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.tag.read(name, map)
    }

    fn end(&mut self, whole: bool) {
        let Tag { key, value } = std::mem::take(&mut self.tag);
        match key.as_ref() {
            _ if !whole => {}
            "span.kind" => self.fields.kind = kind_of(value.text()),
            "otel.scope.name" | "otel.library.name" => self.intake.set_scope(value.text().as_bytes()),
            key => {
                let failed = match key {
                    "error" => value.is_true(),
                    "otel.status_code" => value.text() == "ERROR",
                    _ => false,
                };
                if failed {
                    self.fields.status = SpanStatus::Error;
                }
                add_scalar(key, &value, self.intake);
            }
        }
    }
}

/// Logs of a span: of an exception, type and message become attributes.
struct Log<'a> {
    intake: &'a mut Intake,
}

impl<'de> Record<'de> for Log<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "fields" => map.next_value_seed(Many(&mut Told { intake: self.intake, tag: Tag::default() })),
            _ => skip(map),
        }
    }
}

struct Told<'a, 'de> {
    intake: &'a mut Intake,
    tag: Tag<'de>,
}

impl<'de> Record<'de> for Told<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.tag.read(name, map)
    }

    fn end(&mut self, whole: bool) {
        let Tag { key, value } = std::mem::take(&mut self.tag);
        if whole && EXCEPTION_KEYS.contains(&key.as_ref()) {
            add_scalar(&key, &value, self.intake);
        }
    }
}

/// Another span that a span names.
#[derive(Clone, Copy, Default)]
struct Reference {
    is_child: bool,
    trace_id: u128,
    span_id: u128,
}

struct References<'a>(&'a mut Vec<Reference>);

impl<'de> Record<'de> for References<'_> {
    fn begin(&mut self) {
        // One more than is kept: then it is counted.
        if self.0.len() > MAX_LINKS {
            self.0.pop();
        }
        self.0.push(Reference { is_child: true, ..Reference::default() });
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let Some(reference) = self.0.last_mut() else { return skip(map) };
        match name {
            "refType" => reference.is_child = text(map)? != "FOLLOWS_FROM",
            "traceID" => reference.trace_id = id(&text(map)?),
            "spanID" => reference.span_id = id(&text(map)?),
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Adds name and scope, and keeps the span if it can be told from others. Whether it was kept.
pub(super) fn finish(
    fields: SpanFields,
    resource: Option<ResourceId>,
    name: &str,
    intake: &mut Intake,
) -> bool {
    let reason = match (fields.trace_id, fields.span_id, resource) {
        (0, _, _) => Some(Unusable::TraceId),
        (_, 0, _) => Some(Unusable::SpanId),
        (_, _, None) => Some(Unusable::TooManyResources),
        _ => None,
    };
    if let Some(reason) = reason {
        intake.report.count(reason, 1);
        return false;
    }
    let name = intake.name(name.as_bytes()).unwrap_or(Sym::EMPTY);
    let scope = intake.scope();
    intake.push(SpanFields { name, scope, resource: resource.unwrap_or_default(), ..fields });
    true
}

/// The duration in nanoseconds; a negative one is kept, a missing one is 0.
pub(super) fn duration(sent: &Scalar<'_>) -> i64 {
    sent.int().unwrap_or(0).saturating_mul(1000)
}

/// An id of up to 32 hexadecimal digits, 0 for an empty one; of other texts the FNV-1a hash.
pub(super) fn id(text: &str) -> u128 {
    let digits = text.trim_start_matches("0x");
    if digits.is_empty() {
        return 0;
    }
    hex_number(digits).unwrap_or_else(|| {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        u128::from(hash)
    })
}

/// The low 64 bits, which is what a span's id has.
pub(super) fn low(id: u128) -> u64 {
    (id & u128::from(u64::MAX)) as u64
}

/// A span's kind in lower or upper case.
pub(super) fn kind_of(word: &str) -> SpanKind {
    const KINDS: [(&str, SpanKind); 5] = [
        ("internal", SpanKind::Internal),
        ("server", SpanKind::Server),
        ("client", SpanKind::Client),
        ("producer", SpanKind::Producer),
        ("consumer", SpanKind::Consumer),
    ];
    let known = KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known.map_or(SpanKind::Unspecified, |(_, kind)| *kind)
}
