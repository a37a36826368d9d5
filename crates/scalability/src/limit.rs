//! What stands in the way of more throughput: a resource that was watched and is full, something that nobody watched,
//! or the measurement itself.

use crate::Study;
use crate::knee::flattened;
use model::{Ceiling, Level, LevelState, LimitKind, Limiting, ResourceUse};

/// A resource with this share in use is full.
const FULL: f64 = 0.85;
/// On a full CPU, service and database together hold less than this share of what is in use: others do.
const OWN_SHARE: f64 = 0.6;
/// A process that keeps within this of a whole number of cores, below the machine's, runs on so many threads at once.
const WHOLE_CORES: f64 = 0.12;
/// Levels that are compared for that stand within this share of each other.
const SAME_CORES: f64 = 0.1;

/// Judges.
pub(crate) fn judge(
    study: &Study<'_>,
    levels: &[Level],
    resources: &[ResourceUse],
    ceiling: Option<&Ceiling>,
) -> Limiting {
    let top = (0..levels.len())
        .max_by(|a, b| levels[*a].throughput_per_s.value.total_cmp(&levels[*b].throughput_per_s.value));
    let Some(top) = top else {
        return Limiting {
            kind: LimitKind::NotReached,
            resource: None,
            reason: "no level was measured to its end".to_owned(),
            hint: "measure again".to_owned(),
        };
    };
    let full = fullest(resources, levels);
    let reached = flattened(levels) || ceiling.is_some_and(|c| c.measured);
    if let Some((share, resource)) = full.filter(|(share, _)| *share >= FULL) {
        if is_cpu_of_host(resource)
            && let Some(limit) = machine(study, resources, resource, levels)
        {
            return limit;
        }
        return is_full(resource, share, resources);
    }
    if !reached {
        return generator(levels).unwrap_or_else(|| not_reached(resources, levels, top));
    }
    single_threads(study, levels, resources).unwrap_or_else(|| unseen(levels, resources, top))
}

fn is_cpu_of_host(resource: &ResourceUse) -> bool {
    resource.owner.is_empty() && resource.name.starts_with("CPU")
}

/// The whole resource that a level used the largest share of.
fn fullest<'a>(resources: &'a [ResourceUse], levels: &[Level]) -> Option<(f64, &'a ResourceUse)> {
    let generator = |at: usize| levels.get(at).is_some_and(|l| l.state == LevelState::GeneratorLimited);
    let share = |r: &ResourceUse| {
        let limit = r.limit?;
        let used = r.used.iter().enumerate().filter(|(at, _)| is_cpu_of_host(r) || !generator(*at));
        used.filter_map(|(_, used)| *used).map(|used| used / limit).max_by(f64::total_cmp)
    };
    let shares = resources.iter().filter(|r| !r.part).filter_map(|r| Some((share(r)?, r)));
    shares.max_by(|a, b| a.0.total_cmp(&b.0))
}

fn is_full(resource: &ResourceUse, share: f64, resources: &[ResourceUse]) -> Limiting {
    let mut reason = format!("{} is {:.0} % in use", resource.title(), share * 100.0);
    if let Some(demand) = &resource.demand {
        reason.push_str(&format!(", {} a request", amount(demand.value, &resource.unit)));
    }
    let next = resources.iter().filter(|r| !r.part && r.title() != resource.title());
    let next = next.filter_map(|r| Some((r.full_at_per_s?.value, r))).min_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((rate, next)) = next {
        reason.push_str(&format!("; next would be {}, full at {rate:.0}/s", next.title()));
    }
    Limiting {
        kind: LimitKind::Resource,
        resource: Some(resource.title()),
        reason,
        hint: format!(
            "use less of {} a request (see `trimtab localize`), or add to it; adding anything else changes nothing",
            resource.title()
        ),
    }
}

/// `3.1 ms of a core`, `0.02 s of the whole`.
pub(crate) fn amount(demand: f64, unit: &str) -> String {
    match unit {
        "cores" => format!("{:.2} ms of a core", demand * 1e3),
        "share" => format!("{:.2} ms of all of it", demand * 1e3),
        other => format!("{demand:.4} {other} s"),
    }
}

/// The CPU is full, but not by what is measured.
fn machine(
    study: &Study<'_>,
    resources: &[ResourceUse],
    cpu: &ResourceUse,
    levels: &[Level],
) -> Option<Limiting> {
    let used_by = |r: &ResourceUse, at: usize| r.used.get(at).copied().flatten();
    let fullest = (0..levels.len())
        .filter_map(|at| Some((used_by(cpu, at)?, at)))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (used, at) = fullest;
    let of = |owner: &str| -> f64 {
        let parts = resources.iter().filter(|r| r.part && r.unit == cpu.unit && r.owner == owner);
        // Not `sum`: that of nothing is -0.
        parts.filter_map(|r| used_by(r, at)).fold(0.0, |all, used| all + used)
    };
    let (service, database, generator) = (of("service"), of("database"), of("generator"));
    if service + database <= 0.0 || service + database >= OWN_SHARE * used {
        return None;
    }
    let others = (used - service - database - generator).max(0.0);
    Some(Limiting {
        kind: LimitKind::Machine,
        resource: Some(cpu.title()),
        reason: format!(
            "{used:.1} of {:.0} cores were in use: service {service:.1}, database {database:.1}, the load generator {generator:.1}, programs that nobody watches {others:.1}",
            study.cpus
        ),
        hint: "run the load from another machine, or end what else runs here; what is seen is this machine's end, not the service's"
            .to_owned(),
    })
}

