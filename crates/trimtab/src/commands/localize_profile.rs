//! `trimtab localize cpu.pb.gz`: a profile that another tool took, judged by the rules on functions.

use anyhow::{Result, ensure};
use model::Recording;
use profile::{distil, formats};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file that tell its format.
const HEAD_BYTES: u64 = 64 << 10;

/// Whether these inputs are one profile.
pub(super) fn is_one(inputs: &[PathBuf]) -> bool {
    let [path] = inputs else { return false };
    path.is_file() && (is_named_so(path) || head(path).is_some_and(|bytes| formats::looks_like_one(&bytes)))
}

fn is_named_so(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = [".pb.gz", ".pprof", ".prof", ".folded", ".collapsed", ".cpuprofile"];
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn head(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The profile as a recording that holds nothing else.
pub(super) fn read(path: &Path) -> Result<Recording> {
    let stacks = super::profile::read(path)?;
    ensure!(!stacks.cells.is_empty(), "{} holds no samples", path.display());
    let (mut profile, _) = distil::distil(&stacks);
    profile.foreign = true;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if profile.title.is_empty() {
        profile.title.clone_from(&name);
    }
    let mut recording = Recording { profile: Some(profile), ..Recording::default() };
    recording.run.id = name;
    recording.run.complete = true;
    recording.run.gaps = stacks.gaps;
    Ok(recording)
}
