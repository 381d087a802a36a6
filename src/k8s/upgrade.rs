//! Failure injection on upgraded streams: what to send to the client when the link or the API server is lost, so that
//! kubectl exits non-zero and says why.
//!
//! After 101 the bytes are opaque; trackers follow only their framing, in constant memory, and never alter a byte. They
//! must see exactly what was exchanged with the client: `feed_to_client` after the bytes were written to it. Refuses to
//! know when a stream is lost; whatever it does not understand makes it give up ([`Injection::Abort`]), never panic.

mod spdy;
mod websocket;

use http::HeaderMap;

pub use spdy::SpdyTracker;
pub use websocket::WebSocketTracker;

use super::{Status, Streaming, Upgrade};

/// Whether the client already knows how its session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The result went to the client on the error channel; losing the rest changes nothing.
    Complete,
    /// The client does not know; an ending now would be a failure, and must look like one.
    Unfinished,
}

/// What to do with the client's connection when the session is lost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Injection {
    /// Write these bytes, wait briefly for the client to close, then close. Empty: only close.
    Bytes(Vec<u8>),
    /// Nothing can be said; cut the connection.
    Abort,
}

/// Follows one upgraded stream in both directions.
#[derive(Debug)]
pub struct Tracker(Kind);

#[derive(Debug)]
enum Kind {
    /// No error channel, or a protocol whose framing is not followed; cutting it is the message.
    Opaque,
    WebSocket(WebSocketTracker),
    Spdy(Box<SpdyTracker>),
}

/// How the error channel of a session is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ErrorFormat {
    /// `v4.channel.k8s.io` and later: a JSON `Status`, also on success.
    Json,
    /// Before: plain text on failure, nothing on success.
    Text,
}

impl Tracker {
    /// The tracker for a switch that was answered with 101 and these headers.
    ///
    /// Only `exec` and `attach` have an error channel. On WebSocket the `v4` and `v5` channel protocols are followed,
    /// uncompressed; every other subprotocol is left alone, since a cut WebSocket fails visibly by itself.
    pub fn for_upgrade(upgrade: &Upgrade, streaming: Option<Streaming>, response: &HeaderMap) -> Self {
        let header = |name: &str| response.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().trim();
        if !matches!(streaming, Some(Streaming::Exec | Streaming::Attach)) {
            return Self(Kind::Opaque);
        }
        Self(match upgrade {
            Upgrade::Spdy => {
                let format = match header("x-stream-protocol-version") {
                    "v4.channel.k8s.io" | "v5.channel.k8s.io" => ErrorFormat::Json,
                    _ => ErrorFormat::Text,
                };
                Kind::Spdy(Box::new(SpdyTracker::new(format)))
            }
            Upgrade::WebSocket(_) => match header("sec-websocket-protocol") {
                _ if response.contains_key("sec-websocket-extensions") => Kind::Opaque,
                "v4.channel.k8s.io" | "v5.channel.k8s.io" => Kind::WebSocket(WebSocketTracker::new()),
                _ => Kind::Opaque,
            },
        })
    }

    /// Bytes that came from the client, in order, before they are sent on.
    pub fn feed_from_client(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            // A client says nothing on a WebSocket that its failure would depend on.
            Kind::Opaque | Kind::WebSocket(_) => {}
            Kind::Spdy(tracker) => tracker.feed_from_client(bytes),
        }
    }

    /// Bytes that were written to the client, in order; not what still waits in a buffer.
    pub fn feed_to_client(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Opaque => {}
            Kind::WebSocket(tracker) => tracker.feed_to_client(bytes),
            Kind::Spdy(tracker) => tracker.feed_to_client(bytes),
        }
    }

    /// How many of `bytes`, which come next for the client, should be sent now: holding the rest back until more is here
    /// keeps the stream where [`Tracker::failure`] can still say something. Only on WebSocket; a frame of SPDY can be
    /// filled up instead. The caller bounds what it holds.
    pub fn whole_to_client(&self, bytes: &[u8]) -> usize {
        match &self.0 {
            Kind::Opaque | Kind::Spdy(_) => bytes.len(),
            Kind::WebSocket(tracker) => tracker.whole(bytes),
        }
    }

    /// Whether the client has its result. Streams without an error channel never have one.
    pub fn outcome(&self) -> Outcome {
        match &self.0 {
            Kind::Opaque => Outcome::Unfinished,
            Kind::WebSocket(tracker) => tracker.outcome(),
            Kind::Spdy(tracker) => tracker.outcome(),
        }
    }

    /// What to send when the stream is lost now. After [`Outcome::Complete`] it only ends the session in order, and the
    /// result that the client has stands.
    pub fn failure(&self, status: &Status) -> Injection {
        match &self.0 {
            Kind::Opaque => Injection::Abort,
            Kind::WebSocket(tracker) => tracker.failure(status),
            Kind::Spdy(tracker) => tracker.failure(status),
        }
    }
}

#[cfg(test)]
mod tests;
