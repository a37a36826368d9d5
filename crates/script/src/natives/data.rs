//! k6/data: arrays that all users share. Each element is kept once, as JSON, and parsed when it is read.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::engine::{current, throw};
use crate::user::Phase;
use crate::values::function;
use rquickjs::{Ctx, Function, Object, Result, Value};
use std::rc::Rc;

/// Elements of one array.
const MAX_ELEMENTS: usize = 10_000_000;

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "share", share)?;
    function(ctx, group, "at", at)
}

/// Makes the array of that name, or finds it; returns its length.
fn share<'js>(ctx: Ctx<'js>, name: String, make: Function<'js>) -> Result<usize> {
    let user = current(&ctx)?;
    if user.phase.get() != Phase::Init {
        return Err(throw(&ctx, "new SharedArray must be called in the init context"));
    }
    if name.is_empty() {
        return Err(throw(&ctx, "empty name provided to SharedArray's constructor"));
    }
    if let Some(known) = user.test.shared.borrow().get(&name) {
        return Ok(known.len());
    }
    let made: Value<'js> = make.call(())?;
    let Some(array) = made.as_array() else {
        return Err(throw(&ctx, "only arrays can be made into SharedArray"));
    };
    if array.len() > MAX_ELEMENTS {
        return Err(throw(&ctx, &format!("a SharedArray of more than {MAX_ELEMENTS} elements")));
    }
    let mut elements: Vec<Box<str>> = Vec::with_capacity(array.len());
    for element in array.iter::<Value<'js>>() {
        let json = ctx.json_stringify(element?)?;
        elements
            .push(json.map(|json| json.to_string()).transpose()?.unwrap_or_else(|| "null".to_owned()).into());
    }
    let length = elements.len();
    user.test.shared.borrow_mut().insert(name, Rc::new(elements));
    Ok(length)
}

fn at<'js>(ctx: Ctx<'js>, name: String, index: f64) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let array = user.test.shared.borrow().get(&name).cloned();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and misses then")]
    let element = array.as_ref().and_then(|array| array.get(index as usize));
    match element {
        Some(json) => ctx.json_parse(json.as_bytes()),
        None => Ok(Value::new_undefined(ctx.clone())),
    }
}
