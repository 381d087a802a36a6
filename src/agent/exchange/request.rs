//! From a request head on the wire to the request that the API server gets.

use http::{
    HeaderName, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE},
};

use super::Fault;
use crate::{
    agent::upstream::Upstream,
    k8s,
    transport::Priority,
    wire::generated::{FailureCode, Identity, RequestHead, TrafficClass, Upgrade},
};

/// A request that passed the agent's checks.
pub(super) struct Prepared {
    pub(super) request: Request<()>,
    pub(super) class: TrafficClass,
    pub(super) upgrade: bool,
    pub(super) bodyless: bool,
    pub(super) repeatable: bool,
    pub(super) priority: Priority,
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
) -> Result<Request<()>, Fault> {
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
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| protocol("header name is not valid"))?;
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
