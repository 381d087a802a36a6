//! What travels to the agent: an in-cluster user, groups and extras as typed values. Never headers: only the agent makes those.

use std::collections::BTreeMap;

/// The extra that names the person behind a request in the cluster's own audit log.
pub const SUBJECT_EXTRA: &str = "roadstead.dev/subject";

/// Extras that begin so are the hub's alone: no client can ask for one.
pub const RESERVED_EXTRAS: &str = "roadstead.dev/";

/// The user that requests run as when a grant names none.
pub const DEFAULT_USER: &str = "roadstead:user";

/// As whom a request runs in the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// In-cluster user; never begins with `system:`.
    pub user: String,
    /// In-cluster groups; none begins with `system:`.
    pub groups: Vec<String>,
    /// Extras by lower-case key, with [`SUBJECT_EXTRA`] always among them.
    pub extras: BTreeMap<String, Vec<String>>,
}

/// Whom a client asks to be (`kubectl --as …`), decoded from its headers; a wish, not a right.
#[derive(Clone, Copy, Debug)]
pub struct Impersonation<'a> {
    /// `--as`.
    pub user: &'a str,
    /// `--as-uid`: always refused.
    pub uid: Option<&'a str>,
    /// `--as-group`.
    pub groups: &'a [String],
    /// `--as-user-extra`, by decoded, lower-case key.
    pub extras: &'a BTreeMap<String, Vec<String>>,
}
