//! Several scenarios of one run, side by side.

use crate::options;
use crate::server::{Act, Server};
use load::drive::{Executor, Overflow, Plan, Supply};
use load::{Options, Pace, Scenario, Spacing, Workload, run};
use net::Shutdown;
use std::time::Duration;

fn workload(name: &str, start_ms: u64, operations: &[&str], executor: Executor) -> Workload {
    Workload {
        plan: Plan {
            name: name.to_owned(),
            start: Duration::from_millis(start_ms),
            graceful_stop: Duration::from_secs(1),
            executor,
        },
        operations: operations.iter().map(|&name| name.to_owned()).collect(),
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn each_scenario_sends_its_own_operations_in_its_own_time() {
    let server = Server::start(|_| Act::Answer(200, "ok")).await;
    let scenario: Scenario = toml::from_str(&format!(
        "base_url = \"http://{}\"\noperations = [{{ name = \"a\", path = \"/a\" }}, {{ name = \"b\", path = \"/b\" }}]",
        server.address
    ))
    .unwrap();
    let arrivals = Executor::Arrivals {
        pace: Pace::constant(100.0, Spacing::Constant),
        duration: Duration::from_millis(300),
        seed: 1,
        supply: Supply { prepared: 0, most: 20 },
        overflow: Overflow::Wait(Duration::from_secs(1)),
    };
    let jobs = Executor::PerVuIterations { users: 2, iterations: 5, max_duration: Duration::from_secs(30) };
    let settings = Options {
        workloads: vec![workload("browse", 0, &["a"], arrivals), workload("jobs", 400, &["b"], jobs)],
        ..options(1.0, Duration::from_secs(31))
    };
    let result = run(&scenario, &settings, &Shutdown::new()).await.unwrap();
    assert_eq!((result.response(0).count(), result.response(1).count()), (30, 10));
    assert!(result.complete && result.users.is_none());
    // The work of `jobs` was done long before it had to be: rates count until then.
    assert!((0.4..5.0).contains(&result.window.as_secs_f64()), "{:?}", result.window);
    let first_b = result.requests.iter().filter(|r| r.operation == 1).map(|r| r.due_ns).min().unwrap();
    assert!(first_b >= result.started_ns + 400_000_000);

    let named = |operations: &[&str]| Options {
        workloads: vec![workload(
            "jobs",
            0,
            operations,
            Executor::ConstantVus { users: 3, duration: Duration::from_millis(100) },
        )],
        ..options(1.0, Duration::from_millis(100))
    };
    let closed = run(&scenario, &named(&[]), &Shutdown::new()).await.unwrap();
    assert_eq!(closed.users, Some(3));
    let error = run(&scenario, &named(&["c"]), &Shutdown::new()).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("scenario `jobs`: operations: there is no operation `c`"),
        "{error:#}"
    );
}
