//! Where a trace can be looked at: the address of a trace viewer with a place for the id.

use std::str::FromStr;

/// What stands for the id.
const PLACE: &str = "{trace_id}";
const MAX_BYTES: usize = 2_000;

/// `http://localhost:16686/trace/{trace_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceUrl(String);

impl TraceUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "such as http://localhost:16686/trace/{trace_id}";
        // Anything else, `javascript:` above all, has no place in a link.
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(format!("expected an http or https address, {example}"));
        }
        if !text.contains(PLACE) {
            return Err(format!("expected {PLACE} in it, {example}"));
        }
        if text.len() > MAX_BYTES || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!(
                "expected an address without spaces, of at most {MAX_BYTES} bytes, {example}"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::TraceUrl;

    #[test]
    fn only_addresses_with_a_place_for_the_id_are_taken() {
        let good = "https://grafana.example/explore?trace={trace_id}";
        assert_eq!(good.parse::<TraceUrl>().map(|url| url.as_str().to_owned()), Ok(good.to_owned()));
        for bad in ["javascript:alert({trace_id})", "http://localhost/trace/", "http://x/{trace_id} y", ""] {
            assert!(bad.parse::<TraceUrl>().is_err(), "{bad}");
        }
    }
}
