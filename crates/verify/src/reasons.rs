//! The sentences below a verdict: why, and every doubt. The whole first, then the metric that the change is about,
//! then what got worse, then what stays open.

use crate::interval::Shortage;
use crate::judge::{Doubt, Judged, JudgedErrors, Metric, Options, SEQUENTIAL_LIMIT};
use crate::words::{counted, ms, percent};
use model::{Design, Trial, Verdict};

/// A rise of failures with a p-value below this is told though it gives no verdict.
const SUSPECT: f64 = 0.2;
/// Metrics named in a sentence about several.
const MAX_NAMED: usize = 4;
/// Sentences about single metrics other than the aimed one.
const MAX_SENTENCES: usize = 6;

pub(crate) fn all(
    trial: &Trial,
    options: &Options,
    verdict: Verdict,
    metrics: &[Judged],
    errors: &[JudgedErrors],
    aim: Option<&Metric>,
) -> Vec<String> {
    if metrics.is_empty() {
        return vec!["nothing was measured: the trial holds no operation to judge".to_owned()];
    }
    let mut reasons = Vec::new();
    match (aim, metrics.iter().find(|judged| judged.aimed)) {
        (_, Some(judged)) => reasons.push(sentence(judged, options)),
        (Some(aim), None) => {
            reasons.push(format!("{} was not measured: the trial has no such operation", aim.name()));
        }
        (None, None) => {}
    }
    reasons.extend(errors.iter().filter(|error| error.worse).map(failing));
    let told: Vec<&Judged> = metrics.iter().filter(|m| !m.aimed && tells(m, verdict)).collect();
    reasons.extend(told.iter().take(MAX_SENTENCES).map(|judged| sentence(judged, options)));
    if told.len() > MAX_SENTENCES {
        reasons.push(format!("and {} likewise", counted(told.len() - MAX_SENTENCES, "more metric")));
    }
    reasons.extend(open_questions(metrics, aim.is_none() && verdict == Verdict::Unclear));
    reasons.extend(errors.iter().filter(|error| !error.worse && error.shares.p_rise < SUSPECT).map(suspect));
    reasons.extend(doubts(trial, metrics));
    reasons
}

/// Whether a metric other than the aimed one deserves its own sentence under this verdict.
fn tells(judged: &Judged, verdict: Verdict) -> bool {
    match judged.figures.verdict {
        Verdict::Worse => true,
        Verdict::Better => verdict != Verdict::Worse,
        Verdict::Same => false,
        Verdict::Unclear => judged.doubt == Some(Doubt::Many),
    }
}

fn sentence(judged: &Judged, options: &Options) -> String {
    let figures = &judged.figures;
    let name = &figures.metric;
    let span = format!(
        "{} before, {} after, ratio {:.3} ({} interval {:.3} to {:.3})",
        ms(figures.before_ms),
        ms(figures.after_ms),
        figures.ratio,
        percent(options.confidence),
        figures.low,
        figures.high
    );
    let within = (figures.ratio - 1.0).abs() < options.tolerance;
    match (figures.verdict, judged.doubt) {
        (Verdict::Better, _) if within => {
            format!("{name} is better, by less than the tolerance of {}: {span}", percent(options.tolerance))
        }
        (Verdict::Better, _) => format!("{name} is better: {span}"),
        (Verdict::Worse, _) => format!("{name} is worse: {span}"),
        (Verdict::Same, _) => format!("{name} is the same within {}: {span}", percent(options.tolerance)),
        (Verdict::Unclear, doubt) => format!("{name} is unclear: {}", unclear(judged, doubt, &span)),
    }
}

fn unclear(judged: &Judged, doubt: Option<Doubt>, span: &str) -> String {
    let more = judged
        .figures
        .needed_s
        .map_or_else(String::new, |seconds| format!("; about {seconds:.0} s more of measuring needed"));
    match doubt {
        Some(Doubt::Shortage(shortage)) => format!("{}{more}", short(shortage)),
        Some(Doubt::Sequential) => format!(
            "{span}; all of before was measured first, and drift cannot be told from a change below {}: interleave the two",
            percent(SEQUENTIAL_LIMIT)
        ),
        Some(Doubt::Many) => {
            format!("{span}; clear alone, but among the many metrics looked at chance gives as much{more}")
        }
        Some(Doubt::Noise) | None => {
            let rise = judged.figures.detectable;
            let fall = rise / (1.0 + rise);
            format!(
                "{span}; a rise of {} or a fall of {} would have been seen{more}",
                percent(rise),
                percent(fall)
            )
        }
    }
}

