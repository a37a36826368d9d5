//! `trimtab profile`: a flame graph that adds up, of a running process, of a command, or of another tool's file.

use super::{Answer, Setting};
use crate::args::{ProfileArgs, ProfileKind};
use crate::clock;
use crate::process::{Running, Stdout};
use anyhow::{Context, Result, bail, ensure};
use profile::summary::{json, summarize, text};
use profile::{Options, Prepared, Progress, Session, Stacks, Target, formats};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Functions in the text.
const ROWS: usize = 20;
/// Functions in JSON.
const JSON_ROWS: usize = 1000;
/// How long a process is profiled where nobody says.
const SECONDS: f64 = 10.0;
/// A started command has no first line to wait for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was typed, understood.
enum Subject {
    Running(Target),
    Command(Vec<String>),
    File(PathBuf),
}

pub(super) async fn run(setting: &Setting, args: &ProfileArgs) -> Result<Answer> {
    let outputs: Vec<(ProfileKind, &Path)> =
        args.output.iter().map(|path| Ok((kind(args.kind, path)?, path.as_path()))).collect::<Result<_>>()?;
    let stacks = match subject(args)? {
        Subject::File(path) => read(&path)?,
        Subject::Running(target) => attach(setting, args, target)?,
        // Nothing is awaited between these two: events are handed on by the thread that starts the command.
        Subject::Command(command) => start(setting, args, &command).await?,
    };
    for (kind, path) in outputs {
        write(&stacks, kind, path)?;
        setting.output.say(&format!("Written: {}", path.display()));
    }
    let summary = summarize(&stacks);
    if setting.output.json() {
        let value = json(&stacks, &summary, JSON_ROWS);
        setting.output.result(&serde_json::to_string_pretty(&value)?);
    } else {
        setting.output.result(&text(&stacks, &summary, args.top.unwrap_or(ROWS)));
    }
    Ok(if stacks.weight_ns() > 0 { Answer::Yes } else { Answer::Unknown })
}

fn subject(args: &ProfileArgs) -> Result<Subject> {
    match (&args.target, args.command.is_empty()) {
        (Some(_), false) => bail!("give a process, a port or a file, or a command after `--`, not both"),
        (None, true) => {
            bail!("what shall be profiled? give a process number, :PORT, a file, or `-- COMMAND`")
        }
        (None, false) => Ok(Subject::Command(args.command.clone())),
        (Some(target), true) => named(target),
    }
}

fn named(target: &str) -> Result<Subject> {
    if let Some(port) = target.strip_prefix(':') {
        let port = port.parse().with_context(|| format!("`{target}` is no port"))?;
        return Ok(Subject::Running(Target::Port(port)));
    }
    if let Ok(pid) = target.parse::<u32>() {
        return Ok(Subject::Running(Target::Process(pid)));
    }
    let path = PathBuf::from(target);
    ensure!(path.is_file(), "`{target}` is neither a process number, nor :PORT, nor a file");
    Ok(Subject::File(path))
}

