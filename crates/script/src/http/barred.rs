//! Servers that a script's options forbid: `blockHostnames` and `blacklistIPs`. Asked before each request and each
//! redirect; nothing is sent to them.

use load::http::Origin;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names whose addresses are remembered.
const MAX_NAMES: usize = 1_000;
/// Patterns and ranges of one test.
const MAX_ENTRIES: usize = 10_000;

/// Why a request is not sent, and k6's number of it.
pub(super) type Refusal = (u32, String);

/// `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    network: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let network: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { network, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        let (network, address, most) = match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        let rest = most - self.bits;
        network.checked_shr(rest).unwrap_or(0) == address.checked_shr(rest).unwrap_or(0)
    }
}

/// What is forbidden.
#[derive(Clone, Debug, Default)]
pub(crate) struct Barred {
    /// `*` alone, or at the start.
    hosts: Vec<String>,
    ranges: Vec<Range>,
    /// What names were found to mean.
    known: RefCell<BTreeMap<String, Option<Refusal>>>,
}

impl Barred {
    /// # Errors
    /// The entry that is wrong, and what was expected.
    pub(crate) fn new(hosts: &[String], ranges: &[String]) -> Result<Self, String> {
        if hosts.len().max(ranges.len()) > MAX_ENTRIES {
            return Err(format!("more than {MAX_ENTRIES} entries"));
        }
        if let Some(wrong) =
            hosts.iter().find(|host| host.is_empty() || host.trim_start_matches('*').contains('*'))
        {
            return Err(format!("`{wrong}` is no name such as *.example.com"));
        }
        let parsed = ranges.iter().map(|text| {
            Range::parse(text).ok_or_else(|| format!("`{text}` is no address range such as 10.0.0.0/8"))
        });
        Ok(Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            ranges: parsed.collect::<Result<_, _>>()?,
            known: RefCell::default(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.ranges.is_empty()
    }

    fn pattern(&self, host: &str) -> Option<&str> {
        let host = host.to_ascii_lowercase();
        let fits = |pattern: &&String| match pattern.strip_prefix('*') {
            Some(end) => host.ends_with(end),
            None => **pattern == host,
        };
        self.hosts.iter().find(fits).map(String::as_str)
    }

    fn range(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.holds(address))
    }

    /// Why nothing may be sent there.
    /// `given`: the address in place of what the name means.
    pub(super) async fn refuse(&self, origin: &Origin, given: Option<IpAddr>) -> Option<Refusal> {
        let (host, port) = (origin.target().host(), origin.target().port());
        if let Some(pattern) = self.pattern(host) {
            return Some((1111, format!("hostname ({host}) is in a blocked pattern ({pattern})")));
        }
        if self.ranges.is_empty() {
            return None;
        }
        if let Some(known) = self.known.borrow().get(host) {
            return known.clone();
        }
        let addresses: Vec<IpAddr> = match given.map_or_else(|| host.parse(), Ok) {
            Ok(address) => vec![address],
            // A name without address fails when it is dialled.
            Err(_) => match tokio::net::lookup_host((host, port)).await {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(_) => Vec::new(),
            },
        };
        let refused = addresses
            .into_iter()
            .find(|address| self.range(*address))
            .map(|address| (1110, format!("IP ({address}) is in a blacklisted range")));
        let mut known = self.known.borrow_mut();
        if known.len() < MAX_NAMES {
            known.insert(host.to_owned(), refused.clone());
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_recognized() {
        let all = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let barred =
            Barred::new(&all(&["*.Example.com", "one.test"]), &all(&["10.0.0.0/8", "::1", "0.0.0.0/32"]))
                .unwrap();
        for (host, is_barred) in
            [("a.example.com", true), ("example.com", false), ("one.test", true), ("two.test", false)]
        {
            assert_eq!(barred.pattern(host).is_some(), is_barred, "{host}");
        }
        for (address, is_barred) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::1", true),
            ("::2", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(barred.range(address.parse().unwrap()), is_barred, "{address}");
        }
        assert!(Barred::new(&[], &all(&["0.0.0.0/0"])).unwrap().range("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn wrong_entries_are_named() {
        for (hosts, ranges) in
            [(vec!["a*b"], vec![]), (vec![""], vec![]), (vec![], vec!["10.0.0.0/33"]), (vec![], vec!["x"])]
        {
            let all = |list: Vec<&str>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(Barred::new(&all(hosts.clone()), &all(ranges.clone())).is_err(), "{hosts:?} {ranges:?}");
        }
    }
}