fn generator(levels: &[Level]) -> Option<Limiting> {
    let limited = levels.iter().filter(|l| l.state == LevelState::GeneratorLimited);
    let first = limited.min_by(|a, b| a.asked.total_cmp(&b.asked))?;
    Some(Limiting {
        kind: LimitKind::Generator,
        resource: None,
        reason: format!(
            "at {}: {}",
            asked(first),
            first.doubts.first().map_or("it was late", String::as_str)
        ),
        hint: "run the load from another machine; levels beyond it say nothing of the service".to_owned(),
    })
}

/// `40/s`, `8 users`.
pub(crate) fn asked(level: &Level) -> String {
    match level.kind {
        model::LevelKind::Rate => format!("{}/s", trimmed(level.asked)),
        model::LevelKind::Users if level.asked < 1.5 => "1 user".to_owned(),
        model::LevelKind::Users => format!("{} users", trimmed(level.asked)),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn not_reached(resources: &[ResourceUse], levels: &[Level], top: usize) -> Limiting {
    let seen = levels[top].throughput_per_s.value;
    let whole = resources.iter().filter(|r| !r.part).filter_map(|r| Some((r.full_at_per_s?, r)));
    let first = whole.min_by(|a, b| a.0.value.total_cmp(&b.0.value));
    let (resource, reason) = match first {
        Some((at, r)) => {
            let high = at.high.map_or("no upper end".to_owned(), |h| format!("{h:.0}/s"));
            let text = format!(
                "nothing was full up to {seen:.1}/s; by its use so far {} is full first, at {:.0}/s ({:.0}/s to {high})",
                r.title(),
                at.value,
                at.low
            );
            (Some(r.title()), text)
        }
        None => {
            (None, format!("nothing was full up to {seen:.1}/s, and no resource with a limit was watched"))
        }
    };
    let hint = "give higher levels to see it happen".to_owned();
    Limiting { kind: LimitKind::NotReached, resource, reason, hint }
}

/// A service that stays at a whole number of cores on a machine that has more.
fn single_threads(study: &Study<'_>, levels: &[Level], resources: &[ResourceUse]) -> Option<Limiting> {
    let service = resources.iter().find(|r| r.part && r.owner == "service" && r.unit == "cores")?;
    let mut order: Vec<usize> = (0..levels.len()).collect();
    order.sort_by(|a, b| levels[*b].concurrency.total_cmp(&levels[*a].concurrency));
    let mut cores = order.iter().filter_map(|at| service.used[*at]);
    let (first, second) = (cores.next()?, cores.next()?);
    let whole = first.round();
    let stays = (first - second).abs() <= SAME_CORES * first && (first - whole).abs() <= WHOLE_CORES;
    if !stays || whole < 1.0 || whole > study.cpus - 0.5 {
        return None;
    }
    let threads = if whole < 1.5 { "one thread".to_owned() } else { format!("{whole:.0} threads") };
    Some(Limiting {
        kind: LimitKind::Resource,
        resource: Some("CPU threads of the service".to_owned()),
        reason: format!(
            "the service stays at {first:.2} of {:.0} cores however much is due: it computes on {threads} at a time (an event loop, an interpreter lock, a pool of workers)",
            study.cpus
        ),
        hint: "start more worker processes, or compute less a request (`trimtab profile` shows where)"
            .to_owned(),
    })
}

fn unseen(levels: &[Level], resources: &[ResourceUse], top: usize) -> Limiting {
    let most = levels[top].throughput_per_s.value.max(f64::MIN_POSITIVE);
    let watched: Vec<String> = resources
        .iter()
        .filter(|r| !r.part)
        .filter_map(|r| Some(format!("{} {:.0} %", r.title(), r.highest_share()? * 100.0)))
        .take(4)
        .collect();
    let room = if watched.is_empty() {
        "no resource with a limit was watched".to_owned()
    } else {
        format!("all that was watched had room: {}", watched.join(", "))
    };
    Limiting {
        kind: LimitKind::Unseen,
        resource: None,
        reason: format!(
            "the service answers no more than {most:.1}/s, and {room}. Something that nobody watches is held for {:.2} ms a request, or k of it for k times as long: a lock, a pool, a limit of concurrent requests, another service",
            1e3 / most
        ),
        hint: "`trimtab localize` judges the waits inside requests; `trimtab profile` shows what threads wait for"
            .to_owned(),
    }
}
