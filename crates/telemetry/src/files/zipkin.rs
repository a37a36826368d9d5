//! Zipkin's JSON, version 2: a list of spans. Times are microseconds. Client and server halves of a call may share an
//! id; they are kept as sent, the diagnosis joins them.

use super::jaeger::{duration, finish, id, kind_of, low};
use crate::intake::Intake;
use crate::json::{One, Record, Scalar, skip, text};
use crate::otlp::add_scalar;
use crate::report::Unusable;
use model::{SpanFields, SpanStatus, Value};
use serde::de::MapAccess;
use std::borrow::Cow;

/// A span while it is read; its tags go into what is collected.
#[derive(Default)]
pub(super) struct Sent<'de> {
    fields: SpanFields,
    has_ids: [bool; 2],
    name: Cow<'de, str>,
    service: Cow<'de, str>,
    remote: Endpoint<'de>,
}

impl<'de> Sent<'de> {
    /// Whether a field is one of ours.
    pub(super) fn has(name: &str) -> bool {
        const FIELDS: [&str; 10] = [
            "traceId",
            "id",
            "parentId",
            "name",
            "timestamp",
            "duration",
            "kind",
            "localEndpoint",
            "remoteEndpoint",
            "tags",
        ];
        FIELDS.contains(&name)
    }

    /// Reads one of them.
    ///
    /// # Errors
    /// The input is broken.
    pub(super) fn field<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        intake: &mut Intake,
    ) -> Result<(), A::Error> {
        match name {
            "traceId" => {
                self.has_ids[0] = true;
                self.fields.trace_id = id(&text(map)?);
            }
            "id" => {
                self.has_ids[1] = true;
                self.fields.span_id = low(id(&text(map)?));
            }
            "parentId" => self.fields.parent_id = low(id(&text(map)?)),
            "name" => self.name = text(map)?,
            "timestamp" => {
                let us = map.next_value::<Scalar<'de>>()?.whole().unwrap_or(0);
                self.fields.start_ns = us.saturating_mul(1000);
            }
            "duration" => self.fields.duration_ns = duration(&map.next_value()?),
            "kind" => self.fields.kind = kind_of(&text(map)?),
            "localEndpoint" => {
                let mut local = Endpoint::default();
                map.next_value_seed(One(&mut local))?;
                self.service = local.service;
            }
            "remoteEndpoint" => map.next_value_seed(One(&mut self.remote))?,
            "tags" => map.next_value_seed(One(&mut Tags { intake, status: &mut self.fields.status }))?,
            _ => skip(map)?,
        }
        Ok(())
    }

    /// Keeps the span, or counts why not. Whether it was one at all.
    pub(super) fn end(&mut self, intake: &mut Intake) -> bool {
        if self.has_ids != [true; 2] {
            return false;
        }
        let remote = &self.remote;
        for (key, value) in [("peer.service", &remote.service), ("network.peer.address", &remote.address)] {
            if !value.is_empty() {
                intake.named(key, Value::Text(value));
            }
        }
        if let Some(port) = remote.port {
            intake.named("network.peer.port", Value::Int(port));
        }
        if self.fields.start_ns == 0 {
            intake.report.count(Unusable::NoTime, 1);
            return true;
        }
        let service = &self.service;
        let resource = intake.resource_aside(|intake| intake.named("service.name", Value::Text(service)));
        intake.set_scope(b"");
        finish(self.fields, resource, &self.name, intake);
        true
    }
}

struct Tags<'a> {
    intake: &'a mut Intake,
    status: &'a mut SpanStatus,
}

impl<'de> Record<'de> for Tags<'_> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name == "error" {
            *self.status = SpanStatus::Error;
        }
        let value: Scalar<'de> = map.next_value()?;
        add_scalar(name, &value, self.intake);
        Ok(())
    }
}

/// Where a service is.
#[derive(Default)]
struct Endpoint<'de> {
    service: Cow<'de, str>,
    address: Cow<'de, str>,
    port: Option<i64>,
}

impl<'de> Record<'de> for Endpoint<'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "serviceName" => self.service = text(map)?,
            "ipv4" => self.address = text(map)?,
            "port" => self.port = map.next_value::<Scalar<'de>>()?.int(),
            _ => skip(map)?,
        }
        Ok(())
    }
}
