//! A cluster's headers on their way to the client: data, never instructions to a browser or a proxy.

use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, LOCATION, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};

use super::{Upgrade, names};
use crate::k8s::{ApiTarget, Status, Streaming};

/// What a response answers.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext<'a> {
    /// `/clusters/<name>`, without a slash at the end.
    pub cluster_prefix: &'a str,
    /// The request's [`crate::k8s::RequestInfo::streaming`]: a proxied application may answer 401 on its own behalf.
    pub streaming: Option<Streaming>,
    /// The protocol switch that was asked for.
    pub upgrade: Option<&'a Upgrade>,
}

/// Why a response does not reach the client; [`ResponseError::to_status`] is what it gets instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResponseError {
    /// A redirect that leaves the cluster's API (CVE-2020-8559, CVE-2022-3172), or any redirect of a protocol switch.
    #[error("redirect to a place outside the cluster's api")]
    Redirect,
    /// 101 that nobody asked for, or to another protocol.
    #[error("protocol switch that was not asked for")]
    UnexpectedSwitch,
    /// 401 or 407: the agent's credential was rejected, not the caller's.
    #[error("api server rejected the agent's credential")]
    CredentialRejected,
}

impl ResponseError {
    /// The answer to the client, a 502 in each case: a 401 would send its login plugin into a loop.
    pub fn to_status(self, cluster: &str) -> Status {
        match self {
            Self::Redirect | Self::UnexpectedSwitch => Status::response_refused(cluster, &self.to_string()),
            Self::CredentialRejected => Status::agent_credential_rejected(cluster),
        }
    }
}

/// Cleans a response's headers in place. `Location` below `/api` or `/apis` gets the cluster's prefix.
///
/// # Errors
/// [`ResponseError`] when the response must not pass at all.
pub fn sanitise_response(
    headers: &mut HeaderMap,
    status: StatusCode,
    context: &ResponseContext<'_>,
) -> Result<(), ResponseError> {
    let application = context.streaming == Some(Streaming::Proxy);
    match status {
        StatusCode::SWITCHING_PROTOCOLS => return sanitise_switch(headers, context.upgrade),
        StatusCode::UNAUTHORIZED if !application => return Err(ResponseError::CredentialRejected),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => return Err(ResponseError::CredentialRejected),
        _ => {}
    }
    strip(headers);
    if let Some(location) = headers.remove(LOCATION) {
        let inside = inside_cluster(&location, context.cluster_prefix);
        match inside {
            Some(location) if context.upgrade.is_none() => drop(headers.insert(LOCATION, location)),
            _ if status.is_redirection() => return Err(ResponseError::Redirect),
            _ => {}
        }
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    Ok(())
}

/// A 101 keeps `Connection` and `Upgrade`, rewritten from what was asked for.
fn sanitise_switch(headers: &mut HeaderMap, asked: Option<&Upgrade>) -> Result<(), ResponseError> {
    let asked = asked.ok_or(ResponseError::UnexpectedSwitch)?;
    let mut answered = headers.get_all(UPGRADE).iter();
    let same = answered.next().is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(asked.token().as_bytes()));
    if !same || answered.next().is_some() {
        return Err(ResponseError::UnexpectedSwitch);
    }
    strip(headers);
    headers.remove(LOCATION);
    asked.write_to(headers);
    Ok(())
}

fn strip(headers: &mut HeaderMap) {
    // An unreadable `Connection` names nothing; it goes with the rest.
    let tokens = names::connection_tokens(headers).unwrap_or_default();
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|n| names::stripped_from_response(n) || tokens.iter().any(|t| t == n.as_str()))
        .cloned()
        .collect();
    for name in dropped {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
}

/// The location with the cluster's prefix, if it is path-absolute, below `/api` or `/apis`, and passes the strict gate.
fn inside_cluster(location: &HeaderValue, prefix: &str) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    // A fragment never reaches a server; applications behind a proxy subresource use it freely.
    let target = ApiTarget::parse(text.split('#').next()?).ok()?;
    let below = ["/api", "/apis"]
        .iter()
        .any(|root| target.path().strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    if below { HeaderValue::from_str(&format!("{prefix}{text}")).ok() } else { None }
}
