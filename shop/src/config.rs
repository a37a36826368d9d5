//! The settings of one shop process. `from_env` is the only place that reads the environment,
//! apart from the `OTEL_*` variables which the OpenTelemetry crates read for themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::switches::Switches;
use crate::{event_queue, mail_queue};

/// How long a shutdown may take before what is left is abandoned.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct Config {
    /// May carry a password: never printed, hence no `Debug` on this type.
    pub database_url: String,
    pub redis_url: Option<String>,
    pub listen: SocketAddr,
    pub inventory_listen: SocketAddr,
    pub mail_listen: SocketAddr,
    pub switches: Switches,
    pub access_log: AccessLogTarget,
    pub telemetry: TelemetryConfig,
    /// Shut down when standard input ends, so that a parent's death is noticed.
    pub exit_with_stdin: bool,
    pub shutdown_timeout: Duration,
    /// Mails that may wait; one more order is refused.
    pub mail_queue: usize,
    /// Events that may wait; one more is refused.
    pub event_queue: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    Off,
    Stderr,
    File(PathBuf),
}

/// Where traces and metrics go; `None` means that the signal is not exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Full URL, e.g. `http://127.0.0.1:4318/v1/traces`.
    pub traces_endpoint: Option<String>,
    /// Full URL, e.g. `http://127.0.0.1:4318/v1/metrics`.
    pub metrics_endpoint: Option<String>,
    /// `service.name`; `shop` when nothing is said.
    pub service_name: Option<String>,
}

impl Config {
    /// Everything at its default: naive switches, free ports on loopback, no log, no export.
    pub fn new(database_url: impl Into<String>) -> Self {
        let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            database_url: database_url.into(),
            redis_url: None,
            listen: free_port,
            inventory_listen: free_port,
            mail_listen: free_port,
            switches: Switches::default(),
            access_log: AccessLogTarget::Off,
            telemetry: TelemetryConfig::default(),
            exit_with_stdin: false,
            shutdown_timeout: SHUTDOWN_TIMEOUT,
            mail_queue: mail_queue::CAPACITY,
            event_queue: event_queue::CAPACITY,
        }
    }

    /// Reads the process environment.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be understood.
    pub fn from_env() -> anyhow::Result<Self> {
        Self::from_variables(environment)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let database_url = variable("DATABASE_URL")
            .context("DATABASE_URL is not set; set it to e.g. postgres://user@127.0.0.1/shop")?;
        let mut config = Self::new(database_url);
        config.listen = parsed(&variable, "SHOP_LISTEN", SocketAddr::from(([127, 0, 0, 1], 8080)))?;
        config.inventory_listen = parsed(&variable, "SHOP_INVENTORY_LISTEN", config.inventory_listen)?;
        config.mail_listen = parsed(&variable, "SHOP_MAIL_LISTEN", config.mail_listen)?;
        config.redis_url = variable("REDIS_URL");
        if let Some(list) = variable("SHOP_SWITCHES") {
            config.switches = Switches::default().with_list(&list).context("cannot read SHOP_SWITCHES")?;
        }
        config.access_log = match variable("SHOP_ACCESS_LOG").as_deref() {
            None | Some("stderr") => AccessLogTarget::Stderr,
            Some("off") => AccessLogTarget::Off,
            Some(path) => AccessLogTarget::File(PathBuf::from(path)),
        };
        config.exit_with_stdin = match variable("SHOP_EXIT_WITH_STDIN").as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => bail!("SHOP_EXIT_WITH_STDIN is `{other}`; use 0 or 1"),
        };
        config.telemetry = telemetry(&variable)?;
        Ok(config)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of the shop that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn parsed<T: FromStr>(variable: &impl Fn(&str) -> Option<String>, name: &str, default: T) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(text) = variable(name) else { return Ok(default) };
    text.parse().with_context(|| format!("{name} is `{text}`; expected an address such as 127.0.0.1:8080"))
}

/// The rules of the OpenTelemetry specification: a signal's own endpoint is used as it stands,
/// the common one gets the signal's path.
fn telemetry(variable: &impl Fn(&str) -> Option<String>) -> anyhow::Result<TelemetryConfig> {
    let service_name = variable("OTEL_SERVICE_NAME");
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(TelemetryConfig { service_name, ..TelemetryConfig::default() });
    }
    let endpoint = |signal: &str, path: &str| -> anyhow::Result<Option<String>> {
        if variable(&format!("OTEL_{signal}_EXPORTER")).as_deref() == Some("none") {
            return Ok(None);
        }
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        let url = variable(&own).or_else(|| {
            let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}{path}", base.trim_end_matches('/')))
        });
        let Some(url) = url else { return Ok(None) };
        if !url.starts_with("http://") {
            bail!("{own} or OTEL_EXPORTER_OTLP_ENDPOINT must start with http://; the shop has no TLS");
        }
        let protocol = variable(&format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"))
            .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        match protocol.as_deref() {
            None | Some("http/protobuf") => Ok(Some(url)),
            Some(other) => bail!("OTEL_EXPORTER_OTLP_PROTOCOL is `{other}`; the shop speaks http/protobuf"),
        }
    };
    Ok(TelemetryConfig {
        traces_endpoint: endpoint("TRACES", "/v1/traces")?,
        metrics_endpoint: endpoint("METRICS", "/v1/metrics")?,
        service_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        let mut all = vec![("DATABASE_URL", "postgres://localhost/shop")];
        all.extend_from_slice(variables);
        Config::from_variables(|name| {
            all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn one_endpoint_serves_both_signals() {
        let config = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/")]).unwrap();
        assert_eq!(config.telemetry.traces_endpoint.as_deref(), Some("http://127.0.0.1:4318/v1/traces"));
        assert_eq!(config.telemetry.metrics_endpoint.as_deref(), Some("http://127.0.0.1:4318/v1/metrics"));
    }

    #[test]
    fn a_disabled_sdk_exports_nothing() {
        let config =
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"), ("OTEL_SDK_DISABLED", "true")])
                .unwrap();
        assert_eq!(config.telemetry, TelemetryConfig::default());
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("SHOP_LISTEN", "nowhere"),
            ("SHOP_SWITCHES", "connection=socks"),
            ("SHOP_EXIT_WITH_STDIN", "maybe"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
        ] {
            let Err(error) = read(&[(name, value)]) else { panic!("{name}={value} was accepted") };
            assert!(format!("{error:#}").contains(name), "{error:#}");
        }
    }
}
