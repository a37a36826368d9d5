//! OTLP's JSON in all its dialects: camel and snake case, ids in hex or base64, numbers as texts, kinds as words,
//! fields in any order. Read once, straight into columns.

use super::Walked;
use super::json_metrics::ResourceMetrics;
use super::json_value::{Attributes, Events};
use crate::intake::{Block, Intake, RawSpan};
use crate::json::{Id, Many, One, Record, Scalar, skip, text};
use anyhow::{Result, ensure};
use model::{SpanKind, SpanStatus};
use serde::de::{DeserializeSeed, MapAccess};
use std::borrow::Cow;

/// Reads one JSON document of traces, metrics or logs, a request of any of the three.
///
/// # Errors
/// It is none of them or no JSON; then none of its spans was kept.
pub fn read_json(document: &str, intake: &mut Intake) -> Result<Walked> {
    let mark = intake.mark();
    let mut request = Request::new(intake);
    let mut reader = serde_json::Deserializer::from_str(document);
    let read = One(&mut request).deserialize(&mut reader).and_then(|()| reader.end());
    let Request { walked, known, fields, .. } = request;
    if read.is_err() || !known {
        intake.take_back(mark);
    }
    read.map_err(|error| anyhow::anyhow!("no valid JSON: {error}"))?;
    let is_empty = fields == 0 && document.trim_start().starts_with('{');
    // An empty request is a valid one.
    ensure!(known || is_empty, "no OTLP: neither resourceSpans nor resourceMetrics nor resourceLogs");
    Ok(walked)
}

/// A document's own fields.
struct Request<'i> {
    intake: &'i mut Intake,
    walked: Walked,
    known: bool,
    fields: u64,
}

impl<'i> Request<'i> {
    fn new(intake: &'i mut Intake) -> Self {
        Self { intake, walked: Walked::default(), known: false, fields: 0 }
    }
}

impl<'de> Record<'de> for Request<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.fields += 1;
        let known = request_field(name, map, self.intake, &mut self.walked)?;
        self.known |= known;
        if known { Ok(()) } else { skip(map) }
    }
}

/// Reads a field of a request if it is one of OTLP's; otherwise its value is left to read.
///
/// # Errors
/// The input is broken.
pub(crate) fn request_field<'de, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
    intake: &mut Intake,
    walked: &mut Walked,
) -> Result<bool, A::Error> {
    match name {
        // `batches` is what Tempo calls them.
        "resourceSpans" | "resource_spans" | "batches" => {
            map.next_value_seed(Many(&mut ResourceSpans::new(intake, walked)))?;
        }
        "resourceMetrics" | "resource_metrics" => {
            map.next_value_seed(Many(&mut ResourceMetrics::new(intake, walked)))?;
        }
        "resourceLogs" | "resource_logs" => {
            let mut logs = Logs { records: 0 };
            map.next_value_seed(Many(&mut logs))?;
            intake.report.log_records += logs.records;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

struct ResourceSpans<'i> {
    intake: &'i mut Intake,
    walked: &'i mut Walked,
    block: Block,
}

impl<'i> ResourceSpans<'i> {
    fn new(intake: &'i mut Intake, walked: &'i mut Walked) -> Self {
        Self { intake, walked, block: Block::default() }
    }
}

impl<'de> Record<'de> for ResourceSpans<'_> {
    fn begin(&mut self) {
        self.block = self.intake.begin_block();
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "resource" => {
                self.intake.start_span();
                map.next_value_seed(One(&mut Resource { intake: self.intake }))?;
                self.intake.resource_of_block(&mut self.block);
                Ok(())
            }
            "scopeSpans"
            | "scope_spans"
            | "instrumentationLibrarySpans"
            | "instrumentation_library_spans" => map.next_value_seed(Many(&mut ScopeSpans {
                intake: self.intake,
                walked: self.walked,
                from: 0,
            })),
            _ => skip(map),
        }
    }

    fn end(&mut self, _whole: bool) {
        let lost = self.intake.end_block(self.block);
        self.walked.kept -= lost;
        self.walked.rejected += lost;
    }
}

struct Resource<'i> {
    intake: &'i mut Intake,
}

impl<'de> Record<'de> for Resource<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "attributes" => map.next_value_seed(Many(&mut Attributes::new(self.intake))),
            _ => skip(map),
        }
    }
}

struct ScopeSpans<'i> {
    intake: &'i mut Intake,
    walked: &'i mut Walked,
    /// Its first row.
    from: usize,
}

impl<'de> Record<'de> for ScopeSpans<'_> {
    fn begin(&mut self) {
        self.intake.set_scope(b"");
        self.from = self.intake.span_count();
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "scope" | "instrumentationLibrary" | "instrumentation_library" => {
                map.next_value_seed(One(&mut Scope { intake: self.intake }))
            }
            "spans" => map.next_value_seed(Many(&mut Spans::new(self.intake, self.walked))),
            _ => skip(map),
        }
    }

    fn end(&mut self, _whole: bool) {
        // The scope may come after its spans.
        let scope = self.intake.scope();
        self.intake.spans.scopes[self.from..].fill(scope);
    }
}