fn short(shortage: Shortage) -> String {
    match shortage {
        Shortage::Pairs { have, need } => {
            format!("{} of windows with requests, at least {need} are needed", counted(have, "pair"))
        }
        Shortage::Requests { have, need } => {
            format!("{have:.0} requests in the smaller arm, this percentile needs at least {need:.0}")
        }
        Shortage::Question => "its quantile is not between 0 and 1".to_owned(),
    }
}

fn failing(error: &JudgedErrors) -> String {
    format!(
        "errors({}) is worse: {} of requests failed before, {} after; fast failures are no gain",
        error.operation,
        percent(error.shares.before),
        percent(error.shares.after)
    )
}

fn suspect(error: &JudgedErrors) -> String {
    format!(
        "errors({}) may have risen, from {} to {} of requests: too few requests to tell",
        error.operation,
        percent(error.shares.before),
        percent(error.shares.after)
    )
}

/// One sentence for each kind of metric that stays open, the aimed one excepted.
fn open_questions(metrics: &[Judged], each_noisy: bool) -> Vec<String> {
    let of = |wanted: fn(Doubt) -> bool| -> Vec<&Judged> {
        metrics.iter().filter(|m| !m.aimed && m.doubt.is_some_and(wanted)).collect()
    };
    let mut sentences = Vec::new();
    let few = of(|doubt| matches!(doubt, Doubt::Shortage(_)));
    if let Some(Doubt::Shortage(shortage)) = few.first().and_then(|judged| judged.doubt) {
        let told =
            if few.len() == 1 { short(shortage) } else { format!("the first has {}", short(shortage)) };
        sentences.push(format!("too little was measured for {}: {told}", named(&few)));
    }
    let noisy = of(|doubt| doubt == Doubt::Noise);
    if !noisy.is_empty() && each_noisy {
        sentences.extend(noisy.iter().take(MAX_SENTENCES).map(|judged| {
            let span = format!(
                "ratio {:.3} ({:.3} to {:.3})",
                judged.figures.ratio, judged.figures.low, judged.figures.high
            );
            format!("{} is unclear: {}", judged.figures.metric, unclear(judged, judged.doubt, &span))
        }));
    } else if !noisy.is_empty() {
        sentences.push(format!("neither a change nor its absence could be shown for {}", named(&noisy)));
    }
    let sequential = of(|doubt| doubt == Doubt::Sequential);
    if !sequential.is_empty() {
        sentences.push(format!(
            "no verdict on changes below {} without interleaving, so none for {}",
            percent(SEQUENTIAL_LIMIT),
            named(&sequential)
        ));
    }
    sentences
}

fn named(metrics: &[&Judged]) -> String {
    let names: Vec<&str> = metrics.iter().take(MAX_NAMED).map(|m| m.figures.metric.as_str()).collect();
    let rest = metrics.len().saturating_sub(MAX_NAMED);
    let tail = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{tail}", names.join(", "))
}

/// What speaks against trusting the intervals.
fn doubts(trial: &Trial, metrics: &[Judged]) -> Vec<String> {
    let mut doubts = Vec::new();
    let remembering: Vec<&Judged> = metrics.iter().filter(|judged| judged.remembers()).collect();
    if !remembering.is_empty() {
        doubts.push(format!(
            "neighbouring windows resemble each other in {}: its interval may be too narrow, longer windows would help",
            named(&remembering)
        ));
    }
    if trial.design == Design::Sequential {
        doubts.push(
            "before and after were measured one after the other: drift cannot be told from effect".to_owned(),
        );
    }
    if !(trial.window_s.is_finite() && trial.window_s > 0.0) {
        doubts.push("the length of the windows is unknown, and so is the time still needed".to_owned());
    }
    doubts
}
