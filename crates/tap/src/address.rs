//! Where the tap listens and where it connects: TCP or a Unix socket, as people write them. Of a Postgres URL only host
//! and port are read; user, password and parameters are for clients and are never kept.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::PathBuf;

const POSTGRES_PORT: u16 = 5432;

/// TCP or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// Reads where the server is: `postgres://host:port`, `host:port`, `host`, the path of a socket, or of the folder
    /// that it lies in, `postgres:///?host=/var/run/postgresql`.
    ///
    /// # Errors
    /// It is none of these; never with a password.
    pub fn of_server(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            // Before an `@` there may be a password.
            let place = text.rsplit_once('@').map_or(text, |(_, place)| place);
            return place_of(place, POSTGRES_PORT);
        };
        let scheme = scheme.split('+').next().unwrap_or_default();
        if !matches!(scheme, "postgres" | "postgresql") {
            bail!("{scheme}:// is no Postgres URL; expected postgres://host:port");
        }
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        let place = place.split('/').next().unwrap_or_default();
        let host = parameters.split('&').find_map(|p| p.strip_prefix("host=")).unwrap_or_default();
        let host = host.replace("%2F", "/").replace("%2f", "/");
        let (name, port) = split(place, POSTGRES_PORT)?;
        let name = if name.is_empty() { host } else { name.replace("%2F", "/").replace("%2f", "/") };
        if name.contains(',') {
            bail!("the URL names several hosts; a tap goes to one");
        }
        Ok(match name.as_str() {
            "" => Self::Tcp { host: "127.0.0.1".to_owned(), port },
            name if name.starts_with('/') => Self::Unix(socket_in(name, port)),
            name => Self::Tcp { host: name.to_owned(), port },
        })
    }

    /// Reads where to listen: `127.0.0.1:6432`, `:6432` or `6432` (this machine only), or the path of a socket.
    ///
    /// # Errors
    /// It is none of these.
    pub fn to_listen(text: &str) -> Result<Self> {
        if text.parse::<u16>().is_ok() {
            return Self::to_listen(&format!(":{text}"));
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (host, port) = split(text, 0)?;
        if text.is_empty() || !text.contains(':') {
            bail!(
                "`{text}` is no address to listen on; expected 127.0.0.1:6432, 6432 or the path of a socket"
            );
        }
        let host = if host.is_empty() { "127.0.0.1".to_owned() } else { host };
        Ok(Self::Tcp { host, port })
    }

    /// Host or path, and the port where there is one: what spans call the server.
    #[must_use]
    pub fn parts(&self) -> (String, Option<u16>) {
        match self {
            Self::Tcp { host, port } => (host.clone(), Some(*port)),
            Self::Unix(path) => (path.display().to_string(), None),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn place_of(place: &str, port: u16) -> Result<Address> {
    if place.starts_with('/') {
        return Ok(Address::Unix(socket_in(place, port)));
    }
    let (host, port) = split(place, port)?;
    if host.is_empty() || host.contains(['/', '=', ' ', '?']) {
        bail!("the server's address is none; expected postgres://host:port");
    }
    Ok(Address::Tcp { host, port })
}

/// `host:port`, `[::1]:port`, `host`.
fn split(place: &str, default: u16) -> Result<(String, u16)> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or("")),
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    let port =
        if port.is_empty() { default } else { port.parse().context("the port is no number up to 65535")? };
    Ok((host.to_owned(), port))
}

/// A socket's path is taken as it is; in a folder it has the name that Postgres gives it.
fn socket_in(path: &str, port: u16) -> PathBuf {
    let path = PathBuf::from(path);
    let is_socket = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".s."));
    if is_socket { path } else { path.join(format!(".s.PGSQL.{port}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("postgres://db:6000", "db:6000"),
            ("postgresql://me:hunter2@db/shop?sslmode=disable", "db:5432"),
            ("postgresql+psycopg://me:p@ss@db:5433/shop", "db:5433"),
            ("postgres://[::1]:5433/x", "[::1]:5433"),
            ("db", "db:5432"),
            ("127.0.0.1:5433", "127.0.0.1:5433"),
            ("/var/run/postgresql", "/var/run/postgresql/.s.PGSQL.5432"),
            ("/tmp/.s.PGSQL.5433", "/tmp/.s.PGSQL.5433"),
            ("postgres:///shop?host=/var/run/postgresql", "/var/run/postgresql/.s.PGSQL.5432"),
            ("postgres://me@%2Ftmp:5433/shop", "/tmp/.s.PGSQL.5433"),
            ("postgres:///shop", "127.0.0.1:5432"),
        ] {
            assert_eq!(Address::of_server(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn no_error_holds_the_password() {
        for text in [
            "mysql://me:hunter2@db",
            "postgres://me:hunter2@db:x",
            "me:hunter2@",
            "postgres://u:hunter2@a,b/x",
        ] {
            let error = format!("{:#}", Address::of_server(text).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_port_alone_is_on_this_machine() {
        for (text, expected) in [
            ("6432", "127.0.0.1:6432"),
            (":6432", "127.0.0.1:6432"),
            ("0.0.0.0:6432", "0.0.0.0:6432"),
            ("[::1]:0", "[::1]:0"),
            ("/tmp/x", "/tmp/x"),
        ] {
            assert_eq!(Address::to_listen(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "db", "127.0.0.1:99999"] {
            Address::to_listen(text).unwrap_err();
        }
    }
}
