//! What makes a pipeline fail.

use super::Acknowledgements;
use model::Diagnosis;
use std::str::FromStr;

/// One reason to fail; several are asked together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailOn {
    /// A goal is missed.
    Goal,
    /// A finding above information that nobody acknowledged, and whose predicted gain is at least this share of what it
    /// is about; 0 takes those without a prediction too.
    Finding { gain_share: f64 },
    /// Nothing.
    Never,
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        match (word, rest.trim_end_matches('%').trim()) {
            ("goal", "") => Ok(Self::Goal),
            ("never", "") => Ok(Self::Never),
            ("finding", "") => Ok(Self::Finding { gain_share: 0.0 }),
            ("finding", percent) => percent
                .parse::<f64>()
                .ok()
                .filter(|percent| (0.0..=100.0).contains(percent))
                .map(|percent| Self::Finding { gain_share: percent / 100.0 })
                .ok_or_else(|| format!("`{percent}` is no percentage from 0 to 100")),
            _ => Err(format!("`{text}` is unknown; there are goal, finding, finding:PERCENT and never")),
        }
    }
}

impl FailOn {
    /// Why the pipeline fails, one sentence for each missed goal and each finding; empty where it passes.
    #[must_use]
    pub fn reasons(self, diagnosis: &Diagnosis, acknowledged: &Acknowledgements) -> Vec<String> {
        match self {
            Self::Never => Vec::new(),
            Self::Goal => {
                let missed = diagnosis.goals.iter().filter(|goal| goal.met == Some(false));
                missed.map(|goal| format!("goal missed: {}", goal.goal)).collect()
            }
            Self::Finding { gain_share } => acknowledged
                .open(diagnosis)
                .filter(|finding| {
                    let gain = finding.prediction.as_ref().map(model::Prediction::gain_share);
                    gain_share <= 0.0 || gain.is_some_and(|gain| gain >= gain_share)
                })
                .map(|f| format!("finding {}: {}: {}", f.fingerprint, f.endpoint, f.title))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::acknowledged::tests::{entry, finding};
    use super::*;
    use model::{GoalResult, Grade, Prediction, Severity};

    #[test]
    fn words_are_read_and_others_named() {
        assert_eq!("goal".parse(), Ok(FailOn::Goal));
        assert_eq!("finding:10 %".parse(), Ok(FailOn::Finding { gain_share: 0.1 }));
        assert_eq!("finding".parse(), Ok(FailOn::Finding { gain_share: 0.0 }));
        for wrong in ["findings", "goal:3", "finding:x", "finding:-1", "finding:NaN", ""] {
            assert!(wrong.parse::<FailOn>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn acknowledged_and_small_findings_do_not_fail() {
        let mut small = finding("v1:small", Severity::Warning);
        small.prediction = Some(Prediction {
            metric: "p95(GET /)".into(),
            before_ms: 100.0,
            after_ms: 95.0,
            low_ms: 90.0,
            high_ms: 99.0,
            grade: Grade::B,
            assumption: String::new(),
            quantiles: Vec::new(),
            calibration: None,
        });
        let missed = GoalResult { goal: "p95(*) < 1 ms".into(), met: Some(false), ..GoalResult::default() };
        let diagnosis = Diagnosis {
            goals: vec![missed],
            findings: vec![
                finding("v1:known", Severity::Critical),
                small,
                finding("v1:told", Severity::Info),
            ],
            ..Diagnosis::default()
        };
        let known =
            Acknowledgements::new(vec![entry("v1:known", "2099-01-01")], "2026-11-23").expect("a day");
        let reasons = |gate: FailOn| gate.reasons(&diagnosis, &known).len();
        assert_eq!(reasons(FailOn::Goal), 1);
        assert_eq!(reasons(FailOn::Finding { gain_share: 0.0 }), 1);
        assert_eq!(reasons(FailOn::Finding { gain_share: 0.1 }), 0);
        assert_eq!(reasons(FailOn::Never), 0);
    }
}
