//! The access log, one JSON object per line, and complaints on standard error.
//! Lines are written as a whole; a log that cannot be written never fails a request.

use std::fs::{File, OpenOptions};
use std::io::{Write as _, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use serde::Serialize;

use crate::config::AccessLogTarget;
use crate::time::rfc3339;

pub(crate) enum AccessLog {
    Off,
    Stderr,
    File(Mutex<File>),
}

#[derive(Serialize)]
pub(crate) struct AccessEntry<'a> {
    pub time: String,
    pub method: &'a str,
    pub route: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub duration_ms: f64,
    pub bytes: u64,
    pub trace_id: String,
}

impl AccessLog {
    /// # Errors
    /// When the file cannot be opened for appending.
    pub(crate) fn open(target: &AccessLogTarget) -> anyhow::Result<Self> {
        Ok(match target {
            AccessLogTarget::Off => Self::Off,
            AccessLogTarget::Stderr => Self::Stderr,
            AccessLogTarget::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Self::File(Mutex::new(
                    file.with_context(|| format!("cannot open the access log {}", path.display()))?,
                ))
            }
        })
    }

    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    pub(crate) fn write(&self, entry: &AccessEntry<'_>) {
        let Ok(mut line) = serde_json::to_vec(entry) else { return };
        line.push(b'\n');
        let written = match self {
            Self::Off => Ok(()),
            Self::Stderr => stderr().lock().write_all(&line),
            Self::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line),
        };
        if let Err(error) = written {
            complain(&format!("cannot write the access log: {error}"));
        }
    }
}

/// One line on standard error; there is nothing left to do when even that fails.
pub(crate) fn complain(message: &str) {
    drop(writeln!(stderr().lock(), "shop: {message}"));
}

/// The present time for a log line.
#[expect(clippy::disallowed_methods, reason = "the one place of the shop that reads the wall clock")]
pub(crate) fn now() -> String {
    rfc3339(SystemTime::now())
}
