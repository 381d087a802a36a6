//! Grants from YAML: strict, and with every fault at once, for half a grant is worse than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::document::{Fault, Fields, Node, Reader, Value, documents};
use super::grant::{Capabilities, ClusterSelector, Grant, Impersonate, Names, NamespacePattern};
use super::grants::Grants;
use super::identity::{DEFAULT_USER, RESERVED_EXTRAS};
use super::labels::{check_label, is_dns_label};
use super::subject::{check_name, is_reserved};
use crate::k8s::Capability;

const API_VERSION: &str = "roadstead.dev/v1";
const KIND: &str = "Grant";

/// Why a grants file was refused: every fault in it. Nothing of the file is used then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrantsError {
    /// In the order of the file; never empty.
    pub faults: Vec<Fault>,
}

impl std::error::Error for GrantsError {}

impl fmt::Display for GrantsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grants are refused for {} fault(s)", self.faults.len())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl FromStr for Grants {
    type Err = GrantsError;

    /// Reads a grants file: any number of YAML documents, each one `kind: Grant`. No document at all is no grant at all.
    ///
    /// # Errors
    /// All faults, each with its document, line and path.
    fn from_str(text: &str) -> Result<Self, GrantsError> {
        let documents = documents(text).map_err(|fault| GrantsError { faults: vec![fault] })?;
        let (mut grants, mut faults) = (Vec::new(), Vec::new());
        let mut names = BTreeMap::new();
        for (number, node) in (1..).zip(&documents) {
            if matches!(node.value, Value::Null) {
                continue;
            }
            let mut reader = Reader { document: number, faults: &mut faults };
            let Some(grant) = grant(node, &mut reader) else { continue };
            if let Some(first) = names.insert(grant.name.clone(), number) {
                let text = format!("grant {:?} is already in document {first}; names are unique", grant.name);
                reader.fault(node.line, "metadata.name", text);
            }
            grants.push(grant);
        }
        if faults.is_empty() { Ok(Self::new(grants)) } else { Err(GrantsError { faults }) }
    }
}

fn grant(node: &Node, r: &mut Reader<'_>) -> Option<Grant> {
    let top = r.fields(node, "", &["apiVersion", "kind", "metadata", "spec"])?;
    constant(&top, "apiVersion", API_VERSION, r);
    constant(&top, "kind", KIND, r);
    let name = top.required("metadata", "", r).and_then(|node| {
        let fields = r.fields(node, "metadata", &["name"])?;
        let node = fields.required("name", "metadata", r)?;
        let name = r.text(node, "metadata.name")?;
        if !name.split('.').all(is_dns_label) {
            r.fault(node.line, "metadata.name", format!("{name:?} is not a name: a-z, 0-9, '-' and '.'"));
        }
        Some(Arc::from(name))
    });
    let known = ["subjects", "clusters", "as", "capabilities", "namespaces", "impersonate"];
    let spec_node = top.required("spec", "", r)?;
    let spec = r.fields(spec_node, "spec", &known)?;
    let (users, subject_groups) =
        spec.required("subjects", "spec", r).map_or_else(Default::default, |n| subjects(n, r));
    let clusters = spec.required("clusters", "spec", r).and_then(|node| selector(node, r));
    let (user, groups) = spec.optional("as").map_or_else(|| (DEFAULT_USER.to_owned(), Vec::new()), |n| identity(n, r));
    let capabilities = spec.required("capabilities", "spec", r).map(|node| capabilities(node, r));
    let namespaces = spec.optional("namespaces").map(|node| namespaces(node, r));
    let impersonate = spec.optional("impersonate").map_or_else(Impersonate::default, |node| impersonate(node, r));
    let (name, clusters, capabilities) = (name?, clusters?, capabilities?);
    Some(Grant { name, users, subject_groups, clusters, user, groups, capabilities, namespaces, impersonate })
}

