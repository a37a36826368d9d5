//! k6/encoding: base64 in its four forms.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::engine::throw;
use crate::values::{array_buffer, function, to_bytes};
use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rquickjs::function::Opt;
use rquickjs::{Ctx, Object, Result, String as JsString, Value};

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "b64encode", encode)?;
    function(ctx, group, "b64decode", decode)
}

fn form(ctx: &Ctx<'_>, name: Option<&str>) -> Result<GeneralPurpose> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bare = config.with_encode_padding(false);
    Ok(match name {
        None | Some("std" | "") => GeneralPurpose::new(&STANDARD, config),
        Some("rawstd") => GeneralPurpose::new(&STANDARD, bare),
        Some("url") => GeneralPurpose::new(&URL_SAFE, config),
        Some("rawurl") => GeneralPurpose::new(&URL_SAFE, bare),
        Some(other) => {
            return Err(throw(
                ctx,
                &format!("unknown base64 encoding `{other}`, use std, rawstd, url or rawurl"),
            ));
        }
    })
}

fn encode<'js>(ctx: Ctx<'js>, input: Value<'js>, encoding: Opt<Option<String>>) -> Result<String> {
    Ok(form(&ctx, encoding.0.flatten().as_deref())?.encode(to_bytes(&input)?))
}

/// An ArrayBuffer, or with format `s` text.
fn decode<'js>(
    ctx: Ctx<'js>,
    input: String,
    encoding: Opt<Option<String>>,
    format: Opt<Option<String>>,
) -> Result<Value<'js>> {
    let clean: String = input.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = form(&ctx, encoding.0.flatten().as_deref())?
        .decode(clean)
        .map_err(|error| throw(&ctx, &format!("b64decode: {error}")))?;
    if format.0.flatten().as_deref() == Some("s") {
        return Ok(JsString::from_str(ctx, &String::from_utf8_lossy(&bytes))?.into_value());
    }
    array_buffer(&ctx, &bytes)
}
