//! OTLP metrics from the wire. Not a hot path: a point becomes a small value before it is stored.

use super::Walked;
use super::value::pair;
use super::wire::{Field, Malformed, Wire, fixed64s, varints, zigzag};
use crate::distribution::Distribution;
use crate::intake::Intake;
use crate::metric_store::{Attributes, Figure, MetricName, MetricStore};
use crate::report::{IngestReport, Unusable};
use serde_json::Value as Json;

/// Reads an `ExportMetricsServiceRequest` (which is also a file's `MetricsData`).
///
/// # Errors
/// It is cut off or no protobuf; then nothing of it was kept.
pub fn walk_metrics(body: &[u8], intake: &mut Intake) -> Result<Walked, Malformed> {
    let Intake { metrics, report, .. } = intake;
    // Points cannot be taken back from sums and differences: the first pass only looks whether all can be read.
    Reader { sink: None, resource: Attributes::new() }.request(body)?;
    let sink = Some(Sink { store: metrics, report, walked: Walked::default() });
    let mut reader = Reader { sink, resource: Attributes::new() };
    reader.request(body)?;
    Ok(reader.sink.map_or_else(Walked::default, |sink| sink.walked))
}

struct Sink<'a> {
    store: &'a mut MetricStore,
    report: &'a mut IngestReport,
    walked: Walked,
}

struct Reader<'a> {
    sink: Option<Sink<'a>>,
    resource: Attributes,
}

/// How the figure of a metric is to be read: the field of `Metric` that holds its points.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

#[derive(Clone, Copy)]
struct Kind {
    shape: Shape,
    delta: bool,
    monotonic: bool,
}

