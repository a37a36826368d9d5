//! A finding as it is drawn: cut to size, its place in words.

use crate::clip::{BLOCK, LABEL, SENTENCE, clip, line, without_secrets};
use crate::data::{FindingView, PredictionView, RemedyView};
use crate::number::finite;
use crate::steps;
use model::{Finding, Place, Prediction, Remedy, Rerun, RerunRow};

const MAX_EVIDENCE: usize = 8;
const MAX_REMEDIES: usize = 6;
const MAX_TRACE_IDS: usize = 10;
/// Rows of a request that is drawn twice.
const MAX_ROWS: usize = 60;

pub(crate) fn view(finding: &Finding) -> FindingView {
    let evidence = &finding.evidence;
    FindingView {
        rule: line(&finding.rule, LABEL),
        severity: finding.severity,
        title: line(&without_secrets(&finding.title), SENTENCE),
        service: line(&finding.service, LABEL),
        endpoint: line(&finding.endpoint, LABEL),
        place: place(&finding.place),
        evidence: evidence
            .lines
            .iter()
            .take(MAX_EVIDENCE)
            .map(|l| line(&without_secrets(l), SENTENCE))
            .collect(),
        plan: evidence.plan.as_ref().map(|p| clip(p, BLOCK)),
        calls_per_request: finding.calls_per_request.and_then(finite),
        share_of_critical_path: finding.share_of_critical_path.and_then(finite),
        confidence: finite(finding.confidence),
        prediction: finding.prediction.as_ref().and_then(prediction),
        remedies: finding.remedies.iter().take(MAX_REMEDIES).map(remedy).collect(),
        trace_ids: evidence.trace_ids.iter().take(MAX_TRACE_IDS).map(|t| line(t, 32)).collect(),
        traces: evidence.traces,
        traces_of: evidence.traces_of,
        rerun: finding.rerun.as_ref().map(rerun),
    }
}

fn rerun(of: &Rerun) -> Rerun {
    let rows = of.rows.iter().take(MAX_ROWS).map(|row| RerunRow {
        name: line(&without_secrets(&row.name), SENTENCE),
        service: line(&row.service, LABEL),
        class: line(&row.class, LABEL),
        ..row.clone()
    });
    Rerun { trace_id: line(&of.trace_id, 32), rows: rows.collect(), ..of.clone() }
}

fn prediction(of: &Prediction) -> Option<PredictionView> {
    Some(PredictionView {
        metric: line(&of.metric, LABEL),
        before_ms: finite(of.before_ms)?,
        after: steps::after(of)?,
        grade: of.grade,
        assumption: line(&of.assumption, SENTENCE),
    })
}

fn remedy(of: &Remedy) -> RemedyView {
    RemedyView {
        kind: of.kind,
        text: line(&without_secrets(&of.text), SENTENCE),
        patch: of.patch.as_ref().map(|p| clip(&without_secrets(p), BLOCK)),
        undo: of.undo.as_ref().map(|u| clip(&without_secrets(u), BLOCK)),
    }
}

/// What applies of a place, each with its name.
pub(crate) fn place(of: &Place) -> Vec<(&'static str, String)> {
    let function = of.function.as_ref().map(|f| match (&f.file, f.line) {
        (Some(file), Some(at)) => format!("{} ({file}:{at})", f.function),
        (Some(file), None) => format!("{} ({file})", f.function),
        _ => f.function.clone(),
    });
    let parts = [
        ("statement", of.statement.clone()),
        ("function", function),
        ("resource", of.resource.clone()),
        ("page", of.page.clone()),
        ("path", of.shape.clone()),
    ];
    parts
        .into_iter()
        .filter_map(|(name, text)| Some((name, line(&without_secrets(&text?), SENTENCE))))
        .collect()
}
