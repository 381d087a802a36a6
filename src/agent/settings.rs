//! What the agent is told, as it is meant.

use std::{net::SocketAddr, path::PathBuf};

use crate::identity::{Secret, SpkiSha256};

/// Settings of `roadstead agent`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's host: DNS name or IP address, without brackets.
    pub hub_host: String,
    /// The hub's port, TCP and UDP.
    pub hub_port: u16,
    /// What the hub's CA is known by. Never empty: there is no unpinned way in.
    pub hub_ca_pins: Vec<SpkiSha256>,
    /// For the first start only.
    pub join_token: Option<Secret>,
    /// Where the identity is kept.
    pub state: StateAt,
    /// How the API server is found.
    pub api_server: ApiServerFrom,
    /// Health, plain HTTP; `None` = no listener.
    pub admin_listen: Option<SocketAddr>,
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
