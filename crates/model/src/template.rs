//! Paths without their values: what stays the same when the same endpoint is asked for another thing.

/// A path with numbers, UUIDs, hexadecimal and base64-like segments as `{id}`; the query is cut off.
#[must_use]
pub fn path(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or("");
    let mut out = String::with_capacity(text.len());
    for (n, segment) in text.split('/').enumerate() {
        if n > 0 {
            out.push('/');
        }
        out.push_str(if is_value(segment) { "{id}" } else { segment });
    }
    out
}

/// A segment that names one thing of many. Words, versions (`v1`) and file names are none.
#[must_use]
pub fn is_value(segment: &str) -> bool {
    let length = segment.len();
    if segment.is_empty() {
        return false;
    }
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return false;
    }
    let is_hex = segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let is_word =
        segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'%'));
    digits == length
        || (is_hex && length >= 8)
        || (is_word && digits >= 2 && length >= 16)
        || (is_word && digits * 2 >= length && length >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_name_one_of_many_become_id() {
        for (text, template) in [
            ("/orders/17/items", "/orders/{id}/items"),
            ("/users/3fa85f64-5717-4562-b3fc-2c963f66afa6", "/users/{id}"),
            ("/blobs/deadbeef01", "/blobs/{id}"),
            ("/t/eyJhbGciOiJIUzI1NiJ9x12", "/t/{id}"),
            ("/api/v1/feed", "/api/v1/feed"),
            ("/decade/facade", "/decade/facade"),
            ("/search?q=17", "/search"),
            ("", ""),
        ] {
            assert_eq!(path(text), template, "{text}");
        }
    }
}
