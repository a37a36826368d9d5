//! `trimtab database mysql://...`: a MariaDB or MySQL server alone, without load and without a change to it.

use super::database::{Seen, tell};
use super::{Answer, Setting};
use crate::args::DatabaseArgs;
use anyhow::{Result, bail};
use database::MariaDb;
use std::time::{Duration, Instant};

pub(super) async fn run(setting: &Setting, args: &DatabaseArgs, url: &str) -> Result<Answer> {
    if args.may_build || args.statements.is_some() {
        bail!(
            "--may-build and --statements are for other databases: here indexes are estimated, and the server counts its statements itself"
        );
    }
    let mut server = MariaDb::connect(url).await?;
    let mut digests = server.digests().await?;
    let mut seconds = None;
    if args.over > 0.0 {
        let begin = Instant::now();
        setting.output.progress("counting statements");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(args.over.clamp(0.0, 86_400.0))) => {}
            () = setting.shutdown.wait() => {}
        }
        seconds = Some(begin.elapsed().as_secs_f64());
        digests = server.digests().await?.since(&digests);
    }
    let mut show = |what: &str| setting.output.progress(what);
    let look = server.look(&digests, args.most, &mut show).await?;
    setting.output.clear_line();
    let source = digests
        .source()
        .map_or("without statements".to_owned(), |from| format!("since the counters of {from} began"));
    let seen = Seen {
        url: server.shown_url().to_owned(),
        seconds,
        source,
        server_version: Some(look.version),
        hiding: server.hiding(),
        statements: look.statements,
        plans: look.plans,
        observations: look.observations,
        gaps: look.gaps,
    };
    tell(setting, args, &seen)?;
    let blind = seen.statements.is_empty() && !seen.gaps.is_empty();
    Ok(if blind { Answer::Unknown } else { Answer::Yes })
}
