//! A script's `options`, and what the command line puts over them, as checked values. Errors name the field.

#[cfg(test)]
mod any;
mod read;
mod scenarios;

pub(crate) use read::Reader;
pub(crate) use scenarios::Scenario;

use crate::http::{Barred, ResponseType};
use crate::metrics::{Aggregation, Expression, Threshold};
use crate::test::HttpDefaults;
use anyhow::{Context, Result, bail};
use load::Share;
use load::http::Settings;
use net::{HttpVersion, Identity, TlsVersion};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A lower `rps` is taken for this one.
const MIN_RPS: f64 = 1e-3;
/// What k6 prints of a trend unless told.
const TREND_STATS: &[&str] = &["avg", "min", "med", "max", "p(90)", "p(95)"];
/// Options of k6 that are read and do nothing here; the user is told.
const WITHOUT_EFFECT: &[&str] = &[
    "systemTags",
    "linger",
    "paused",
    "httpDebug",
    "localIPs",
    "tlsCipherSuites",
    "summaryTimeUnit",
    "noSummary",
];
/// Options that are of k6's cloud, of extensions or of nothing that a run here has.
const OF_OTHERS: &[&str] = &["cloud", "ext", "external", "features", "noUsageReport", "vusMax"];

/// What the command line says about who runs how long; it replaces the script's own scenarios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    pub vus: Option<u32>,
    pub duration: Option<Duration>,
    pub iterations: Option<u64>,
    /// `10s:5`.
    pub stages: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub no_setup: bool,
    pub no_teardown: bool,
    pub no_thresholds: bool,
    /// Options in place of the script's own, by k6's names: `maxRedirects`.
    pub options: Vec<(&'static str, Value)>,
    /// This generator's part, over the script's `executionSegment`.
    pub share: Option<Share>,
}

/// Everything that a script's options say.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    /// By metric or sub-metric.
    pub(crate) thresholds: Vec<(String, Vec<Threshold>)>,
    pub(crate) http: HttpDefaults,
    pub(crate) settings: Settings,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) keep_cookies: bool,
    pub(crate) fresh_connections: bool,
    pub(crate) setup_timeout: Duration,
    pub(crate) teardown_timeout: Duration,
    pub(crate) min_iteration: Duration,
    pub(crate) share: Share,
    pub(crate) trend_stats: Vec<String>,
    /// Options that are accepted and do nothing.
    pub(crate) without_effect: Vec<String>,
    pub(crate) unknown: Vec<String>,
    /// What `exec.test.options` tells: the options in force, short forms as the scenario that they mean.
    pub(crate) in_force: Value,
}

