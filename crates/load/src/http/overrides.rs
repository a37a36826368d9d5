//! What a settings file or a command line says about connections, over what is there already.

use super::{Family, Proxies, Settings};
use net::{HttpVersion, Identity, Target};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is set over a client's settings; what is `None` or empty leaves them as they are.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub version: Option<HttpVersion>,
    pub keep_alive: Option<bool>,
    pub h2_streams: Option<usize>,
    pub h2_connections: Option<usize>,
    pub unix_socket: Option<PathBuf>,
    /// For http and https alike; its user and password are never shown.
    pub proxy: Option<Target>,
    pub identity: Option<Identity>,
    /// PEM text of authorities to trust beside the usual ones.
    pub ca_pem: Option<Vec<u8>>,
    pub server_name: Option<String>,
    pub insecure: Option<bool>,
    /// As in [`Settings`]; names that are not here keep what they have.
    pub hosts: BTreeMap<String, Vec<SocketAddr>>,
    pub family: Option<Family>,
}

impl Overrides {
    pub fn apply(&self, settings: &mut Settings) {
        fn set<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        set(&mut settings.version, self.version.as_ref());
        set(&mut settings.keep_alive, self.keep_alive.as_ref());
        set(&mut settings.h2_streams, self.h2_streams.as_ref());
        set(&mut settings.h2_connections, self.h2_connections.as_ref());
        set(&mut settings.family, self.family.as_ref());
        set(&mut settings.tls.insecure, self.insecure.as_ref());
        if self.unix_socket.is_some() {
            settings.unix_socket.clone_from(&self.unix_socket);
        }
        if let Some(proxy) = &self.proxy {
            let (http, https) = (Some(proxy.clone()), Some(proxy.clone()));
            settings.proxies = Proxies { http, https, except: Vec::new() };
        }
        if self.identity.is_some() {
            settings.tls.identity.clone_from(&self.identity);
        }
        if self.ca_pem.is_some() {
            settings.tls.extra_ca_pem.clone_from(&self.ca_pem);
        }
        if self.server_name.is_some() {
            settings.tls.server_name.clone_from(&self.server_name);
        }
        settings.hosts.extend(self.hosts.clone());
    }
}
