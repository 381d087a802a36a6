//! Every failure that the request path can answer with: its reason, its words, and whether a retry is safe.
//!
//! Each message names the cluster and the hop, and says what to do next. `Retry-After` appears only on failures that
//! are certain not to have reached an API server.

use std::time::Duration;

use super::{Cause, Reason, Status};
use crate::k8s::{RequestInfoError, TargetError};

/// Seconds to wait before an invited retry.
const RETRY_SOON: u32 = 1;

impl Status {
    /// The cluster has no live link. `expected_back` says that a reconnect is likely within seconds (it was up in the
    /// last minute); only then is a retry invited.
    pub fn agent_not_connected(cluster: &str, last_seen: Option<Duration>, expected_back: bool) -> Self {
        let seen = match last_seen {
            Some(age) => format!("last seen {} ago", age_text(age)),
            None => "never seen".to_owned(),
        };
        let message = format!(
            "cluster {cluster}: agent not connected, {seen}; check the roadstead agent in that cluster and its way to the hub"
        );
        Self::new(Reason::ServiceUnavailable, message)
            .cause("AgentNotConnected", format!("no live link to cluster {cluster}, {seen}"))
            .retry(if expected_back { Some(RETRY_SOON) } else { None })
    }

    /// The cluster is unknown, or known and not granted: one answer, so that names cannot be probed.
    pub fn cluster_not_granted(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: no such cluster, or no grant for you on it; check the name, or ask your fleet's operator"
        );
        Self::new(Reason::Forbidden, message).cause("ClusterNotGranted", "no grant matches".to_owned())
    }

    /// No token, or one that is not valid; `why` says which (`token expired`, `token unknown`), never the token.
    pub fn token_invalid(why: &str) -> Self {
        let message = format!("the hub did not accept your credential: {why}; log in again or renew the token");
        Self::new(Reason::Unauthorized, message).cause("CredentialInvalid", why.to_owned())
    }

    /// Grants, locks or the agent's own ceiling do not allow the request; `rule` names which and what is missing.
    pub fn policy_denied(cluster: &str, rule: &str) -> Self {
        Self::new(Reason::Forbidden, format!("cluster {cluster}: denied by access policy: {rule}"))
            .cause("PolicyDenied", rule.to_owned())
    }

    /// A limit is reached before anything was sent; `limit` names it.
    pub fn overloaded(limit: &str) -> Self {
        Self::new(Reason::TooManyRequests, format!("the hub is at its limit of {limit}; try again shortly"))
            .cause("LimitReached", limit.to_owned())
            .retry(Some(RETRY_SOON))
    }

    /// The link broke before the agent had sent a byte to its API server.
    pub fn tunnel_lost_before_dispatch(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: link between hub and agent lost before the request was sent on; it was not executed, try again"
        );
        Self::new(Reason::ServiceUnavailable, message)
            .cause("TunnelLost", "not dispatched".to_owned())
            .retry(Some(RETRY_SOON))
    }

    /// The link broke after the request went to the API server and before it answered: nobody knows the outcome.
    pub fn tunnel_lost_after_dispatch(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: link between hub and agent lost after the request was sent on; it may have been executed, check before you repeat it"
        );
        Self::new(Reason::BadGateway, message).cause("TunnelLost", "dispatched, outcome unknown".to_owned())
    }

    /// The link broke in the middle of a session or a stream (exec, attach, watch).
    pub fn tunnel_lost_in_session(cluster: &str) -> Self {
        let message =
            format!("cluster {cluster}: link between hub and agent lost during the session; its output is incomplete");
        Self::new(Reason::BadGateway, message).cause("TunnelLost", "session cut".to_owned())
    }

    /// The API server's side ended in the middle of a session or a stream.
    pub fn upstream_lost_in_session(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: connection between agent and api server lost during the session; its output is incomplete"
        );
        Self::new(Reason::BadGateway, message).cause("UpstreamLost", "session cut".to_owned())
    }

    /// The agent could not reach its API server; nothing was sent. `why` is the agent's own error text.
    pub fn upstream_unreachable(cluster: &str, why: &str) -> Self {
        let message = format!(
            "cluster {cluster}: the agent cannot reach its api server: {why}; the request was not executed, check the control plane"
        );
        Self::new(Reason::ServiceUnavailable, message)
            .cause("UpstreamUnreachable", why.to_owned())
            .retry(Some(RETRY_SOON))
    }

    /// The API server broke off after it got the request and before it answered.
    pub fn upstream_lost_after_dispatch(cluster: &str, why: &str) -> Self {
        let message = format!(
            "cluster {cluster}: the api server did not answer: {why}; the request may have been executed, check before you repeat it"
        );
        Self::new(Reason::BadGateway, message).cause("UpstreamLost", why.to_owned())
    }

    /// The API server did not answer within the hub's deadline.
    pub fn upstream_timeout(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: the api server did not answer in time; the request may have been executed, check before you repeat it"
        );
        Self::new(Reason::Timeout, message).cause("UpstreamTimeout", "no response head".to_owned())
    }

    /// The API server answered 401: the agent's own credential is broken, the caller's is not.
    pub fn agent_credential_rejected(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: the api server rejected the agent's credential; your own is fine, check the agent's service account"
        );
        Self::new(Reason::BadGateway, message).cause("AgentCredentialRejected", "api server answered 401".to_owned())
    }

    /// The cluster's answer may not pass (a redirect elsewhere, an unexpected protocol switch).
    pub fn response_refused(cluster: &str, why: &str) -> Self {
        Self::new(Reason::BadGateway, format!("cluster {cluster}: the hub refused the api server's response: {why}"))
            .cause("ResponseRefused", why.to_owned())
    }

    /// The request body is above `limit` bytes.
    pub fn body_too_large(limit: u64) -> Self {
        Self::new(Reason::RequestEntityTooLarge, format!("the request body is above the limit of {limit} bytes"))
    }

    /// The request head is above the hub's limit.
    pub fn head_too_large() -> Self {
        Self::new(Reason::HeadTooLarge, "the request head is above the hub's limit".to_owned())
    }

    /// The hub refused a malformed or ambiguous request; `why` says what and where.
    pub fn bad_request(why: &str) -> Self {
        Self::new(Reason::BadRequest, format!("the hub refused the request: {why}"))
            .cause("RequestRefused", why.to_owned())
    }

    /// The method has no meaning on the path.
    pub fn method_not_allowed(method: &str) -> Self {
        Self::new(Reason::MethodNotAllowed, format!("the hub does not accept {method} on this path"))
    }

    /// TLS name and `Host` differ.
    pub fn misdirected() -> Self {
        Self::new(Reason::Misdirected, "the host header does not name the host that the connection is for".to_owned())
    }

    /// No such path on the hub itself.
    pub fn no_such_path() -> Self {
        Self::new(Reason::NotFound, "the hub has nothing at this path; clusters are below /clusters/<name>/".to_owned())
    }

    /// The hub is stopping and takes no new requests.
    pub fn draining() -> Self {
        let message = "the hub is shutting down and did not take the request; try again, another replica will answer";
        Self::new(Reason::ServiceUnavailable, message.to_owned())
            .cause("Draining", "hub draining".to_owned())
            .retry(Some(RETRY_SOON))
    }

    /// A fault of the hub or agent itself; `what` says which part, without internals.
    pub fn internal(what: &str) -> Self {
        Self::new(Reason::InternalError, format!("internal error: {what}"))
    }

    fn cause(mut self, reason: &'static str, message: String) -> Self {
        self.causes.push(Cause { reason, message });
        self
    }

    fn retry(mut self, seconds: Option<u32>) -> Self {
        self.retry_after = seconds;
        self
    }
}

impl From<&TargetError> for Status {
    fn from(error: &TargetError) -> Self {
        match error {
            TargetError::NotProxied => Self::no_such_path(),
            other => Self::bad_request(&other.to_string()),
        }
    }
}

impl From<&RequestInfoError> for Status {
    fn from(error: &RequestInfoError) -> Self {
        match error {
            RequestInfoError::Method { method } => Self::method_not_allowed(method.as_str()),
            RequestInfoError::PrefixAlone { .. } => Self::bad_request(&error.to_string()),
        }
    }
}

/// `42s`, `5m`, `3h`, `12d`: one unit, rounded down, as kubectl shows ages.
fn age_text(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..=119 => format!("{s}s"),
        s @ 120..=7_199 => format!("{}m", s / 60),
        s @ 7_200..=172_799 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}
