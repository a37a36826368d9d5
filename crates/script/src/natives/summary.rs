//! What jslib's k6-summary needs: the summary's text and JUnit from k6's data.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::engine::throw;
use crate::summary;
use crate::values::function;
use rquickjs::{Ctx, Object, Result};
use serde_json::Value;

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "text", text)?;
    function(ctx, group, "junit", |ctx: Ctx<'js>, data: String| {
        parse(&ctx, &data).map(|data| summary::junit(&data))
    })
}

fn parse(ctx: &Ctx<'_>, json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|error| throw(ctx, &format!("the summary's data: {error}")))
}

fn text(ctx: Ctx<'_>, data: String, options: String) -> Result<String> {
    let options = parse(&ctx, &options)?;
    let indent = options["indent"].as_str().unwrap_or("");
    Ok(summary::text(&parse(&ctx, &data)?, indent, summary::Detail::Compact))
}
