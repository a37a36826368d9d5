//! Who iterates when: k6's executors, from `scenarios` or from the short forms `vus`, `duration`, `iterations`,
//! `stages`.

use super::{Overrides, Reader};
use crate::duration::show;
use anyhow::{Context, Result, bail};
use load::drive::{DEFAULT_GRACE, Executor, Plan, Stage, Supply};
use serde_json::Value;
use std::time::Duration;

/// k6's bound of iteration-based executors.
const MAX_DURATION: Duration = Duration::from_secs(600);
/// Scenarios of one test.
const MAX_SCENARIOS: usize = 200;

/// One scenario with what its users are told.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// k6's name of its executor.
    pub(crate) executor_name: &'static str,
    pub(crate) exec: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) plan: Plan,
}

const COMMON: &[&str] = &["executor", "startTime", "gracefulStop", "exec", "env", "tags", "options"];

/// Whether the command line says who iterates when.
fn asked(overrides: &Overrides) -> bool {
    overrides.vus.is_some()
        || overrides.duration.is_some()
        || overrides.iterations.is_some()
        || !overrides.stages.is_empty()
}

/// The short forms' scenario as `scenarios` would hold it; `None` where the script has scenarios of its own.
pub(super) fn short_form(
    reader: &Reader<'_>,
    overrides: &Overrides,
    scenarios: &[Scenario],
) -> Option<Value> {
    if reader.get("scenarios").is_some_and(Value::is_object) && !asked(overrides) {
        return None;
    }
    let scenario = scenarios.first()?;
    let mut told = serde_json::json!({
        "executor": scenario.executor_name, "startTime": null, "gracefulStop": null, "env": null, "exec": null,
        "tags": null,
    });
    match &scenario.plan.executor {
        Executor::ConstantVus { users, duration } => {
            told["vus"] = (*users).into();
            told["duration"] = show(*duration).into();
        }
        Executor::SharedIterations { users, iterations, max_duration }
        | Executor::PerVuIterations { users, iterations, max_duration } => {
            told["vus"] = (*users).into();
            told["iterations"] = (*iterations).into();
            told["maxDuration"] = show(*max_duration).into();
        }
        Executor::RampingVus { start, stages, .. } => {
            let stage = |stage: &Stage| serde_json::json!({ "duration": show(stage.duration), "target": stage.target });
            told["startVUs"] = (*start).into();
            told["stages"] = stages.iter().map(stage).collect();
        }
        _ => {}
    }
    Some(serde_json::json!({ scenario.name.as_str(): told }))
}

pub(super) fn read(reader: &Reader<'_>, overrides: &Overrides) -> Result<Vec<Scenario>> {
    match reader.object("scenarios")? {
        Some(map) if !asked(overrides) => {
            if map.is_empty() {
                bail!("options.scenarios: there is none");
            }
            if map.len() > MAX_SCENARIOS {
                bail!("options.scenarios: more than {MAX_SCENARIOS}");
            }
            let mut scenarios = Vec::new();
            for (name, value) in map {
                let path = format!("options.scenarios.{name}");
                if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
                    bail!("{path}: a scenario's name holds letters, digits, _ and - alone");
                }
                let Value::Object(map) = value else { bail!("{path}: expected an object") };
                scenarios.push(one(name, &Reader::new(path, map))?);
            }
            Ok(scenarios)
        }
        _ => Ok(vec![short(reader, overrides)?]),
    }
}

/// The short forms; what the command line says replaces the script's.
fn short(reader: &Reader<'_>, overrides: &Overrides) -> Result<Scenario> {
    let asked =
        overrides.duration.is_some() || overrides.iterations.is_some() || !overrides.stages.is_empty();
    let vus = overrides.vus.map_or_else(|| reader.users("vus"), |vus| Ok(Some(vus)))?;
    let (duration, iterations, stages) = if asked {
        let stages = overrides.stages.iter().map(|text| stage_of(text)).collect::<Result<Vec<_>>>()?;
        (overrides.duration, overrides.iterations, (!stages.is_empty()).then_some(stages))
    } else {
        let stages = reader.list("stages")?.filter(|list| !list.is_empty());
        let stages = stages.map(|list| read_stages("options.stages", list)).transpose()?;
        (reader.duration("duration")?, reader.integer("iterations")?, stages)
    };
    let users = vus.unwrap_or(1);
    let (executor_name, executor) = match (stages, iterations, duration) {
        (Some(stages), None, _) => {
            let start = vus.unwrap_or(1);
            ("ramping-vus", Executor::RampingVus { start, stages, graceful_ramp_down: DEFAULT_GRACE })
        }
        (Some(_), Some(_), _) => bail!("options: stages and iterations cannot be together"),
        (None, Some(iterations), duration) => {
            let max_duration = duration.unwrap_or(MAX_DURATION);
            ("shared-iterations", Executor::SharedIterations { users, iterations, max_duration })
        }
        (None, None, Some(duration)) => ("constant-vus", Executor::ConstantVus { users, duration }),
        // One iteration of one user.
        (None, None, None) => {
            let max_duration = MAX_DURATION;
            ("per-vu-iterations", Executor::PerVuIterations { users, iterations: 1, max_duration })
        }
    };
    let plan =
        Plan { name: "default".to_owned(), start: Duration::ZERO, graceful_stop: DEFAULT_GRACE, executor };
    plan.check().context("options")?;
    let (env, tags) = (Vec::new(), Vec::new());
    Ok(Scenario { name: plan.name.clone(), executor_name, exec: "default".to_owned(), env, tags, plan })
}