fn constant(top: &Fields<'_>, field: &str, expected: &str, r: &mut Reader<'_>) {
    let Some(node) = top.required(field, "", r) else { return };
    if let Some(found) = r.text(node, field)
        && found != expected
    {
        r.fault(node.line, field, format!("expected {expected:?}, found {found:?}"));
    }
}

fn subjects(node: &Node, r: &mut Reader<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    for (i, item) in r.items(node, "spec.subjects").iter().enumerate() {
        let path = format!("spec.subjects[{i}]");
        let Some(fields) = r.fields(item, &path, &["user", "group"]) else { continue };
        let (field, node, into) = match (fields.optional("user"), fields.optional("group")) {
            (Some(node), None) => ("user", node, &mut users),
            (None, Some(node)) => ("group", node, &mut groups),
            _ => {
                r.fault(item.line, &path, "exactly one of user and group is needed");
                continue;
            }
        };
        let path = format!("{path}.{field}");
        let Some(name) = checked_name(node, &path, r) else { continue };
        if name.split_once(':').is_none_or(|(issuer, rest)| issuer.is_empty() || rest.is_empty()) {
            r.fault(node.line, &path, format!("{name:?} names no issuer; write issuer:name, such as token:alice"));
        }
        into.insert(name.to_owned());
    }
    (users, groups)
}

fn selector(node: &Node, r: &mut Reader<'_>) -> Option<ClusterSelector> {
    let path = "spec.clusters";
    let fields = r.fields(node, path, &["matchLabels", "names", "uids", "all"])?;
    let given: Vec<_> = ["matchLabels", "names", "uids", "all"]
        .into_iter()
        .filter_map(|name| fields.optional(name).map(|node| (name, node)))
        .collect();
    let [(name, node)] = *given else {
        r.fault(fields.line, path, "exactly one of matchLabels, names, uids and all is needed");
        return None;
    };
    let path = format!("{path}.{name}");
    match name {
        "matchLabels" => labels(node, &path, r),
        "names" => Some(ClusterSelector::Names(cluster_names(node, &path, r))),
        "uids" => Some(ClusterSelector::Uids(cluster_names(node, &path, r))),
        _ => {
            if r.boolean(node, &path)? {
                return Some(ClusterSelector::All);
            }
            r.fault(node.line, &path, "can only be true; to select nothing, remove the grant");
            None
        }
    }
}

fn labels(node: &Node, path: &str, r: &mut Reader<'_>) -> Option<ClusterSelector> {
    let entries = r.entries(node, path)?;
    if entries.is_empty() {
        r.fault(node.line, path, "no label is given; to select every cluster write `all: true`");
    }
    let mut labels = BTreeMap::new();
    for (key, node) in entries {
        let path = format!("{path}[{:?}]", key.value);
        let Some(value) = r.text(node, &path) else { continue };
        if let Err(error) = check_label(&key.value, value) {
            r.fault(node.line, &path, error.to_string());
        }
        labels.insert(key.value.clone(), value.to_owned());
    }
    Some(ClusterSelector::Labels(labels))
}

/// Names of clusters, or their uids: both are DNS labels (a uid is a lower-case ULID).
fn cluster_names(node: &Node, path: &str, r: &mut Reader<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (i, item) in r.items(node, path).iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(name) = r.text(item, &path) else { continue };
        if !is_dns_label(name) {
            r.fault(item.line, &path, format!("{name:?} is not the name of a cluster: a-z, 0-9 and '-', no globs"));
        }
        names.insert(name.to_owned());
    }
    names
}

fn identity(node: &Node, r: &mut Reader<'_>) -> (String, Vec<String>) {
    let (mut user, mut groups) = (DEFAULT_USER.to_owned(), Vec::new());
    let Some(fields) = r.fields(node, "spec.as", &["user", "groups"]) else { return (user, groups) };
    if let Some(node) = fields.optional("user")
        && let Some(name) = unreserved_name(node, "spec.as.user", r)
    {
        user = name.to_owned();
    }
    if let Some(node) = fields.optional("groups") {
        for (i, item) in r.items(node, "spec.as.groups").iter().enumerate() {
            let Some(name) = unreserved_name(item, &format!("spec.as.groups[{i}]"), r) else { continue };
            if !groups.iter().any(|known| known == name) {
                groups.push(name.to_owned());
            }
        }
    }
    (user, groups)
}

