//! One grant and what it says to one request. Does not know the file it came from, nor the other grants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::decision::{Miss, Refused};
use super::identity::{Identity, Impersonation, RESERVED_EXTRAS, SUBJECT_EXTRA};
use super::labels::Labels;
use super::subject::{Subject, check_name, is_reserved};
use crate::k8s::Capability;

/// A cluster as selectors see it.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRef<'a> {
    /// Immutable id, made by the hub.
    pub uid: &'a str,
    /// Unique name.
    pub name: &'a str,
    /// Labels that the operator gave.
    pub labels: &'a Labels,
}

/// Where a request acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope<'a> {
    /// Tells only which APIs there are (`/api`, `/apis`, `/openapi`, `/version`) or what the caller itself is and may do
    /// (`SelfSubjectReview`, `SelfSubjectAccessReview`, `SelfSubjectRulesReview`). Every grant allows it, because no client works
    /// without it, and Kubernetes gives it to every user (`system:discovery`, `system:basic-user`).
    Discovery,
    /// A path that is no resource and no discovery, such as `/metrics`.
    NonResource,
    /// A resource of the whole cluster, or a list over all namespaces.
    Cluster,
    /// A resource in this namespace, or the namespace itself.
    Namespace(&'a str),
}

/// What a request needs, as `k8s` classified it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The power it needs.
    pub capability: Capability,
    /// A second power that the same grant must give, when the answer shows what the first does not cover.
    pub also: Option<Capability>,
    /// Kubernetes verb, for messages only: the decision is by capability.
    pub verb: &'a str,
    /// Where it acts.
    pub scope: Scope<'a>,
}

/// A set of [`Capability`].
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// All of them: `["*"]`.
    pub const ALL: Self = Self((1 << Capability::ALL.len()) - 1);

    /// This set with one more.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// Everything in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds `capability`.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: Vec<_> = Capability::ALL.iter().filter(|c| self.contains(**c)).map(|c| c.as_str()).collect();
        f.write_str(&held.join(", "))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// Which clusters a grant is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClusterSelector {
    /// These, by name. Names are unique, but a name can be given anew: prefer labels or uids.
    Names(BTreeSet<String>),
    /// These, by uid.
    Uids(BTreeSet<String>),
    /// Those that carry all these labels.
    Labels(Labels),
    /// Every one.
    All,
}

impl ClusterSelector {
    /// Whether it selects `cluster`.
    pub fn matches(&self, cluster: &ClusterRef<'_>) -> bool {
        match self {
            Self::Names(names) => names.contains(cluster.name),
            Self::Uids(uids) => uids.contains(cluster.uid),
            Self::Labels(wanted) => wanted.iter().all(|(key, value)| cluster.labels.get(key) == Some(value)),
            Self::All => true,
        }
    }

    /// More is more specific: uid, then name, then labels (the more the higher), then all.
    pub(super) fn specificity(&self) -> usize {
        match self {
            Self::Uids(_) => usize::MAX,
            Self::Names(_) => usize::MAX - 1,
            Self::Labels(labels) => labels.len(),
            Self::All => 0,
        }
    }
}

/// A namespace, or with a trailing `*` every namespace that begins so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NamespacePattern {
    /// This one.
    Exact(String),
    /// Every one with this prefix.
    Prefix(String),
}

impl NamespacePattern {
    /// Whether it covers `namespace`.
    pub fn matches(&self, namespace: &str) -> bool {
        match self {
            Self::Exact(name) => name == namespace,
            Self::Prefix(prefix) => namespace.starts_with(prefix.as_str()),
        }
    }
}

/// Names that a grant lists, or any.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Names {
    /// None at all.
    #[default]
    None,
    /// Those listed.
    These(BTreeSet<String>),
    /// `["*"]`: any that is not reserved.
    Any,
}

impl Names {
    fn allows(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::These(names) => names.contains(name),
            Self::Any => true,
        }
    }
}

