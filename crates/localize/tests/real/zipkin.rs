//! Traces from Zipkin's own collection: shared ids, skewed clocks, messages, half-told spans. Each is judged alone.

use crate::support;
use localize::{Options, localize};
use model::{Diagnosis, Recording};

fn judged(file: &str) -> Diagnosis {
    let recording =
        Recording { spans: support::zipkin(&format!("zipkin/{file}.json")), ..Recording::default() };
    assert!(!recording.spans.is_empty(), "{file}");
    localize(&recording, &Options { single_trace: true, ..Options::default() })
}

#[test]
fn every_one_is_judged() {
    for file in
        ["ascend", "envoy", "messaging", "messaging2", "messaging-kafka", "simple-db-p6", "skew", "yelp"]
    {
        let diagnosis = judged(file);
        assert!(diagnosis.recording.traces > 0, "{file}");
    }
}

#[test]
fn the_redundant_reads_of_an_authorization_are_named() {
    let found = judged("smartthings-oauth-authorization").findings;
    let lines: Vec<String> = found
        .iter()
        .filter(|f| matches!(f.rule.as_str(), "redundant_call" | "n_plus_one" | "repeated_subtree"))
        .map(|f| format!("{} {}: {}", f.rule, f.service, f.title))
        .collect();
    expect_test::expect![[r#"
        redundant_call auth: 6 x SELECT ... FROM auth.client in one handling of POST sa/registURL
        redundant_call auth: 3 x SELECT ... FROM auth.oauth_access_token in one handling of get /api/locations/_uuid_/smartapps/_uui
        redundant_call auth: 3 x SELECT ... FROM auth.oauth_access_token in one handling of post /api/locations/_uuid_/smartapps
        redundant_call auth: 3 x SELECT ... FROM auth.oauth_access_token in one handling of get /api/locations/_uuid_/smartapp/clien
        redundant_call auth: 3 x SELECT ... FROM auth.oauth_access_token in one handling of get /api/smartapps/_uuid_/versions/_uuid"#]]
    .assert_eq(&lines.join("\n"));
}
