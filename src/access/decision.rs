//! What was decided and why, typed, so that a Status, the audit log and `access can` say the same thing.

use std::sync::Arc;

use super::grant::{Capabilities, Request, Scope};
use super::identity::Identity;
use super::subject::Subject;
use crate::k8s::Capability;

/// The answer to one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It may go on, as this identity.
    Allow {
        /// As whom it runs in the cluster.
        identity: Identity,
        /// The grant that allowed it, for the audit log.
        grant: Arc<str>,
    },
    /// It ends here.
    Deny(Denial),
}

/// Why no grant allows a request: what the grants that came nearest lack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denial {
    /// No grant of the subject selects the cluster. To be answered exactly like a cluster that does not exist.
    Unseen,
    /// The grants here lack the power.
    Capability {
        /// What the request needs.
        needed: Capability,
        /// What the grants give together.
        held: Capabilities,
        /// Their names.
        grants: Vec<Arc<str>>,
    },
    /// The grants here that have the power do not cover the place.
    Namespace {
        /// The namespace asked for; `None` = the whole cluster.
        namespace: Option<String>,
        /// The grants with the power.
        grants: Vec<Arc<str>>,
    },
    /// The request itself would be allowed, but not as somebody else.
    Impersonation {
        /// What was refused.
        refused: Refused,
        /// The grants that would allow it without.
        grants: Vec<Arc<str>>,
    },
}

/// Why a client may not be whom it asks to be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// `--as-uid`.
    #[error("--as-uid is not supported through the hub; leave it out")]
    Uid,
    /// A name of Kubernetes' own or an extra of the hub's own.
    #[error("{0:?} is reserved and can never be impersonated through the hub")]
    Reserved(String),
    /// Something that is no name.
    #[error("{0:?} is not a name that can be impersonated")]
    Malformed(String),
    /// `--as` of a user whom no grant lists.
    #[error("impersonating user {0:?} needs a grant that lists it under impersonate.users")]
    User(String),
    /// `--as-group` of a group that no grant lists.
    #[error("impersonating group {0:?} needs a grant that lists it under impersonate.groups")]
    Group(String),
    /// `--as-user-extra` with a key that no grant lists.
    #[error("impersonating extra {0:?} needs a grant that lists it under impersonate.extras")]
    Extra(String),
}

/// How far one grant got with a request; later is nearer to allowing it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Miss {
    /// It is about other clusters.
    Cluster,
    /// It lacks the power.
    Capability,
    /// It does not cover the place.
    Namespace,
    /// It does not let its holders be somebody else.
    Impersonation(Refused),
}

impl Miss {
    pub(super) fn stage(&self) -> u8 {
        match self {
            Self::Cluster => 0,
            Self::Capability => 1,
            Self::Namespace => 2,
            Self::Impersonation(_) => 3,
        }
    }
}

/// What one grant says to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It allows it.
    Allows,
    /// The subject does not hold it.
    NotHeld,
    /// It is held, but does not allow it.
    Misses(Miss),
}

/// One line of an explanation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Considered {
    /// Name of the grant.
    pub grant: Arc<str>,
    /// What it says.
    pub verdict: Verdict,
}

impl Denial {
    /// The sentence for the caller. For [`Denial::Unseen`] it is the same whether or not `cluster` exists.
    pub fn message(&self, subject: &Subject, cluster: &str, request: &Request<'_>) -> String {
        let verb = request.verb;
        match self {
            Self::Unseen => format!("cluster {cluster:?} does not exist or no grant lets {subject} use it"),
            Self::Capability { needed, held, grants } => format!(
                "{subject} may not {verb} here: it needs the capability {}, and in cluster {cluster:?} the grants ({}) give {held}",
                needed.as_str(),
                grants.join(", "),
            ),
            Self::Namespace { namespace: Some(namespace), grants } => format!(
                "{subject} may not {verb} in namespace {namespace:?} of cluster {cluster:?}: the grants ({}) are for other namespaces",
                grants.join(", "),
            ),
            Self::Namespace { namespace: None, grants } => format!(
                "{subject} may not {verb} in the whole of cluster {cluster:?}: the grants ({}) are for some namespaces only; name one with -n",
                grants.join(", "),
            ),
            Self::Impersonation { refused, .. } => {
                format!("{subject} may not impersonate in cluster {cluster:?}: {refused}")
            }
        }
    }
}

/// Gathers the misses of the grants that a subject holds into one [`Denial`].
#[derive(Default)]
pub(super) struct Misses {
    stage: u8,
    grants: Vec<Arc<str>>,
    held: Capabilities,
    refused: Option<Refused>,
}

impl Misses {
    pub(super) fn add(&mut self, grant: &super::grant::Grant, miss: Miss) {
        if miss == Miss::Cluster || miss.stage() < self.stage {
            return;
        }
        if miss.stage() > self.stage {
            self.stage = miss.stage();
            self.grants.clear();
            self.refused = None;
        }
        self.grants.push(grant.name.clone());
        self.held = self.held.union(grant.capabilities);
        if let Miss::Impersonation(refused) = miss {
            self.refused.get_or_insert(refused);
        }
    }

    pub(super) fn denial(self, request: &Request<'_>) -> Denial {
        let grants = self.grants;
        match (self.stage, self.refused) {
            (3, Some(refused)) => Denial::Impersonation { refused, grants },
            (2, _) => {
                let namespace = match request.scope {
                    Scope::Namespace(name) => Some(name.to_owned()),
                    Scope::Cluster | Scope::NonResource | Scope::Discovery => None,
                };
                Denial::Namespace { namespace, grants }
            }
            (1, _) => {
                let missing = |power: &Capability| !self.held.contains(*power);
                let needed = request.also.filter(|also| !missing(&request.capability) && missing(also));
                Denial::Capability { needed: needed.unwrap_or(request.capability), held: self.held, grants }
            }
            _ => Denial::Unseen,
        }
    }
}
