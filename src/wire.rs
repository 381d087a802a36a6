//! What travels on a link: frames, codes, generated protobuf and the rules of a stream.
//!
//! Decides and never acts: no I/O, no task, no clock, no QUIC, no Kubernetes client.

mod codes;
mod frame;
#[allow(missing_docs, clippy::use_self, reason = "generated from proto/")]
pub mod generated;
mod headers;
mod open;
pub mod pace;
mod reception;
mod rules;

pub use self::{
    codes::{CloseCode, StreamCode},
    frame::{CodecError, Decoder, Frame, FrameKind, MAX_PAYLOAD, encode_frame, frame_header},
    headers::headers,
    open::{OpenDecoder, encode_open},
    reception::{Received, Reception, ReceptionError},
    rules::{Direction, Rules, RulesError},
};

/// ALPN protocol of a link between agent and hub.
pub const ALPN_LINK: &[u8] = b"roadstead/1";

/// Capability: the hub gives an agent certificates for new keys over the link (`RenewRequest`).
pub const RENEW: &str = "renew";

/// As [`RENEW`]: no more of an answer is sent than the hub allows ([`pace`]).
pub const ALLOWANCE: &str = "allowance";

/// Capability: certificates are counted, and a request for renewal says which one it succeeds (`RenewRequest.generation`).
pub const GENERATION: &str = "generation";

/// Capability: the hub tells the agent which of the hub's roots to trust and when to renew (`TrustUpdate`, `TrustAck`, `RenewNow`).
pub const ROTATE: &str = "rotate";