impl Options {
    /// # Errors
    /// Names the option that is wrong.
    pub(crate) fn read(
        options: &Value,
        overrides: &Overrides,
        env: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut map = match options {
            Value::Null => Map::new(),
            Value::Object(map) => map.clone(),
            _ => bail!("options: expected an object"),
        };
        map.extend(overrides.options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let map = &map;
        let reader = Reader::new("options", map);
        let mut tags = reader.tags("tags")?;
        tags.retain(|(name, _)| overrides.tags.iter().all(|(own, _)| own != name));
        tags.extend(overrides.tags.iter().cloned());
        let no_thresholds = overrides.no_thresholds || reader.flag("noThresholds")?;
        let thresholds = if no_thresholds { Vec::new() } else { thresholds(&reader)? };
        let mut known = half_effect(&reader)?;
        let mut unknown: Vec<String> = Vec::new();
        for key in map.keys() {
            if WITHOUT_EFFECT.contains(&key.as_str()) {
                known.push(key.clone());
            } else if !is_known(key) && !OF_OTHERS.contains(&key.as_str()) {
                unknown.push(key.clone());
            }
        }
        let scenarios = scenarios::read(&reader, overrides)?;
        Ok(Self {
            in_force: in_force(map, &tags, overrides, &scenarios),
            scenarios,
            thresholds,
            http: http(&reader)?,
            settings: settings(&reader, env)?,
            tags,
            keep_cookies: reader.flag("noCookiesReset")?,
            fresh_connections: reader.flag("noVUConnectionReuse")?,
            setup_timeout: reader.duration("setupTimeout")?.unwrap_or(Duration::from_secs(60)),
            teardown_timeout: reader.duration("teardownTimeout")?.unwrap_or(Duration::from_secs(60)),
            min_iteration: reader.duration("minIterationDuration")?.unwrap_or_default(),
            share: overrides.share.map_or_else(|| segment(&reader), Ok)?,
            trend_stats: trend_stats(&reader)?,
            without_effect: known,
            unknown,
        })
    }
}

fn in_force(
    map: &Map<String, Value>,
    tags: &[(String, String)],
    overrides: &Overrides,
    scenarios: &[Scenario],
) -> Value {
    let mut told = map.clone();
    if !overrides.tags.is_empty() {
        let tags = tags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        told.insert("tags".to_owned(), Value::Object(tags.collect()));
    }
    if let Some(scenario) = scenarios::short_form(&Reader::new("options", map), overrides, scenarios) {
        for name in ["vus", "duration", "iterations", "stages"] {
            told.remove(name);
        }
        told.insert("scenarios".to_owned(), scenario);
    }
    Value::Object(told)
}

fn is_known(key: &str) -> bool {
    const KNOWN: &[&str] = &[
        "vus",
        "duration",
        "iterations",
        "stages",
        "scenarios",
        "thresholds",
        "tags",
        "userAgent",
        "insecureSkipTLSVerify",
        "noConnectionReuse",
        "noCookiesReset",
        "discardResponseBodies",
        "batch",
        "batchPerHost",
        "maxRedirects",
        "throw",
        "hosts",
        "tlsAuth",
        "tlsVersion",
        "minIterationDuration",
        "setupTimeout",
        "teardownTimeout",
        "summaryTrendStats",
        "rps",
        "dns",
        "blockHostnames",
        "blacklistIPs",
        "noVUConnectionReuse",
        "noThresholds",
        "executionSegment",
        "executionSegmentSequence",
    ];
    KNOWN.contains(&key)
}

/// What an option asks beyond what it does here.
fn half_effect(reader: &Reader<'_>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    if reader
        .list("tlsAuth")?
        .is_some_and(|list| list.len() > 1 || list.iter().any(|one| !one["domains"].is_null()))
    {
        all.push("tlsAuth: the first is used for all servers; what else it says".to_owned());
    }
    if let Some(dns) = reader.object("dns")? {
        all.extend(
            ["select", "policy"]
                .iter()
                .filter(|name| dns.contains_key(**name))
                .map(|name| format!("dns.{name}")),
        );
    }
    Ok(all)
}

/// How long addresses are used: k6's `dns.ttl`, a duration, `inf`, or `0` for not at all.
fn addresses_fresh(reader: &Reader<'_>) -> Result<Option<Duration>> {
    let Some(map) = reader.object("dns")? else { return Ok(None) };
    let dns = Reader::new("options.dns", map);
    dns.only(&["ttl", "select", "policy"])?;
    match dns.get("ttl") {
        Some(Value::String(text)) if text == "inf" => Ok(Some(Duration::MAX)),
        Some(Value::String(text)) if text == "0" => Ok(Some(Duration::ZERO)),
        _ => dns.duration("ttl"),
    }
}

fn barred(reader: &Reader<'_>) -> Result<Barred> {
    let texts = |name: &str| -> Result<Vec<String>> {
        let list = reader.list(name)?.unwrap_or_default();
        list.iter()
            .map(|one| {
                one.as_str()
                    .map(str::to_owned)
                    .with_context(|| format!("options.{name}: expected texts, not {one}"))
            })
            .collect()
    };
    let (hosts, ranges) = (texts("blockHostnames")?, texts("blacklistIPs")?);
    let named = |name: &str, why: String| anyhow::anyhow!("options.{name}: {why}");
    Barred::new(&hosts, &[]).map_err(|why| named("blockHostnames", why))?;
    Barred::new(&hosts, &ranges).map_err(|why| named("blacklistIPs", why))
}

fn http(reader: &Reader<'_>) -> Result<HttpDefaults> {
    let defaults = HttpDefaults::default();
    let count = |name: &str, default: usize| -> Result<usize> {
        // k6 takes 0 for no limit.
        let given = reader.integer(name)?.map(|n| if n == 0 { u64::MAX } else { n });
        Ok(given.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX)))
    };
    Ok(HttpDefaults {
        max_redirects: reader
            .integer("maxRedirects")?
            .map_or(defaults.max_redirects, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        response_type: if reader.flag("discardResponseBodies")? {
            ResponseType::None
        } else {
            ResponseType::Text
        },
        throws: reader.flag("throw")?,
        batch: count("batch", defaults.batch)?,
        batch_per_host: count("batchPerHost", defaults.batch_per_host)?,
        // k6 takes 0 for no limit.
        rps: reader.number("rps")?.filter(|rps| *rps > 0.0 && rps.is_finite()).map(|rps| rps.max(MIN_RPS)),
        barred: barred(reader)?,
        ..defaults
    })
}

