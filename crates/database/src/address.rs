//! A Postgres URL as users have it: libpq's `sslmode` and `sslrootcert`, which tokio-postgres does not know, and what
//! object mappers add to it. Nothing of it is ever shown but host, port and database.

use crate::tls::Verify;
use anyhow::{Context, Result, anyhow, bail};
use std::path::PathBuf;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

/// Parameters that libpq or object mappers give a URL and that mean nothing here.
const PASSED_OVER: [&str; 13] = [
    "schema",
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "prepared_statement_cache_size",
    "sslaccept",
    "gssencmode",
    "fallback_application_name",
    "uselibpqcompat",
    "application_name",
    "connect_timeout",
];

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) verify: Verify,
    /// A file of authorities to trust, PEM text.
    pub(crate) roots: Option<PathBuf>,
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=...`; `postgresql+driver://` as well.
    ///
    /// # Errors
    /// It is no such URL, or a parameter is not known; never with the password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let shown = || crate::redacted(url);
        let (scheme, rest) = url.split_once("://").context(
            "the database's address is no URL; expected postgres://user:password@host:port/database",
        )?;
        let scheme = scheme.split('+').next().unwrap_or_default();
        if !matches!(scheme, "postgres" | "postgresql") {
            bail!("`{}` is no Postgres URL: it begins with {scheme}://, expected postgres://", shown());
        }
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let mut kept = Vec::new();
        let (mut mode, mut roots) = ("prefer".to_owned(), None);
        for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "sslmode" => mode = decoded(value),
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => roots = Some(PathBuf::from(decoded(value))),
                "sslcert" | "sslkey" | "sslpassword" => {
                    bail!("{name} is not known yet: connect as a role that a password or the host lets in")
                }
                _ if PASSED_OVER.contains(&name) => {}
                _ => kept.push(parameter),
            }
        }
        let plain = format!("postgresql://{place}?{}", kept.join("&"));
        let mut config: Config = plain.parse().map_err(|_| anyhow!("`{}` is no Postgres URL", shown()))?;
        let (ssl, verify) = modes(&mode, roots.is_some())?;
        config.ssl_mode(ssl);
        Ok(Self { config, verify, roots })
    }
}

/// What `sslmode` asks for. As with libpq, `require` with a file of authorities judges by it.
fn modes(mode: &str, has_roots: bool) -> Result<(SslMode, Verify)> {
    Ok(match mode {
        "disable" => (SslMode::Disable, Verify::Nothing),
        "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
        "require" if has_roots => (SslMode::Require, Verify::Authority),
        "require" | "no-verify" => (SslMode::Require, Verify::Nothing),
        "verify-ca" => (SslMode::Require, Verify::Authority),
        "verify-full" => (SslMode::Require, Verify::Full),
        _ => bail!("`{mode}` is no sslmode; expected disable, prefer, require, verify-ca or verify-full"),
    })
}

/// Without `%xx`.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|p| std::str::from_utf8(p).ok());
        match pair.and_then(|p| u8::from_str_radix(p, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Address, decoded};
    use crate::tls::Verify;
    use std::path::Path;
    use tokio_postgres::config::SslMode;

    fn mode(parameters: &str) -> (SslMode, Verify) {
        let address = Address::parse(&format!("postgres://u:p@h:5433/d{parameters}")).unwrap();
        (address.config.get_ssl_mode(), address.verify)
    }

    #[test]
    fn modes_are_those_of_libpq() {
        assert_eq!(mode(""), (SslMode::Prefer, Verify::Nothing));
        assert_eq!(mode("?sslmode=disable"), (SslMode::Disable, Verify::Nothing));
        assert_eq!(mode("?sslmode=require"), (SslMode::Require, Verify::Nothing));
        assert_eq!(mode("?sslmode=verify-ca"), (SslMode::Require, Verify::Authority));
        assert_eq!(mode("?sslmode=verify-full&sslrootcert=system"), (SslMode::Require, Verify::Full));
        assert_eq!(mode("?sslrootcert=/a.pem&sslmode=require"), (SslMode::Require, Verify::Authority));
    }

    #[test]
    fn urls_of_other_tools_are_read() {
        let url = "postgresql+asyncpg://u:p%40@h/d?schema=public&pgbouncer=true&sslrootcert=%2Fca%20s.pem";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.config.get_dbname(), Some("d"));
        assert_eq!(address.config.get_password(), Some("p@".as_bytes()));
        assert_eq!(address.roots.as_deref(), Some(Path::new("/ca s.pem")));
        assert_eq!(decoded("a%2Fb%zz%"), "a/b%zz%");
    }

    #[test]
    fn no_error_holds_the_password() {
        for url in [
            "host=h user=u password=hunter2",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:hunter2@h/d?sslmode=hm&password=hunter2",
            "postgres://u:hunter2@h/d?nonsense=1&password=hunter2",
            "postgres://u:hun/ter2@h/d?sslcert=x",
        ] {
            let error = format!("{:#}", Address::parse(url).unwrap_err());
            assert!(!error.contains("hunter2") && !error.contains("ter2"), "{error}");
        }
    }
}
