//! Header rules: what a client may send on, how identity is written, what a cluster may answer with.
//!
//! Owns the order of the steps, which is the security property: hop-by-hop first, then everything that could carry or
//! fake an identity, and identity last. Refuses to know who the caller is and what grants allow.

mod identity;
mod names;
mod request;
mod response;
mod switch;

use std::collections::BTreeMap;

pub use identity::{GuardError, IdentityError, agent_guard, identity_headers};
pub use request::{SanitisedRequest, sanitise_request};
pub use response::{ResponseContext, ResponseError, sanitise_response};
pub use switch::{Upgrade, WebSocketOffer};

/// Longest user, group, uid or extra value, in bytes; longer ones only bloat audit logs and heads.
const MAX_IDENTITY_VALUE: usize = 4096;

/// Most groups and extra values together: the API server asks its authorizer once for each.
const MAX_IDENTITY_VALUES: usize = 512;

/// An identity inside a cluster: what `Impersonate-*` headers say, or what a client asks to be with `kubectl --as`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Impersonation {
    /// User name.
    pub user: String,
    /// User id.
    pub uid: Option<String>,
    /// Groups, in order.
    pub groups: Vec<String>,
    /// Extra keys, lower-case and decoded, with their values in order.
    pub extras: BTreeMap<String, Vec<String>>,
}

/// Why a request's headers were refused; the answer is 400 ([`crate::k8s::Status`] converts).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// HTTP/1.1 without `Host`.
    #[error("host header is missing")]
    MissingHost,
    /// More than one `Host`.
    #[error("host header is repeated")]
    RepeatedHost,
    /// `Content-Length` twice, not a plain number, or beside `Transfer-Encoding`; or a transfer coding but `chunked`.
    #[error("content-length or transfer-encoding is ambiguous")]
    Framing,
    /// `Connection` is not a list of tokens.
    #[error("connection header is not a list of tokens")]
    Connection,
    /// `Impersonate-Group`, `-Uid` or `-Extra-*` without `Impersonate-User`.
    #[error("impersonation of groups, uid or extras without impersonate-user")]
    ImpersonationWithoutUser,
    /// `Impersonate-User` or `Impersonate-Uid` more than once.
    #[error("header {name} is repeated")]
    RepeatedImpersonation {
        /// The header.
        name: &'static str,
    },
    /// A header that looks like impersonation and is none (`Impersonate_User`, `Impersonate-Foo`).
    #[error("header {name:?} is not an impersonation header")]
    UnknownImpersonation {
        /// The header as it was sent.
        name: String,
    },
    /// The key of an `Impersonate-Extra-*` is empty, or its escapes are broken.
    #[error("extra key {key:?} is not percent-encoded text")]
    ExtraKey {
        /// The key as it was sent.
        key: String,
    },
    /// An impersonated value is empty, too long, padded, or not printable text; or there are too many.
    #[error("impersonation header {name:?} has a value that is not allowed")]
    ImpersonationValue {
        /// The header.
        name: String,
    },
    /// The only subprotocol was a bearer token; a real one must remain beside it.
    #[error("sec-websocket-protocol holds a bearer token and no other subprotocol")]
    BearerSubprotocolAlone,
    /// `Upgrade` without `Connection: upgrade`, or the reverse.
    #[error("a protocol switch needs both \"connection: upgrade\" and an upgrade header")]
    HalfUpgrade,
    /// Not exactly one of `websocket` and `SPDY/3.1`.
    #[error("upgrade header names a protocol that is not allowed")]
    UpgradeProtocol,
    /// The request is not one that may switch protocols.
    #[error("this request cannot switch protocols")]
    UpgradeNotHere,
    /// A method that the protocol does not switch with.
    #[error("this protocol cannot be switched to with this method")]
    UpgradeMethod,
    /// A body beside a protocol switch: two parsers would disagree on where the new protocol begins.
    #[error("a protocol switch cannot have a body")]
    UpgradeWithBody,
    /// HTTP/2 has no `Upgrade`.
    #[error("protocol switches need http/1.1")]
    UpgradeVersion,
}

#[cfg(test)]
mod tests;
