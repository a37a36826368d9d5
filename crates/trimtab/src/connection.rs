//! How the service is reached, as `[load.connection]` and flags say it: checked, files read, secrets kept out of sight.

use crate::placeholders::{self, Variables};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use load::http::{Family, Overrides, parse_proxy};
use net::{HttpVersion, Identity};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// A certificate or key file that is larger is refused.
const MAX_PEM_BYTES: u64 = 4 << 20;
/// As the load engine's bound.
const MAX_IN_FLIGHT: usize = 60_000;

/// Which HTTP to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
pub enum Version {
    /// h2 where TLS agrees on it, else HTTP/1.1
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "1.1")]
    #[value(name = "1.1")]
    Http1,
    /// Without TLS by prior knowledge
    #[serde(rename = "2")]
    #[value(name = "2")]
    Http2,
}

impl Version {
    fn version(self) -> HttpVersion {
        match self {
            Self::Auto => HttpVersion::Auto,
            Self::Http1 => HttpVersion::Http1,
            Self::Http2 => HttpVersion::Http2,
        }
    }
}

/// One address or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// `[load.connection]`.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionTable {
    version: Option<Version>,
    keep_alive: Option<bool>,
    /// Requests open at once, and so connections with HTTP/1.1.
    max_in_flight: Option<usize>,
    h2_streams: Option<usize>,
    h2_connections: Option<usize>,
    unix_socket: Option<PathBuf>,
    proxy: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    server_name: Option<String>,
    insecure: Option<bool>,
    resolve: BTreeMap<String, OneOrMany>,
    ip: Option<u8>,
    compression: Option<Vec<String>>,
}

/// A proxy's URL may hold a password.
impl std::fmt::Debug for ConnectionTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionTable")
    }
}

/// The same as flags, for scenarios and k6 scripts.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionFlags {
    /// Which HTTP to speak
    #[arg(long, value_enum, value_name = "VERSION")]
    http_version: Option<Version>,
    /// A connection for each request
    #[arg(long)]
    no_keep_alive: bool,
    /// Requests open at once, and so connections with HTTP/1.1; of scenarios
    #[arg(long, value_name = "N")]
    max_in_flight: Option<usize>,
    /// Requests at once on one h2 connection
    #[arg(long, value_name = "N")]
    h2_streams: Option<usize>,
    /// h2 connections at most: of a scenario, or of each virtual user of a script
    #[arg(long, value_name = "N")]
    h2_connections: Option<usize>,
    /// Connect to this socket, whatever the URL's host
    #[arg(long, value_name = "PATH")]
    unix_socket: Option<PathBuf>,
    /// http://[USER:PASSWORD@]HOST:PORT; better in TRIMTAB_PROXY, as others see what is typed
    #[arg(long, env = "TRIMTAB_PROXY", hide_env_values = true, value_name = "URL")]
    proxy: Option<String>,
    /// Client certificate, PEM
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Key of the client certificate, PEM; without it, in the certificate's file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Trust these authorities, too, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Name for TLS, in place of the URL's host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Accept any certificate: for test systems only
    #[arg(long)]
    insecure: bool,
    /// Use these addresses for a name; may be repeated
    #[arg(long, value_name = "HOST[:PORT]=ADDRESS[,ADDRESS]")]
    resolve: Vec<String>,
    /// Use IPv4 addresses alone
    #[arg(long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use IPv6 addresses alone
    #[arg(long)]
    ipv6: bool,
    /// Ask for compressed answers: gzip, br, zstd, deflate; without a list the first three; of scenarios
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "gzip,br,zstd", value_name = "LIST")]
    compression: Option<String>,
}

impl std::fmt::Debug for ConnectionFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionFlags")
    }
}

/// Checked.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub overrides: Overrides,
    pub max_in_flight: Option<usize>,
    /// The value of `accept-encoding`.
    pub accept_encoding: Option<String>,
}

impl Connection {
    /// What flags say goes over what the file says.
    #[must_use]
    pub fn with(self, flags: Self) -> Self {
        let (mut under, over) = (self.overrides, flags.overrides);
        let mut hosts = under.hosts.clone();
        hosts.extend(over.hosts);
        under = Overrides {
            version: over.version.or(under.version),
            keep_alive: over.keep_alive.or(under.keep_alive),
            h2_streams: over.h2_streams.or(under.h2_streams),
            h2_connections: over.h2_connections.or(under.h2_connections),
            unix_socket: over.unix_socket.or(under.unix_socket),
            proxy: over.proxy.or(under.proxy),
            identity: over.identity.or(under.identity),
            ca_pem: over.ca_pem.or(under.ca_pem),
            server_name: over.server_name.or(under.server_name),
            insecure: over.insecure.or(under.insecure),
            family: over.family.or(under.family),
            hosts,
        };
        Self {
            overrides: under,
            max_in_flight: flags.max_in_flight.or(self.max_in_flight),
            accept_encoding: flags.accept_encoding.or(self.accept_encoding),
        }
    }
}

