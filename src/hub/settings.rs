//! What the hub is told, as it is meant: no strings to parse, no options that must be there.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    defaults,
    identity::{HubUrl, ca::MAX_LEAF_LIFE},
};

/// Settings of `roadstead hub`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The one directory that the hub writes: everything that it keeps.
    pub data: PathBuf,
    /// HTTPS (TCP) and links (UDP), same port. Port 0 = any free one.
    pub listen: SocketAddr,
    /// Health and metrics: plain HTTP without authentication, so loopback or a network of the operator's own.
    pub admin_listen: SocketAddr,
    /// How agents and clients reach the hub; `None` = `https://` + the listening address.
    pub public_url: Option<HubUrl>,
    /// File of grants, read again when it changes; it need not exist.
    pub grants: PathBuf,
    /// Life of the certificates of agents that are issued from now on.
    pub agent_certificate_life: CertificateLife,
    /// The operator's certificate for HTTPS; `None` = the hub's own alone.
    pub https: Option<HttpsFiles>,
    /// File of the passphrase that seals private keys in the store; `None` = they are in the clear.
    pub seal_key: Option<PathBuf>,
    /// File of the passphrase before, while it is being changed.
    pub seal_key_old: Option<PathBuf>,
}

/// Files of a certificate for HTTPS, read again when they change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpsFiles {
    /// The chain in PEM, leaf first.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// A life of an agent's certificate: [`CertificateLife::SHORTEST`] to [`MAX_LEAF_LIFE`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CertificateLife(Duration);

/// A life that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a certificate lives for 1m to 30d")]
pub struct CertificateLifeError;

impl CertificateLife {
    /// The shortest: a third of it must do for a renewal and for the old link's requests to end.
    pub const SHORTEST: Duration = Duration::from_secs(60);
}

impl Default for CertificateLife {
    fn default() -> Self {
        Self(defaults::AGENT_LEAF)
    }
}

impl TryFrom<Duration> for CertificateLife {
    type Error = CertificateLifeError;

    fn try_from(life: Duration) -> Result<Self, CertificateLifeError> {
        (Self::SHORTEST..=MAX_LEAF_LIFE).contains(&life).then_some(Self(life)).ok_or(CertificateLifeError)
    }
}

impl From<CertificateLife> for Duration {
    fn from(life: CertificateLife) -> Self {
        life.0
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
    pub(super) fn of(url: &HubUrl) -> Self {
        let mut names =
            Self { dns: vec!["localhost".to_owned()], ips: vec![[127, 0, 0, 1].into(), IpAddr::V6(1u128.into())] };
        match url.host().parse::<IpAddr>() {
            Ok(ip) if !names.ips.contains(&ip) => names.ips.push(ip),
            Ok(_) => {}
            Err(_) if url.host() != "localhost" => names.dns.push(url.host().to_owned()),
            Err(_) => {}
        }
        names
    }
}
