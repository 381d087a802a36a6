//! The failures that this layer itself finds: their reasons and their words. What fails on the way is worded where it fails.

use super::{Reason, Status};
use crate::k8s::{RequestInfoError, TargetError};

impl Status {
    /// The API server answered 401: the agent's own credential is broken, the caller's is not.
    pub fn agent_credential_rejected(cluster: &str) -> Self {
        let message = format!(
            "cluster {cluster}: the api server rejected the agent's credential; your own is fine, check the agent's service account"
        );
        Self::new(Reason::BadGateway, message)
            .with_cause("AgentCredentialRejected", "api server answered 401".to_owned())
    }

    /// The cluster's answer may not pass (a redirect elsewhere, an unexpected protocol switch).
    pub fn response_refused(cluster: &str, why: &str) -> Self {
        Self::new(Reason::BadGateway, format!("cluster {cluster}: the hub refused the api server's response: {why}"))
            .with_cause("ResponseRefused", why.to_owned())
    }

    /// The hub refused a malformed or ambiguous request; `why` says what and where.
    pub fn bad_request(why: &str) -> Self {
        Self::new(Reason::BadRequest, format!("the hub refused the request: {why}"))
            .with_cause("RequestRefused", why.to_owned())
    }

    /// The method has no meaning on the path.
    pub fn method_not_allowed(method: &str) -> Self {
        Self::new(Reason::MethodNotAllowed, format!("the hub does not accept {method} on this path"))
    }

    /// No such path on the hub itself.
    pub fn no_such_path() -> Self {
        Self::new(Reason::NotFound, "the hub has nothing at this path; clusters are below /clusters/<name>/".to_owned())
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