/// `30s:10`.
fn stage_of(text: &str) -> Result<Stage> {
    let wrong = || format!("stage `{text}`: expected a duration and a target such as 30s:10");
    let (duration, target) = text.split_once(':').with_context(wrong)?;
    let duration = crate::duration::parse(duration).map_err(|why| anyhow::anyhow!("{}: {why}", wrong()))?;
    Ok(Stage { duration, target: target.parse::<u32>().with_context(wrong)?.into() })
}

fn read_stages(path: &str, list: &[Value]) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::Object(map) = value else { bail!("{path}: expected an object with duration and target") };
        let reader = Reader::new(&path, map);
        reader.only(&["duration", "target"])?;
        let duration =
            reader.duration("duration")?.with_context(|| format!("{path}.duration: it is missing"))?;
        let target = reader.number("target")?.with_context(|| format!("{path}.target: it is missing"))?;
        stages.push(Stage { duration, target });
    }
    Ok(stages)
}

fn one(name: &str, reader: &Reader<'_>) -> Result<Scenario> {
    let kind =
        reader.text("executor")?.with_context(|| format!("{}: it is missing", reader.at("executor")))?;
    let (executor_name, executor) = executor(&kind, reader)?;
    let plan = Plan {
        name: name.to_owned(),
        start: reader.duration("startTime")?.unwrap_or_default(),
        graceful_stop: reader.duration("gracefulStop")?.unwrap_or(DEFAULT_GRACE),
        executor,
    };
    plan.check().with_context(|| format!("options.scenarios.{name}"))?;
    Ok(Scenario {
        name: name.to_owned(),
        executor_name,
        exec: reader.text("exec")?.unwrap_or_else(|| "default".to_owned()),
        env: reader.tags("env")?,
        tags: reader.tags("tags")?,
        plan,
    })
}

fn executor(kind: &str, reader: &Reader<'_>) -> Result<(&'static str, Executor)> {
    let only = |fields: &[&str]| reader.only(&[COMMON, fields].concat());
    let missing = |name: &str| format!("{}: it is missing", reader.at(name));
    let duration = || reader.duration("duration")?.with_context(|| missing("duration"));
    let users = || anyhow::Ok(reader.users("vus")?.unwrap_or(1));
    let stages = || -> Result<Vec<Stage>> {
        let list = reader.list("stages")?.with_context(|| missing("stages"))?;
        read_stages(&reader.at("stages"), list)
    };
    Ok(match kind {
        "constant-vus" => {
            only(&["vus", "duration"])?;
            ("constant-vus", Executor::ConstantVus { users: users()?, duration: duration()? })
        }
        "ramping-vus" => {
            only(&["startVUs", "stages", "gracefulRampDown"])?;
            let graceful_ramp_down = reader.duration("gracefulRampDown")?.unwrap_or(DEFAULT_GRACE);
            let start = reader.users("startVUs")?.unwrap_or(1);
            ("ramping-vus", Executor::RampingVus { start, stages: stages()?, graceful_ramp_down })
        }
        "shared-iterations" | "per-vu-iterations" => {
            only(&["vus", "iterations", "maxDuration"])?;
            let max_duration = reader.duration("maxDuration")?.unwrap_or(MAX_DURATION);
            let (users, iterations) = (users()?, reader.integer("iterations")?.unwrap_or(1));
            match kind {
                "shared-iterations" => {
                    ("shared-iterations", Executor::SharedIterations { users, iterations, max_duration })
                }
                _ => ("per-vu-iterations", Executor::PerVuIterations { users, iterations, max_duration }),
            }
        }
        "constant-arrival-rate" => {
            only(&["rate", "timeUnit", "duration", "preAllocatedVUs", "maxVUs"])?;
            let rate = reader.number("rate")?.with_context(|| missing("rate"))?;
            let executor =
                Executor::constant_arrival_rate(rate, time_unit(reader)?, duration()?, supply(reader)?);
            ("constant-arrival-rate", executor)
        }
        "ramping-arrival-rate" => {
            only(&["startRate", "timeUnit", "stages", "preAllocatedVUs", "maxVUs"])?;
            let start = reader.number("startRate")?.unwrap_or(0.0);
            let executor =
                Executor::ramping_arrival_rate(start, time_unit(reader)?, &stages()?, supply(reader)?);
            ("ramping-arrival-rate", executor)
        }
        "externally-controlled" => {
            bail!(
                "{}: externally-controlled is not supported; k6 itself has removed it",
                reader.at("executor")
            )
        }
        other => bail!(
            "{}: `{other}` is none of constant-vus, ramping-vus, shared-iterations, per-vu-iterations, \
             constant-arrival-rate, ramping-arrival-rate",
            reader.at("executor")
        ),
    })
}

fn time_unit(reader: &Reader<'_>) -> Result<Duration> {
    let unit = reader.duration("timeUnit")?.unwrap_or(Duration::from_secs(1));
    if unit.is_zero() {
        bail!("{}: it is 0", reader.at("timeUnit"));
    }
    Ok(unit)
}

fn supply(reader: &Reader<'_>) -> Result<Supply> {
    let prepared = reader
        .users("preAllocatedVUs")?
        .with_context(|| format!("{}: it is missing", reader.at("preAllocatedVUs")))?;
    let most = reader.users("maxVUs")?.unwrap_or(prepared);
    if most < prepared {
        bail!("{}: {most} are less than preAllocatedVUs", reader.at("maxVUs"));
    }
    Ok(Supply { prepared, most })
}
