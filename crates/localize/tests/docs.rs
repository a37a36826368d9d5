//! Documents that are made from tables are what the tables say.

use expect_test::expect_file;

#[test]
fn the_document_of_the_rules_is_up_to_date() {
    expect_file!["../../../docs/rules.md"].assert_eq(&localize::docs::rules_markdown());
}

#[test]
fn every_rule_has_one_name_and_says_why_and_how() {
    let mut names: Vec<&str> = localize::rules::RULES.iter().map(|r| r.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), localize::rules::RULES.len());
    for rule in localize::rules::RULES {
        assert!(!rule.why.is_empty() && !rule.how.is_empty() && !rule.predicts.is_empty(), "{}", rule.name);
    }
}