fn settings(reader: &Reader<'_>, env: &BTreeMap<String, String>) -> Result<Settings> {
    let mut settings = Settings {
        proxies: load::http::Proxies::from_variables(|name| env.get(name).cloned())?,
        version: HttpVersion::Auto,
        keep_alive: !reader.flag("noConnectionReuse")?,
        ..Settings::default()
    };
    settings.tls.insecure = reader.flag("insecureSkipTLSVerify")?;
    if let Some(agent) = reader.text("userAgent")? {
        if agent.chars().any(char::is_control) {
            bail!("options.userAgent: it holds a line break or another control character");
        }
        settings.user_agent = agent;
    }
    (settings.tls.oldest, settings.tls.newest) = tls_versions(reader)?;
    if let Some(list) = reader.list("tlsAuth")?
        && let Some(first) = list.first()
    {
        let Value::Object(map) = first else { bail!("options.tlsAuth[0]: expected an object") };
        let auth = Reader::new("options.tlsAuth[0]", map);
        let pem = |name: &str| -> Result<Vec<u8>> { Ok(auth.text(name)?.unwrap_or_default().into_bytes()) };
        settings.tls.identity = Some(Identity { certificates_pem: pem("cert")?, key_pem: pem("key")? });
    }
    settings.hosts = hosts(reader)?;
    if let Some(fresh) = addresses_fresh(reader)? {
        settings.addresses_fresh = fresh;
    }
    Ok(settings)
}

fn tls_versions(reader: &Reader<'_>) -> Result<(Option<TlsVersion>, Option<TlsVersion>)> {
    let version = |text: &str| -> Result<Option<TlsVersion>> {
        Ok(Some(match text {
            "" => return Ok(None),
            // What is older is not spoken here; a range that begins there begins with 1.2.
            "tls1.0" | "tls1.1" | "tls1.2" => TlsVersion::Tls12,
            "tls1.3" => TlsVersion::Tls13,
            other => bail!("options.tlsVersion: `{other}` is none of tls1.2, tls1.3"),
        }))
    };
    match reader.get("tlsVersion") {
        None => Ok((None, None)),
        Some(Value::String(only)) => Ok((version(only)?, version(only)?)),
        Some(Value::Object(map)) => {
            let range = Reader::new("options.tlsVersion", map);
            let end = |name: &str| version(&range.text(name)?.unwrap_or_default());
            Ok((end("min")?, end("max")?))
        }
        Some(_) => bail!("options.tlsVersion: expected a version such as tls1.2, or min and max"),
    }
}

/// `executionSegment`: `1/4:2/4` is the second of four.
fn segment(reader: &Reader<'_>) -> Result<Share> {
    let Some(text) = reader.text("executionSegment")?.filter(|text| !text.is_empty()) else {
        return Ok(Share::WHOLE);
    };
    let wrong = || {
        format!("options.executionSegment: `{text}` is none of several parts of equal size, such as 1/4:2/4")
    };
    let (from, to) = text.split_once(':').unwrap_or(("0", &text));
    let (from, to) = (fraction(from).with_context(wrong)?, fraction(to).with_context(wrong)?);
    let parts = (1.0 / (to - from)).round();
    let index = (from * parts).round();
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    if !(1.0..=1000.0).contains(&parts) || !near(index / parts, from) || !near((index + 1.0) / parts, to) {
        bail!("{}", wrong());
    }
    format!("{}/{parts}", index + 1.0).parse().with_context(wrong)
}

