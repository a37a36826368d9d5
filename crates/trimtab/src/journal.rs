//! The project's memory, `.trimtab/`: recordings by time, and `journal.jsonl` with every step of the loop.
//! Plain files that git can hold; nothing here judges.

use crate::story;
use anyhow::{Context, Result};
use model::Step;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The folder beside the settings file.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
}

/// Steps that are read back at most: the newest.
const MAX_STEPS: usize = 10_000;

impl Journal {
    pub fn beside(config: &Path) -> Self {
        let parent = config.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { folder: parent.join(".trimtab") }
    }

    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A fresh folder for the recording of a run.
    pub fn new_recording(&self, id: &str) -> Result<PathBuf> {
        let recordings = self.folder.join("recordings");
        std::fs::create_dir_all(&recordings)
            .with_context(|| format!("could not make the folder {}", recordings.display()))?;
        let mut at = recordings.join(id);
        let mut n = 1;
        while at.exists() {
            n += 1;
            at = recordings.join(format!("{id}-{n}"));
        }
        Ok(at)
    }

    /// The newest recording, if there is any.
    pub fn last_recording(&self) -> Option<PathBuf> {
        let mut all: Vec<PathBuf> = std::fs::read_dir(self.folder.join("recordings"))
            .ok()?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|p| p.join("run.json").is_file())
            .collect();
        all.sort();
        all.pop()
    }

    /// Appends a step; a crash loses at most the line that was being written.
    pub fn append(&self, step: &Step) -> Result<()> {
        let path = self.folder.join("journal.jsonl");
        let shown = Step { change: story::shown(&step.change), ..step.clone() };
        let mut line = serde_json::to_string(&shown).context("could not write the step as JSON")?;
        line.push('\n');
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::OpenOptions::new().create(true).read(true).append(true).open(&path))
            .and_then(|mut file| {
                // A line that a crash tore must not take this one with it.
                if is_torn(&mut file)? {
                    line.insert(0, '\n');
                }
                file.write_all(line.as_bytes())
            })
            .with_context(|| format!("could not append to {}", path.display()))
    }

    /// Every step in order, and how many lines could not be read.
    pub fn steps(&self) -> Result<(Vec<Step>, usize)> {
        let path = self.folder.join("journal.jsonl");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        };
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        let newest = &lines[lines.len().saturating_sub(MAX_STEPS)..];
        let steps: Vec<Step> = newest.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let unreadable = newest.len() - steps.len();
        Ok((steps, unreadable))
    }
}

/// Whether the last line has no end.
fn is_torn(file: &mut File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_counted_and_the_rest_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::at(folder.path().to_path_buf());
        assert_eq!(journal.steps().expect("no journal is an empty one").0.len(), 0);
        std::fs::write(folder.path().join("journal.jsonl"), "{\"number\":1,").expect("written");
        assert_eq!(journal.steps().expect("read").1, 1);
        journal.append(&step("psql postgres://shop:hunter2@db/shop")).expect("appended");
        let (steps, unreadable) = journal.steps().expect("read");
        assert_eq!((steps.len(), unreadable), (1, 1), "the next line is whole");
        let text = std::fs::read_to_string(folder.path().join("journal.jsonl")).expect("read");
        assert!(!text.contains("hunter2") && text.contains("postgres://db/shop"), "{text}");
    }

    fn step(word: &str) -> Step {
        let command = || vec!["sh".to_owned(), word.to_owned()];
        let text = serde_json::json!({
            "number": 1, "started_ns": 0, "kept": true, "recording_before": "a", "recording_after": null,
            "change": { "name": "x", "description": "", "kind": { "kind": "command", "apply": command(), "undo": command() } },
            "finding": { "rule": "n_plus_one", "severity": "warning", "fingerprint": "v1:0", "title": "", "service": "",
                "endpoint": "GET /", "place": {}, "remedies": [], "confidence": 1.0, "prediction": null,
                "evidence": { "lines": [], "trace_ids": [], "traces": 0, "traces_of": 0, "span_ids": [] } },
            "judgement": { "version": 1, "verdict": "better", "metric": "", "prediction_held": null, "reasons": [],
                "metrics": [] },
        });
        serde_json::from_value(text).expect("a step")
    }

    #[test]
    fn two_recordings_of_one_second_get_two_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::at(folder.path().to_path_buf());
        let first = journal.new_recording("x").expect("a folder");
        std::fs::create_dir(&first).expect("made");
        assert_ne!(first, journal.new_recording("x").expect("another"));
        assert_eq!(journal.last_recording(), None);
    }
}
