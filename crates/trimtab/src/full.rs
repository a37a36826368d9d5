//! What is full while a load runs: a thread of the service, or the machine. Read from the kernel's counts of the
//! processes that listen on the service's port here; of a service elsewhere nothing is known.

use crate::profiling;
use profile::{Ran, Target, listening, ran};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;

/// A thread that runs for so much of the time has nothing left; it waits for its turn in between.
const FULL_THREAD: f64 = 0.85;
/// The machine's CPUs that are busy for so much of the time are full.
const FULL_MACHINE: f64 = 0.93;

/// Looks at the service between two moments.
pub struct Witness {
    pids: Vec<u32>,
    at: Instant,
    threads: HashMap<(u32, u32), u64>,
    machine: Option<(u64, u64)>,
}

/// What was used between two moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    /// CPUs of the service's processes together.
    pub service_cpus: f64,
    /// The busiest thread and its share of the time.
    pub busiest: Option<(String, f64)>,
    /// Busy share of all CPUs of the machine.
    pub machine: Option<f64>,
}

impl Witness {
    /// `None` where the service is on another machine, or nobody is seen to listen there.
    #[must_use]
    pub fn of(base_url: &str) -> Option<Self> {
        let Some(Target::Port(port)) = profiling::target(&[], base_url) else { return None };
        let pids = listening(port);
        (!pids.is_empty()).then(|| {
            let threads =
                ran(&pids).into_iter().map(|thread| ((thread.pid, thread.tid), thread.ns)).collect();
            Self { pids, at: Instant::now(), threads, machine: machine() }
        })
    }

    /// What was used since the last look.
    pub fn look(&mut self) -> Used {
        let (now, machine_now) = (ran(&self.pids), machine());
        let elapsed_ns = (self.at.elapsed().as_nanos() as f64).max(1.0);
        let share = |thread: &Ran| {
            let before = self.threads.get(&(thread.pid, thread.tid)).copied().unwrap_or(0);
            thread.ns.saturating_sub(before) as f64 / elapsed_ns
        };
        let busiest = now.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
        let machine = self.machine.zip(machine_now).and_then(|(before, after)| {
            let all = after.1.checked_sub(before.1).filter(|all| *all > 0)?;
            Some(after.0.saturating_sub(before.0) as f64 / all as f64)
        });
        let used = Used {
            service_cpus: now.iter().map(share).sum(),
            busiest: busiest.map(|thread| (thread.name.clone(), share(thread).min(1.0))),
            machine,
        };
        self.threads = now.into_iter().map(|thread| ((thread.pid, thread.tid), thread.ns)).collect();
        (self.at, self.machine) = (Instant::now(), machine_now);
        used
    }
}

impl Used {
    /// One sentence: what has nothing left.
    #[must_use]
    pub fn sentence(&self) -> String {
        let service = format!("the service used {:.2} CPUs", self.service_cpus);
        let machine = self.machine.unwrap_or(0.0);
        match &self.busiest {
            Some((thread, share)) if *share >= FULL_THREAD => format!(
                "{service}, its thread `{thread}` was busy {:.0} % of the time: that thread is full",
                share * 100.0
            ),
            _ if machine >= FULL_MACHINE => {
                format!(
                    "{service}, the machine's CPUs were busy {:.0} % of the time: they are full",
                    machine * 100.0
                )
            }
            _ => format!(
                "{service}, the machine's CPUs were busy {:.0} % of the time: it waits for something else, \
                 which `trimtab measure` looks for",
                machine * 100.0
            ),
        }
    }
}

impl Used {
    /// The same for programs.
    #[must_use]
    pub fn json(&self, rate: f64) -> Value {
        let (thread, share) = self.busiest.clone().unzip();
        json!({
            "rate_per_s": rate,
            "service_cpus": self.service_cpus,
            "busiest_thread": thread,
            "busiest_thread_share": share,
            "machine_share": self.machine,
        })
    }
}

/// Busy and all ticks of the machine's CPUs.
fn machine() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are within user.
    let all: u64 = ticks.iter().take(8).sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all.saturating_sub(idle), all))
}

#[cfg(test)]
mod tests {
    use super::{Used, Witness};

    #[test]
    fn what_is_full_is_named() {
        let used = |busiest: f64, machine: f64| Used {
            service_cpus: 1.2,
            busiest: Some(("node".to_owned(), busiest)),
            machine: Some(machine),
        };
        assert!(
            used(0.97, 0.6).sentence().ends_with("`node` was busy 97 % of the time: that thread is full")
        );
        assert!(used(0.5, 0.99).sentence().ends_with("busy 99 % of the time: they are full"));
        assert!(used(0.3, 0.4).sentence().contains("it waits for something else"));
    }

    #[test]
    fn a_listener_of_this_process_is_seen_and_one_elsewhere_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let used = Witness::of(&format!("http://127.0.0.1:{port}")).unwrap().look();
        assert!(used.service_cpus >= 0.0 && used.busiest.is_some(), "{used:?}");
        assert!(Witness::of("http://192.0.2.1:80").is_none());
    }
}
