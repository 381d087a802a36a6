//! What the hub is told, as it is meant: no strings to parse, no options that must be there.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// Settings of `roadstead hub`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one directory that the hub writes.
    pub data: PathBuf,
    /// HTTPS (TCP) and links (UDP), same port. Port 0 = any free one.
    pub listen: SocketAddr,
    /// Health and metrics, plain HTTP.
    pub admin_listen: SocketAddr,
    /// How agents and clients reach the hub; `None` = `https://` + the listening address.
    pub public_url: Option<PublicUrl>,
    /// Grants, read again when it changes.
    pub grants: PathBuf,
}

/// The hub's address as others use it: scheme https, host, port, nothing else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicUrl {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// TCP and UDP port.
    pub port: u16,
}

/// A text that is no such address.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not https://HOST[:PORT] without a path")]
pub struct PublicUrlError(String);

impl std::str::FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let bad = || PublicUrlError(text.to_owned());
        let uri: http::Uri = text.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") || authority.as_str().contains('@') {
            return Err(bad());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(443) })
    }
}

impl std::fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

/// The names that the hub's HTTPS certificate carries.
#[derive(Clone, Debug, Default)]
pub(super) struct PublicName {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

impl PublicName {
    /// The public name and, for use on the hub's own machine, localhost.
    pub(super) fn of(url: &PublicUrl) -> Self {
        let mut names =
            Self { dns: vec!["localhost".to_owned()], ips: vec![[127, 0, 0, 1].into(), IpAddr::V6(1u128.into())] };
        match url.host.parse::<IpAddr>() {
            Ok(ip) if !names.ips.contains(&ip) => names.ips.push(ip),
            Ok(_) => {}
            Err(_) if url.host != "localhost" => names.dns.push(url.host.clone()),
            Err(_) => {}
        }
        names
    }
}
