//! What an HTTP request means to Kubernetes: targets, RequestInfo, header rules, Status errors and upgrade framing.
//! Opens no socket.

mod capability;
mod target;

pub use capability::Capability;
pub use target::{ApiTarget, ProxyTarget, TargetError};
