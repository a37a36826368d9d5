//! One JSON document of any kind. What it is shows in its fields as they come: OTLP's lists by resource (also under the
//! names that Tempo and Jaeger's newer interface give them), Jaeger's `data` or `spans` with `processes`, Zipkin's
//! spans. Nothing is looked at twice.

use super::jaeger::Trace;
use super::zipkin::Sent;
use crate::intake::Intake;
use crate::json::{One, Record, pass_over_scalars, skip};
use crate::otlp::{Walked, request_field};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What is said of a document that is none of these.
pub(super) const NO_TRACES: &str = "no traces: neither OTLP nor Jaeger (`data`) nor Zipkin (a list of spans)";

/// Reads a document.
///
/// # Errors
/// The input is broken or breaks off; what was read of it before is kept. `Ok(false)`: it is nothing that we know.
pub(super) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    intake: &mut Intake,
) -> Result<bool, D::Error> {
    let mut element = Element::new(intake);
    Items(&mut element).deserialize(deserializer)?;
    Ok(element.is_known())
}

/// An object of a document, or the document itself.
struct Element<'i, 'de> {
    intake: &'i mut Intake,
    /// Objects that were known, of all.
    known: u64,
    all: u64,
    fields: u64,
    otlp: bool,
    jaeger: Trace,
    zipkin: Sent<'de>,
}

impl<'i> Element<'i, '_> {
    fn new(intake: &'i mut Intake) -> Self {
        Self {
            intake,
            known: 0,
            all: 0,
            fields: 0,
            otlp: false,
            jaeger: Trace::default(),
            zipkin: Sent::default(),
        }
    }

    /// An empty list is a list of traces without any.
    fn is_known(&self) -> bool {
        self.known > 0 || self.all == 0
    }
}

impl<'de> Record<'de> for Element<'_, 'de> {
    fn begin(&mut self) {
        self.all += 1;
        self.fields = 0;
        self.otlp = false;
        self.jaeger = Trace::begin(self.intake);
        self.zipkin = Sent::default();
        self.intake.start_span();
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.fields += 1;
        match name {
            "data" | "trace" | "result" => {
                let mut within = Element::new(self.intake);
                let read = map.next_value_seed(Items(&mut within));
                self.otlp |= within.is_known();
                read
            }
            "spans" => self.jaeger.spans(map, self.intake),
            "processes" => self.jaeger.processes(map, self.intake),
            _ if Sent::has(name) => self.zipkin.field(name, map, self.intake),
            _ => {
                let known = request_field(name, map, self.intake, &mut Walked::default())?;
                self.otlp |= known;
                if known { Ok(()) } else { skip(map) }
            }
        }
    }

    fn end(&mut self, whole: bool) {
        let is_trace = self.jaeger.end(whole, self.intake);
        let is_span = !is_trace && whole && self.zipkin.end(self.intake);
        let known = self.otlp || is_trace || is_span || self.fields == 0;
        self.known += u64::from(known);
        self.intake.relieve();
    }
}

/// Objects, lists of them, and lists of lists.
struct Items<'a, 'i, 'de>(&'a mut Element<'i, 'de>);

impl<'de> DeserializeSeed<'de> for Items<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, 'de> {
    type Value = ();
    pass_over_scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Items(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        One(self.0).visit_map(map)
    }
}