/// `1/4`, `0.25`, `25%`.
fn fraction(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Some((over, under)) = text.split_once('/') {
        return Some(over.trim().parse::<f64>().ok()? / under.trim().parse::<f64>().ok()?);
    }
    match text.strip_suffix('%') {
        Some(percent) => Some(percent.parse::<f64>().ok()? / 100.0),
        None => text.parse().ok(),
    }
}

/// `{ 'api.test': '127.0.0.1:8080' }`; a port of 0 keeps the URL's.
fn hosts(reader: &Reader<'_>) -> Result<BTreeMap<String, Vec<SocketAddr>>> {
    let mut hosts = BTreeMap::new();
    let Some(map) = reader.object("hosts")? else { return Ok(hosts) };
    for (name, value) in map {
        let wrong = || format!("options.hosts.{name}: expected an address such as 127.0.0.1:8080");
        let text = value.as_str().with_context(wrong)?;
        let address = match text.parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => SocketAddr::new(text.trim_matches(['[', ']']).parse().with_context(wrong)?, 0),
        };
        hosts.insert(name.clone(), vec![address]);
    }
    Ok(hosts)
}

fn trend_stats(reader: &Reader<'_>) -> Result<Vec<String>> {
    let Some(list) = reader.list("summaryTrendStats")? else {
        return Ok(TREND_STATS.iter().map(ToString::to_string).collect());
    };
    let mut stats = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let text = value.as_str().unwrap_or("");
        if Aggregation::parse(text).is_none_or(|one| matches!(one, Aggregation::Rate | Aggregation::Value)) {
            bail!(
                "options.summaryTrendStats[{index}]: expected avg, min, med, max, count or p(N), not {value}"
            );
        }
        stats.push(text.to_owned());
    }
    Ok(stats)
}

