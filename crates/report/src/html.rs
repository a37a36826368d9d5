//! One HTML file that needs nothing else: the page's own style and script inline, allowed by their hashes and nothing
//! besides, the data as JSON that no text in it can break out of.

use crate::data::ReportData;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("../../../ui/report/index.html");
const STYLE: &str = include_str!("../../../ui/report/style.css");
const SCRIPTS: [&str; 8] = [
    include_str!("../../../ui/report/base.js"),
    include_str!("../../../ui/report/charts.js"),
    include_str!("../../../ui/report/waterfall.js"),
    include_str!("../../../ui/report/levels.js"),
    include_str!("../../../ui/report/database.js"),
    include_str!("../../../ui/report/flame.js"),
    include_str!("../../../ui/report/findings.js"),
    include_str!("../../../ui/report/report.js"),
];

/// The whole file. Opens offline; asks the network for nothing.
#[must_use]
pub fn html(data: &ReportData) -> String {
    let script = format!("\n(() => {{\n\"use strict\";\n{}\n}})();\n", SCRIPTS.join("\n"));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(&script),
        hash(STYLE)
    );
    let embedded = serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned());
    fill(
        PAGE,
        &[
            ("policy", &policy),
            ("title", &escape(&data.title)),
            ("style", STYLE),
            ("plain", &escape(&data.plain)),
            ("data", &in_script(&embedded)),
            ("script", &script),
        ],
    )
}

/// A source expression of CSP level 2 for one inline element.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Replaces `{{name}}` in one pass, so that nothing within a value is taken for a place to fill.
fn fill(page: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(page.len() + values.iter().map(|v| v.1.len()).sum::<usize>());
    let mut rest = page;
    while let Some(at) = rest.find("{{") {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let Some(end) = tail.find("}}") else { break };
        if let Some((_, value)) = values.iter().find(|v| v.0 == &tail[2..end]) {
            out.push_str(value);
        }
        rest = &tail[end + 2..];
    }
    out.push_str(rest);
    out
}

/// JSON within a script element: `<` ends it, the two separators end a line in older scripts.
fn in_script(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 64);
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_taken_for_a_place_to_fill() {
        assert_eq!(fill("a{{x}}b{{y}}c", &[("x", "{{y}}"), ("y", "1")]), "a{{y}}b1c");
    }

    #[test]
    fn no_text_leaves_the_script_element() {
        let json = in_script("{\"a\":\"</script><!-- & \u{2028}\"}");
        assert_eq!(json, "{\"a\":\"\\u003c/script\\u003e\\u003c!-- \\u0026 \\u2028\"}");
    }

    #[test]
    fn the_policy_names_the_hash_of_what_stands_in_the_page() {
        // sha256 of the empty text, from RFC 6234's test vectors.
        assert_eq!(hash(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }
}