/// What a field is called where it is wrong.
type Named = fn(&str) -> String;

impl ConnectionTable {
    /// Files are looked for beside the settings file.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(mut self, beside: &Path, variables: &Variables) -> Result<Connection> {
        if let Some(proxy) = &mut self.proxy {
            placeholders::one(proxy, variables, || "load.connection.proxy".to_owned())?;
        }
        let mut hosts = BTreeMap::new();
        for (name, given) in self.resolve {
            let given = match given {
                OneOrMany::One(one) => vec![one],
                OneOrMany::Many(many) => many,
            };
            let found = addresses(&given).with_context(|| format!("load.connection.resolve.\"{name}\""))?;
            hosts.insert(name, found);
        }
        let family = match self.ip {
            None => None,
            Some(4) => Some(Family::V4),
            Some(6) => Some(Family::V6),
            Some(other) => bail!("load.connection.ip: {other} is neither 4 nor 6"),
        };
        let raw = Raw {
            version: self.version,
            keep_alive: self.keep_alive,
            max_in_flight: self.max_in_flight,
            h2_streams: self.h2_streams,
            h2_connections: self.h2_connections,
            unix_socket: self.unix_socket.map(|path| beside.join(path)),
            proxy: self.proxy,
            certificate: self.certificate.map(|path| beside.join(path)),
            key: self.key.map(|path| beside.join(path)),
            ca: self.ca.map(|path| beside.join(path)),
            server_name: self.server_name,
            insecure: self.insecure,
            hosts,
            family,
            compression: self.compression,
        };
        raw.check(|field| format!("load.connection.{field}"))
    }
}

impl ConnectionFlags {
    /// # Errors
    /// Names the flag.
    pub fn check(&self) -> Result<Connection> {
        let mut hosts = BTreeMap::new();
        for text in &self.resolve {
            let (name, given) = text.split_once('=').with_context(|| {
                format!("--resolve {text}: expected one like api.test:443=127.0.0.1:8443")
            })?;
            let given: Vec<String> = given.split(',').map(str::to_owned).collect();
            let found = addresses(&given).with_context(|| format!("--resolve {text}"))?;
            hosts.insert(name.to_owned(), found);
        }
        let raw = Raw {
            version: self.http_version,
            keep_alive: self.no_keep_alive.then_some(false),
            max_in_flight: self.max_in_flight,
            h2_streams: self.h2_streams,
            h2_connections: self.h2_connections,
            unix_socket: self.unix_socket.clone(),
            proxy: self.proxy.clone(),
            certificate: self.cert.clone(),
            key: self.key.clone(),
            ca: self.ca.clone(),
            server_name: self.server_name.clone(),
            insecure: self.insecure.then_some(true),
            hosts,
            family: self.ipv4.then_some(Family::V4).or(self.ipv6.then_some(Family::V6)),
            compression: self.compression.as_ref().map(|list| list.split(',').map(str::to_owned).collect()),
        };
        raw.check(|field| match field {
            "certificate" => "--cert".to_owned(),
            other => format!("--{}", other.replace('_', "-")),
        })
    }
}

/// Both, as they were given.
struct Raw {
    version: Option<Version>,
    keep_alive: Option<bool>,
    max_in_flight: Option<usize>,
    h2_streams: Option<usize>,
    h2_connections: Option<usize>,
    unix_socket: Option<PathBuf>,
    proxy: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    server_name: Option<String>,
    insecure: Option<bool>,
    hosts: BTreeMap<String, Vec<SocketAddr>>,
    family: Option<Family>,
    compression: Option<Vec<String>>,
}

