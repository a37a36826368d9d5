//! Native code behind k6's modules. Each group is made when its module is first imported, once for all users of a
//! runtime: natives ask for the running user when they are called.

mod crypto_module;
mod data;
mod encoding;
mod execution;
mod k6;
mod metrics;
mod summary;

use crate::engine::{current, throw};
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
    ("html", crate::html::install),
    ("websocket", crate::websocket::install),
];

/// One getter for each group.
pub(crate) fn install<'js>(native: &Object<'js>) -> Result<()> {
    for (name, install) in GROUPS {
        let make = move |ctx: Ctx<'js>| {
            let Some(realm) = current(&ctx)?.realm() else {
                return Err(throw(&ctx, "no virtual user is running"));
            };
            realm.engine().common(&ctx, name, || {
                let group = Object::new(ctx.clone())?;
                install(&ctx, &group)?;
                Ok(group)
            })
        };
        native.prop(*name, Accessor::from(make).configurable())?;
    }
    Ok(())
}
