//! `trimtab verify`: two recordings, or the last one and a new measurement, judged.

use super::{Answer, Setting};
use crate::args::VerifyArgs;
use crate::clock;
use crate::session::{self, Session};
use crate::trials::one_after_the_other;
use anyhow::{Context, Result, bail};
use model::{Change, ChangeKind, Design, Judgement, Recording, Trial, Verdict};

pub(super) async fn run(setting: &Setting, args: &VerifyArgs) -> Result<Answer> {
    if !(0.0..1.0).contains(&args.tolerance) || args.tolerance <= 0.0 {
        bail!("--tolerance is {}, expected a share between 0 and 1", args.tolerance);
    }
    let (before, after) = match args.recordings.as_slice() {
        [before, after] => (super::read_recording(before)?, super::read_recording(after)?),
        [] => measured(setting, args).await?,
        _ => bail!("give two recordings, the older first, or none"),
    };
    let trial = trial(&before, &after)?;
    let options = verify::Options { tolerance: args.tolerance, ..verify::Options::default() };
    let judgement = verify::judge(&trial, &options);
    if args.aa {
        match verify::noise(&trial, &options, after.run.seed) {
            Some(noise) => setting.output.say(&noise.summary),
            None => setting.output.warn("too few requests to tell this machine's noise; measure for longer"),
        }
    }
    show(setting, &judgement)?;
    Ok(match judgement.verdict {
        Verdict::Better => Answer::Yes,
        Verdict::Worse => Answer::No,
        // Nothing was changed: the same is the answer that was hoped for.
        Verdict::Same => Answer::of(args.aa),
        Verdict::Unclear => Answer::Unknown,
    })
}

/// The last recording, or for `--aa` a fresh one, and one that is measured now.
async fn measured(setting: &Setting, args: &VerifyArgs) -> Result<(Recording, Recording)> {
    let settings = setting.settings(&args.load)?;
    let journal = setting.journal();
    let receiver = session::open_receiver(&settings).await?;
    let mut session = Session::open(settings, receiver, setting.output, setting.shutdown.clone()).await?;
    session.check_target().await?;
    let before = if args.aa {
        let folder = journal.new_recording(&clock::stamp(clock::now_ns()))?;
        session.measure(&folder, "measuring, first time").await?
    } else {
        let folder = journal
            .last_recording()
            .context("no recording to compare with; `trimtab measure` before the change makes one")?;
        super::read_recording(&folder)?
    };
    let folder = journal.new_recording(&clock::stamp(clock::now_ns()))?;
    let after = session.measure(&folder, "measuring").await?;
    Ok((before, after))
}

/// Two recordings as a sequential trial; operations are matched by name.
fn trial(before: &Recording, after: &Recording) -> Result<Trial> {
    if before.run.cell_ms != after.run.cell_ms {
        bail!(
            "the recordings have cells of {} and {} ms and cannot be compared",
            before.run.cell_ms,
            after.run.cell_ms
        );
    }
    let operations = after.run.operations.clone();
    let matched: Vec<model::LatencyCell> = before
        .latencies
        .iter()
        .filter_map(|cell| {
            let name = before.run.operations.get(cell.operation as usize)?;
            let at = operations.iter().position(|o| o == name)?;
            Some(model::LatencyCell { operation: u32::try_from(at).ok()?, ..cell.clone() })
        })
        .collect();
    if matched.is_empty() || after.latencies.is_empty() {
        bail!("the recordings have no load on the same operation, so there is nothing to compare");
    }
    let (cells, windows) = one_after_the_other(&matched, &after.latencies);
    let seconds = before.run.seconds().min(after.run.seconds());
    Ok(Trial {
        change: Change {
            name: "change".to_owned(),
            description: format!("what was changed between {} and {}", before.run.id, after.run.id),
            kind: ChangeKind::Manual { text: "made outside of Trimtab".to_owned() },
        },
        prediction: None,
        design: Design::Sequential,
        window_s: seconds / 10.0,
        operations: verify::pair_up(&cells, &operations, &windows),
    })
}

fn show(setting: &Setting, judgement: &Judgement) -> Result<()> {
    if setting.output.json() {
        setting.output.result(&report::judgement_json(judgement));
    } else {
        setting.output.result(&report::text::judgement(judgement));
    }
    Ok(())
}
