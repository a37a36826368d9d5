//! Pass 9, under load: on a CPU that is nearly full, every millisecond of work waits for others. Work that a fix
//! removes therefore shortens what stays. Without a measured utilization, or below 0.7, nothing is added.

use crate::facts::Facts;
use crate::shape::EndpointId;

/// Factors on the simulated time after a fix; 1: nothing changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Relief {
    pub point: f64,
    pub least: f64,
    pub most: f64,
    pub assumption: Option<String>,
    /// The model was applied: the prediction is of grade C.
    pub is_model: bool,
}

impl Relief {
    pub const NONE: Self = Self { point: 1.0, least: 1.0, most: 1.0, assumption: None, is_model: false };
}

/// The relief that follows when the endpoint's requests need `saved` (0 to 1) less time.
///
/// Processor sharing on `c` cores: `R = D / (1 - rho^c)` (Sakasegawa's approximation for the stretch of an M/M/c).
/// The freed demand is taken to be the endpoint's share of all root time, times `saved`.
#[must_use]
pub fn relief(facts: &Facts<'_>, endpoint: EndpointId, saved: f64) -> Relief {
    let t = facts.thresholds;
    let Some(rho) = facts.saturation.cpu().filter(|rho| *rho > t.load_model_from) else {
        return Relief::NONE;
    };
    let rho = rho.min(t.load_model_cap);
    let total: f64 = facts.shapes.endpoints.iter().map(|e| e.root_ns as f64).sum();
    let own = facts.shapes.endpoint(endpoint).root_ns as f64;
    let share = if total > 0.0 { own / total } else { 0.0 };
    let after = rho * (1.0 - share * saved);
    let cores = facts.saturation.cpus;
    let stretch = |rho: f64| 1.0 / (1.0 - rho.powf(cores));
    let most = stretch(after) / stretch(rho);
    Relief {
        // Half of what was saved is taken to be CPU time, the rest waiting.
        point: f64::midpoint(1.0, most),
        least: 1.0,
        most,
        assumption: Some(format!(
            "the cpu is {:.0} % busy, so work that goes shortens the wait of what stays",
            rho * 100.0
        )),
        is_model: true,
    }
}