fn capabilities(node: &Node, r: &mut Reader<'_>) -> Capabilities {
    let path = "spec.capabilities";
    let items = r.items(node, path);
    let mut set = Capabilities::default();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(word) = r.text(item, &path) else { continue };
        if word == "*" {
            if items.len() > 1 {
                r.fault(item.line, &path, "\"*\" is all capabilities; it stands alone");
            }
            return Capabilities::ALL;
        }
        match Capability::ALL.into_iter().find(|capability| capability.as_str() == word) {
            Some(capability) => set = set.with(capability),
            None => {
                let text = format!("unknown capability {word:?}; known are {} and \"*\"", Capabilities::ALL);
                r.fault(item.line, &path, text);
            }
        }
    }
    set
}

fn namespaces(node: &Node, r: &mut Reader<'_>) -> Vec<NamespacePattern> {
    let mut patterns = Vec::new();
    for (i, item) in r.items(node, "spec.namespaces").iter().enumerate() {
        let path = format!("spec.namespaces[{i}]");
        let Some(text) = r.text(item, &path) else { continue };
        let pattern = match text.strip_suffix('*') {
            Some("") => {
                r.fault(item.line, &path, "\"*\" restricts nothing; leave namespaces out to mean all");
                continue;
            }
            // A prefix may end in '-', a whole name may not: `pay-*`.
            Some(prefix) if is_dns_label(&format!("{prefix}0")) => NamespacePattern::Prefix(prefix.to_owned()),
            None if is_dns_label(text) => NamespacePattern::Exact(text.to_owned()),
            _ => {
                r.fault(item.line, &path, format!("{text:?} is not a namespace, or the beginning of one and a '*'"));
                continue;
            }
        };
        patterns.push(pattern);
    }
    patterns
}

fn impersonate(node: &Node, r: &mut Reader<'_>) -> Impersonate {
    let path = "spec.impersonate";
    let known = ["users", "groups", "extras"];
    let Some(fields) = r.fields(node, path, &known) else { return Impersonate::default() };
    if known.iter().all(|name| fields.optional(name).is_none()) {
        r.fault(fields.line, path, "is empty; name users, groups or extras, or leave it out");
    }
    let mut names = |field: &str| match fields.optional(field) {
        Some(node) => impersonated(node, &format!("{path}.{field}"), field == "extras", r),
        None => Names::None,
    };
    Impersonate { users: names("users"), groups: names("groups"), extras: names("extras") }
}

fn impersonated(node: &Node, path: &str, keys: bool, r: &mut Reader<'_>) -> Names {
    let items = r.items(node, path);
    let mut names = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Some(name) = unreserved_name(item, &path, r) else { continue };
        if name == "*" {
            if items.len() > 1 {
                r.fault(item.line, &path, "\"*\" is anybody; it stands alone");
            }
            return Names::Any;
        }
        if keys && (name.starts_with(RESERVED_EXTRAS) || name.bytes().any(|b| b.is_ascii_uppercase())) {
            r.fault(item.line, &path, format!("{name:?}: keys are lower-case and not below {RESERVED_EXTRAS}"));
        }
        names.insert(name.to_owned());
    }
    Names::These(names)
}

fn unreserved_name<'n>(node: &'n Node, path: &str, r: &mut Reader<'_>) -> Option<&'n str> {
    let name = checked_name(node, path, r)?;
    if is_reserved(name) {
        r.fault(node.line, path, format!("{name:?} begins with \"system:\", which no grant can give"));
    }
    Some(name)
}

fn checked_name<'n>(node: &'n Node, path: &str, r: &mut Reader<'_>) -> Option<&'n str> {
    let name = r.text(node, path)?;
    if let Err(error) = check_name(name) {
        r.fault(node.line, path, error.to_string());
    }
    Some(name)
}
