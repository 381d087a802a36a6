//! What a request asks of Kubernetes: a strict port of the API server's RequestInfo (`endpoints/request/requestinfo.go`).
//!
//! Where the API server guesses, this refuses; where query keys repeat, it judges by their union. Owns the classes that
//! grants, deadlines and retries depend on. Refuses to know who asks and what they may.

mod query;

use std::fmt;

use http::Method;

use super::target::decode;
use super::{ApiTarget, Capability};

/// A Kubernetes verb, or for a non-resource request its HTTP method in lower case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "each is its own word")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// The deprecated `/proxy/` path prefix only; the subresource has the verb of its method.
    Proxy,
    Head,
    Post,
    Put,
    Options,
}

/// What a request asks for, as the API server will understand it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestInfo {
    method: Method,
    verb: Verb,
    path: String,
    resource: Option<ResourceRequest>,
}

/// The object or collection that a request names. Text is decoded once, as the API server does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ResourceRequest {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; `None` for cluster-scoped objects and for a collection over all namespaces.
    pub namespace: Option<String>,
    /// Plural resource name, such as `pods`.
    pub resource: String,
    /// Subresource, such as `log`.
    pub subresource: Option<String>,
    /// Object name; also from `fieldSelector=metadata.name=…` on a list or watch.
    pub name: Option<String>,
}

/// The requests that may switch protocols.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Streaming {
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `pods/portforward`.
    PortForward,
    /// `pods/proxy`, `services/proxy`, `nodes/proxy`.
    Proxy,
}

/// Why a request has no RequestInfo; it is denied, since nobody can say what it means.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestInfoError {
    /// No Kubernetes verb belongs to this method (CONNECT and TRACE among them). The answer is 405.
    #[error("method {method} has no meaning on this path")]
    Method {
        /// The method as it was sent.
        method: Method,
    },
    /// `/watch` or `/proxy` with nothing behind it, where the API server cannot tell what is meant.
    #[error("path ends after the prefix \"{prefix}\"")]
    PrefixAlone {
        /// `watch` or `proxy`.
        prefix: &'static str,
    },
}

