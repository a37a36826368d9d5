//! Findings that a team has looked at and lives with, for a while and for a reason.

use model::{Diagnosis, Finding, Severity};
use serde::{Deserialize, Serialize};

/// One entry of the file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// As `trimtab localize` prints it: `v1:` and 16 hexadecimal digits.
    pub fingerprint: String,
    /// Why it is lived with.
    pub reason: String,
    /// The last day on which it counts, `2027-01-31`.
    pub until: String,
    /// Who decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What an acknowledgement does today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    InForce,
    /// Its day has passed: the finding counts again.
    Expired,
    /// No finding of this diagnosis has this fingerprint.
    Unmatched,
}

/// All entries, with the day on which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Acknowledgements {
    entries: Vec<Acknowledged>,
    today: String,
}

impl Acknowledgements {
    /// `today` as `2026-11-23`.
    ///
    /// # Errors
    /// An entry without a reason, or whose `until` is no day; names the entry by its number.
    pub fn new(entries: Vec<Acknowledged>, today: &str) -> Result<Self, String> {
        for (number, entry) in (1..).zip(&entries) {
            if entry.reason.trim().is_empty() {
                return Err(format!("acknowledgement {number}: `reason` is empty"));
            }
            if !is_day(&entry.until) {
                return Err(format!(
                    "acknowledgement {number}: `until` is `{}`, expected a day such as 2027-01-31",
                    entry.until
                ));
            }
        }
        Ok(Self { entries, today: today.to_owned() })
    }

    /// The acknowledgement of a finding that counts today.
    #[must_use]
    pub fn of(&self, finding: &Finding) -> Option<&Acknowledged> {
        self.entries.iter().find(|entry| entry.fingerprint == finding.fingerprint && self.is_current(entry))
    }

    /// Every entry with what it does to this diagnosis.
    pub fn standings<'a>(
        &'a self,
        diagnosis: &'a Diagnosis,
    ) -> impl Iterator<Item = (&'a Acknowledged, Standing)> {
        self.entries.iter().map(|entry| {
            let known = diagnosis.findings.iter().any(|f| f.fingerprint == entry.fingerprint);
            let standing = match (known, self.is_current(entry)) {
                (false, _) => Standing::Unmatched,
                (true, true) => Standing::InForce,
                (true, false) => Standing::Expired,
            };
            (entry, standing)
        })
    }

    /// Findings above information that nobody has acknowledged.
    pub fn open<'a>(&'a self, diagnosis: &'a Diagnosis) -> impl Iterator<Item = &'a Finding> {
        diagnosis.findings.iter().filter(|f| f.severity > Severity::Info && self.of(f).is_none())
    }

    /// Days in this form sort as text.
    fn is_current(&self, entry: &Acknowledged) -> bool {
        entry.until.as_str() >= self.today.as_str()
    }
}

fn is_day(text: &str) -> bool {
    let part = |from: usize, to: usize, most: u32| {
        let digits = text.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|part| part.parse::<u32>().ok()).is_some_and(|n| (1..=most).contains(&n))
    };
    let dashes = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    dashes && part(0, 4, 9999) && part(5, 7, 12) && part(8, 10, 31)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use model::{Evidence, Place};

    /// A finding with this fingerprint.
    pub(in super::super) fn finding(fingerprint: &str, severity: Severity) -> Finding {
        Finding {
            rule: "n_plus_one".into(),
            severity,
            fingerprint: fingerprint.into(),
            title: "16 x SELECT | parts".into(),
            service: "shop".into(),
            endpoint: "GET /a<b>".into(),
            place: Place::default(),
            calls_per_request: Some(16.0),
            share_of_critical_path: None,
            prediction: None,
            remedies: Vec::new(),
            evidence: Evidence::default(),
            confidence: 0.8,
            rerun: None,
        }
    }

    pub(in super::super) fn entry(fingerprint: &str, until: &str) -> Acknowledged {
        Acknowledged {
            fingerprint: fingerprint.into(),
            reason: "the importer goes in May".into(),
            until: until.into(),
            by: None,
        }
    }

    #[test]
    fn an_entry_counts_to_the_end_of_its_day() {
        let diagnosis = Diagnosis {
            findings: vec![finding("v1:a", Severity::Warning), finding("v1:b", Severity::Critical)],
            ..Diagnosis::default()
        };
        let entries =
            vec![entry("v1:a", "2026-11-23"), entry("v1:b", "2026-11-22"), entry("v1:c", "2027-01-01")];
        let all = Acknowledgements::new(entries, "2026-11-23").expect("days");
        let standings: Vec<Standing> = all.standings(&diagnosis).map(|(_, s)| s).collect();
        assert_eq!(standings, [Standing::InForce, Standing::Expired, Standing::Unmatched]);
        let open: Vec<&str> = all.open(&diagnosis).map(|f| f.fingerprint.as_str()).collect();
        assert_eq!(open, ["v1:b"]);
    }

    #[test]
    fn what_is_no_day_or_has_no_reason_is_an_error_that_names_the_entry() {
        for until in ["", "2026-13-01", "2026-1-01", "soon", "2026-02-32", "\u{e9}026-02-3"] {
            let entries = vec![entry("v1:a", "2027-01-31"), entry("v1:b", until)];
            let error = Acknowledgements::new(entries, "2026-11-23").expect_err(until);
            assert!(error.contains("acknowledgement 2: `until`"), "{error}");
        }
        let silent = Acknowledged { reason: " ".into(), ..entry("v1:a", "2027-01-31") };
        assert!(Acknowledgements::new(vec![silent], "2026-11-23").expect_err("none").contains("`reason`"));
    }
}
