//! Request bodies: text, bytes, forms and multipart forms with files; compressed where asked.

use super::urls::form_encode;
use crate::engine::throw;
use crate::values::{self, bytes_of, text_of};
use bytes::Bytes;
use rand::Rng;
use rquickjs::{Ctx, Object, Result, Value};
use std::io::Write;

/// A body and the content type that follows from its form.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) content_type: Option<String>,
}

impl Body {
    fn plain(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), content_type: None }
    }
}

/// A script's value as a body; the name of its type where k6 takes it for none.
pub(super) fn read<'js>(
    ctx: &Ctx<'js>,
    value: &Value<'js>,
    random: &mut impl Rng,
) -> Result<std::result::Result<Body, &'static str>> {
    if value.is_null() || value.is_undefined() {
        return Ok(Ok(Body::plain(Bytes::new())));
    }
    if let Some(text) = value.as_string() {
        return Ok(Ok(Body::plain(text.to_string()?)));
    }
    if let Some(bytes) = bytes_of(value) {
        return Ok(Ok(Body::plain(bytes)));
    }
    match value.as_object() {
        Some(object) if !value.is_function() && !value.is_array() => form(ctx, object, random).map(Ok),
        _ => Ok(Err(value.type_name())),
    }
}

fn form<'js>(ctx: &Ctx<'js>, object: &Object<'js>, random: &mut impl Rng) -> Result<Body> {
    let mut fields: Vec<(String, Value<'js>)> = Vec::new();
    for entry in object.props::<String, Value<'js>>() {
        let (name, value) = entry?;
        match value.as_array() {
            Some(array) => {
                for item in array.iter::<Value<'js>>() {
                    fields.push((name.clone(), item?));
                }
            }
            None => fields.push((name, value)),
        }
    }
    if fields.iter().any(|(_, value)| is_file(value)) {
        return multipart(ctx, &fields, random);
    }
    // As Go's `url.Values.Encode` does.
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut out = String::new();
    for (name, value) in &fields {
        if !out.is_empty() {
            out.push('&');
        }
        form_encode(name, &mut out);
        out.push('=');
        form_encode(&text_of(value)?, &mut out);
    }
    let content_type = Some("application/x-www-form-urlencoded".to_owned());
    Ok(Body { bytes: out.into(), content_type })
}

/// What `http.file` returns.
fn is_file(value: &Value<'_>) -> bool {
    value.as_object().is_some_and(|object| object.contains_key("content_type").unwrap_or(false))
}

fn multipart<'js>(ctx: &Ctx<'js>, fields: &[(String, Value<'js>)], random: &mut impl Rng) -> Result<Body> {
    let boundary = format!("----trimtab{:032x}", random.random::<u128>());
    let mut out = Vec::new();
    for (name, value) in fields {
        out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        let name = quoted(name);
        match value.as_object().filter(|_| is_file(value)) {
            Some(file) => {
                let file_name = quoted(&file.get::<_, String>("filename")?);
                let content_type: String = file.get("content_type")?;
                if content_type.contains(['\r', '\n']) {
                    return Err(throw(ctx, "http.file: a content type holds no line breaks"));
                }
                out.extend_from_slice(
                    format!(
                        "Content-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
                         Content-Type: {content_type}\r\n\r\n"
                    )
                    .as_bytes(),
                );
                out.extend_from_slice(&values::to_bytes(&file.get::<_, Value<'js>>("data")?)?);
            }
            None => {
                let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(text_of(value)?.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = Some(format!("multipart/form-data; boundary={boundary}"));
    Ok(Body { bytes: out.into(), content_type })
}

/// As browsers escape names in a content disposition (WHATWG HTML, "multipart/form-data encoding algorithm").
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// Compresses by the codings of `compression: 'gzip, deflate'`, in this order.
pub(super) fn compress(ctx: &Ctx<'_>, body: Bytes, codings: &str) -> Result<Bytes> {
    let mut body = body;
    for coding in codings.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
        let level = flate2::Compression::default();
        let done = match coding {
            "gzip" => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
                out.write_all(&body).and_then(|()| out.finish())
            }
            "deflate" => {
                let mut out = flate2::write::ZlibEncoder::new(Vec::new(), level);
                out.write_all(&body).and_then(|()| out.finish())
            }
            other => {
                return Err(throw(
                    ctx,
                    &format!("compression `{other}` is not supported, use gzip or deflate"),
                ));
            }
        };
        body = done.map_err(|error| throw(ctx, &error.to_string()))?.into();
    }
    Ok(body)
}