pub(super) fn read(path: &Path) -> Result<Stacks> {
    let bytes = || std::fs::metadata(path).map(|metadata| metadata.len());
    let size = bytes().with_context(|| format!("could not read {}", path.display()))?;
    ensure!(size <= formats::MAX_FILE_BYTES as u64, "{} is too large for a profile", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    let mut stacks = formats::read(&bytes).with_context(|| format!("could not read {}", path.display()))?;
    if stacks.title.is_empty() {
        stacks.title = path.display().to_string();
    }
    Ok(stacks)
}

fn options(args: &ProfileArgs) -> Result<Options> {
    const NANOSECONDS: f64 = 1e9;
    const MAX_RATE: f64 = 10_000.0;
    let rate = args.rate;
    ensure!((1.0..=MAX_RATE).contains(&rate), "--rate must be 1 to {MAX_RATE} samples a second, not {rate}");
    Ok(Options { period_ns: (NANOSECONDS / rate) as u64, python: !args.no_python, ..Options::default() })
}

fn seconds(seconds: f64) -> Result<Duration> {
    const MAX_SECONDS: f64 = 86_400.0;
    ensure!(seconds > 0.0 && seconds <= MAX_SECONDS, "--duration must be more than 0 and at most a day");
    Ok(Duration::from_secs_f64(seconds))
}

fn attach(setting: &Setting, args: &ProfileArgs, target: Target) -> Result<Stacks> {
    let duration = seconds(args.duration.unwrap_or(SECONDS))?;
    let mut session = Session::attach(target, options(args)?)?;
    if args.node_inspector {
        session.open_inspectors();
    }
    let began = clock::now_ns();
    session.run(Some(duration), &|| setting.shutdown.is_triggered(), &mut |p| show(setting, p));
    setting.output.progress("naming frames");
    Ok(session.finish(began))
}

async fn start(setting: &Setting, args: &ProfileArgs, command: &[String]) -> Result<Stacks> {
    let duration = args.duration.map(seconds).transpose()?;
    let title: String = command.first().cloned().unwrap_or_default();
    let prepared: Prepared = Session::prepare(&title, options(args)?);
    let began = clock::now_ns();
    let environment = node_environment(command, setting.environment.node_options.as_deref());
    let (mut running, _) = Running::start(command, &environment, Stdout::Inherited, PATIENCE).await?;
    let mut session = prepared.started(running.pid().context("the command ended at its start")?);
    let ended = std::cell::Cell::new(false);
    let cell = std::cell::RefCell::new(&mut running);
    let stop = || {
        ended.set(ended.get() || cell.borrow_mut().ended().is_some());
        setting.shutdown.is_triggered() || ended.get()
    };
    session.run(duration, &stop, &mut |p| show(setting, p));
    setting.output.progress("naming frames");
    let stacks = session.finish(began);
    if !ended.get() {
        running.stop().await;
    }
    Ok(stacks)
}

/// Node tells the names of its compiled code only if it is asked at its start.
pub(super) fn node_environment(command: &[String], before: Option<&str>) -> Vec<(String, String)> {
    const FAMILY: [&str; 5] = ["node", "npm", "npx", "yarn", "pnpm"];
    const OPTIONS: &str = "--perf-basic-prof --interpreted-frames-native-stack";
    let program = command.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    if !program.is_some_and(|name| FAMILY.contains(&name)) {
        return Vec::new();
    }
    let options = before.map_or(OPTIONS.to_owned(), |before| format!("{before} {OPTIONS}"));
    vec![("NODE_OPTIONS".to_owned(), options)]
}

fn show(setting: &Setting, progress: Progress) {
    let seconds = progress.elapsed_ns / 1_000_000_000;
    let Progress { threads, on_cpu_samples, .. } = progress;
    setting
        .output
        .progress(&format!("profiling: {seconds} s, {threads} threads, {on_cpu_samples} on-CPU samples"));
}

/// What a file is to hold: as was said, else by its name.
fn kind(said: Option<ProfileKind>, path: &Path) -> Result<ProfileKind> {
    if let Some(kind) = said {
        return Ok(kind);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let kinds = [
        (ProfileKind::Svg, &[".svg"][..]),
        (ProfileKind::Folded, &[".folded", ".txt"]),
        (ProfileKind::Pprof, &[".pb.gz", ".pprof"]),
        (ProfileKind::Speedscope, &[".speedscope.json"]),
        (ProfileKind::Firefox, &[".firefox.json", ".json"]),
    ];
    let found = kinds.into_iter().find(|(_, endings)| ends(endings)).map(|(kind, _)| kind);
    found.with_context(|| {
        format!("the name of {} does not say what it shall hold; give --kind svg, folded, pprof, speedscope or firefox", path.display())
    })
}

fn write(stacks: &Stacks, kind: ProfileKind, path: &Path) -> Result<()> {
    let bytes = match kind {
        ProfileKind::Svg => formats::write_svg(stacks).into_bytes(),
        ProfileKind::Folded => formats::write_folded(stacks).into_bytes(),
        ProfileKind::Pprof => formats::write_pprof(stacks)?,
        ProfileKind::Speedscope => formats::write_speedscope(stacks).into_bytes(),
        ProfileKind::Firefox => formats::write_firefox(stacks).into_bytes(),
    };
    std::fs::write(path, bytes).with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_what_it_holds() {
        let of = |name: &str| kind(None, Path::new(name));
        assert_eq!(of("a.svg").unwrap(), ProfileKind::Svg);
        assert_eq!(of("a.pb.gz").unwrap(), ProfileKind::Pprof);
        assert_eq!(of("a.speedscope.json").unwrap(), ProfileKind::Speedscope);
        assert_eq!(of("a.json").unwrap(), ProfileKind::Firefox);
        assert!(of("a").unwrap_err().to_string().contains("--kind"));
    }

    #[test]
    fn only_node_gets_its_flags() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(node_environment(&words("python3 a.py"), None).is_empty());
        let options = node_environment(&words("/usr/bin/node a.js"), Some("--x"));
        assert!(options[0].1.starts_with("--x --perf-basic-prof"));
    }
}
