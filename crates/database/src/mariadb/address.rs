//! A MariaDB or MySQL URL as users have it: `mysql://user:password@host:port/database`, with a driver's name in the scheme
//! and drivers' parameters. Nothing of it is ever shown but host, port and database.

use crate::tls::Verify;
use anyhow::{Result, bail};
use std::path::PathBuf;

const PORT: u16 = 3306;

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Never,
    /// Where the server can.
    Preferred,
    Required,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(String, u16),
    Socket(PathBuf),
}

/// Where to connect, and as whom.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) user: String,
    pub(super) password: String,
    /// Empty where none is named.
    pub(super) database: String,
    pub(super) encryption: Encryption,
    pub(super) verify: Verify,
    /// A file of authorities to trust, PEM text.
    pub(super) roots: Option<PathBuf>,
}

impl Address {
    /// # Errors
    /// It is no such URL, or a parameter's value is not known; never with the password.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let expected = "expected mysql://user:password@host:port/database";
        let bare = url.strip_prefix("jdbc:").unwrap_or(url);
        let Some((_, rest)) = bare.split_once("://") else {
            bail!("the database's address is no URL; {expected}")
        };
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, place) = place.rsplit_once('@').map_or(("", place), |(login, place)| (login, place));
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, port)) => (name, port.strip_prefix(':').unwrap_or("")),
            None => host.split_once(':').unwrap_or((host, "")),
        };
        let Ok(port) = (if port.is_empty() { Ok(PORT) } else { port.parse() }) else {
            bail!("`{}` has no port that is a number; {expected}", crate::redacted(bare));
        };
        let name = if name.is_empty() { "127.0.0.1" } else { name };
        let mut address = Self {
            place: Place::Tcp(decoded(name), port),
            user: decoded(user),
            password: decoded(password),
            database: decoded(database),
            encryption: Encryption::Preferred,
            verify: Verify::Nothing,
            roots: None,
        };
        for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            address.parameter(&name.to_lowercase().replace(['-', '_'], ""), &decoded(value))?;
        }
        Ok(address)
    }

    /// Those of drivers that mean nothing here are passed over.
    fn parameter(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "socket" | "unixsocket" | "socketpath" | "host" if value.starts_with('/') => {
                self.place = Place::Socket(PathBuf::from(value));
            }
            "user" => value.clone_into(&mut self.user),
            "password" => value.clone_into(&mut self.password),
            "sslca" | "sslrootcert" | "sslcafile" => self.roots = Some(PathBuf::from(value)),
            "sslmode" | "tls" | "ssl" | "usessl" => {
                let (encryption, verify) = match value.to_lowercase().replace('-', "_").as_str() {
                    "disabled" | "disable" | "false" | "0" => (Encryption::Never, Verify::Nothing),
                    "preferred" | "prefer" | "trust" => (Encryption::Preferred, Verify::Nothing),
                    "required" | "require" | "true" | "1" | "skip_verify" => {
                        (Encryption::Required, Verify::Nothing)
                    }
                    "verify_ca" => (Encryption::Required, Verify::Authority),
                    "verify_identity" | "verify_full" => (Encryption::Required, Verify::Full),
                    _ => bail!(
                        "`{value}` is no {name}; expected DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"
                    ),
                };
                (self.encryption, self.verify) = (encryption, verify);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether TLS as it is asked for proves who is at the other end. An authority of one's own vouches for all that it
    /// issued; one that browsers trust issues to anybody, so that only the name tells.
    pub(super) fn proves_the_server(&self) -> bool {
        match self.verify {
            Verify::Nothing => false,
            Verify::Authority => self.roots.is_some(),
            Verify::Full => true,
        }
    }

    /// `mysql://host:port/database`.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => {
                shown(&format!("[{host}]:{port}"), &self.database)
            }
            Place::Tcp(host, port) => shown(&format!("{host}:{port}"), &self.database),
            Place::Socket(path) => {
                format!("{}?socket={}", shown("localhost", &self.database), path.display())
            }
        }
    }
}

fn shown(host: &str, database: &str) -> String {
    format!("mysql://{host}/{database}")
}

/// Without `%xx`.
fn decoded(text: &str) -> String {
    crate::address::decoded(text)
}

#[cfg(test)]
mod tests {
    use super::{Address, Encryption, Place};
    use crate::tls::Verify;

    #[test]
    fn urls_of_drivers_are_read() {
        let a = Address::parse(
            "mysql+pymysql://u:p%40ss@db.example:3307/shop?charset=utf8mb4&ssl-mode=VERIFY_CA",
        )
        .unwrap();
        assert_eq!((a.user.as_str(), a.password.as_str(), a.database.as_str()), ("u", "p@ss", "shop"));
        assert_eq!(a.place, Place::Tcp("db.example".to_owned(), 3307));
        assert_eq!((a.encryption, a.verify), (Encryption::Required, Verify::Authority));
        let a = Address::parse("jdbc:mariadb://[::1]/shop?user=u&password=p&useSSL=false").unwrap();
        assert_eq!((a.user.as_str(), a.encryption), ("u", Encryption::Never));
        assert_eq!(a.shown(), "mysql://[::1]:3306/shop");
        let a = Address::parse("mariadb://root@localhost/shop?unix_socket=/run/mysqld/mysqld.sock").unwrap();
        assert_eq!(a.shown(), "mysql://localhost/shop?socket=/run/mysqld/mysqld.sock");
    }

    #[test]
    fn only_a_certificate_that_is_judged_proves_the_server() {
        let proves =
            |query: &str| Address::parse(&format!("mysql://u:p@h/d{query}")).unwrap().proves_the_server();
        for query in ["", "?ssl-mode=REQUIRED", "?ssl-mode=REQUIRED&ssl-ca=/ca.pem", "?ssl-mode=VERIFY_CA"] {
            assert!(!proves(query), "{query}");
        }
        assert!(proves("?ssl-mode=VERIFY_IDENTITY") && proves("?ssl-mode=VERIFY_CA&ssl-ca=/ca.pem"));
    }

    #[test]
    fn no_error_and_no_name_holds_the_password() {
        for url in [
            "mysql://u:hunter2@h:port/d",
            "mysql://u:hunter2@h/d?ssl-mode=odd",
            "u:hunter2@h",
            "mysql://u:hunter2@h@i:x/d",
            "mysql://u:hunter2?x@h/d",
        ] {
            let error = format!("{:#}", Address::parse(url).err().unwrap());
            assert!(!error.contains("hunter2"), "{error}");
        }
        let a = Address::parse("mysql://u:hunt@er2@h/d?password=hunter2").unwrap();
        assert_eq!(a.shown(), "mysql://h:3306/d");
    }
}
