//! Which processes are watched: those that the settings name or Trimtab started, else what listens on the ports of the
//! service and of its database on this machine. It does not look into other machines or containers.

use super::{Session, group};
use model::Gap;
use std::collections::BTreeMap;
use telemetry::host::Watched;

const SERVICE: &str = "service";
const DATABASE: &str = "database";
/// Where a URL names no port.
const POSTGRES_PORT: u16 = 5432;
const MARIADB_PORT: u16 = 3306;
/// Programs that pass connections on: their CPU time is not the service's.
const FORWARDERS: [&str; 14] = [
    "docker-proxy",
    "rootlesskit",
    "rootlessport",
    "slirp4netns",
    "conmon",
    "nginx",
    "haproxy",
    "envoy",
    "caddy",
    "traefik",
    "varnishd",
    "ssh",
    "socat",
    "kubectl",
];

impl Session {
    /// Looks for a service and a database that nobody named: for each measurement anew, as they may have been
    /// restarted.
    pub(super) fn find_processes(&mut self, gaps: &mut Vec<Gap>) {
        self.found.clear();
        if !self.is_named(SERVICE) {
            match listeners(&self.settings.scenario.base_url) {
                Ok(pids) => self.found.extend(pids.into_iter().map(|pid| group(SERVICE, pid, true))),
                Err(reason) => gaps.push(Gap::new(
                    "processes",
                    format!("CPU and memory of the service were not measured: {reason}"),
                    "set [service] pid, or start the service by `trimtab measure -- COMMAND`",
                )),
            }
        }
        if let Some(url) = self.settings.database.url.as_deref().filter(|_| !self.is_named(DATABASE)) {
            // Its figures help where it shares the machine; elsewhere nobody expects them.
            let pids = listeners(url).unwrap_or_default();
            self.found.extend(pids.into_iter().map(|pid| group(DATABASE, pid, true)));
        }
    }

    fn is_named(&self, role: &str) -> bool {
        self.named.iter().any(|group| group.role == role)
    }

    /// Everything that is watched.
    pub(super) fn watched(&self) -> Vec<Watched> {
        self.named.iter().chain(&self.found).cloned().collect()
    }

    /// The service's processes.
    pub(super) fn service(&self) -> Vec<Watched> {
        self.watched().into_iter().filter(|group| group.role == SERVICE).collect()
    }
}

/// The first process of each tree that listens on the port of `url`; workers that inherit the socket are counted with
/// their parent. `Err` says why nobody can be watched.
fn listeners(url: &str) -> Result<Vec<u32>, String> {
    let port = local_port(url)?;
    let parents: BTreeMap<u32, Option<u32>> =
        profile::listening(port).into_iter().map(|pid| (pid, parent(pid))).collect();
    let roots = roots(&parents);
    let proxy = roots.iter().filter_map(|pid| name(*pid)).find(|name| FORWARDERS.contains(&name.as_str()));
    match proxy {
        Some(name) => Err(format!("{name} listens on port {port} and passes on what it gets")),
        None if roots.is_empty() => {
            Err(format!("no process is seen to listen on port {port}; another user's may be hidden"))
        }
        None => Ok(roots),
    }
}

fn roots(parents: &BTreeMap<u32, Option<u32>>) -> Vec<u32> {
    let inherited = |parent: &Option<u32>| parent.is_some_and(|parent| parents.contains_key(&parent));
    parents.iter().filter(|(_, parent)| !inherited(parent)).map(|(pid, _)| *pid).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    telemetry::host::parse_process_stat(&text).map(|stat| stat.parent)
}

fn name(pid: u32) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// The port of a URL of this machine. `Err` says why there is none, without the URL's secrets.
fn local_port(url: &str) -> Result<u16, String> {
    let elsewhere = || "its address is none of this machine".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(elsewhere)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, default_port(scheme)),
    };
    let is_here = name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    port.filter(|_| is_here).ok_or_else(elsewhere)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" | "postgresql" => Some(POSTGRES_PORT),
        "mysql" | "mariadb" => Some(MARIADB_PORT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{listeners, local_port, roots};
    use std::collections::BTreeMap;
    use std::net::TcpListener;

    #[test]
    fn who_listens_is_found_and_told_when_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listeners(&format!("http://127.0.0.1:{port}/x")).unwrap(), [std::process::id()]);
        drop(listener);
        let reason = listeners(&format!("http://localhost:{port}")).unwrap_err();
        assert!(reason.contains(&format!("listen on port {port}")), "{reason}");
    }

    #[test]
    fn workers_go_with_their_parent() {
        let parents = BTreeMap::from([(10, Some(1)), (11, Some(10)), (12, Some(10)), (40, None)]);
        assert_eq!(roots(&parents), [10, 40]);
    }

    #[test]
    fn only_a_url_of_this_machine_has_a_port_to_look_at() {
        for (url, port) in [
            ("http://127.0.0.1:8080/x", Some(8080)),
            ("http://localhost", Some(80)),
            ("postgres://user:se/cret@localhost:5433/shop", None),
            ("postgres://user:secret@localhost:5433/shop", Some(5433)),
            ("postgresql://[::1]/shop?x=1", Some(5432)),
            ("https://0.0.0.0", Some(443)),
            ("http://shop.example:8080", None),
            ("unix:/run/service.sock", None),
            ("", None),
        ] {
            assert_eq!(local_port(url).ok(), port, "{url}");
        }
    }
}
