//! What came in and what of it could not be kept, by reason; the gaps of a recording come from here.

use model::Gap;
use recording::Thinned;
use std::collections::BTreeMap;

/// Why a span, point or attribute was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unusable {
    TraceId,
    SpanId,
    ParentId,
    NotUtf8,
    NoTime,
    /// A point that is NaN or infinite.
    NotFinite,
    /// Beyond a bound: attribute keys, attributes of a span, resources, series, points, links, memory.
    TooManyKeys,
    TooManyAttributes,
    TooManyResources,
    TooManySeries,
    TooManyPoints,
    /// Links that name no span, or beyond the bound.
    Links,
    TextMemory,
    SpanMemory,
    /// Ends of texts beyond the bound of one text, and keys beyond theirs.
    LongText,
    /// Spans of a trace that broke off before it said which service they are of.
    CutOff,
    /// A histogram whose buckets and bounds do not fit each other.
    Histogram,
    /// A value or key that points into a string table, which only profiles have.
    StringTable,
}

impl Unusable {
    /// What is wrong, for a sentence that begins with a count.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TraceId => "spans without a trace id of 16 bytes",
            Self::SpanId => "spans without a span id of 8 bytes",
            Self::ParentId => "spans with a parent id that is not 8 bytes",
            Self::NotUtf8 => "spans with text that is not utf-8",
            Self::NoTime => "spans or points without a time",
            Self::NotFinite => "points that are NaN or infinite",
            Self::TooManyKeys => "attributes beyond the limit of different keys",
            Self::TooManyAttributes => "attributes beyond the limit per span",
            Self::TooManyResources => "spans of resources beyond the limit of different resources",
            Self::TooManySeries => "points of series beyond the limit of series",
            Self::TooManyPoints => "points beyond the limit of points",
            Self::Links => "links without proper ids or beyond the limit per span",
            Self::TextMemory => "texts beyond the memory limit",
            Self::SpanMemory => "spans beyond the memory limit",
            Self::LongText => "ends of texts longer than 64 KiB",
            Self::CutOff => "spans of a trace that breaks off",
            Self::Histogram => "histograms whose buckets and bounds do not fit",
            Self::StringTable => "attributes that name a string table",
        }
    }

    fn signal(self) -> &'static str {
        match self {
            Self::NotFinite | Self::TooManySeries | Self::TooManyPoints | Self::Histogram => "metrics",
            _ => "traces",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::TooManyKeys | Self::TooManySeries | Self::TooManyResources => {
                "an attribute key, name or label holds a value that changes all the time: move it to a value"
            }
            Self::TextMemory | Self::SpanMemory | Self::TooManyPoints => {
                "measure for a shorter time, or sample"
            }
            _ => "look at the instrumentation that sends them",
        }
    }
}

/// Counts of one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// Requests, or files and lines of files.
    pub requests: u64,
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Spans that were kept.
    pub spans: u64,
    /// Points that were kept.
    pub points: u64,
    /// Log records that were received; they are not kept.
    pub log_records: u64,
    /// Requests or lines that could not be read at all.
    pub malformed: u64,
    /// Requests that were refused because memory was full; senders try again.
    pub refused: u64,
    /// The first malformed one, in words.
    pub first_malformed: Option<String>,
    /// Spans that were written to disk while the window ran; they are not in the batch.
    pub flushed_spans: u64,
    /// Why spans could not be written to disk.
    pub disk_error: Option<String>,
    /// What was not kept, by reason.
    pub unusable: BTreeMap<Unusable, u64>,
    /// Files or parts of files that could not be used, in words; only the first are listed.
    pub losses: Vec<String>,
    /// What was sampled, where the spans did not fit the memory.
    pub thinned: Option<Thinned>,
}

/// Losses that are listed.
const MAX_LOSSES: usize = 16;

impl IngestReport {
    pub(crate) fn count(&mut self, reason: Unusable, times: u64) {
        if times > 0 {
            *self.unusable.entry(reason).or_default() += times;
        }
    }

    pub(crate) fn malformed(&mut self, problem: impl Into<String>) {
        self.malformed += 1;
        self.first_malformed.get_or_insert_with(|| problem.into());
    }

    /// Notes a file or a part of one that could not be used.
    pub(crate) fn lost(&mut self, what: String) {
        if self.losses.len() < MAX_LOSSES {
            self.losses.push(what);
        }
    }

    /// Adds the counts of a later window.
    pub fn add(&mut self, later: &Self) {
        self.requests += later.requests;
        self.bytes += later.bytes;
        self.spans += later.spans;
        self.points += later.points;
        self.log_records += later.log_records;
        self.malformed += later.malformed;
        self.refused += later.refused;
        self.flushed_spans += later.flushed_spans;
        if self.first_malformed.is_none() {
            self.first_malformed.clone_from(&later.first_malformed);
        }
        if self.disk_error.is_none() {
            self.disk_error.clone_from(&later.disk_error);
        }
        for (reason, times) in &later.unusable {
            self.count(*reason, *times);
        }
        later.losses.iter().for_each(|loss| self.lost(loss.clone()));
        if self.thinned.is_none() {
            self.thinned.clone_from(&later.thinned);
        }
    }

    /// Everything that was not kept, as gaps.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let lost = self.unusable.iter().map(|(reason, times)| {
            Gap::new(reason.signal(), format!("{times} {} were not kept", reason.words()), reason.hint())
        });
        let malformed = self.first_malformed.iter().map(|first| {
            let reason = format!("{} inputs could not be read; the first: {first}", self.malformed);
            Gap::new("traces", reason, "send OTLP to the endpoint, see the sender's log")
        });
        let disk = self.disk_error.iter().map(|error| {
            Gap::new(
                "traces",
                format!("spans could not be written: {error}"),
                "free space, then measure again",
            )
        });
        let refused = (self.refused > 0).then(|| {
            let reason = format!("{} requests were refused, the memory for spans was full", self.refused);
            Gap::new("traces", reason, Unusable::SpanMemory.hint())
        });
        let losses = self.losses.iter().map(|loss| {
            Gap::new(
                "traces",
                loss,
                "wait until the file is complete, or fetch it again; what came before counts",
            )
        });
        let thinned = self.thinned.iter().map(Thinned::gap);
        lost.chain(malformed).chain(losses).chain(disk).chain(refused).chain(thinned).collect()
    }
}
