//! Closed models: a number of users that iterate without a schedule (constant, shared, per user, ramping).

use super::plan::{Stage, ramp};
use super::scene::{Scene, ended_well};
use super::user::{Ended, Member, Users};
use anyhow::Result;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// All users before the first of them begins, so that none does the work of two.
async fn members<U: Users>(scene: &Scene<U>, users: u32) -> Result<Vec<Member<U::User>>> {
    let mut members = Vec::new();
    for _ in 0..users {
        members.push(scene.crew.take().await?);
    }
    Ok(members)
}

pub(super) async fn constant<U: Users + 'static>(scene: &Rc<Scene<U>>, users: u32) -> Result<()> {
    let mut tasks = JoinSet::new();
    for member in members(scene, users).await? {
        let scene = Rc::clone(scene);
        tasks.spawn_local(async move { scene.repeat(member, || true).await });
    }
    scene.gather(tasks, scene.latest_end()).await
}

/// Users take iterations from one heap.
pub(super) async fn shared<U: Users + 'static>(
    scene: &Rc<Scene<U>>,
    users: u32,
    iterations: u64,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    let left = Rc::new(Cell::new(iterations));
    for member in members(scene, users).await? {
        let (scene, left) = (Rc::clone(scene), Rc::clone(&left));
        tasks.spawn_local(async move {
            let more = || left.replace(left.get().saturating_sub(1)) > 0;
            scene.repeat(member, more).await
        });
    }
    scene.gather(tasks, scene.latest_end()).await
}

/// Each user does the same number.
pub(super) async fn per_user<U: Users + 'static>(
    scene: &Rc<Scene<U>>,
    users: u32,
    iterations: u64,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    for member in members(scene, users).await? {
        let scene = Rc::clone(scene);
        tasks.spawn_local(async move {
            let mut left = iterations;
            let more = || {
                let begins = left > 0;
                left = left.saturating_sub(1);
                begins
            };
            scene.repeat(member, more).await
        });
    }
    scene.gather(tasks, scene.latest_end()).await
}

/// A place for one user on the ramp. It is wanted or not; an iteration that goes on when it is no longer wanted has
/// a grace, and is taken back into service if it is wanted again.
#[derive(Default)]
struct Place {
    wanted: Cell<bool>,
    over: Cell<bool>,
    /// When an iteration of an unwanted place is cut off.
    cut: Cell<Option<Instant>>,
    changed: Notify,
}

impl Place {
    fn want(&self, wanted: bool, cut: Option<Instant>) {
        self.wanted.set(wanted);
        self.cut.set(cut);
        self.changed.notify_one();
    }

    /// Returns when the iteration that goes on is to be cut off.
    async fn is_cut(&self) {
        loop {
            let changed = self.changed.notified();
            match self.cut.get() {
                None => changed.await,
                Some(cut) => {
                    if tokio::time::timeout_at(cut.into(), changed).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

pub(super) async fn ramping<U: Users + 'static>(
    scene: &Rc<Scene<U>>,
    start: u32,
    stages: &[Stage],
    graceful_ramp_down: Duration,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    let mut places: Vec<Rc<Place>> = Vec::new();
    let mut wanted = 0;
    for (at, users) in ramp(start, stages) {
        if !until(scene, scene.started + at, &mut tasks).await? {
            break;
        }
        let users = scene.control.share().of_users(users) as usize;
        while places.len() < users {
            let place = Rc::<Place>::default();
            places.push(Rc::clone(&place));
            let scene = Rc::clone(scene);
            tasks.spawn_local(async move { at_place(&scene, &place).await });
        }
        for place in places.iter().take(users).skip(wanted) {
            place.want(true, None);
        }
        let cut = Instant::now() + graceful_ramp_down;
        for place in places.iter().take(wanted).skip(users) {
            place.want(false, Some(cut.min(scene.latest_end())));
        }
        wanted = users;
    }
    until(scene, scene.end, &mut tasks).await?;
    for place in &places {
        place.over.set(true);
        let cut = place.cut.get();
        place.want(false, cut);
    }
    scene.gather(tasks, scene.latest_end()).await
}

/// Waits until `moment`; `false` where the test is stopped first.
async fn until<U: Users>(scene: &Scene<U>, moment: Instant, tasks: &mut JoinSet<Result<()>>) -> Result<bool> {
    let mut moment = std::pin::pin!(tokio::time::sleep_until(moment.into()));
    let mut stopped = std::pin::pin!(scene.control.stopped());
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return Ok(false),
            () = &mut moment => return Ok(true),
            Some(done) = tasks.join_next(), if !tasks.is_empty() => ended_well(done)?,
        }
    }
}

async fn at_place<U: Users>(scene: &Scene<U>, place: &Place) -> Result<()> {
    while !place.over.get() {
        if place.wanted.get() && scene.is_open(Instant::now()) {
            work(scene, place).await?;
        } else {
            place.changed.notified().await;
        }
    }
    Ok(())
}

/// A user iterates until the place is no longer wanted.
async fn work<U: Users>(scene: &Scene<U>, place: &Place) -> Result<()> {
    let mut member = scene.crew.take().await?;
    while place.wanted.get() && scene.is_open(Instant::now()) {
        let ended = tokio::select! {
            biased;
            ended = scene.iterate(&mut member, None) => ended,
            () = place.is_cut() => Ended::Broken,
        };
        if ended == Ended::Broken {
            // An interrupted user is in the middle of something, and is not used again.
            return Ok(());
        }
    }
    scene.crew.give_back(member);
    Ok(())
}
