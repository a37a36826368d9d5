//! Installs, with apt-get and as root, what the tests need and the system lacks. It starts no system
//! service: the tests start their own servers on free ports. Python and Node packages are not its
//! business, the tests that need them make their own environments.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::say;
use crate::shell::{Stop, find_program, tool};

/// Something that tests start and that is not a crate.
struct Need {
    what: &'static str,
    /// What cannot run without it.
    tests: &'static str,
    is_there: fn() -> bool,
    /// Debian's names; asked only when it is not there, and after the needs before it were met.
    packages: fn() -> Vec<String>,
}

const NEEDS: &[Need] = &[
    Need {
        what: "PostgreSQL server",
        tests: "database, shop, demo and the real-input tests",
        is_there: || find_program(&["postgres"]).is_some() || newest_postgres().is_some(),
        packages: || vec!["postgresql".into()],
    },
    Need {
        what: "hypopg extension",
        tests: "what-if indexes of the database tests",
        is_there: || extension_folder().is_some_and(|folder| folder.join("hypopg.control").is_file()),
        packages: || {
            newest_postgres().map(|major| format!("postgresql-{major}-hypopg")).into_iter().collect()
        },
    },
    Need {
        what: "pgbouncer",
        tests: "the database test of a pooler in transaction mode",
        is_there: || find_program(&["pgbouncer"]).is_some() || Path::new("/usr/sbin/pgbouncer").is_file(),
        packages: || vec!["pgbouncer".into()],
    },
    Need {
        what: "Redis server",
        tests: "the shop's cache tests",
        is_there: || find_program(&["redis-server"]).is_some(),
        packages: || vec!["redis-server".into()],
    },
    Need {
        what: "MariaDB server",
        tests: "the database tests of MariaDB",
        is_there: || find_program(&["mariadbd"]).is_some() || Path::new("/usr/sbin/mariadbd").is_file(),
        packages: || vec!["mariadb-server".into()],
    },
    Need {
        what: "sqlite3",
        tests: "the database tests of SQLite files",
        is_there: || find_program(&["sqlite3"]).is_some(),
        packages: || vec!["sqlite3".into()],
    },
    Need {
        what: "Chromium",
        tests: "the report's browser test",
        is_there: || find_program(&["chromium", "chromium-browser", "google-chrome"]).is_some(),
        packages: || vec!["chromium".into()],
    },
    Need {
        what: "Python with venv",
        tests: "the real-input test of a Python service",
        is_there: || tool("python3", ["-c", "import venv, ensurepip"]).output().is_ok(),
        packages: || vec!["python3".into(), "python3-venv".into()],
    },
    Need {
        what: "Node.js",
        tests: "the real-input test of a Node service",
        is_there: || find_program(&["node"]).is_some(),
        packages: || vec!["nodejs".into()],
    },
    Need {
        what: "npm",
        tests: "the real-input test of a Node service",
        is_there: || find_program(&["npm"]).is_some(),
        packages: || vec!["npm".into()],
    },
];

/// Leaves with every need met, or says which is not and what cannot run because of it.
pub(crate) fn run() -> Result<(), Stop> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        say::text("everything that the tests need is there");
        return Ok(());
    }
    if !is_root() || find_program(&["apt-get"]).is_none() {
        return Err(Stop::CouldNot(complaint(
            &missing,
            "install them, or run this as root on Debian or Ubuntu",
        )));
    }
    install(&missing)
}

fn install(missing: &[&Need]) -> Result<(), Stop> {
    let _quiet =
        NoServices::start().map_err(|e| Stop::CouldNot(format!("cannot hold services back: {e}")))?;
    apt_get(&["update"])?;
    for need in missing {
        let packages = (need.packages)();
        say::text(&format!("installing {}: {}", need.what, packages.join(" ")));
        let mut words = vec!["install", "-y", "--no-install-recommends"];
        words.extend(packages.iter().map(String::as_str));
        apt_get(&words)?;
    }
    let still: Vec<&Need> = missing.iter().copied().filter(|need| !(need.is_there)()).collect();
    if still.is_empty() {
        return Ok(());
    }
    Err(Stop::CouldNot(complaint(&still, "apt-get ended well but did not bring them")))
}

fn apt_get(words: &[&str]) -> Result<(), Stop> {
    tool("apt-get", ["-q"]).args(words).env("DEBIAN_FRONTEND", "noninteractive").output().map(drop)
}

fn complaint(missing: &[&Need], hint: &str) -> String {
    let mut lines = String::from("missing on this system:\n");
    for need in missing {
        lines += &format!("  {}: without it cannot run: {}\n", need.what, need.tests);
    }
    lines + hint
}

/// Our effective user, read from the owner of our own entry in /proc.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// The newest major version among Debian's server folders.
fn newest_postgres() -> Option<u32> {
    let folders = fs::read_dir("/usr/lib/postgresql").ok()?;
    let majors = folders.flatten().filter(|entry| entry.path().join("bin/postgres").is_file());
    majors.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max()
}

/// Where the server that the tests will find keeps its extensions.
fn extension_folder() -> Option<PathBuf> {
    if let Some(major) = newest_postgres() {
        return Some(format!("/usr/share/postgresql/{major}/extension").into());
    }
    let share = tool("pg_config", ["--sharedir"]).output().ok()?;
    Some(Path::new(share.trim()).join("extension"))
}

/// While it lives, Debian's packages do not start the services that they install.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn start() -> std::io::Result<Self> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self { ours: None });
        }
        fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
        let guard = Self { ours: Some(policy.clone()) };
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.ours
            && let Err(error) = fs::remove_file(policy)
        {
            say::complaint(&format!("{} is left behind: {error}", policy.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_names_what_is_missing_and_what_cannot_run() {
        let redis = NEEDS.iter().find(|need| need.what == "Redis server").unwrap();
        let text = complaint(&[redis], "install it");
        assert_eq!(
            text,
            "missing on this system:\n  Redis server: without it cannot run: the shop's cache tests\ninstall it"
        );
    }
}