impl Reader<'_> {
    fn request(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let mut wire = Wire::new(body);
        while let Some((number, field)) = wire.next()? {
            if number == 1 {
                self.resource_metrics(field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &[u8]) -> Result<(), Malformed> {
        self.resource = Attributes::new();
        let mut wire = Wire::new(message);
        while let Some((number, field)) = wire.next()? {
            if number == 1 {
                let mut resource = Wire::new(field.bytes()?);
                while let Some((number, field)) = resource.next()? {
                    if number == 1 {
                        insert(&mut self.resource, field)?;
                    }
                }
            }
        }
        let mut wire = Wire::new(message);
        while let Some((number, field)) = wire.next()? {
            if number == 2 || number == 1000 {
                let mut scope = Wire::new(field.bytes()?);
                while let Some((number, field)) = scope.next()? {
                    if number == 2 {
                        self.metric(field.bytes()?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn metric(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (mut name, mut unit) = (String::new(), String::new());
        let mut data: Option<(Shape, &[u8])> = None;
        let mut wire = Wire::new(message);
        while let Some((number, field)) = wire.next()? {
            let shape = match number {
                1 => {
                    name = String::from_utf8_lossy(field.bytes()?).into_owned();
                    continue;
                }
                3 => {
                    unit = String::from_utf8_lossy(field.bytes()?).into_owned();
                    continue;
                }
                5 => Shape::Gauge,
                7 => Shape::Sum,
                9 => Shape::Histogram,
                10 => Shape::Exponential,
                11 => Shape::Summary,
                _ => continue,
            };
            data = Some((shape, field.bytes()?));
        }
        let Some((shape, data)) = data else { return Ok(()) };
        let mut kind = Kind { shape, delta: false, monotonic: false };
        let mut wire = Wire::new(data);
        while let Some((number, field)) = wire.next()? {
            match number {
                2 => kind.delta = field.number()? == 1,
                3 => kind.monotonic = field.number()? != 0,
                _ => {}
            }
        }
        let mut wire = Wire::new(data);
        while let Some((number, field)) = wire.next()? {
            if number == 1 {
                self.point(&MetricName { name: &name, unit: &unit }, kind, field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn point(&mut self, name: &MetricName<'_>, kind: Kind, message: &[u8]) -> Result<(), Malformed> {
        let (attributes, time_ns, figure) = match kind.shape {
            Shape::Gauge | Shape::Sum => number_point(kind, message)?,
            Shape::Histogram => histogram_point(kind, message)?,
            Shape::Exponential => exponential_point(kind, message)?,
            Shape::Summary => summary_point(message)?,
        };
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let mut all = attributes;
        all.extend(self.resource.iter().map(|(key, value)| (key.clone(), value.clone())));
        let kept = match figure {
            Some(figure) => sink.store.push(name, all, time_ns, figure, sink.report),
            None => {
                sink.report.count(Unusable::Histogram, 1);
                false
            }
        };
        sink.walked.kept += u64::from(kept);
        sink.walked.rejected += u64::from(!kept);
        Ok(())
    }
}

type PointParts = (Attributes, u64, Option<Figure>);

fn insert(attributes: &mut Attributes, field: Field<'_>) -> Result<(), Malformed> {
    let (key, value) = pair(field.bytes()?, 1)?;
    attributes.insert(key, plain(&value));
    Ok(())
}

/// A value as the text of a label.
pub(crate) fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number_point(kind: Kind, message: &[u8]) -> Result<PointParts, Malformed> {
    let (mut attributes, mut time_ns, mut value, mut flags) = (Attributes::new(), 0, f64::NAN, 0);
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            7 => insert(&mut attributes, field)?,
            3 => time_ns = field.number()?,
            4 => value = field.double()?,
            6 => value = field.number()?.cast_signed() as f64,
            8 => flags = field.number()?,
            _ => {}
        }
    }
    let value = if flags & 1 == 1 { f64::NAN } else { value };
    let figure = match kind.shape {
        Shape::Sum => Figure::Sum { value, monotonic: kind.monotonic, delta: kind.delta },
        _ => Figure::Gauge(value),
    };
    Ok((attributes, time_ns, Some(figure)))
}

fn histogram_point(kind: Kind, message: &[u8]) -> Result<PointParts, Malformed> {
    let (mut attributes, mut time_ns, mut count, mut sum) = (Attributes::new(), 0, 0, None);
    let (mut counts, mut bounds) = (Vec::new(), Vec::new());
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            9 => insert(&mut attributes, field)?,
            3 => time_ns = field.number()?,
            4 => count = field.number()?,
            5 => sum = Some(field.double()?),
            6 => counts.extend(fixed64s(field)?),
            7 => bounds.extend(fixed64s(field)?.into_iter().map(f64::from_bits)),
            _ => {}
        }
    }
    let distribution = Distribution::explicit(bounds, counts);
    let figure =
        distribution.map(|distribution| Figure::Histogram { distribution, count, sum, delta: kind.delta });
    Ok((attributes, time_ns, figure))
}

fn exponential_point(kind: Kind, message: &[u8]) -> Result<PointParts, Malformed> {
    let (mut attributes, mut time_ns, mut count, mut sum) = (Attributes::new(), 0, 0, None);
    let (mut scale, mut zeros, mut positive, mut negative) = (0, 0, (0, Vec::new()), (0, Vec::new()));
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => insert(&mut attributes, field)?,
            3 => time_ns = field.number()?,
            4 => count = field.number()?,
            5 => sum = Some(field.double()?),
            6 => scale = zigzag(field.number()?),
            7 => zeros = field.number()?,
            8 => positive = buckets(field.bytes()?)?,
            9 => negative = buckets(field.bytes()?)?,
            _ => {}
        }
    }
    // Negative values of a duration or size are measuring errors: they count as zero.
    let zeros = negative.1.iter().fold(zeros, |all: u64, n| all.saturating_add(*n));
    let distribution = Distribution::exponential(scale, zeros, positive.0, &positive.1);
    let figure =
        distribution.map(|distribution| Figure::Histogram { distribution, count, sum, delta: kind.delta });
    Ok((attributes, time_ns, figure))
}

fn buckets(message: &[u8]) -> Result<(i64, Vec<u64>), Malformed> {
    let (mut offset, mut counts) = (0, Vec::new());
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => offset = zigzag(field.number()?),
            2 => counts.extend(varints(field)?),
            _ => {}
        }
    }
    Ok((offset, counts))
}

fn summary_point(message: &[u8]) -> Result<PointParts, Malformed> {
    let (mut attributes, mut time_ns, mut count, mut sum) = (Attributes::new(), 0, 0, 0.0);
    let mut quantiles = Vec::new();
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            7 => insert(&mut attributes, field)?,
            3 => time_ns = field.number()?,
            4 => count = field.number()?,
            5 => sum = field.double()?,
            6 => {
                let (mut quantile, mut value) = (0.0, 0.0);
                let mut pair = Wire::new(field.bytes()?);
                while let Some((number, field)) = pair.next()? {
                    match number {
                        1 => quantile = field.double()?,
                        2 => value = field.double()?,
                        _ => {}
                    }
                }
                quantiles.push((quantile, value));
            }
            _ => {}
        }
    }
    Ok((attributes, time_ns, Some(Figure::Summary { count, sum, quantiles })))
}
