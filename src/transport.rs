//! Links and streams over QUIC: the only place that names quinn. Knows nothing of Kubernetes.
//!
//! A [`Link`] is one QUIC connection between an agent and a hub. A stream of it has two halves: [`SendHalf`] and
//! [`RecvHalf`]. A half that is dropped before its end cuts the stream with a code: truncated never looks complete.

mod config;
mod congestion;
mod endpoint;
mod link;
mod receive;
mod socket;
mod stream;

pub use self::{
    config::{RestartKeys, agent_transport, hub_transport},
    endpoint::{BindError, DialError, Dialer, Handshake, HandshakeError, Listener, udp_socket},
    link::{AcceptError, Heard, IncomingStream, Link, LinkEnd, LinkStats, OpenError},
    receive::RecvHalf,
    stream::{Priority, RecvError, SendError, SendHalf},
};

#[cfg(test)]
mod tests;
