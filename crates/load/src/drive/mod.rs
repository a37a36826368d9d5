//! Executors: they drive users through iterations, on one thread, in a tokio current-thread runtime within a
//! `LocalSet`. They know when; what an iteration does is the user's. k6's semantics but for one addition: arrivals may
//! wait for a user instead of being dropped, with the due time kept.

mod arrivals;
mod closed;
mod control;
mod plan;
mod scene;
mod user;

pub use control::{Control, Counts};
pub use plan::{DEFAULT_GRACE, Executor, MAX_USERS, Overflow, Plan, Stage, Supply, users_needed};
pub use scene::Driven;
pub use user::{Crew, Ended, Iteration, User, Users};

use anyhow::{Context, Result};
use scene::Scene;
use std::time::Instant;
use tokio::task::JoinSet;

/// Runs all plans side by side to their ends, and returns what became of each, in their order. Dropping the future
/// ends everything. Make the users before with [`Crew::prepare`] and [`users_needed`]; missing ones are made on the way.
///
/// # Errors
/// A plan that makes no sense (its name and field), a user that cannot be made.
pub async fn drive<U: Users + 'static>(
    crew: &Crew<U>,
    plans: &[Plan],
    control: &Control,
) -> Result<Vec<Driven>> {
    for plan in plans {
        plan.check().with_context(|| format!("scenario `{}`", plan.name))?;
    }
    let started = Instant::now();
    control.begin(started);
    let mut tasks = JoinSet::new();
    let mut driven = vec![Driven::default(); plans.len()];
    for (index, mut plan) in plans.iter().cloned().enumerate() {
        plan.executor = plan.executor.part(control.share());
        let (crew, control) = (crew.clone(), control.clone());
        tasks.spawn_local(async move {
            let done = scenario(crew, control.clone(), index, &plan, started + plan.start).await;
            done.with_context(|| format!("scenario `{}`", plan.name)).map(|driven| (index, driven))
        });
    }
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(anyhow::Error::from).and_then(|done| done);
        let (index, one) = done?;
        driven[index] = one;
    }
    Ok(driven)
}

async fn scenario<U: Users + 'static>(
    crew: Crew<U>,
    control: Control,
    index: usize,
    plan: &Plan,
    start: Instant,
) -> Result<Driven> {
    tokio::select! {
        biased;
        () = control.stopped() => {
            return Ok(Driven { name: plan.name.clone(), ..Driven::default() });
        }
        () = tokio::time::sleep_until(start.into()) => {}
    }
    // What is late because this thread was, shows as lateness.
    let scene = Scene::new(crew, control, (index, plan), start);
    match &plan.executor {
        Executor::ConstantVus { users, .. } => closed::constant(&scene, *users).await?,
        Executor::SharedIterations { iterations, .. } => {
            closed::shared(&scene, plan.executor.users(), *iterations).await?;
        }
        Executor::PerVuIterations { users, iterations, .. } => {
            closed::per_user(&scene, *users, *iterations).await?;
        }
        Executor::RampingVus { start, stages, graceful_ramp_down } => {
            closed::ramping(&scene, *start, stages, *graceful_ramp_down).await?;
        }
        Executor::Arrivals { pace, seed, supply, overflow, .. } => {
            let due = pace.arrivals(*seed).part(scene.control.share());
            arrivals::arrivals(&scene, due, *supply, *overflow).await?;
        }
    }
    Ok(scene.driven())
}
