//! Spans, passed along as values: a `Trace` is the place in a trace at which work happens,
//! a `Span` is a piece of that work and ends when it is dropped. No global tracer, no ambient context.

use std::borrow::Cow;

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

#[derive(Clone)]
pub(crate) struct Trace {
    tracer: SdkTracer,
    context: Context,
}

impl Trace {
    /// The place from which new traces start.
    pub(crate) fn root(tracer: SdkTracer) -> Self {
        Self { tracer, context: Context::new() }
    }

    /// The place that a caller names in its W3C `traceparent`; a new root without a valid one.
    pub(crate) fn of_caller(&self, headers: &HeaderMap) -> Self {
        let context =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        Self { tracer: self.tracer.clone(), context }
    }

    /// The place that `Context::current()` stands for, in code that is called through a library.
    pub(crate) fn ambient(&self) -> Self {
        Self { tracer: self.tracer.clone(), context: Context::current() }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        TraceContextPropagator::new().inject_context(&self.context, &mut HeaderInjector(headers));
    }

    pub(crate) fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
    ) -> Span {
        self.linked_span(name, kind, attributes, Vec::new())
    }

    pub(crate) fn linked_span(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        links: Vec<SpanContext>,
    ) -> Span {
        let links = links.into_iter().map(|context| Link::new(context, Vec::new(), 0)).collect();
        let builder =
            self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes).with_links(links);
        let span = self.tracer.build_with_context(builder, &self.context);
        Span { trace: Self { tracer: self.tracer.clone(), context: self.context.with_span(span) } }
    }
}

pub(crate) struct Span {
    trace: Trace,
}

impl Span {
    /// The place inside this span.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether attributes are kept; lets a caller skip the cost of making them.
    pub(crate) fn is_recording(&self) -> bool {
        self.trace.context.span().is_recording()
    }

    pub(crate) fn set(&self, attribute: KeyValue) {
        self.trace.context.span().set_attribute(attribute);
    }

    pub(crate) fn fail(&self, error_type: impl Into<Cow<'static, str>>, description: &str) {
        let span = self.trace.context.span();
        let error_type: Cow<'static, str> = error_type.into();
        span.set_attribute(KeyValue::new("error.type", error_type));
        span.set_status(Status::error(description.to_owned()));
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.trace.context.span().end();
    }
}
