//! More spans than the memory holds: a sample of whole traces is kept, drawn by a hash of the trace's id, so that the
//! parts of a trace stay together in whatever order they come. Each endpoint and each of its latency bands keeps some;
//! counts and durations of all root spans stay exact, and each kept root says how many requests it stands for. It judges
//! nothing and draws no chance: the same input gives the same sample.

mod figures;
mod rows;

pub use figures::{RootFigures, Thinned};

use figures::Figures;
use model::{SpanTable, Value};
use rows::{Place, mover};
use std::collections::{HashMap, HashSet};

/// Traces of each endpoint that are kept if there are so many.
const MIN_OF_ENDPOINT: u32 = 256;
/// The same of each latency band within an endpoint. Few, so that slow requests weigh hardly more than they should.
const MIN_OF_BAND: u32 = 4;
/// Ids of dropped traces that are remembered, to drop what comes of them later; beyond, late parts are kept.
const MAX_DROPPED: usize = 8 << 20;

/// Attribute of a kept root: the requests of its endpoint and latency band that it stands for.
const STANDS_FOR: &str = "sampling.adjusted_count";

/// A bounded sample of whole traces.
pub struct Reservoir {
    max_bytes: usize,
    pool: SpanTable,
    /// Traces whose hash lies below are kept, as a share of 2^64.
    threshold: u64,
    dropped: HashSet<u64>,
    /// Traces dropped by endpoint and latency band.
    dropped_of: HashMap<(u32, u32), u64>,
    figures: Figures,
}

/// A trace among those to choose from.
struct Candidate {
    hash: u64,
    endpoint: u32,
    band: u32,
    /// Its rows, as positions in the sorted list.
    from: usize,
    to: usize,
}

