//! Native code behind k6's modules. Each group is made when its module is first imported.

mod crypto_module;
mod data;
mod encoding;
mod execution;
mod k6;
mod metrics;
mod summary;

use rquickjs::object::Accessor;
use rquickjs::{Ctx, Object, Result};

type Install = for<'js> fn(&Ctx<'js>, &Object<'js>) -> Result<()>;

const GROUPS: &[(&str, Install)] = &[
    ("k6", k6::install),
    ("http", crate::http::install),
    ("metrics", metrics::install),
    ("execution", execution::install),
    ("data", data::install),
    ("encoding", encoding::install),
    ("crypto", crypto_module::install),
    ("summary", summary::install),
];

/// One getter for each group.
pub(crate) fn install<'js>(native: &Object<'js>) -> Result<()> {
    for (name, install) in GROUPS {
        let make = move |ctx: Ctx<'js>| {
            let group = Object::new(ctx.clone())?;
            install(&ctx, &group)?;
            Ok::<_, rquickjs::Error>(group)
        };
        native.prop(*name, Accessor::from(make).configurable())?;
    }
    Ok(())
}
