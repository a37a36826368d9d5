//! Pass 9 and 10: candidates into findings. Predicted, the small dropped, one finding per group of calls, the best
//! first: endpoints with a missed goal, then by time saved for users.

use crate::Options;
use crate::facts::Facts;
use crate::hold;
use crate::predict::{Sample, predict};
use crate::rerun;
use crate::resolve::{Class, hash};
use crate::rules::{Candidate, Fix};
use crate::shape::{EndpointId, NO_SHAPE, ShapeId};
use crate::simulate::Simulator;
use crate::standing::Standing;
use crate::tree::TreeId;
use hashbrown::{HashMap, HashSet};
use model::{Evidence, Finding, GoalMetric, GoalResult, Grade, Prediction, QuantilePrediction, Severity};

/// Version of the fingerprint: changes only when the same defect would be named otherwise.
const FINGERPRINT_VERSION: &str = "v1";
const MAX_TRACE_IDS: usize = 10;
const MAX_SPAN_IDS: usize = 200;
/// The first so many findings are drawn with their fix.
const MAX_DRAWN: usize = 20;

/// A candidate with the name of its rule.
pub struct Claim {
    pub rule: &'static str,
    pub candidate: Candidate,
    /// Position among the suspects of the comparison with a baseline: these come before all others and are kept
    /// however small the predicted gain.
    pub suspect: Option<usize>,
}

/// Findings, best first, and by fingerprint the endpoint and the fix that each was predicted from.
pub struct Ranked {
    pub findings: Vec<Finding>,
    pub fixes: HashMap<String, (EndpointId, Fix)>,
}

/// Predicts, drops what is small, and ranks.
#[must_use]
pub fn rank(facts: &Facts<'_>, options: &Options<'_>, goals: &[GoalResult], claims: Vec<Claim>) -> Ranked {
    let mut ranker = Ranker {
        facts,
        options,
        goals,
        samples: HashMap::new(),
        standings: HashMap::new(),
        claimed: Vec::new(),
        parts: Vec::new(),
        fixes: HashMap::new(),
        examples: HashMap::new(),
    };
    let mut ranked: Vec<(Order, Finding)> =
        claims.into_iter().filter_map(|claim| ranker.judge(claim)).collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    let mut findings: Vec<Finding> = Vec::new();
    let mut known: HashSet<String> = HashSet::new();
    let mut guessed: HashSet<EndpointId> = HashSet::new();
    for (order, finding) in ranked {
        let guess = finding.prediction.as_ref().is_some_and(|p| p.grade == Grade::C);
        let one_more = guess && order.well && order.suspect == usize::MAX && !guessed.insert(order.endpoint);
        if !one_more && known.insert(finding.fingerprint.clone()) {
            findings.push(finding);
        }
    }
    ranker.draw(&mut findings);
    Ranked { findings, fixes: ranker.fixes }
}

/// Smaller is better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    suspect: usize,
    goal_met: bool,
    /// Microseconds that all users together are saved in a second, negated.
    saved_us_per_s: std::cmp::Reverse<i64>,
    severity: std::cmp::Reverse<Severity>,
    fingerprint: String,
    endpoint: EndpointId,
    /// The endpoint is well: of guesses, only the best is told.
    well: bool,
}

struct Ranker<'a> {
    facts: &'a Facts<'a>,
    options: &'a Options<'a>,
    goals: &'a [GoalResult],
    samples: HashMap<EndpointId, Sample>,
    standings: HashMap<EndpointId, Standing>,
    claimed: Vec<ShapeId>,
    /// Calls that belong to a finding, with the milliseconds that it saves.
    parts: Vec<(ShapeId, f64)>,
    fixes: HashMap<String, (EndpointId, Fix)>,
    /// By fingerprint: a typical request, and the shapes that the finding is about.
    examples: HashMap<String, (TreeId, Vec<ShapeId>)>,
}

