//! A JSON tree's fields by any of their names: for the metrics of OTLP, which are few.

use serde_json::Value as Json;

/// A field by any of its names.
pub(super) fn field<'a>(json: &'a Json, names: &[&str]) -> Option<&'a Json> {
    names.iter().find_map(|name| json.get(name)).filter(|found| !found.is_null())
}

/// A list by any of its names; a missing one is empty.
pub(super) fn items<'a>(json: &'a Json, names: &[&str]) -> &'a [Json] {
    field(json, names).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// A text, or nothing.
pub(super) fn text<'a>(json: &'a Json, names: &[&str]) -> &'a str {
    field(json, names).and_then(Json::as_str).unwrap_or("")
}

/// A whole number sent as number or text; 0 without.
pub(super) fn number(json: &Json, names: &[&str]) -> u64 {
    field(json, names).and_then(whole).unwrap_or(0)
}

pub(super) fn whole(json: &Json) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.trim().parse().ok())
}

/// A number, also as text, also `NaN` and `Infinity` as protobuf's JSON writes them.
pub(super) fn double(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str()?.trim().parse().ok())
}

/// An AnyValue as ordinary JSON. The parser has bounded the nesting.
pub(super) fn any_value(value: &Json) -> Json {
    let Some((name, held)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Json::Null;
    };
    let values = || items(held, &["values"]);
    match name.as_str() {
        "intValue" | "int_value" => {
            let int = held.as_i64().or_else(|| held.as_str()?.trim().parse().ok());
            int.map_or(Json::Null, Json::from)
        }
        "doubleValue" | "double_value" => double(held).map_or(Json::Null, Json::from),
        "arrayValue" | "array_value" => values().iter().map(any_value).collect(),
        "kvlistValue" | "kvlist_value" => {
            let pair =
                |v: &Json| (text(v, &["key"]).to_owned(), v.get("value").map_or(Json::Null, any_value));
            Json::Object(values().iter().map(pair).collect())
        }
        "stringValue" | "string_value" | "bytesValue" | "bytes_value" | "boolValue" | "bool_value" => {
            held.clone()
        }
        _ => Json::Null,
    }
}
