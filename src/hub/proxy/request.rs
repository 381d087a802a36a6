//! What a request means and whether it may go on: target, headers, RequestInfo, cluster, grant. No byte is sent before.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::LOCATION};
use hyper::body::Incoming;

use super::{Caller, Hub, ProxyBody, failure::respond};
use crate::{
    access::{self, Decision, Identity, Scope},
    hub::directory::Cluster,
    k8s::{Impersonation, ProxyTarget, Reason, RequestInfo, SanitisedRequest, Status, Upgrade, Verb, sanitise_request},
    wire::{
        self,
        generated::{self, Extra, RequestHead, TrafficClass},
    },
};

/// A request that may go on.
pub(super) struct Judged {
    pub(super) cluster: Arc<Cluster>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) long_running: bool,
    pub(super) discovery: bool,
    /// It changes nothing, so it may run twice.
    pub(super) repeatable: bool,
    /// What it means to Kubernetes.
    pub(super) info: RequestInfo,
    pub(super) request_id: String,
    verb: &'static str,
    class: TrafficClass,
    method: Method,
    target: String,
    headers: HeaderMap,
    identity: Identity,
}

/// A request that may not.
pub(super) enum Refused {
    Status(Box<Status>),
    /// `/clusters/<name>` without a slash.
    Redirect(String),
}

impl Refused {
    pub(super) fn into_response(self) -> Response<ProxyBody> {
        match self {
            Self::Status(status) => respond(&status),
            Self::Redirect(to) => {
                let mut response = Response::new(ProxyBody::empty());
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                if let Ok(value) = HeaderValue::from_str(&to) {
                    response.headers_mut().insert(LOCATION, value);
                }
                response
            }
        }
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

fn bad_request(error: impl std::fmt::Display) -> Refused {
    Status::new(Reason::BadRequest, error.to_string()).into()
}

/// Judges a request of a caller who is who it says.
pub(super) fn judge(hub: &Hub, caller: &Caller, request: &Request<Incoming>) -> Result<Box<Judged>, Refused> {
    let raw = request.uri().path_and_query().map_or("/", |pq| pq.as_str());
    let target = ProxyTarget::parse(raw).map_err(bad_request)?;
    let Some(api) = target.api() else {
        return Err(Refused::Redirect(target.redirect().unwrap_or_else(|| format!("{raw}/"))));
    };
    let info = RequestInfo::new(request.method(), &api).map_err(bad_request)?;
    let SanitisedRequest { headers, requested, upgrade } =
        sanitise_request(request.headers(), &info, request.version()).map_err(bad_request)?;
    let upgrades = upgrade.is_some();
    let name = target.cluster();
    let cluster = hub.directory.cluster(name);
    let question = access::Request {
        capability: info.capability(upgrades),
        also: info.also_requires(),
        verb: info.effective_verb(upgrades).as_str(),
        scope: scope(&info),
    };
    let wish = requested.as_ref().map(wish);
    let subject = &caller.principal.subject;
    let decision = match &cluster {
        Some(cluster) => hub.grants().decide(subject, &cluster.reference(), &question, wish.as_ref()),
        None => Decision::Deny(access::Denial::Unseen),
    };
    let (identity, cluster) = match (decision, cluster) {
        (Decision::Allow { identity, .. }, Some(cluster)) => (identity, cluster),
        (Decision::Allow { .. }, None) => return Err(denied(&access::Denial::Unseen, subject, name, &question)),
        (Decision::Deny(denial), _) => return Err(denied(&denial, subject, name, &question)),
    };
    Ok(Box::new(Judged {
        cluster,
        upgrade,
        long_running: info.is_long_running(),
        discovery: info.is_discovery(),
        repeatable: info.is_safe(),
        request_id: ulid::Ulid::generate().to_string(),
        verb: info.effective_verb(upgrades).as_str(),
        class: class(&info),
        method: request.method().clone(),
        target: api.path_and_query().to_owned(),
        headers,
        identity,
        info,
    }))
}

fn denied(
    denial: &access::Denial,
    subject: &access::Subject,
    cluster: &str,
    question: &access::Request<'_>,
) -> Refused {
    Status::new(Reason::Forbidden, denial.message(subject, cluster, question)).into()
}

fn scope(info: &RequestInfo) -> Scope<'_> {
    if info.is_discovery() || info.is_about_self() {
        Scope::Discovery
    } else {
        info.resource().map_or(Scope::NonResource, |r| r.namespace.as_deref().map_or(Scope::Cluster, Scope::Namespace))
    }
}

fn wish(requested: &Impersonation) -> access::Impersonation<'_> {
    access::Impersonation {
        user: &requested.user,
        uid: requested.uid.as_deref(),
        groups: &requested.groups,
        extras: &requested.extras,
    }
}

fn class(info: &RequestInfo) -> TrafficClass {
    if info.is_long_running() {
        TrafficClass::LongRunning
    } else if info.verb() == Verb::List {
        TrafficClass::Bulk
    } else {
        TrafficClass::Short
    }
}

impl Judged {
    /// The verb that the decision was about.
    pub(super) fn verb(&self) -> &'static str {
        self.verb
    }

    /// Why a cluster refuses even discovery.
    pub(super) fn refused_to_act(&self) -> String {
        let Identity { user, groups, .. } = &self.identity;
        format!(
            "cluster {:?}: the API server refused this to user {user:?}, groups {groups:?}: its RBAC, or the agent may not act as \
             them (roadstead cluster add --allow-user, --allow-group)",
            self.cluster.name
        )
    }

    /// The head for the agent. Takes what it needs: it is asked once.
    pub(super) fn wire_head(&mut self, bodyless: bool) -> RequestHead {
        let Identity { user, groups, extras } = &self.identity;
        let upgrade = match &self.upgrade {
            None => generated::Upgrade::None,
            Some(Upgrade::Spdy) => generated::Upgrade::Spdy,
            Some(Upgrade::WebSocket(_)) => generated::Upgrade::Websocket,
        };
        let sent = std::mem::take(&mut self.headers);
        let pairs = sent.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        RequestHead {
            method: self.method.as_str().to_owned(),
            target: std::mem::take(&mut self.target),
            headers: wire::headers(pairs),
            identity: Some(generated::Identity {
                user: user.clone(),
                groups: groups.clone(),
                extras: extras_of(extras),
            }),
            request_id: self.request_id.clone(),
            upgrade: upgrade.into(),
            class: self.class.into(),
            bodyless,
        }
    }
}

fn extras_of(extras: &BTreeMap<String, Vec<String>>) -> Vec<Extra> {
    extras.iter().map(|(key, values)| Extra { key: key.clone(), values: values.clone() }).collect()
}
