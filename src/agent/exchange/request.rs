//! From a request head on the wire to the request that the API server gets.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE},
};
use prost::Message;

use super::Fault;
use crate::{
    agent::upstream::{RequestBody, Upstream},
    k8s,
    transport::Priority,
    wire::generated::{FailureCode, Identity, RequestHead, TrafficClass, Upgrade},
};

/// Room for the headers that the agent adds: identity, credential, host.
const MORE_HEADERS: usize = 8;

/// A request that passed the agent's checks.
pub(super) struct Prepared {
    /// Boxed, for it is handed on often before it is sent.
    pub(super) request: Box<Request<RequestBody>>,
    /// Of a request that may be sent twice.
    pub(super) source: Option<Source>,
    pub(super) class: TrafficClass,
    pub(super) upgrade: bool,
    pub(super) bodyless: bool,
    pub(super) repeatable: bool,
    pub(super) priority: Priority,
}

/// What a request was made of, to make it once more: hardly any is, so none is copied in advance.
pub(super) struct Source {
    pub(super) head: Bytes,
    pub(super) authorization: Option<HeaderValue>,
}

impl Source {
    /// The same request again; without a body.
    pub(super) fn request(&self, upstream: &Upstream) -> Option<Box<Request<RequestBody>>> {
        let head = RequestHead::decode(self.head.clone()).ok()?;
        build(head, upstream, self.authorization.clone()).ok()
    }
}

/// Whether a request with this method changes nothing and can be sent twice (RFC 9110 § 9.2.1).
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Builds the request: the hub's headers first, then the identity, then the agent's own credential, last.
pub(super) fn build(
    head: RequestHead,
    upstream: &Upstream,
    authorization: Option<HeaderValue>,
) -> Result<Box<Request<RequestBody>>, Fault> {
    let refused = |message: String| Fault::before(FailureCode::Refused, message);
    let protocol = |message: &str| Fault::before(FailureCode::Protocol, message);
    let upgrade = head.upgrade();
    let identity = head.identity.ok_or_else(|| refused("request without an identity".to_owned()))?;
    let Identity { user, groups, extras } = identity;
    let extras = extras.into_iter().map(|extra| (extra.key, extra.values)).collect();
    let identity = k8s::Impersonation { user, uid: None, groups, extras };
    k8s::ApiTarget::parse(&head.target).map_err(|error| refused(error.to_string()))?;
    let method = Method::from_bytes(head.method.as_bytes()).map_err(|_| protocol("method is not valid"))?;
    if matches!(method, Method::CONNECT | Method::TRACE) {
        return Err(refused(format!("method {method} is not for an API server")));
    }
    let target = upstream.request_target(&head.target);
    let uri = target.parse::<Uri>().map_err(|_| protocol("request target is not valid"))?;
    let mut request = Box::new(Request::new(RequestBody::Empty));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.reserve(head.headers.len() + MORE_HEADERS);
    for header in head.headers {
        let name = HeaderName::from_bytes(&header.name).map_err(|_| protocol("header name is not valid"))?;
        let value = HeaderValue::from_maybe_shared(header.value).map_err(|_| protocol("header value is not valid"))?;
        headers.append(name, value);
    }
    k8s::agent_guard(headers, &identity, &[]).map_err(|error| refused(error.to_string()))?;
    if let Some(protocol) = protocol_of(upgrade) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    }
    headers.insert(HOST, upstream.host());
    let audit_id = HeaderValue::from_str(&head.request_id).map_err(|_| protocol("request id is not valid"))?;
    headers.insert("audit-id", audit_id);
    headers.extend(k8s::identity_headers(&identity).map_err(|error| refused(error.to_string()))?);
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    Ok(request)
}

fn protocol_of(upgrade: Upgrade) -> Option<&'static str> {
    match upgrade {
        Upgrade::None => None,
        Upgrade::Spdy => Some("SPDY/3.1"),
        Upgrade::Websocket => Some("websocket"),
    }
}