impl Reservoir {
    /// One that holds at most about so many bytes of spans together with those that are not yet in it.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            pool: SpanTable::default(),
            threshold: u64::MAX,
            dropped: HashSet::new(),
            dropped_of: HashMap::new(),
            figures: Figures::default(),
        }
    }

    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Whether so many bytes more would be too many: then they are to be added.
    #[must_use]
    pub fn is_full_with(&self, bytes: usize) -> bool {
        self.pool.resident_bytes() + bytes > self.max_bytes
    }

    /// Adds spans. If they do not fit, whole traces are dropped until half of the memory is free again.
    pub fn add(&mut self, spans: &SpanTable) {
        self.figures.count(spans);
        let before = std::mem::take(&mut self.pool);
        let tables = [&before, spans];
        let mut places = rows::places(&tables);
        places.sort_unstable();
        let candidates = self.candidates(&tables, &places);
        let held = before.resident_bytes() + spans.resident_bytes();
        let room = if held > self.max_bytes {
            // By what a span of these needs, capacity included.
            let each = (held / places.len().max(1)).max(1);
            self.max_bytes / 2 / each
        } else {
            usize::MAX
        };
        self.threshold = self.threshold.min(threshold(&candidates, room));
        let kept = self.choose(&candidates, room);
        let mut pool = SpanTable::default();
        let mut movers = tables.map(mover);
        let mut keep: Vec<Place> = Vec::new();
        for (candidate, kept) in candidates.iter().zip(&kept) {
            let rows = &places[candidate.from..candidate.to];
            match kept {
                0 => {
                    if self.dropped.len() < MAX_DROPPED {
                        self.dropped.insert(candidate.hash);
                    }
                    self.figures.drop_trace();
                    *self.dropped_of.entry((candidate.endpoint, candidate.band)).or_default() += 1;
                }
                most => {
                    let most = rows.len().min(*most);
                    self.figures.cut_spans += (rows.len() - most) as u64;
                    keep.extend(&rows[..most]);
                }
            }
        }
        // In the order of arrival, so that a sample looks as its input does.
        keep.sort_unstable_by_key(|place| (place.table, place.row));
        for place in keep {
            let at = usize::from(place.table);
            movers[at].push_with(tables[at], place.row as usize, None, &mut pool);
        }
        self.pool = pool;
    }

    /// The sample, with `rest` in it, and what was left out; `None` if nothing was.
    #[must_use]
    pub fn finish(mut self, rest: SpanTable) -> (SpanTable, Option<Thinned>) {
        if self.figures.spans == 0 {
            return (rest, None);
        }
        self.add(&rest);
        drop(rest);
        if !self.dropped_of.is_empty() {
            self.pool = self.weighted();
        }
        let thinned = self.figures.finish(&self.pool, self.max_bytes);
        (self.pool, thinned)
    }

    /// The pool with what each root stands for.
    fn weighted(&mut self) -> SpanTable {
        let (pool, none) = (std::mem::take(&mut self.pool), SpanTable::default());
        let tables = [&pool, &none];
        let mut places = rows::places(&tables);
        places.sort_unstable();
        let candidates = self.candidates(&tables, &places);
        let mut kept_of: HashMap<(u32, u32), u64> = HashMap::new();
        for candidate in &candidates {
            *kept_of.entry((candidate.endpoint, candidate.band)).or_default() += 1;
        }
        let mut weights: HashMap<u32, f64> = HashMap::new();
        for candidate in &candidates {
            let stratum = (candidate.endpoint, candidate.band);
            let (kept, dropped) = (kept_of.get(&stratum), self.dropped_of.get(&stratum));
            if let (Some(kept), Some(dropped)) = (kept, dropped) {
                let weight = (kept + dropped) as f64 / *kept as f64;
                let trace = &places[candidate.from..candidate.to];
                let (root, _) = rows::root(&tables, trace);
                let roots = trace.iter().map(|p| p.row).filter(|row| pool.parent_ids[*row as usize] == 0);
                weights.extend(roots.chain([root.row]).map(|row| (row, weight)));
            }
        }
        let mut mover = mover(&pool);
        let mut weighted = SpanTable::default();
        for row in 0..pool.len() {
            let weight = u32::try_from(row).ok().and_then(|row| weights.get(&row));
            mover.push_with(&pool, row, weight.map(|w| (STANDS_FOR, Value::Float(*w))), &mut weighted);
        }
        weighted
    }

    /// The traces that are not dropped yet, the smallest hash first.
    fn candidates(&mut self, tables: &[&SpanTable; 2], places: &[Place]) -> Vec<Candidate> {
        let mut endpoints: HashMap<(u8, u32, usize), u32> = HashMap::new();
        let mut candidates = Vec::new();
        let mut from = 0;
        for trace in places.chunk_by(|a, b| a.trace_id == b.trace_id) {
            let to = from + trace.len();
            let hash = mix(trace[0].trace_id);
            if self.dropped.contains(&hash) {
                self.figures.late_spans += trace.len() as u64;
            } else {
                let (root, root_ns) = rows::root(tables, trace);
                let table = tables[usize::from(root.table)];
                let row = root.row as usize;
                // The same name and resource is the same endpoint, unless a route tells more.
                let seen = (root.table, table.resources[row].0, table.names[row].index());
                let route = figures::route(table, row);
                let endpoint = match (endpoints.get(&seen), route) {
                    (Some(known), None) => *known,
                    _ => {
                        let found = self.figures.endpoint(table, row);
                        endpoints.insert(seen, found);
                        found
                    }
                };
                candidates.push(Candidate { hash, endpoint, band: band(root_ns), from, to });
            }
            from = to;
        }
        candidates.sort_unstable_by_key(|candidate| (candidate.hash, candidate.from));
        candidates
    }

    /// By candidate how many of its spans are kept at most; 0 for none.
    fn choose(&self, candidates: &[Candidate], room: usize) -> Vec<usize> {
        let mut of_endpoint: HashMap<u32, u32> = HashMap::new();
        let mut of_band: HashMap<(u32, u32), u32> = HashMap::new();
        // The minima may take half as much again, and no trace more than half of all.
        let most = room.saturating_add(room / 2);
        let of_trace = (room / 2).max(1);
        let mut taken = 0_usize;
        let mut kept = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let endpoint = of_endpoint.entry(candidate.endpoint).or_default();
            let band = of_band.entry((candidate.endpoint, candidate.band)).or_default();
            let wanted =
                candidate.hash < self.threshold || *endpoint < MIN_OF_ENDPOINT || *band < MIN_OF_BAND;
            let spans = (candidate.to - candidate.from).min(of_trace);
            if wanted && (taken == 0 || taken + spans <= most) {
                (*endpoint, *band) = (*endpoint + 1, *band + 1);
                taken += spans;
                kept.push(spans);
            } else {
                kept.push(0);
            }
        }
        kept
    }
}

/// The hash from which on the spans exceed the room.
fn threshold(candidates: &[Candidate], room: usize) -> u64 {
    let mut spans = 0_usize;
    for candidate in candidates {
        spans = spans.saturating_add((candidate.to - candidate.from).min((room / 2).max(1)));
        if spans > room {
            return candidate.hash;
        }
    }
    u64::MAX
}

/// Durations of one band differ by less than a factor of 1.5 or so.
fn band(root_ns: u64) -> u32 {
    let doublings = u64::BITS - root_ns.leading_zeros();
    let upper_half = doublings > 1 && root_ns >> (doublings - 2) & 1 == 1;
    doublings * 2 + u32::from(upper_half)
}

/// The finalizer of MurmurHash3 over both halves: ids are random in most traces, counters in some.
fn mix(trace_id: u128) -> u64 {
    let mut hash = (trace_id >> 64) as u64 ^ ((trace_id & u128::from(u64::MAX)) as u64).rotate_left(32);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests;
