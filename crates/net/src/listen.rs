//! Opening a listening socket, with an error that says what to do.

use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Listens on `address`; port 0 takes any free one (ask the listener which).
///
/// # Errors
/// Names the address, and for a port in use or a privileged one what to do.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => {
                    format!(
                        "port {} is in use: end the program that has it, or choose another port",
                        address.port()
                    )
                }
                ErrorKind::PermissionDenied => {
                    format!("port {} needs privileges: choose one above 1023", address.port())
                }
                ErrorKind::AddrNotAvailable => format!("{} is no address of this machine", address.ip()),
                _ => "choose another address".to_owned(),
            };
            anyhow::Error::new(error).context(hint)
        })
        .with_context(|| format!("cannot listen on {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = format!("{:#}", listen(address).await.unwrap_err());
        assert!(
            error.contains(&format!("cannot listen on {address}: port {} is in use", address.port())),
            "{error}"
        );
    }
}
