//! What the agent is told, as it is meant.

use std::{net::SocketAddr, path::PathBuf};

use crate::identity::{ClusterUid, HubUrl, Secret, SpkiSha256};

/// Settings of `roadstead agent`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub: HTTPS to join, and links on the UDP port of the same number.
    pub hub: HubUrl,
    /// Pins of the hub's CA; more than one during a rotation. Never empty: there is no unpinned way in.
    pub hub_ca_pins: Vec<SpkiSha256>,
    /// Which cluster the agent is of: with it the agent proves itself by its ServiceAccount. Without it, that of its last certificate.
    pub cluster: Option<ClusterUid>,
    /// Needed for the first certificate only, or never where the hub knows the cluster's keys.
    pub join_token: Option<JoinToken>,
    /// The certificate that another CA issues: then the agent neither joins nor renews, and the two above mean nothing.
    pub certificate: Option<CertificateFiles>,
    /// Where the identity is kept, and whom the hub says to trust.
    pub state: StateAt,
    /// How the API server is found.
    pub api_server: ApiServerFrom,
    /// Health: plain HTTP without authentication. Port 0 = any free one.
    pub admin_listen: SocketAddr,
}

/// Files that somebody else writes, again and again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Where the join token is.
#[derive(Clone, Debug)]
pub enum JoinToken {
    /// In this file, which is read when the token is needed: it may be gone after enrolment.
    File(PathBuf),
    /// It is known.
    Text(Secret),
}

/// Where the agent keeps its key and certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StateAt {
    /// A directory; the file in it has mode 0600.
    Directory(PathBuf),
    /// A Secret in the agent's own cluster, which must exist.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Where the API server's address and the agent's own credential come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ApiServerFrom {
    /// The pod's environment and its ServiceAccount.
    InCluster,
    /// A kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context; `None` = the file's current one.
        context: Option<String>,
    },
}
