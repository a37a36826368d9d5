//! The writer's thread: takes batches from the queue, hands each to every sink, and has them flush and push in turn.

use super::csv;
use super::file::Growing;
use super::json::Lines;
use super::push::Push;
use super::{Origin, Samples, Target, Text, Told, tag};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often files are flushed and sums pushed, as in k6's remote write.
const EVERY: Duration = Duration::from_secs(5);

pub(super) struct Sinks {
    files: Vec<Rows>,
    pushes: Vec<Push>,
    /// On every sample that has none of that name.
    labels: Vec<(Text, Text)>,
    /// What found no room in the queue.
    lost: Arc<AtomicU64>,
}

/// A file that gets every sample.
struct Rows {
    display: String,
    /// `None` after an error.
    file: Option<Growing>,
    shape: Shape,
    text: String,
    written: u64,
    lost: u64,
    error: Option<String>,
}

enum Shape {
    Csv,
    Json(Lines),
}

impl Sinks {
    pub(super) fn open(targets: &[Target], origin: &Origin, lost: Arc<AtomicU64>) -> Result<Self> {
        let labels = origin.labels.iter().cloned().map(|(name, value)| (name.into(), value.into())).collect();
        let mut sinks = Self { files: Vec::new(), pushes: Vec::new(), labels, lost };
        for target in targets {
            let named = || format!("--out {}", target.display());
            match target {
                Target::Csv(path) => {
                    sinks.files.push(Rows::open(target, path, Shape::Csv).with_context(named)?)
                }
                Target::Json(path) => {
                    let shape = Shape::Json(Lines::default());
                    sinks.files.push(Rows::open(target, path, shape).with_context(named)?);
                }
                Target::Prometheus { .. } | Target::Otlp(_) => {
                    sinks.pushes.extend(Push::open(target, origin).with_context(named)?);
                }
            }
        }
        Ok(sinks)
    }

    fn take(&mut self, mut samples: Samples) {
        for (name, value) in &self.labels {
            if tag(&samples, name).is_empty() {
                samples.tags.push((name.clone(), value.clone()));
            }
        }
        for file in &mut self.files {
            file.take(&samples);
        }
        for push in &mut self.pushes {
            push.take(&samples);
        }
    }

    async fn tick(&mut self) {
        for file in &mut self.files {
            file.flush();
        }
        for push in &mut self.pushes {
            push.tick().await;
        }
    }

    async fn finish(self) -> Vec<Told> {
        let mut told: Vec<Told> = self.files.into_iter().map(Rows::finish).collect();
        for push in self.pushes {
            told.push(push.finish().await);
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let text = format!(
                "{lost} sets of samples (one a request) were lost to all outputs, as their writer was slower than the load"
            );
            told.push(Told { text, is_loss: true });
        }
        told
    }
}

/// Until every feed is gone.
pub(super) fn write(receiver: mpsc::Receiver<Vec<Samples>>, sinks: Sinks) -> Vec<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(follow(receiver, sinks)),
        Err(error) => vec![Told { text: format!("--out: no runtime: {error}"), is_loss: true }],
    }
}

async fn follow(mut receiver: mpsc::Receiver<Vec<Samples>>, mut sinks: Sinks) -> Vec<Told> {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    tick.tick().await;
    loop {
        tokio::select! {
            batch = receiver.recv() => match batch {
                Some(batch) => batch.into_iter().for_each(|samples| sinks.take(samples)),
                None => return sinks.finish().await,
            },
            _ = tick.tick() => sinks.tick().await,
        }
    }
}

impl Rows {
    fn open(target: &Target, path: &Path, shape: Shape) -> Result<Self> {
        let mut file = Growing::create(path)?;
        if matches!(shape, Shape::Csv) {
            file.write(csv::header().as_bytes())?;
        }
        Ok(Self {
            display: target.display(),
            file: Some(file),
            shape,
            text: String::new(),
            written: 0,
            lost: 0,
            error: None,
        })
    }

    fn take(&mut self, samples: &Samples) {
        let Some(file) = &mut self.file else {
            self.lost += 1;
            return;
        };
        self.text.clear();
        match &mut self.shape {
            Shape::Csv => csv::rows(samples, &mut self.text),
            Shape::Json(lines) => lines.write(samples, &mut self.text),
        }
        match file.write(self.text.as_bytes()) {
            Ok(()) => self.written += samples.values.len() as u64,
            Err(error) => self.fail(&error),
        }
    }

    fn flush(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.flush()
        {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &std::io::Error) {
        self.error = Some(error.to_string());
        self.lost += 1;
        self.file = None;
    }

    fn finish(mut self) -> Told {
        if let Some(file) = self.file.take()
            && let Err(error) = file.finish()
        {
            self.fail(&error);
        }
        let mut text = format!("{}: {} rows", self.display, self.written);
        if let Some(error) = &self.error {
            text.push_str(&format!("; writing failed ({error}), {} sets of samples were lost", self.lost));
        }
        Told { text, is_loss: self.error.is_some() }
    }
}