impl Verb {
    /// The word that RBAC and audit logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Proxy => "proxy",
            Self::Head => "head",
            Self::Post => "post",
            Self::Put => "put",
            Self::Options => "options",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RequestInfo {
    /// Reads method, path and query.
    ///
    /// # Errors
    /// [`RequestInfoError`] when the shape is unknown; the request is to be denied.
    pub fn new(method: &Method, target: &ApiTarget<'_>) -> Result<Self, RequestInfoError> {
        let path = decode(target.path()).into_owned();
        let trimmed = target.path().trim_matches('/');
        let parts: Vec<String> = trimmed.split('/').map(|p| decode(p).into_owned()).collect();
        let (group, version, rest) = match parts.as_slice() {
            [api, version, rest @ ..] if api == "api" && !rest.is_empty() => ("", version, rest),
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => (group.as_str(), version, rest),
            _ => return Ok(Self { method: method.clone(), verb: plain_verb(method)?, path, resource: None }),
        };
        let (verb, rest) = match rest[0].as_str() {
            "watch" => (prefix_verb(method, Verb::Watch, rest)?, &rest[1..]),
            "proxy" => (prefix_verb(method, Verb::Proxy, rest)?, &rest[1..]),
            _ => (resource_verb(method)?, rest),
        };
        let mut resource = read_parts(verb, rest);
        (resource.group, resource.version) = (group.to_owned(), version.clone());
        let verb = read_collection(verb, &mut resource, target.query());
        Ok(Self { method: method.clone(), verb, path, resource: Some(resource) })
    }

    /// The HTTP method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The verb as the API server sees it; see [`RequestInfo::effective_verb`] for what it amounts to.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// The whole path, decoded once; for messages and non-resource rules, never for forwarding.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The object or collection; `None` for a non-resource request.
    pub fn resource(&self) -> Option<&ResourceRequest> {
        self.resource.as_ref()
    }

    /// The protocol switch that this request may ask for, if any. Core group only.
    pub fn streaming(&self) -> Option<Streaming> {
        let resource = self.resource.as_ref().filter(|r| r.group.is_empty() && r.name.is_some())?;
        match (resource.resource.as_str(), resource.subresource.as_deref()?) {
            ("pods", "exec") => Some(Streaming::Exec),
            ("pods", "attach") => Some(Streaming::Attach),
            ("pods", "portforward") => Some(Streaming::PortForward),
            ("pods" | "services" | "nodes", "proxy") => Some(Streaming::Proxy),
            _ => None,
        }
    }

    /// Whether the API server gives the request no deadline (`BasicLongRunningRequestCheck`).
    pub fn is_long_running(&self) -> bool {
        match &self.resource {
            _ if matches!(self.verb, Verb::Watch | Verb::Proxy) => true,
            Some(resource) => {
                matches!(resource.subresource.as_deref(), Some("attach" | "exec" | "proxy" | "log" | "portforward"))
            }
            None => self.path.starts_with("/debug/pprof/"),
        }
    }

    /// The verb that says what the request can do: switching protocols with a GET creates a session
    /// (Kubernetes 1.35 `AuthorizePodWebsocketUpgradeCreatePermission`, here for every version and for `nodes/proxy`).
    pub fn effective_verb(&self, upgrade: bool) -> Verb {
        let opens_session = match self.streaming() {
            Some(Streaming::Exec | Streaming::Attach | Streaming::PortForward) => true,
            Some(Streaming::Proxy) => self.resource.as_ref().is_some_and(|r| r.resource == "nodes"),
            None => false,
        };
        if upgrade && opens_session && self.verb == Verb::Get { Verb::Create } else { self.verb }
    }

    /// The class of power that the request needs (security § 6.3). Subresource names count in every API group, since
    /// aggregated APIs reuse them for the same powers.
    pub fn capability(&self, upgrade: bool) -> Capability {
        let by_method = if self.reads() && !upgrade { Capability::Read } else { Capability::Write };
        let Some(resource) = &self.resource else { return by_method };
        let nodes = resource.resource == "nodes";
        match resource.subresource.as_deref() {
            _ if self.verb == Verb::Proxy => proxy_of(nodes),
            Some("exec" | "attach") => Capability::Exec,
            Some("portforward") => Capability::PortForward,
            Some("proxy") => proxy_of(nodes),
            // Every other subresource of a node is the kubelet's.
            Some(other) if nodes && resource.group.is_empty() && other != "status" => Capability::NodesProxy,
            Some("token") if resource.resource == "serviceaccounts" && !self.reads() => Capability::Secrets,
            _ if resource.resource == "secrets" && resource.group.is_empty() && self.reads() => Capability::Secrets,
            None if self.is_about_self() => Capability::Read,
            _ => by_method,
        }
    }

    /// A second class that the request needs: changing or deleting a Secret answers with its content.
    pub fn also_requires(&self) -> Option<Capability> {
        let resource = self.resource.as_ref()?;
        let secrets = resource.resource == "secrets" && resource.group.is_empty();
        (secrets && !self.reads() && self.verb != Verb::Create).then_some(Capability::Secrets)
    }

    /// Whether this reads the log of a container.
    pub fn is_log(&self) -> bool {
        let log =
            |r: &ResourceRequest| r.group.is_empty() && r.resource == "pods" && r.subresource.as_deref() == Some("log");
        self.verb == Verb::Get && self.resource.as_ref().is_some_and(log)
    }

    /// Whether this asks only about the caller itself (`kubectl auth whoami`, `can-i`).
    pub fn is_about_self(&self) -> bool {
        self.verb == Verb::Create && self.resource.as_ref().is_some_and(ResourceRequest::asks_about_self)
    }

    /// Whether this reads what the API server offers rather than what it holds; clients ask these first, and many times.
    pub fn is_discovery(&self) -> bool {
        if self.resource.is_some() || !self.reads() {
            return false;
        }
        let first = self.path.trim_matches('/').split('/').next().unwrap_or_default();
        matches!(first, "api" | "apis" | "version" | "openapi" | "swagger.json" | "swagger-2.0.0.pb-v1" | "swaggerapi")
    }

    /// Whether sending it twice is the same as once: a read that opens no session and reaches no application.
    pub fn is_safe(&self) -> bool {
        self.reads()
            && matches!(self.capability(false), Capability::Read | Capability::Secrets)
            && self.streaming().is_none()
    }

    fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }
}

