//! Small conversions between JavaScript's values and Rust's.

use bytes::Bytes;
use rquickjs::convert::Coerced;
use rquickjs::function::IntoJsFunc;
use rquickjs::{ArrayBuffer, Ctx, Function, Object, Result, TypedArray, Value};

/// A native function as a property.
pub(crate) fn function<'js, P, F>(ctx: &Ctx<'js>, object: &Object<'js>, name: &str, f: F) -> Result<()>
where
    F: IntoJsFunc<'js, P> + 'js,
{
    object.set(name, Function::new(ctx.clone(), f)?.with_name(name)?)
}

/// `String(value)`.
pub(crate) fn text_of(value: &Value<'_>) -> Result<String> {
    match value.as_string() {
        Some(text) => text.to_string(),
        None => Ok(value.get::<Coerced<String>>()?.0),
    }
}

/// The bytes of an ArrayBuffer or a Uint8Array.
pub(crate) fn bytes_of(value: &Value<'_>) -> Option<Bytes> {
    let object = value.as_object()?;
    if let Some(buffer) = ArrayBuffer::from_object(object.clone()) {
        // SAFETY: copied before any script runs that could detach it.
        #[expect(unsafe_code, reason = "a script may detach a buffer")]
        return unsafe { buffer.as_bytes() }.map(Bytes::copy_from_slice);
    }
    let array = TypedArray::<u8>::from_object(object.clone()).ok()?;
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "as above")]
    unsafe { array.as_bytes() }.map(Bytes::copy_from_slice)
}

/// A copy as an `ArrayBuffer`.
pub(crate) fn array_buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    crate::engine::ensure(ctx, crate::engine::Objects::ARRAYS)?;
    Ok(ArrayBuffer::new_copy(ctx.clone(), bytes)?.into_value())
}

/// Text as UTF-8, bytes as they are, arrays of numbers as bytes.
pub(crate) fn to_bytes(value: &Value<'_>) -> Result<Bytes> {
    if let Some(bytes) = bytes_of(value) {
        return Ok(bytes);
    }
    if let Some(array) = value.as_array() {
        let numbers = array.iter::<u8>().collect::<Result<Vec<u8>>>()?;
        return Ok(numbers.into());
    }
    if value.is_null() || value.is_undefined() {
        return Ok(Bytes::new());
    }
    text_of(value).map(Bytes::from)
}
