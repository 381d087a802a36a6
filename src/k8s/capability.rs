//! The classes of power that a request needs; a grant names them.

use serde::{Deserialize, Serialize};

/// What a request can do, whatever its HTTP method (security § 6.3: `exec` over WebSocket is a GET).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// GET, LIST, WATCH, discovery and every other request that changes nothing.
    Read,
    /// Any request that may change an object.
    Write,
    /// `pods/exec` and `pods/attach`, by any method.
    Exec,
    /// `pods/portforward`.
    PortForward,
    /// `pods/proxy` and `services/proxy`.
    Proxy,
    /// `nodes/proxy`, and the kubelet paths beneath it: reaches exec with a GET.
    NodesProxy,
    /// Reading Secrets, and minting ServiceAccount tokens.
    Secrets,
}

impl Capability {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Write, Self::Exec, Self::PortForward, Self::Proxy, Self::NodesProxy, Self::Secrets];

    /// The word used in grants files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::PortForward => "portforward",
            Self::Proxy => "proxy",
            Self::NodesProxy => "nodesproxy",
            Self::Secrets => "secrets",
        }
    }
}
