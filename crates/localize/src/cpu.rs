//! Whether time in a service's own code is time on a CPU. A span's own time is wall time: it holds computing, waiting
//! for a turn on a full CPU, and waits that no span shows. What the process used tells them apart.

use crate::attributed;
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, Shape, ShapeId};
use crate::tree::NodeId;
use hashbrown::HashMap;
use model::{Sym, resources};

/// What is known of a shape's own time. Shares are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proof {
    /// The spans tell it themselves: share of their time on a CPU.
    Busy(f64),
    /// What the load's mix told of the endpoint, milliseconds of a request.
    Told {
        /// On a CPU, and waiting for a turn on one that the service itself fills.
        cpu_ms: f64,
        /// Own time of the endpoint in the service.
        own_ms: f64,
        /// As of [`Proof::Watched`]; `most` by the upper end of the interval.
        share: f64,
        most: f64,
    },
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
            Self::Busy(share) | Self::Told { share, .. } | Self::Watched { share, .. } => share,
            Self::None => 1.0,
        }
    }

    /// It was seen that most of the time is no computing.
    #[must_use]
    pub fn refutes(self, busy_share: f64) -> bool {
        match self {
            Self::Busy(share) => share < busy_share,
            Self::Told { most, .. } | Self::Watched { most, .. } => most < busy_share,
            Self::None => false,
        }
    }
}

/// Own time of services, as the cores that it would keep busy.
pub struct OwnTime {
    by_service: HashMap<Sym, f64>,
    /// Milliseconds a request, by endpoint: within the service that takes it.
    of_entries: HashMap<EndpointId, f64>,
    /// The service that takes an endpoint's requests.
    entries: HashMap<EndpointId, Sym>,
    all: f64,
}

impl OwnTime {
    /// Adds up all services' own time.
    #[must_use]
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut own = Self {
            by_service: HashMap::new(),
            of_entries: HashMap::new(),
            entries: facts.endpoints().map(|(id, endpoint)| (id, endpoint.service)).collect(),
            all: 0.0,
        };
        for (_, shape) in facts.shapes().filter(|(_, s)| matches!(s.class, Class::Server | Class::Internal)) {
            let demand = demand(facts, shape);
            *own.by_service.entry(shape.service).or_default() += demand;
            if own.is_entry(shape) {
                *own.of_entries.entry(shape.endpoint).or_default() += own_ms(facts, shape);
                own.all += demand;
            }
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
        let container = facts.saturation.services.get(facts.name(shape.service)).and_then(|u| u.cores);
        let role = facts.saturation.roles.get("service");
        // The process that is watched is the one that takes the requests; of services behind it nothing is known.
        let process = role.and_then(|u| u.cores).filter(|_| self.is_entry(shape));
        if container.is_none()
            && let Some(told) = self.told(facts, shape)
        {
            return told;
        }
        let (cores, all) = match (container, process) {
            (Some(cores), _) => (cores, self.by_service.get(&shape.service).copied().unwrap_or(0.0)),
            (None, Some(cores)) => (cores, self.all),
            (None, None) => return Proof::None,
        };
        let demand = demand(facts, shape);
        // Who waits for a turn on a CPU that its own service fills has something to compute, and less of it with less.
        let own_queue = container.is_none() && is_alone(facts);
        let queued = role.and_then(|u| u.run_queue).filter(|wait| own_queue && *wait > 0.0).unwrap_or(0.0);
        let of = |demand: f64| if demand > 0.0 { ((cores + queued) / demand).min(1.0) } else { 1.0 };
        Proof::Watched { cores, queued, demand, share: of(all.max(demand)), most: of(demand) }
    }

    /// In the service that takes the endpoint's requests?
    fn is_entry(&self, shape: &Shape) -> bool {
        self.entries.get(&shape.endpoint) == Some(&shape.service)
    }

    /// By the CPU time of one request that the load's mix told of the endpoint.
    fn told(&self, facts: &Facts<'_>, shape: &Shape) -> Option<Proof> {
        if !self.is_entry(shape) {
            return None;
        }
        let cpu = attributed::rate(facts, shape.endpoint, resources::CPU)?;
        let queue = attributed::rate(facts, shape.endpoint, resources::CPU_QUEUE).filter(|_| is_alone(facts));
        let queue = queue.unwrap_or_default();
        let own = own_ms(facts, shape);
        let of_endpoint = self.of_entries.get(&shape.endpoint).copied().unwrap_or(0.0).max(own);
        let part = |ms: f64, of: f64| if of > 0.0 { (ms / of).clamp(0.0, 1.0) } else { 1.0 };
        Some(Proof::Told {
            cpu_ms: cpu.value + queue.value,
            own_ms: of_endpoint,
            share: part(cpu.value + queue.value, of_endpoint),
            most: part(cpu.high + queue.high, own),
        })
    }
}

/// Nothing that is not watched fills the CPU.
fn is_alone(facts: &Facts<'_>) -> bool {
    facts.saturation.cores_of_others(facts.thresholds).is_none()
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

/// Share, 0 to 1, of the time of calls to a database that it was computing: what its processes used beside what the
/// calls of all endpoints lasted. `None` where no call was seen or the database was not watched.
#[must_use]
pub fn database_share(facts: &Facts<'_>) -> Option<f64> {
    let cores = facts.saturation.roles.get("database").and_then(|used| used.cores)?;
    let in_calls: f64 = facts
        .shapes()
        .filter(|(_, shape)| shape.class == Class::Db && !facts.shapes.is_lower_layer(shape))
        .map(|(_, shape)| {
            let lasted: f64 =
                shape.groups.iter().flat_map(|g| facts.nodes(g)).map(|n| seconds(facts, *n)).sum();
            let trees = facts.endpoint_of(shape).trees.len().max(1) as f64;
            lasted / trees * facts.rate_per_s(shape.endpoint)
        })
        .sum();
    (in_calls > 0.0).then(|| (cores / in_calls).clamp(0.0, 1.0))
}

fn seconds(facts: &Facts<'_>, node: NodeId) -> f64 {
    facts.node(node).duration_ns() as f64 / 1e9
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
