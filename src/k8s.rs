//! What an HTTP request means to Kubernetes: targets, RequestInfo, header rules, Status errors and upgrade framing.
//! Opens no socket.

mod capability;
mod headers;
mod request_info;
mod status;
mod target;
mod upgrade;
mod watch;

pub use capability::Capability;
pub use headers::{
    GuardError, HeaderError, IdentityError, Impersonation, ResponseContext, ResponseError, SanitisedRequest, Upgrade,
    WebSocketOffer, agent_guard, identity_headers, sanitise_request, sanitise_response,
};
pub use request_info::{RequestInfo, RequestInfoError, ResourceRequest, Streaming, Verb};
pub use status::{Cause, Reason, ResponseParts, Status, warning};
pub use target::{ApiTarget, ProxyTarget, TargetError};
pub use upgrade::{Injection, Outcome, SpdyTracker, Tracker, WebSocketTracker};
pub use watch::{RecordTracker, error_event};