impl Ranker<'_> {
    fn judge(&mut self, claim: Claim) -> Option<(Order, Finding)> {
        let Claim { rule, mut candidate, suspect } = claim;
        let endpoint = candidate.endpoint;
        if self.is_claimed(&candidate) || !self.is_frequent(&candidate) {
            return None;
        }
        let prediction = self.predict(rule, &candidate);
        let gain_ms = prediction.as_ref().map_or(0.0, Prediction::gain_ms);
        if candidate.yields && self.is_part_of_more(&candidate, gain_ms) {
            return None;
        }
        if let Some(prediction) = &prediction
            && suspect.is_none()
            // What a rule gives a severity of its own is told for other reasons than its gain.
            && candidate.severity.is_none()
            && self.is_small(prediction)
            && !self.is_telling(&candidate, prediction)
        {
            return None;
        }
        self.claimed.extend(&candidate.claims);
        let mut parts: Vec<ShapeId> =
            candidate.nodes.iter().map(|node| self.facts.shapes.of_node[*node as usize]).collect();
        parts.sort_unstable();
        parts.dedup();
        self.parts.extend(parts.into_iter().filter(|id| *id != NO_SHAPE).map(|id| (id, gain_ms)));
        let standing = self.standing(candidate.endpoint);
        let goal_met =
            !matches!(standing, Standing::Missed { .. }) && !self.misses_other_goal(candidate.endpoint);
        let noise = self.samples.get(&endpoint).map(Sample::noise_ms);
        let mut severity = self.severity(&candidate, prediction.as_ref(), standing);
        let chance = |p: &Prediction| p.grade == Grade::C && noise.is_some_and(|noise| p.gain_ms() < noise);
        if goal_met && suspect.is_none() && prediction.as_ref().is_some_and(chance) {
            // A guess that promises no more than chance brings.
            severity = candidate.severity.unwrap_or(Severity::Info);
        }
        candidate.lines.extend(hold::reasons(self.facts, endpoint, standing, prediction.as_ref(), noise));
        if let Some(fix) = candidate.fix.clone() {
            let fingerprint = fingerprint(self.facts, rule, &candidate);
            if let Some(tree) = self.typical(&candidate).first() {
                let known = candidate.nodes.iter().map(|node| self.facts.shapes.of_node[*node as usize]);
                let mut shapes: Vec<ShapeId> = known.chain(candidate.claims.iter().copied()).collect();
                shapes.sort_unstable();
                shapes.dedup();
                self.examples.entry(fingerprint.clone()).or_insert((*tree, shapes));
            }
            self.fixes.entry(fingerprint).or_insert((endpoint, fix));
        }
        let finding = self.finding(rule, candidate, prediction, severity);
        let saved = finding.1.as_ref().map_or(0.0, |p| p.gain_ms().max(0.0) * finding.0);
        let (_, prediction, finding) = (finding.0, finding.1, finding.2);
        let finding = Finding { prediction, ..finding };
        #[expect(clippy::cast_possible_truncation, reason = "microseconds per second fit by far")]
        let order = Order {
            suspect: suspect.unwrap_or(usize::MAX),
            goal_met,
            saved_us_per_s: std::cmp::Reverse((saved * 1e3) as i64),
            severity: std::cmp::Reverse(finding.severity),
            fingerprint: finding.fingerprint.clone(),
            endpoint,
            well: standing.is_well(),
        };
        Some((order, finding))
    }

    /// One group of calls, one finding: not again by another rule, nor a part of it within the same service, nor
    /// what is slow only because of what was found below it.
    fn is_claimed(&self, candidate: &Candidate) -> bool {
        candidate.claims.iter().any(|claim| {
            self.claimed.iter().any(|known| self.is_part(*claim, *known)) || self.is_symptom(*claim)
        })
    }

    fn is_part_of_more(&self, candidate: &Candidate, gain_ms: f64) -> bool {
        let within = |claim: ShapeId| {
            self.parts.iter().any(|(part, saved)| *saved > gain_ms && self.is_part(claim, *part))
        };
        candidate.claims.iter().any(|claim| within(*claim))
    }

    /// Whether a shape is another or lies below it, without an entry of a service between them.
    fn is_part(&self, mut id: ShapeId, of: ShapeId) -> bool {
        let shapes = &self.facts.shapes;
        loop {
            if id == of {
                return true;
            }
            let shape = shapes.shape(id);
            match shape.parent {
                Some(parent) if shape.class != Class::Server => id = parent,
                _ => return false,
            }
        }
    }

    /// Whether findings below a shape hold most of its share of the critical path.
    fn is_symptom(&self, id: ShapeId) -> bool {
        let shapes = &self.facts.shapes;
        let below = self.claimed.iter().filter(|known| **known != id && shapes.is_within(**known, id));
        let explained: f64 = below.map(|known| shapes.shape(*known).path_share).sum();
        explained > 0.0 && explained >= self.facts.thresholds.symptom_share * shapes.shape(id).path_share
    }

    fn is_frequent(&self, candidate: &Candidate) -> bool {
        let t = self.facts.thresholds;
        let all = self.facts.shapes.endpoint(candidate.endpoint).trees.len() as f64;
        let seen = candidate.trees.len() as u64;
        self.facts.single_trace
            || candidate.trees.is_empty()
            || seen >= t.min_traces
            || seen as f64 >= (t.min_trace_share * all).max(1.0)
    }

    fn predict(&mut self, rule: &str, candidate: &Candidate) -> Option<Prediction> {
        let fix = candidate.fix.as_ref()?;
        let facts = self.facts;
        let endpoint = candidate.endpoint;
        let sample = self.samples.entry(endpoint).or_insert_with(|| Sample::take(facts, endpoint));
        let calibration = self.options.calibration.get(rule).copied().unwrap_or(1.0);
        predict(facts, endpoint, sample, fix, calibration)
    }

    fn is_small(&self, prediction: &Prediction) -> bool {
        let t = self.facts.thresholds;
        prediction.gain_ms() < (t.min_gain_share * prediction.before_ms).max(t.min_gain_ms)
    }

    /// Many calls where few would do are told, for information, also where they are quick today: they grow with data.
    fn is_telling(&self, candidate: &Candidate, prediction: &Prediction) -> bool {
        let t = self.facts.thresholds;
        // At the median too: among few requests one stall is the p95.
        let gain = |q: &QuantilePrediction| 1.0 - q.after_ms / q.before_ms.max(f64::MIN_POSITIVE);
        candidate.calls_per_request.is_some_and(|n| n >= f64::from(t.n_plus_one_calls))
            && prediction.quantiles.iter().any(|q| gain(q) >= t.warning_gain_share)
    }

    fn standing(&mut self, endpoint: EndpointId) -> Standing {
        let (facts, options) = (self.facts, self.options);
        *self.standings.entry(endpoint).or_insert_with(|| Standing::of(facts, options, endpoint))
    }

    /// A goal that is no response time, such as a rate or CPU, is missed where the endpoint takes part.
    fn misses_other_goal(&self, endpoint: EndpointId) -> bool {
        let name = self.facts.load.name(endpoint);
        let results = self.options.goals.iter().zip(self.goals);
        let missed = results.filter(|(goal, result)| result.met == Some(false) && goal.concerns(name));
        missed.into_iter().any(|(goal, _)| !matches!(goal.metric, GoalMetric::Quantile(_) | GoalMetric::Mean))
    }

    fn severity(
        &self,
        candidate: &Candidate,
        prediction: Option<&Prediction>,
        standing: Standing,
    ) -> Severity {
        let t = self.facts.thresholds;
        let gain = prediction.map_or(0.0, Prediction::gain_share);
        let guessed = prediction.is_some_and(|p| p.grade == Grade::C) && standing.is_well();
        // Whoever set a goal has said what is enough.
        let enough = standing == Standing::Met;
        if enough || guessed || prediction.is_some_and(|p| self.is_small(p)) {
            return candidate.severity.unwrap_or(Severity::Info);
        }
        let won = prediction.map_or(0.0, |p| standing.share_won(p));
        let by_gain = if won >= t.critical_goal_share {
            Severity::Critical
        } else if gain >= t.warning_gain_share || won >= t.warning_gain_share {
            Severity::Warning
        } else {
            Severity::Info
        };
        candidate.severity.map_or(by_gain, |least| least.max(by_gain))
    }

    fn finding(
        &self,
        rule: &str,
        candidate: Candidate,
        prediction: Option<Prediction>,
        severity: Severity,
    ) -> (f64, Option<Prediction>, Finding) {
        let facts = self.facts;
        let endpoint = candidate.endpoint;
        let name = facts.load.name(endpoint).to_owned();
        let covered = facts.coverage.get(endpoint as usize).copied().unwrap_or(1.0);
        let t = facts.thresholds;
        let doubtful = covered < t.min_coverage || !facts.saturation.generator_invalid.is_empty();
        let limit = if doubtful { t.doubtful_confidence } else { 1.0 };
        let finding = Finding {
            rule: rule.to_owned(),
            severity,
            fingerprint: fingerprint(facts, rule, &candidate),
            evidence: self.evidence(&candidate),
            title: candidate.title,
            service: candidate.service,
            endpoint: name,
            place: candidate.place,
            calls_per_request: candidate.calls_per_request.map(crate::predict::round),
            share_of_critical_path: candidate.share_of_critical_path.map(crate::predict::round),
            prediction: None,
            remedies: candidate.remedies,
            confidence: candidate.confidence.clamp(0.0, limit),
            rerun: None,
        };
        (facts.rate_per_s(endpoint), prediction, finding)
    }

    /// The first findings whose fix could be run on requests that were recorded.
    fn draw(&self, findings: &mut [Finding]) {
        let facts = self.facts;
        let mut simulator = Simulator::new(facts.stage());
        for finding in findings.iter_mut().take(MAX_DRAWN) {
            let fix = self.fixes.get(&finding.fingerprint);
            let Some(((endpoint, fix), (tree, found))) = fix.zip(self.examples.get(&finding.fingerprint))
            else {
                continue;
            };
            if !facts.is_attributed(*endpoint) && !facts.only_outside && finding.prediction.is_some() {
                finding.rerun = Some(rerun::draw(facts, &mut simulator, *tree, &fix.point, found));
            }
        }
    }

    /// Requests that show it, nearest to their median first.
    fn typical(&self, candidate: &Candidate) -> Vec<TreeId> {
        let facts = self.facts;
        let mut trees = candidate.trees.clone();
        trees.sort_unstable_by_key(|t| (facts.root_ns(*t), *t));
        let median = trees.get(trees.len() / 2).map_or(0, |t| facts.root_ns(*t));
        trees.sort_by_key(|t| ((facts.root_ns(*t) - median).abs(), *t));
        trees
    }

    fn evidence(&self, candidate: &Candidate) -> Evidence {
        let facts = self.facts;
        let trees = self.typical(candidate);
        let ids = trees.iter().take(MAX_TRACE_IDS);
        let spans = candidate.nodes.iter().take(MAX_SPAN_IDS);
        let table = &facts.recording.spans;
        Evidence {
            lines: candidate.lines.clone(),
            trace_ids: ids.map(|t| format!("{:032x}", facts.forest.trees[*t as usize].trace_id)).collect(),
            traces: candidate.trees.len() as u64,
            traces_of: facts.shapes.endpoint(candidate.endpoint).trees.len() as u64,
            span_ids: spans
                .map(|n| format!("{:016x}", table.span_ids[facts.node(*n).row as usize]))
                .collect(),
            plan: candidate.plan.clone(),
        }
    }
}

/// Stable over runs: nothing in it depends on times, counts or ids.
fn fingerprint(facts: &Facts<'_>, rule: &str, candidate: &Candidate) -> String {
    let endpoint = facts.shapes.endpoint(candidate.endpoint);
    let path = candidate.shape.map(|s| facts.path(s)).unwrap_or_default();
    let resource = candidate.place.resource.as_deref().unwrap_or("");
    fingerprint_of(&[rule, facts.name(endpoint.service), facts.name(endpoint.template), &path, resource])
}

/// The fingerprint of what a finding is about.
pub(crate) fn fingerprint_of(parts: &[&str]) -> String {
    let sum = parts.iter().fold(0xcbf2_9ce4_8422_2325, |sum, part| hash(&[0xff], hash(part.as_bytes(), sum)));
    format!("{FINGERPRINT_VERSION}:{sum:016x}")
}