struct Scope<'i> {
    intake: &'i mut Intake,
}

impl<'de> Record<'de> for Scope<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name == "name" {
            self.intake.set_scope(text(map)?.as_bytes());
            return Ok(());
        }
        skip(map)
    }
}

/// One span after another.
struct Spans<'i, 'de> {
    intake: &'i mut Intake,
    walked: &'i mut Walked,
    ids: [Id; 3],
    name: Cow<'de, str>,
    kind: SpanKind,
    status: SpanStatus,
    start_ns: u64,
    end_ns: u64,
}

impl<'i> Spans<'i, '_> {
    fn new(intake: &'i mut Intake, walked: &'i mut Walked) -> Self {
        Self {
            intake,
            walked,
            ids: [Id::default(); 3],
            name: Cow::Borrowed(""),
            kind: SpanKind::Unspecified,
            status: SpanStatus::Unset,
            start_ns: 0,
            end_ns: 0,
        }
    }
}

impl<'de> Record<'de> for Spans<'_, 'de> {
    fn begin(&mut self) {
        self.intake.start_span();
        self.ids = [Id::default(); 3];
        self.name = Cow::Borrowed("");
        (self.kind, self.status) = (SpanKind::Unspecified, SpanStatus::Unset);
        (self.start_ns, self.end_ns) = (0, 0);
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "attributes" => map.next_value_seed(Many(&mut Attributes::new(self.intake)))?,
            "traceId" | "trace_id" => self.ids[0] = Id::read(&text(map)?, 16),
            "spanId" | "span_id" => self.ids[1] = Id::read(&text(map)?, 8),
            "parentSpanId" | "parent_span_id" => self.ids[2] = Id::read(&text(map)?, 8),
            "name" => self.name = text(map)?,
            "traceState" | "trace_state" => self.intake.trace_state(text(map)?.as_bytes()),
            "kind" => self.kind = kind(&map.next_value()?),
            "startTimeUnixNano" | "start_time_unix_nano" => self.start_ns = time(map)?,
            "endTimeUnixNano" | "end_time_unix_nano" => self.end_ns = time(map)?,
            "status" => map.next_value_seed(One(&mut Status { status: &mut self.status }))?,
            "events" => map.next_value_seed(Many(&mut Events::new(self.intake)))?,
            "links" => {
                map.next_value_seed(Many(&mut Links { intake: self.intake, ids: [Id::default(); 2] }))?
            }
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, whole: bool) {
        if !whole {
            return;
        }
        let kept = self.intake.end_span(&RawSpan {
            trace_id: self.ids[0].bytes(),
            span_id: self.ids[1].bytes(),
            parent_id: self.ids[2].bytes(),
            name: self.name.as_bytes(),
            kind: self.kind,
            status: self.status,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
        });
        self.walked.kept += u64::from(kept);
        self.walked.rejected += u64::from(!kept);
    }
}

fn time<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u64, A::Error> {
    Ok(map.next_value::<Scalar<'de>>()?.whole().unwrap_or(0))
}

fn kind(sent: &Scalar<'_>) -> SpanKind {
    match sent.text().trim_start_matches("SPAN_KIND_") {
        "INTERNAL" => SpanKind::Internal,
        "SERVER" => SpanKind::Server,
        "CLIENT" => SpanKind::Client,
        "PRODUCER" => SpanKind::Producer,
        "CONSUMER" => SpanKind::Consumer,
        _ => SpanKind::from_number(sent.whole().unwrap_or(0)),
    }
}

struct Status<'a> {
    status: &'a mut SpanStatus,
}

impl<'de> Record<'de> for Status<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "code" {
            return skip(map);
        }
        let sent: Scalar<'de> = map.next_value()?;
        *self.status = match sent.text().trim_start_matches("STATUS_CODE_") {
            "OK" => SpanStatus::Ok,
            "ERROR" => SpanStatus::Error,
            _ => SpanStatus::from_number(sent.whole().unwrap_or(0)),
        };
        Ok(())
    }
}

struct Links<'i> {
    intake: &'i mut Intake,
    ids: [Id; 2],
}

impl<'de> Record<'de> for Links<'_> {
    fn begin(&mut self) {
        self.ids = [Id::default(); 2];
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "traceId" | "trace_id" => self.ids[0] = Id::read(&text(map)?, 16),
            "spanId" | "span_id" => self.ids[1] = Id::read(&text(map)?, 8),
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, whole: bool) {
        if whole {
            self.intake.link(self.ids[0].bytes(), self.ids[1].bytes());
        }
    }
}

/// Log records are counted.
struct Logs {
    records: u64,
}

impl<'de> Record<'de> for Logs {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "scopeLogs" | "scope_logs" => map.next_value_seed(Many(self)),
            "logRecords" | "log_records" => {
                map.next_value_seed(Many(&mut Records { count: &mut self.records }))
            }
            _ => skip(map),
        }
    }
}

struct Records<'a> {
    count: &'a mut u64,
}

impl<'de> Record<'de> for Records<'_> {
    fn begin(&mut self) {
        *self.count += 1;
    }

    fn field<A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        skip(map)
    }
}