impl ResourceRequest {
    /// The review kinds that only tell callers about themselves: a POST, but it changes nothing (`kubectl auth can-i`).
    fn asks_about_self(&self) -> bool {
        matches!(
            (self.group.as_str(), self.resource.as_str()),
            ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
                | ("authentication.k8s.io", "selfsubjectreviews")
        )
    }
}

fn proxy_of(nodes: bool) -> Capability {
    if nodes { Capability::NodesProxy } else { Capability::Proxy }
}

fn plain_verb(method: &Method) -> Result<Verb, RequestInfoError> {
    match *method {
        Method::GET => Ok(Verb::Get),
        Method::HEAD => Ok(Verb::Head),
        Method::POST => Ok(Verb::Post),
        Method::PUT => Ok(Verb::Put),
        Method::PATCH => Ok(Verb::Patch),
        Method::DELETE => Ok(Verb::Delete),
        Method::OPTIONS => Ok(Verb::Options),
        _ => Err(RequestInfoError::Method { method: method.clone() }),
    }
}

fn resource_verb(method: &Method) -> Result<Verb, RequestInfoError> {
    match *method {
        Method::GET | Method::HEAD => Ok(Verb::Get),
        Method::POST => Ok(Verb::Create),
        Method::PUT => Ok(Verb::Update),
        Method::PATCH => Ok(Verb::Patch),
        Method::DELETE => Ok(Verb::Delete),
        _ => Err(RequestInfoError::Method { method: method.clone() }),
    }
}

/// `/watch/…` and `/proxy/…`: the path is the verb, so a method that contradicts it is refused here.
fn prefix_verb(method: &Method, verb: Verb, rest: &[String]) -> Result<Verb, RequestInfoError> {
    if rest.len() < 2 {
        return Err(RequestInfoError::PrefixAlone { prefix: verb.as_str() });
    }
    let resource_verb = resource_verb(method)?;
    if verb == Verb::Watch && resource_verb != Verb::Get {
        return Err(RequestInfoError::Method { method: method.clone() });
    }
    Ok(verb)
}

/// `[namespaces/ns/]resource[/name[/subresource[/…]]]`; what follows a subresource is not interpreted.
fn read_parts(verb: Verb, parts: &[String]) -> ResourceRequest {
    let (namespace, parts) = match parts {
        // A namespace's own subresources would otherwise read as resources inside it.
        [first, ns, third, ..] if first == "namespaces" && !matches!(third.as_str(), "status" | "finalize") => {
            (Some(ns.clone()), &parts[2..])
        }
        [first, ns, ..] if first == "namespaces" => (Some(ns.clone()), parts),
        _ => (None, parts),
    };
    let part = |i: usize| parts.get(i).cloned();
    ResourceRequest {
        namespace,
        resource: part(0).unwrap_or_default(),
        name: part(1),
        subresource: if verb == Verb::Proxy { None } else { part(2) },
        ..ResourceRequest::default()
    }
}

/// A get or delete without a name is about a collection; a list may name one object by its field selector.
fn read_collection(verb: Verb, resource: &mut ResourceRequest, query: Option<&str>) -> Verb {
    if resource.name.is_some() {
        return verb;
    }
    match verb {
        Verb::Get => {
            let options = query::ListOptions::parse(query.unwrap_or_default());
            resource.name = options.name;
            if options.watch { Verb::Watch } else { Verb::List }
        }
        Verb::Delete => Verb::DeleteCollection,
        other => other,
    }
}

#[cfg(test)]
mod tests;
