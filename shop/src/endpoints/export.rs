//! Orders of a range of customers, for other programs: fields by `?fields=`, format by `Accept`.
//! The streamed form sends the bytes of the one built in memory, and holds one chunk of them at a time.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::extract::Parameters;
use crate::App;
use crate::database::{Rows, Statement};
use crate::error::Error;
use crate::switches::{ExportBody, ExportDefault, Switches};
use crate::time::rfc3339;
use crate::trace::Trace;

/// Orders by customer and time. The two wide columns leave the server only when they are wanted.
const ORDERS: Statement = Statement {
    operation: "SELECT",
    collection: "orders",
    sql: "SELECT id, customer_id, status, created_at, total_cents, \
          CASE WHEN $3 THEN shipping_address END, CASE WHEN $4 THEN note END FROM orders \
          WHERE customer_id BETWEEN $1 AND $2 ORDER BY customer_id, created_at, id",
};
const CUSTOMERS: i32 = 100;
const MOST_CUSTOMERS: i32 = 5_000;
const CHUNK_BYTES: usize = 32 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportParameters {
    customer_from: Option<i32>,
    customer_to: Option<i32>,
    fields: Option<String>,
}

pub(super) async fn orders(
    State(app): State<Arc<App>>,
    trace: Trace,
    headers: HeaderMap,
    Parameters(parameters): Parameters<ExportParameters>,
) -> Result<Response, Error> {
    let switches = app.switches.current();
    let format = Format::accepted(&headers)?;
    let fields = Fields::wanted(parameters.fields.as_deref(), &switches)?;
    let from = parameters.customer_from.unwrap_or(1);
    let to = parameters.customer_to.unwrap_or(from.saturating_add(CUSTOMERS - 1));
    if from < 1 || to < from || to - from >= MOST_CUSTOMERS {
        return Err(Error::BadRequest(format!(
            "customer_from and customer_to must span 1 to {MOST_CUSTOMERS} customers"
        )));
    }
    let session = app.database.session(&trace, &switches).await?;
    let body = match switches.export_body {
        ExportBody::InMemory => {
            let wide = (fields.has("shipping_address"), fields.has("note"));
            let rows = session.query(&trace, &ORDERS, &[&from, &to, &wide.0, &wide.1]).await?;
            let orders = rows.iter().map(|row| fields.order(row)).collect::<Result<Vec<_>, _>>()?;
            Body::from(format.document(orders)?)
        }
        ExportBody::Streamed => {
            let wide = (fields.has("shipping_address"), fields.has("note"));
            let rows = session.stream(&trace, &ORDERS, &[&from, &to, &wide.0, &wide.1]).await?;
            streamed(rows, format, fields)
        }
    };
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// One order; what was not asked for is absent in every format.
#[derive(Clone, PartialEq, prost::Message, Serialize)]
struct Order {
    #[prost(int64, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    #[prost(int32, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<i32>,
    #[prost(string, optional, tag = "3")]
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[prost(string, optional, tag = "4")]
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[prost(int64, optional, tag = "5")]
    #[serde(skip_serializing_if = "Option::is_none")]
    total_cents: Option<i64>,
    #[prost(string, optional, tag = "6")]
    #[serde(skip_serializing_if = "Option::is_none")]
    shipping_address: Option<String>,
    #[prost(string, optional, tag = "7")]
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize)]
struct Orders {
    #[prost(message, repeated, tag = "1")]
    orders: Vec<Order>,
}

