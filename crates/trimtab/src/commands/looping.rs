//! `trimtab loop`: the loop on a user's service, with consent before each change.

use super::{Answer, Setting};
use crate::apply::Hands;
use crate::args::LoopArgs;
use crate::cycle::{Cycle, Limits, Outcome};
use crate::session::{self, Session};
use crate::story;
use anyhow::Result;
use model::{Change, Finding, Remedy, RemedyKind, Step};
use serde_json::json;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How soon Ctrl-C ends a question.
const ANSWER_POLL: Duration = Duration::from_millis(100);

pub(super) async fn run(setting: &Setting, args: &LoopArgs) -> Result<Answer> {
    let settings = setting.settings(&args.load)?;
    let hands = Hands {
        service_url: settings.scenario.base_url.clone(),
        database_url: settings.database.url.clone(),
    };
    let receiver = session::open_receiver(&settings).await?;
    let mut session = Session::open(settings, receiver, setting.output, setting.shutdown.clone()).await?;
    session.check_target().await?;
    let limits = Limits { steps: args.steps, deadline: None };
    let ask = |finding: &Finding, change: &Change| args.yes || consent(setting, finding, change);
    let journal = setting.journal();
    let outcome = Cycle::new(&mut session, &journal, setting.output, hands, limits, Some(&ask)).run().await?;
    conclude(setting, &outcome, &args.report)?;
    let unset = session.settings.database.may_change.is_none() && session.settings.database.takes_indexes();
    if unset && has_sql(&outcome) {
        setting.output.warn(
            "a finding would be mended by an index, which this loop only makes where the settings say that nobody \
             depends on the database: [database] may_change = true; or make it by hand: trimtab change",
        );
    }
    Ok(outcome.ending.answer())
}

/// Whether SQL would mend a finding that is left.
fn has_sql(outcome: &Outcome) -> bool {
    let (_, last) = outcome.last.as_ref().unwrap_or(&outcome.first);
    let sql = |remedy: &Remedy| remedy.kind == RemedyKind::Sql && remedy.patch.is_some();
    last.findings.iter().flat_map(|f| &f.remedies).any(sql)
}

/// Asks on the terminal; without one the answer is no.
pub(super) fn consent(setting: &Setting, finding: &Finding, change: &Change) -> bool {
    if !std::io::stdin().is_terminal() {
        setting.output.warn("not a terminal, so nobody can agree to the change; `--yes` agrees to all");
        return false;
    }
    setting.output.result(&format!(
        "Apply `{}` for {} on {}? It is taken back by: {} [y/N] ",
        change.name,
        finding.rule,
        story::one_line(&finding.endpoint),
        story::undo_by_hand(change)
    ));
    let (sender, answers) = mpsc::sync_channel(1);
    // Nobody can stop a thread that reads a terminal: after Ctrl-C it is left to the end of the program.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer).is_ok();
        let _nobody_waits_any_more = sender.send(read && answer.trim().eq_ignore_ascii_case("y"));
    });
    while !setting.shutdown.is_triggered() {
        match answers.recv_timeout(ANSWER_POLL) {
            Ok(answer) => return answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        }
    }
    false
}

/// The end of a loop: why it ended, every step, the goals, the report.
pub(super) fn conclude(setting: &Setting, outcome: &Outcome, path: &Path) -> Result<()> {
    let output = setting.output;
    let last = outcome.last.as_ref().unwrap_or(&outcome.first);
    super::report::write(
        path,
        (&outcome.first.0, &outcome.first.1),
        outcome.last.as_ref().map(|(recording, diagnosis)| (recording, diagnosis)),
        super::report::More { steps: &outcome.steps, ..super::report::More::default() },
    )?;
    if output.json() {
        let shown = |step: &Step| Step { change: story::shown(&step.change), ..step.clone() };
        let steps = serde_json::to_value(outcome.steps.iter().map(shown).collect::<Vec<_>>())?;
        let all = json!({
            "version": model::SCHEMA_VERSION,
            "ending": outcome.ending.word(),
            "steps": steps,
            "goals_before": outcome.first.1.goals,
            "goals_after": last.1.goals,
            "report": path.display().to_string(),
        });
        output.result(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    output.result("");
    output.result(&report::text::steps_table(&outcome.steps, output.width));
    output.result(&story::goals(&last.1, output));
    output.result(outcome.ending.sentence());
    output.result(&format!("Report: {}", path.display()));
    Ok(())
}
