//! Modules that need no file: k6's own, and offline versions of jslib's under their usual URLs.

/// Module and source.
const MODULES: &[(&str, &str)] = &[
    ("k6", include_str!("js/k6.js")),
    ("k6/http", include_str!("js/http.js")),
    ("k6/metrics", include_str!("js/metrics.js")),
    ("k6/execution", include_str!("js/execution.js")),
    ("k6/data", include_str!("js/data.js")),
    ("k6/encoding", include_str!("js/encoding.js")),
    ("k6/crypto", include_str!("js/crypto.js")),
    ("k6/experimental/webcrypto", include_str!("js/webcrypto.js")),
    ("k6/timers", include_str!("js/timers.js")),
    ("k6/experimental/timers", include_str!("js/timers.js")),
    ("k6/html", include_str!("js/html.js")),
    ("k6/ws", include_str!("js/ws.js")),
    ("k6/websockets", include_str!("js/websockets.js")),
    ("k6/experimental/websockets", include_str!("js/websockets.js")),
    ("trimtab/forms", include_str!("js/forms.js")),
    ("k6/options", include_str!("js/options.js")),
    ("jslib/k6-utils", include_str!("js/jslib/utils.js")),
    ("jslib/k6-summary", include_str!("js/jslib/summary.js")),
    ("jslib/papaparse", include_str!("js/jslib/papaparse.js")),
    ("jslib/formdata", include_str!("js/jslib/formdata.js")),
    ("jslib/url", include_str!("js/jslib/url.js")),
    ("jslib/httpx", include_str!("js/jslib/httpx.js")),
    ("jslib/k6chaijs", include_str!("js/jslib/chai.js")),
    ("jslib/k6-reporter", include_str!("js/jslib/reporter.js")),
];

/// Where modules are usually imported from, by a part of the address, and ours in their place.
const OFFLINE: &[(&str, &str)] = &[
    ("jslib.k6.io/k6-utils/", "jslib/k6-utils"),
    ("jslib.k6.io/k6-summary/", "jslib/k6-summary"),
    ("jslib.k6.io/papaparse/", "jslib/papaparse"),
    ("jslib.k6.io/formdata/", "jslib/formdata"),
    ("jslib.k6.io/url/", "jslib/url"),
    ("jslib.k6.io/httpx/", "jslib/httpx"),
    ("jslib.k6.io/k6chaijs/", "jslib/k6chaijs"),
    ("raw.githubusercontent.com/benc-uk/k6-reporter/", "jslib/k6-reporter"),
];

/// k6's modules that we know and do not have.
const MISSING: &[&str] = &[
    "k6/browser",
    "k6/experimental/browser",
    "k6/net/grpc",
    "k6/experimental/redis",
    "k6/experimental/fs",
    "k6/experimental/csv",
    "k6/experimental/streams",
    "k6/secrets",
];

pub(crate) fn source(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// Our module in place of a remote one.
pub(crate) fn offline(name: &str) -> Option<&'static str> {
    let address = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    OFFLINE.iter().find(|(part, _)| address.starts_with(part)).map(|(_, ours)| *ours)
}

/// Why a module is refused, with what to do.
pub(crate) fn why_unsupported(name: &str) -> String {
    if MISSING.contains(&name) {
        return "this module of k6 is not supported".to_owned();
    }
    if name.starts_with("k6/x/") {
        return "k6 extensions are not supported".to_owned();
    }
    if name.starts_with("k6/") || name == "k6" {
        return "there is no such module".to_owned();
    }
    if name.contains("://") || name.starts_with("jslib.k6.io/") {
        return "nothing is fetched while a test starts; save the module beside the script and import it from there"
            .to_owned();
    }
    "it is neither a module of k6 nor a path; bundle packages into the script, or write `./` before a file"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_addresses_lead_to_our_modules() {
        for address in [
            "https://jslib.k6.io/k6-utils/1.4.0/index.js",
            "https://jslib.k6.io/papaparse/5.1.1/index.min.js",
        ] {
            assert!(offline(address).and_then(source).is_some(), "{address}");
        }
        assert_eq!(offline("https://evil.example/jslib.k6.io/k6-utils/x.js"), None);
        assert!(OFFLINE.iter().all(|(_, ours)| source(ours).is_some()));
    }
}