impl Raw {
    fn check(self, named: Named) -> Result<Connection> {
        for (field, value) in [
            ("max_in_flight", self.max_in_flight),
            ("h2_streams", self.h2_streams),
            ("h2_connections", self.h2_connections),
        ] {
            if let Some(value) = value.filter(|value| !(1..=MAX_IN_FLIGHT).contains(value)) {
                bail!("{}: {value} is not from 1 to {MAX_IN_FLIGHT}", named(field));
            }
        }
        let pem = |field: &str, path: Option<&PathBuf>| {
            path.map(|path| read(path)).transpose().with_context(|| named(field))
        };
        let identity = match (&self.certificate, &self.key) {
            (None, None) => None,
            (None, Some(_)) => bail!("{}: a key without a certificate", named("key")),
            (Some(certificate), key) => {
                let certificates_pem = pem("certificate", Some(certificate))?.unwrap_or_default();
                let key_pem = pem("key", key.as_ref())?.unwrap_or_else(|| certificates_pem.clone());
                Some(Identity { certificates_pem, key_pem })
            }
        };
        let proxy = self.proxy.as_deref().map(parse_proxy).transpose().with_context(|| named("proxy"))?;
        let overrides = Overrides {
            version: self.version.map(Version::version),
            keep_alive: self.keep_alive,
            h2_streams: self.h2_streams,
            h2_connections: self.h2_connections,
            unix_socket: self.unix_socket,
            proxy,
            identity,
            ca_pem: pem("ca", self.ca.as_ref())?,
            server_name: self.server_name,
            insecure: self.insecure,
            hosts: self.hosts,
            family: self.family,
        };
        let mut settings = load::http::Settings::default();
        overrides.apply(&mut settings);
        // TLS material that is of no use is told now, with the field that gave it.
        for (field, given) in [
            ("certificate", self.certificate.is_some()),
            ("ca", self.ca.is_some()),
            ("server_name", overrides.server_name.is_some()),
        ] {
            if given {
                net::Connector::new(&settings.tls, settings.version)
                    .map(drop)
                    .with_context(|| named(field))?;
                break;
            }
        }
        let accept_encoding = self.compression.map(|list| encodings(&list)).transpose();
        Ok(Connection {
            overrides,
            max_in_flight: self.max_in_flight,
            accept_encoding: accept_encoding.with_context(|| named("compression"))?,
        })
    }
}

fn encodings(list: &[String]) -> Result<String> {
    for name in list {
        ensure!(
            matches!(name.as_str(), "gzip" | "br" | "zstd" | "deflate"),
            "`{name}` is none of gzip, br, zstd, deflate"
        );
    }
    Ok(list.join(", "))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let length = std::fs::metadata(path).with_context(|| format!("could not read {shown}"))?.len();
    ensure!(length <= MAX_PEM_BYTES, "{shown} is larger than {MAX_PEM_BYTES} bytes");
    std::fs::read(path).with_context(|| format!("could not read {shown}"))
}

/// `10.0.0.7`, `10.0.0.7:8443`, `::1`, `[::1]:8443`; port 0 stands for the URL's.
fn addresses(given: &[String]) -> Result<Vec<SocketAddr>> {
    ensure!(!given.is_empty(), "no address");
    let parse = |text: &String| {
        let text = text.trim();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address);
        }
        let ip = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        ip.map(|ip| SocketAddr::new(ip, 0))
            .with_context(|| format!("`{text}` is no address such as 127.0.0.1:8443"))
    };
    given.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Connection> {
        let table: ConnectionTable = toml::from_str(text)?;
        let variables = Variables([("PROXY_PASSWORD".to_owned(), "hush".to_owned())].into());
        table.check(Path::new("."), &variables)
    }

    #[test]
    fn what_is_said_is_what_the_client_gets() {
        let connection = table(
            "version = '2'\nkeep_alive = false\nip = 6\nproxy = 'http://ann:${PROXY_PASSWORD}@127.0.0.1:3128'\n\
             resolve = { 'a.test' = ['10.0.0.7', '[::1]:8443'] }\ncompression = ['gzip', 'br']",
        )
        .expect("a connection");
        assert!(!format!("{connection:?}").contains("hush"));
        let flags = Connection {
            overrides: Overrides { keep_alive: Some(true), ..Overrides::default() },
            ..Connection::default()
        };
        let connection = connection.with(flags);
        let mut settings = load::http::Settings::default();
        connection.overrides.apply(&mut settings);
        assert_eq!((settings.version, settings.keep_alive), (HttpVersion::Http2, true));
        assert_eq!(settings.hosts["a.test"][1].port(), 8443);
        assert_eq!(settings.family, Family::V6);
        assert!(settings.proxies.https.expect("a proxy").authorization().is_some());
        assert_eq!(connection.accept_encoding.as_deref(), Some("gzip, br"));
    }

    #[test]
    fn what_makes_no_sense_is_named_by_field_and_without_secrets() {
        for (text, problem) in [
            ("version = '3'", "unknown variant `3`"),
            ("h2_streams = 0", "load.connection.h2_streams: 0"),
            ("ip = 5", "load.connection.ip: 5"),
            ("key = 'k.pem'", "load.connection.key"),
            ("ca = 'absent.pem'", "load.connection.ca: could not read ./absent.pem"),
            ("ca = 'Cargo.toml'", "load.connection.ca: the extra CA holds no certificate"),
            ("server_name = 'a b'", "load.connection.server_name"),
            ("proxy = 'https://ann:hush@h'", "load.connection.proxy"),
            ("proxy = 'http://${ABSENT}@h'", "ABSENT"),
            ("resolve = { a = 'here' }", "load.connection.resolve.\"a\": `here`"),
            ("compression = ['lzma']", "load.connection.compression: `lzma`"),
            ("socket = 'x'", "unknown field `socket`"),
        ] {
            let error = format!("{:#}", table(text).expect_err(text));
            assert!(error.contains(problem) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