/// Whom the holders of a grant may ask to be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Impersonate {
    /// `--as`.
    pub users: Names,
    /// `--as-group`.
    pub groups: Names,
    /// Keys of `--as-user-extra`.
    pub extras: Names,
}

/// A right: these subjects, in these clusters, as this in-cluster identity, with these capabilities.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Unique name; audited with every request that the grant allowed.
    pub name: Arc<str>,
    /// Users who hold it, as `issuer:name`.
    pub users: BTreeSet<String>,
    /// Groups that hold it, as `issuer:group`.
    pub subject_groups: BTreeSet<String>,
    /// Where.
    pub clusters: ClusterSelector,
    /// As which in-cluster user.
    pub user: String,
    /// In which in-cluster groups.
    pub groups: Vec<String>,
    /// With which powers.
    pub capabilities: Capabilities,
    /// Only in these namespaces; absent = everywhere.
    pub namespaces: Option<Vec<NamespacePattern>>,
    /// Whom its holders may ask to be.
    pub impersonate: Impersonate,
}

impl Grant {
    /// Whether this grant alone allows `request`; otherwise how far it got. Who holds the grant was looked up before.
    pub(super) fn check(
        &self,
        cluster: &ClusterRef<'_>,
        request: &Request<'_>,
        wish: Option<&Impersonation<'_>>,
    ) -> Result<(), Miss> {
        if !self.clusters.matches(cluster) {
            return Err(Miss::Cluster);
        }
        if request.scope != Scope::Discovery {
            let lacks = |power: &Capability| !self.capabilities.contains(*power);
            if lacks(&request.capability) || request.also.is_some_and(|also| lacks(&also)) {
                return Err(Miss::Capability);
            }
            if !self.covers(request.scope) {
                return Err(Miss::Namespace);
            }
        }
        match wish {
            Some(wish) => self.check_wish(wish).map_err(Miss::Impersonation),
            None => Ok(()),
        }
    }

    /// The identity of `subject` under this grant.
    pub(super) fn identity(&self, subject: &Subject, wish: Option<&Impersonation<'_>>) -> Identity {
        let (user, groups, mut extras) = match wish {
            Some(wish) => (wish.user.to_owned(), wish.groups.to_vec(), wish.extras.clone()),
            None => (self.user.clone(), self.groups.clone(), BTreeMap::new()),
        };
        extras.insert(SUBJECT_EXTRA.to_owned(), vec![subject.as_str().to_owned()]);
        Identity { user, groups, extras }
    }

    fn covers(&self, scope: Scope<'_>) -> bool {
        match (&self.namespaces, scope) {
            (None, _) | (_, Scope::Discovery) => true,
            (Some(patterns), Scope::Namespace(name)) => patterns.iter().any(|pattern| pattern.matches(name)),
            (Some(_), Scope::Cluster | Scope::NonResource) => false,
        }
    }

    fn check_wish(&self, wish: &Impersonation<'_>) -> Result<(), Refused> {
        if wish.uid.is_some() {
            return Err(Refused::Uid);
        }
        let user = check_wished(wish.user, &self.impersonate.users, Refused::User);
        let group = |group: &String| check_wished(group, &self.impersonate.groups, Refused::Group);
        user?;
        wish.groups.iter().try_for_each(group)?;
        for (key, values) in wish.extras {
            if key.starts_with(RESERVED_EXTRAS) || key.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(Refused::Reserved(key.clone()));
            }
            check_wished(key, &self.impersonate.extras, Refused::Extra)?;
            for value in values {
                check_name(value).map_err(|_| Refused::Malformed(value.clone()))?;
            }
        }
        Ok(())
    }
}

fn check_wished(name: &str, allowed: &Names, refused: fn(String) -> Refused) -> Result<(), Refused> {
    if is_reserved(name) {
        return Err(Refused::Reserved(name.to_owned()));
    }
    check_name(name).map_err(|_| Refused::Malformed(name.to_owned()))?;
    if allowed.allows(name) { Ok(()) } else { Err(refused(name.to_owned())) }
}
