//! What failed, at which hop, and what the client may be promised: `Retry-After` says "not executed", so it is given only
//! where that is certain or where running twice does no harm.

use http::{Response, StatusCode};

use super::{Judged, ProxyBody};
use crate::{
    k8s::status::{Reason, Status},
    transport::OpenError,
    wire::generated::{Failure, FailureCode},
};

/// Where on its way a request failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hop {
    /// In the hub.
    Hub,
    /// Between hub and agent.
    Link,
    /// In the agent.
    Agent,
    /// Between agent and API server, or in the API server.
    ApiServer,
}

impl Hop {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Link => "link between hub and agent",
            Self::Agent => "agent",
            Self::ApiServer => "API server",
        }
    }
}

/// Whether the API server may have run the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Run {
    /// Certainly not.
    No,
    /// Perhaps.
    Unknown,
}

/// A request that failed before its answer began.
#[derive(Debug)]
pub(super) struct Failed {
    code: StatusCode,
    hop: Hop,
    run: Run,
    message: String,
}

impl Failed {
    /// The stream could not even be opened.
    pub(super) fn not_sent(error: OpenError) -> Self {
        let code = match error {
            OpenError::NoRoom => StatusCode::TOO_MANY_REQUESTS,
            OpenError::Lost(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { code, hop: Hop::Link, run: Run::No, message: error.to_string() }
    }

    /// The request's head does not fit the wire.
    pub(super) fn head_too_large(bytes: usize) -> Self {
        let message = format!("the request head takes {bytes} bytes, more than {}", crate::wire::MAX_PAYLOAD);
        Self { code: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, hop: Hop::Hub, run: Run::Unknown, message }
    }

    /// The way broke once the request was on it. That the agent never said DISPATCHED proves nothing: its word may have
    /// been lost with the link.
    pub(super) fn lost(hop: Hop, message: impl Into<String>) -> Self {
        Self { code: StatusCode::BAD_GATEWAY, hop, run: Run::Unknown, message: message.into() }
    }

    /// No head in time.
    pub(super) fn late() -> Self {
        let message = format!("no answer within {} s", crate::defaults::RESPONSE_HEAD.as_secs());
        Self { code: StatusCode::GATEWAY_TIMEOUT, hop: Hop::ApiServer, run: Run::Unknown, message }
    }

    /// The peer broke a rule: its answer cannot be passed on.
    pub(super) fn invalid(hop: Hop, message: impl Into<String>) -> Self {
        Self { code: StatusCode::BAD_GATEWAY, hop, run: Run::Unknown, message: message.into() }
    }

    /// What the agent says.
    pub(super) fn told(failure: Failure) -> Self {
        let (code, hop) = meaning(failure.code());
        let run = if failure.dispatched { Run::Unknown } else { Run::No };
        Self { code, hop, run, message: failure.message }
    }

    /// Which hop a failure of the agent's is about.
    pub(super) fn hop_of(failure: &Failure) -> Hop {
        meaning(failure.code()).1
    }

    /// What the client is told.
    pub(super) fn status(self, judged: &Judged) -> Status {
        let cluster = &judged.cluster.name;
        // A request that only reads may run twice; one that may have run and writes must not.
        let again = match (self.run, self.code) {
            (_, StatusCode::FORBIDDEN | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::GATEWAY_TIMEOUT) => None,
            (Run::No, _) => Some(1),
            (Run::Unknown, _) if judged.repeatable => Some(1),
            (Run::Unknown, _) => None,
        };
        let code = if again.is_some() && self.code == StatusCode::BAD_GATEWAY {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            self.code
        };
        let outcome = match (self.run, judged.repeatable) {
            (Run::No, _) => "it was not executed",
            (Run::Unknown, true) => "it can be sent again",
            (Run::Unknown, false) => "it may have been executed: look before you send it again",
        };
        let message = format!(
            "cluster {cluster:?}: request failed at the {}: {}; {outcome} (request {})",
            self.hop.as_str(),
            self.message,
            judged.request_id
        );
        let retry = again.filter(|_| !judged.discovery);
        Status::new(reason(code), message).with_code(code).with_retry_after(retry).with_warning()
    }
}

/// The answer that means a failure of the agent's, and the hop it is about. No `_` arm.
fn meaning(code: FailureCode) -> (StatusCode, Hop) {
    match code {
        FailureCode::Internal | FailureCode::Protocol => (StatusCode::BAD_GATEWAY, Hop::Agent),
        FailureCode::UpstreamUnreachable => (StatusCode::SERVICE_UNAVAILABLE, Hop::ApiServer),
        FailureCode::UpstreamLost | FailureCode::UpstreamInvalid => (StatusCode::BAD_GATEWAY, Hop::ApiServer),
        FailureCode::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, Hop::ApiServer),
        FailureCode::Refused => (StatusCode::FORBIDDEN, Hop::Agent),
        FailureCode::Overloaded => (StatusCode::TOO_MANY_REQUESTS, Hop::Agent),
    }
}

fn reason(code: StatusCode) -> Reason {
    match code {
        StatusCode::FORBIDDEN => Reason::Forbidden,
        StatusCode::TOO_MANY_REQUESTS => Reason::TooManyRequests,
        StatusCode::SERVICE_UNAVAILABLE => Reason::ServiceUnavailable,
        StatusCode::GATEWAY_TIMEOUT => Reason::Timeout,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Reason::BadRequest,
        _ => Reason::InternalError,
    }
}

/// A `Status` as a response.
pub(in crate::hub) fn respond(status: &Status) -> Response<ProxyBody> {
    let (code, headers, body) = status.response_parts();
    let mut response = Response::new(ProxyBody::full(body));
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response
}
