//! Whether time in a service's own code is time on a CPU. A span's own time is wall time: it holds computing, waiting
//! for a turn on a full CPU, and waits that no span shows. What the process used tells them apart.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use hashbrown::HashMap;
use model::Sym;

/// What is known of a shape's own time. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proof {
    /// The spans tell it themselves: share of their time on a CPU.
    Busy(f64),
    /// The process or container was watched.
    Watched {
        /// Cores that it kept busy, and that this own time alone would keep busy if it were all computing.
        cores: f64,
        demand: f64,
        /// Threads of it that waited for a turn on a CPU, on average.
        queued: f64,
        /// Share of the own time that was computing or waiting for its turn, if all own time of the service is alike ...
        share: f64,
        /// ... and at most, if everything else in it only waited.
        most: f64,
    },
    None,
}

impl Proof {
    /// Likely share of the own time on a CPU; 1 where nothing is known.
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::Busy(share) | Self::Watched { share, .. } => share,
            Self::None => 1.0,
        }
    }

    /// It was seen that most of the time is no computing.
    #[must_use]
    pub fn refutes(self, busy_share: f64) -> bool {
        match self {
            Self::Busy(share) => share < busy_share,
            Self::Watched { most, .. } => most < busy_share,
            Self::None => false,
        }
    }
}

/// Own time of services, as the cores that it would keep busy.
pub struct OwnTime {
    by_service: HashMap<Sym, f64>,
    all: f64,
}

impl OwnTime {
    /// Adds up all services' own time.
    #[must_use]
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut own = Self { by_service: HashMap::new(), all: 0.0 };
        for (_, shape) in facts.shapes().filter(|(_, s)| matches!(s.class, Class::Server | Class::Internal)) {
            let demand = demand(facts, shape);
            *own.by_service.entry(shape.service).or_default() += demand;
            own.all += demand;
        }
        own
    }

    /// What is known of a shape's own time.
    #[must_use]
    pub fn proof(&self, facts: &Facts<'_>, id: ShapeId) -> Proof {
        let shape = facts.shape(id);
        if let Some(share) = busy_share(facts, shape) {
            return Proof::Busy(share);
        }
        if facts.is_attributed(shape.endpoint)
            && let Some(cpu_ms) = crate::attributed::cpu_ms(facts, shape.endpoint)
        {
            return Proof::Busy((cpu_ms / own_ms(facts, shape).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0));
        }
        let container = facts.saturation.services.get(facts.name(shape.service)).and_then(|u| u.cores);
        let role = facts.saturation.roles.get("service");
        let process = role.and_then(|u| u.cores);
        let (cores, all) = match (container, process) {
            (Some(cores), _) => (cores, self.by_service.get(&shape.service).copied().unwrap_or(0.0)),
            (None, Some(cores)) => (cores, self.all),
            (None, None) => return Proof::None,
        };
        let demand = demand(facts, shape);
        // Who waits for a turn on a CPU that its own service fills has something to compute, and less of it with less.
        let own_queue = container.is_none() && facts.saturation.cores_of_others(facts.thresholds).is_none();
        let queued = role.and_then(|u| u.run_queue).filter(|wait| own_queue && *wait > 0.0).unwrap_or(0.0);
        let of = |demand: f64| if demand > 0.0 { ((cores + queued) / demand).min(1.0) } else { 1.0 };
        Proof::Watched { cores, queued, demand, share: of(all.max(demand)), most: of(demand) }
    }
}

/// Own time a request, milliseconds.
#[must_use]
pub fn own_ms(facts: &Facts<'_>, shape: &Shape) -> f64 {
    let endpoint = facts.endpoint_of(shape);
    endpoint.root_ns as f64 / endpoint.trees.len().max(1) as f64 * shape.own_share / 1e6
}

fn demand(facts: &Facts<'_>, shape: &Shape) -> f64 {
    own_ms(facts, shape) / 1e3 * facts.rate_per_s(shape.endpoint)
}

fn busy_share(facts: &Facts<'_>, shape: &Shape) -> Option<f64> {
    let (mut busy, mut all) = (0.0, 0.0);
    for node in shape.groups.iter().flat_map(|g| facts.nodes(g)) {
        if let Some(ns) = facts.call(*node).busy_ns() {
            busy += ns;
            all += facts.node(*node).duration_ns() as f64;
        }
    }
    (all > 0.0).then(|| (busy / all).clamp(0.0, 1.0))
}