/// `{ metric: ['p(95)<250', { threshold, abortOnFail, delayAbortEval }] }`.
fn thresholds(reader: &Reader<'_>) -> Result<Vec<(String, Vec<Threshold>)>> {
    let mut all = Vec::new();
    let Some(map) = reader.object("thresholds")? else { return Ok(all) };
    for (metric, value) in map {
        let path = format!("options.thresholds.{metric}");
        let list = match value {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut thresholds = Vec::new();
        for one in list {
            thresholds.push(threshold(&path, one)?);
        }
        all.push((metric.clone(), thresholds));
    }
    Ok(all)
}

fn threshold(path: &str, value: &Value) -> Result<Threshold> {
    let parse = |text: &str| Expression::parse(text).map_err(|why| anyhow::anyhow!("{path}: {why}"));
    match value {
        Value::String(text) => Ok(Threshold::new(parse(text)?)),
        Value::Object(map) => {
            let reader = Reader::new(path, map);
            let text =
                reader.text("threshold")?.with_context(|| format!("{path}.threshold: it is missing"))?;
            let mut threshold = Threshold::new(parse(&text)?);
            threshold.abort_on_fail = reader.flag("abortOnFail")?;
            threshold.delay_abort = reader.duration("delayAbortEval")?.unwrap_or_default();
            Ok(threshold)
        }
        _ => bail!("{path}: expected an expression such as \"p(95)<250\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(value: &Value) -> Result<Options> {
        Options::read(value, &Overrides::default(), &BTreeMap::new())
    }

    #[test]
    fn wrong_options_are_named() {
        for (value, part) in [
            (json!({"vus": "x"}), "options.vus"),
            (json!({"duration": "1x"}), "options.duration"),
            (json!({"stages": [{"duration": "1s"}, {"target": -1}]}), "options.stages[0].target"),
            (json!({"scenarios": {"a": {"executor": "fast"}}}), "options.scenarios.a.executor"),
            (json!({"scenarios": {"a": {"executor": "externally-controlled"}}}), "externally-controlled"),
            (
                json!({"scenarios": {"a": {"executor": "constant-arrival-rate", "rate": 1, "duration": "1s"}}}),
                "preAllocatedVUs",
            ),
            (
                json!({"scenarios": {"a": {"executor": "constant-vus", "durations": "1s"}}}),
                "options.scenarios.a.durations",
            ),
            (json!({"scenarios": {"a b": {"executor": "constant-vus", "duration": "1s"}}}), "a b"),
            (json!({"thresholds": {"http_reqs": ["count>"]}}), "options.thresholds.http_reqs"),
            (json!({"thresholds": {"http_reqs": [{"abortOnFail": true}]}}), "threshold: it is missing"),
            (json!({"summaryTrendStats": ["p99"]}), "options.summaryTrendStats[0]"),
            (json!({"hosts": {"a": "here"}}), "options.hosts.a"),
            (json!({"tlsVersion": "ssl3.0"}), "options.tlsVersion"),
            (json!({"executionSegment": "0:1/3:1"}), "options.executionSegment"),
            (json!({"executionSegment": "1/6:1/2"}), "options.executionSegment"),
            (json!({"executionSegment": "1:1"}), "options.executionSegment"),
            (json!({"tags": {"a": {}}}), "options.tags.a"),
            (json!({"insecureSkipTLSVerify": "yes"}), "options.insecureSkipTLSVerify"),
            (json!({"dns": {"ttl": "x"}}), "options.dns.ttl"),
            (json!({"dns": {"tll": "1s"}}), "options.dns.tll"),
            (json!({"blockHostnames": ["a*b"]}), "options.blockHostnames"),
            (json!({"blacklistIPs": ["10.0.0.0/99"]}), "options.blacklistIPs"),
            (json!({"blacklistIPs": [1]}), "options.blacklistIPs"),
            (json!({"rps": "fast"}), "options.rps"),
            (json!([]), "options"),
        ] {
            let error = format!("{:#}", options(&value).unwrap_err());
            assert!(error.contains(part), "{value}: {error}");
        }
    }

    #[test]
    fn unknown_options_are_told_and_known_ones_read() {
        let read = options(&json!({
            "vus": 2, "iterations": 4, "vsu": 3, "cloud": {}, "noConnectionReuse": true, "httpDebug": "full",
            "hosts": {"a.test": "127.0.0.1"}, "discardResponseBodies": true, "maxRedirects": 0, "rps": 5,
            "dns": {"ttl": "5m", "select": "first"}, "noVUConnectionReuse": true, "executionSegment": "0:1",
        }))
        .unwrap();
        assert_eq!(read.unknown, ["vsu"]);
        assert_eq!(read.without_effect, ["dns.select", "httpDebug"]);
        assert_eq!((read.http.rps, read.fresh_connections), (Some(5.0), true));
        assert_eq!(read.settings.addresses_fresh, Duration::from_secs(300));
        assert!(!read.settings.keep_alive);
        assert_eq!(read.settings.hosts["a.test"][0].port(), 0);
        assert_eq!((read.http.max_redirects, read.http.response_type), (0, ResponseType::None));
    }

    #[test]
    fn segments_of_equal_size_are_parts() {
        for (text, expected) in [
            ("1/4:2/4", "2/4"),
            ("0:1/2", "1/2"),
            ("25%:50%", "2/4"),
            ("0.75:1", "4/4"),
            ("1/3", "1/3"),
            ("0:1", "1/1"),
        ] {
            let map = json!({ "executionSegment": text });
            let read = Options::read(&map, &Overrides::default(), &BTreeMap::new()).unwrap();
            assert_eq!(read.share.to_string(), expected, "{text}");
        }
        let map = json!({ "executionSegment": "0:1/2" });
        let overrides = Overrides { share: Some("3/5".parse().unwrap()), ..Overrides::default() };
        let read = Options::read(&map, &overrides, &BTreeMap::new()).unwrap();
        assert_eq!(read.share.to_string(), "3/5");
    }
}