struct Fields(Vec<&'static str>);

impl Fields {
    const ALL: [&'static str; 7] =
        ["id", "customer_id", "status", "created_at", "total_cents", "shipping_address", "note"];
    const NEEDED: [&'static str; 5] = ["id", "customer_id", "status", "created_at", "total_cents"];

    fn wanted(list: Option<&str>, switches: &Switches) -> Result<Self, Error> {
        let Some(list) = list else {
            return Ok(Self(match switches.export_default {
                ExportDefault::AllFields => Self::ALL.to_vec(),
                ExportDefault::NeededFields => Self::NEEDED.to_vec(),
            }));
        };
        let known = |name: &str| Self::ALL.into_iter().find(|field| *field == name);
        list.split(',')
            .map(|name| {
                let all = Self::ALL.join(", ");
                known(name)
                    .ok_or_else(|| Error::BadRequest(format!("there is no field `{name}`; there are {all}")))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn order(&self, row: &Row) -> Result<Order, Error> {
        let mut order = Order::default();
        for field in &self.0 {
            match *field {
                "id" => order.id = Some(row.try_get(0)?),
                "customer_id" => order.customer_id = Some(row.try_get(1)?),
                "status" => order.status = Some(row.try_get(2)?),
                "created_at" => order.created_at = Some(rfc3339(row.try_get::<_, SystemTime>(3)?)),
                "total_cents" => order.total_cents = Some(row.try_get(4)?),
                "shipping_address" => order.shipping_address = row.try_get(5)?,
                _ => order.note = row.try_get(6)?,
            }
        }
        Ok(order)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `{"orders":[...]}`
    Json,
    /// One map after another, without a frame: the number of orders is not known when the first one leaves.
    MessagePack,
    /// `message Orders { repeated Order orders = 1; }`
    Protobuf,
}

impl Format {
    /// The supported type with the highest weight (RFC 9110, 12.5.1); the first of equals; JSON by default.
    fn accepted(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(accept) = headers.get(header::ACCEPT) else { return Ok(Self::Json) };
        let accept = accept.to_str().unwrap_or_default();
        let mut best: Option<(f32, Self)> = None;
        for entry in accept.split(',') {
            let mut parts = entry.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Self::Json,
                "application/msgpack" | "application/vnd.msgpack" | "application/x-msgpack" => {
                    Self::MessagePack
                }
                "application/protobuf" | "application/x-protobuf" => Self::Protobuf,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format).ok_or_else(|| {
            let known = "application/json, application/msgpack, application/protobuf";
            Error::NotAcceptable(format!("the export is available as {known}"))
        })
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
            Self::Protobuf => "application/protobuf",
        }
    }

    fn document(self, orders: Vec<Order>) -> Result<Vec<u8>, Error> {
        let document = Orders { orders };
        match self {
            Self::Json => serde_json::to_vec(&document).map_err(|error| Error::Internal(error.to_string())),
            Self::Protobuf => Ok(document.encode_to_vec()),
            Self::MessagePack => {
                let mut bytes = Vec::new();
                for order in &document.orders {
                    self.append(&mut bytes, order, false)?;
                }
                Ok(bytes)
            }
        }
    }

    fn opening(self) -> &'static [u8] {
        if self == Self::Json { b"{\"orders\":[" } else { b"" }
    }

    fn closing(self) -> &'static [u8] {
        if self == Self::Json { b"]}" } else { b"" }
    }

    fn append(self, bytes: &mut Vec<u8>, order: &Order, is_first: bool) -> Result<(), Error> {
        let internal = |error: &dyn std::error::Error| Error::Internal(format!("export: {error}"));
        match self {
            Self::Json => {
                if !is_first {
                    bytes.push(b',');
                }
                serde_json::to_writer(bytes, order).map_err(|error| internal(&error))
            }
            Self::MessagePack => {
                let mut serializer = rmp_serde::Serializer::new(bytes).with_struct_map();
                order.serialize(&mut serializer).map_err(|error| internal(&error))
            }
            Self::Protobuf => {
                prost::encoding::message::encode(1, order, bytes);
                Ok(())
            }
        }
    }
}

struct Export {
    rows: Rows,
    format: Format,
    fields: Fields,
    sent: usize,
    done: bool,
}

/// Pulled by the client's reading: nothing is encoded before the previous chunk was taken.
fn streamed(rows: Rows, format: Format, fields: Fields) -> Body {
    let export = Export { rows, format, fields, sent: 0, done: false };
    Body::from_stream(unfold(export, |mut export| async move {
        if export.done {
            return None;
        }
        let chunk = export.chunk().await;
        export.done |= chunk.is_err();
        Some((chunk, export))
    }))
}

impl Export {
    async fn chunk(&mut self) -> Result<Bytes, Error> {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        if self.sent == 0 {
            bytes.extend_from_slice(self.format.opening());
        }
        while bytes.len() < CHUNK_BYTES {
            let Some(row) = self.rows.next().await else {
                bytes.extend_from_slice(self.format.closing());
                self.done = true;
                break;
            };
            let order = self.fields.order(&row?)?;
            self.format.append(&mut bytes, &order, self.sent == 0)?;
            self.sent += 1;
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accepted(accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        Format::accepted(&headers).ok()
    }

    #[test]
    fn the_format_with_the_highest_weight_is_chosen() {
        assert_eq!(Format::accepted(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(accepted("text/html, */*;q=0.1"), Some(Format::Json));
        assert_eq!(accepted("application/json;q=0.5, application/msgpack"), Some(Format::MessagePack));
        assert_eq!(accepted("application/x-protobuf, application/json"), Some(Format::Protobuf));
        assert_eq!(accepted("text/csv"), None);
        assert_eq!(accepted("application/json;q=0"), None);
    }

    #[test]
    fn appended_orders_are_the_whole_document() {
        let order = |id| Order { id: Some(id), status: Some("new \"x\"".to_owned()), ..Order::default() };
        for orders in [vec![], vec![order(1)], vec![order(1), order(2), order(300)]] {
            for format in [Format::Json, Format::MessagePack, Format::Protobuf] {
                let mut bytes = format.opening().to_vec();
                for (index, order) in orders.iter().enumerate() {
                    format.append(&mut bytes, order, index == 0).unwrap();
                }
                bytes.extend_from_slice(format.closing());
                assert_eq!(bytes, format.document(orders.clone()).unwrap(), "{format:?}");
            }
        }
    }
}
