//! The service's processes, profiled while the load runs, and the time of their functions divided among the load's
//! operations. What cannot be profiled is a gap, unless it was asked for.

use crate::borders;
use crate::clock;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use load::LoadResult;
use model::{Gap, Growth, Profile, Recording};
use net::Shutdown;
use profile::{Options, Session, Stacks, Target, distil, formats};
use recording::Writer;
use std::time::Duration;

/// A service with more threads is profiled only when that is asked for: each costs descriptors and a look a second.
const MAX_THREADS: usize = 1000;
const HINT: &str = "give its process number ([service] pid), or start it by `trimtab measure -- COMMAND`";

/// Whether to profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    #[default]
    No,
    /// Where permission and cost allow.
    IfPossible,
    /// Or fail.
    Yes,
    /// The same, with the JavaScript of Node processes through their inspectors.
    WithInspector,
}

impl Wanted {
    /// Without a profile the measurement fails.
    pub fn is_required(self) -> bool {
        matches!(self, Self::Yes | Self::WithInspector)
    }
}

/// A profile as it was taken.
pub struct Taken {
    stacks: Stacks,
    profile: Profile,
    growth: Growth,
}

/// The process that the service is, else whatever listens on its port of this machine.
pub fn target(pids: &[u32], base_url: &str) -> Option<Target> {
    if let Some(pid) = pids.last() {
        return Some(Target::Process(*pid));
    }
    let uri: http::Uri = base_url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("https") => Some(443),
        _ => Some(80),
    })?;
    is_here.then_some(Target::Port(port))
}

/// Profiles for `duration`. `Err` is a gap in words.
///
/// # Errors
/// There is nothing to profile, or it may not be.
pub async fn take(
    target: Option<Target>,
    wanted: Wanted,
    duration: Duration,
    (output, shutdown): (Output, Shutdown),
) -> Result<Taken> {
    let target = target.context("the service is on another machine, or its process is not known")?;
    let running = tokio::task::spawn_blocking(move || {
        let session = Session::attach(target, Options::default())?;
        sampled(session, wanted, duration, output, &shutdown)
    });
    running.await.context("the profiler ended early")?
}

fn sampled(
    mut session: Session,
    wanted: Wanted,
    duration: Duration,
    output: Output,
    shutdown: &Shutdown,
) -> Result<Taken> {
    let own = std::process::id();
    if session.pids().contains(&own) {
        bail!("the service runs within Trimtab's own process");
    }
    let threads = session.threads();
    if !wanted.is_required() && threads > MAX_THREADS {
        bail!("the service has {threads} threads, which would cost too much; --profile does it all the same");
    }
    output.progress(&format!(
        "profiling {} with {threads} threads, 99 samples a second of CPU time (--no-profile leaves it out)",
        session.title()
    ));
    if wanted == Wanted::WithInspector {
        session.open_inspectors();
    }
    let began = clock::now_ns();
    session.run(Some(duration), &|| shutdown.is_triggered(), &mut |_| {});
    let memory = session.memory();
    let stacks = session.finish(began);
    let (mut profile, growth) = distil::distil(&stacks);
    profile.memory = memory;
    Ok(Taken { stacks, profile, growth })
}

/// Divides what was taken among the operations of a recording, and puts both forms into it.
pub fn keep(taken: Result<Taken>, result: &LoadResult, recording: &mut Recording, writer: Option<&Writer>) {
    let mut gaps = Vec::new();
    match taken {
        Ok(Taken { stacks, mut profile, growth }) => {
            let mix = borders::mix(result, recording, &growth.borders_ns);
            gaps.extend(attribute::divide(&mut profile, &growth, &mix).into_iter().map(|gap| Gap {
                signal: "profile".to_owned(),
                reason: format!("functions are not told apart by endpoint: {}", gap.reason),
                ..gap
            }));
            gaps.extend(stacks.gaps.iter().cloned());
            if let Some(writer) = writer
                && let Err(error) = formats::write_pprof(&stacks).and_then(|bytes| writer.put_profile(&bytes))
            {
                gaps.push(Gap::new(
                    "profile",
                    format!("profiles.pb.gz is not saved: {error:#}"),
                    "see the reason",
                ));
            }
            recording.profile = Some(profile);
        }
        Err(error) => {
            gaps.push(Gap::new("profile", format!("the service was not profiled: {error:#}"), HINT))
        }
    }
    recording.run.gaps.extend(gaps);
    recording.run.gaps.sort();
    recording.run.gaps.dedup();
}

#[cfg(test)]
mod tests {
    use super::{Target, target};

    #[test]
    fn a_process_is_better_than_a_port_and_other_machines_have_neither() {
        assert_eq!(target(&[7], "http://example.org"), Some(Target::Process(7)));
        assert_eq!(target(&[], "http://127.0.0.1:8080/x"), Some(Target::Port(8080)));
        assert_eq!(target(&[], "http://[::1]:81"), Some(Target::Port(81)));
        assert_eq!(target(&[], "https://localhost"), Some(Target::Port(443)));
        assert_eq!(target(&[], "http://example.org"), None);
        assert_eq!(target(&[], "no url"), None);
    }
}
