//! One link: opening and accepting streams on it, and how it ends.

use std::{net::SocketAddr, time::Duration};

use quinn::{Connection, ConnectionError, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, timeout};

use super::{
    congestion::make_room_for_close,
    receive::RecvHalf,
    stream::{RecvError, SendHalf},
};
use crate::{
    defaults,
    wire::{
        CloseCode, Direction, StreamCode,
        generated::{Open, open::Kind},
    },
};

/// How a link ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LinkEnd {
    /// The peer closed it.
    #[error("closed by the peer: {}", .0.as_str())]
    Peer(CloseCode),
    /// This side closed it.
    #[error("closed here")]
    Here,
    /// Nothing came from the peer for [`defaults::LINK_IDLE`].
    #[error("no packet from the peer for {} s", defaults::LINK_IDLE.as_secs())]
    Silent,
    /// The peer restarted and does not know the link any more.
    #[error("the peer restarted")]
    Restarted,
    /// QUIC or TLS failed.
    #[error("{0}")]
    Transport(String),
}

impl From<ConnectionError> for LinkEnd {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Peer(close.error_code.into_inner().into()),
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::Reset => Self::Restarted,
            other => Self::Transport(other.to_string()),
        }
    }
}

/// A stream could not be opened: nothing of the request left this process.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The peer did not grant a stream in time.
    #[error("the agent granted no stream within {} s: too many requests at once, or the link stands still", defaults::STREAM_OPEN.as_secs())]
    NoRoom,
    /// The link is gone.
    #[error("link lost: {0}")]
    Lost(LinkEnd),
}

/// A stream that the peer opened could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// Its first bytes did not come in time.
    #[error("no open message within {} s", defaults::STREAM_HEAD.as_secs())]
    Late,
    /// Its first bytes were not an `Open` that this version knows.
    #[error("open message of an unknown kind")]
    Kind,
    /// It broke before.
    #[error(transparent)]
    Recv(#[from] RecvError),
}

/// What QUIC measured of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkStats {
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Packets lost so far, as far as this side knows.
    pub lost_packets: u64,
    /// Bytes of UDP payload received.
    pub received_bytes: u64,
    /// Bytes of UDP payload sent.
    pub sent_bytes: u64,
    /// UDP payload per packet, bytes.
    pub mtu: u16,
}

/// What was heard on a link, and when.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    datagrams: u64,
    at: Instant,
}

impl Default for Heard {
    fn default() -> Self {
        Self { datagrams: 0, at: Instant::now() }
    }
}

impl Heard {
    /// How long the number of datagrams received has been what it is now.
    fn nothing_since(&mut self, datagrams: u64) -> Duration {
        if datagrams != self.datagrams {
            *self = Self { datagrams, at: Instant::now() };
        }
        self.at.elapsed()
    }
}

/// One QUIC connection with a peer that proved its identity. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link {
    connection: Connection,
}

/// A stream that the peer opened and whose first bytes are not read yet.
#[derive(Debug)]
pub struct IncomingStream {
    send: SendHalf,
    recv: RecvHalf,
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The peer's certificate chain, leaf first, as TLS verified it. Empty never happens on a mutual-TLS link.
    pub fn peer_chain(&self) -> Vec<CertificateDer<'static>> {
        let identity = self.connection.peer_identity();
        identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok()).map_or_else(Vec::new, |c| *c)
    }

    /// The peer's address now: it changes when a NAT rebinds.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Opens a stream of `kind`. Its first bytes leave with the first [`SendHalf::flush`].
    ///
    /// # Errors
    /// When no stream is granted within [`defaults::STREAM_OPEN`], or the link is gone.
    pub async fn open(&self, kind: Kind) -> Result<(SendHalf, RecvHalf), OpenError> {
        let opened = timeout(defaults::STREAM_OPEN, self.connection.open_bi()).await.map_err(|_| OpenError::NoRoom)?;
        let (send, recv) = opened.map_err(|error| OpenError::Lost(error.into()))?;
        let (out, back) = directions(&kind);
        let mut send = SendHalf::new(send, out);
        send.queue_open(&Open { kind: Some(kind) });
        Ok((send, RecvHalf::new(recv, back)))
    }

    /// Waits for the peer to open a stream.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// # Errors
    /// When the link is gone.
    pub async fn accept(&self) -> Result<IncomingStream, LinkEnd> {
        let (send, recv) = self.connection.accept_bi().await?;
        // Directions are known once the open message is read; until then nothing is sent.
        Ok(IncomingStream {
            send: SendHalf::new(send, Direction::Control),
            recv: RecvHalf::new(recv, Direction::Control),
        })
    }

    /// Grants the peer so many streams at once from now on; what was granted stays granted.
    pub fn grant_streams(&self, count: u32) {
        self.connection.set_max_concurrent_bi_streams(VarInt::from_u32(count));
    }

    /// Ends when the link does.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn closed(&self) -> LinkEnd {
        self.connection.closed().await.into()
    }

    /// As [`Link::closed`]; and when nothing came for [`defaults::LINK_DEAF`], closes the link and says so to the peer.
    ///
    /// A path may work in one direction only. The side that hears nothing must speak then: the other hears it, and would take twice the
    /// idle timeout to notice by itself. For the side that sends keep-alives; for the other, silence means nothing before the idle timeout.
    ///
    /// # Cancel safety
    /// Safe: `heard` keeps what is known.
    pub async fn closed_or_deaf(&self, heard: &mut Heard) -> LinkEnd {
        loop {
            if let Ok(end) = timeout(defaults::LINK_LISTEN, self.closed()).await {
                return end;
            }
            if heard.nothing_since(self.connection.stats().udp_rx.datagrams) > defaults::LINK_DEAF {
                self.close(CloseCode::Silent);
                return LinkEnd::Silent;
            }
        }
    }

    /// How the link ended, if it did.
    pub fn end(&self) -> Option<LinkEnd> {
        self.connection.close_reason().map(Into::into)
    }

    /// Closes the link at once; streams on it are lost.
    pub fn close(&self, code: CloseCode) {
        let number = VarInt::from_u64(code.code()).unwrap_or(VarInt::MAX);
        make_room_for_close(&self.connection);
        self.connection.close(number, code.as_str().as_bytes());
    }

    /// What QUIC measured so far.
    pub fn stats(&self) -> LinkStats {
        let stats = self.connection.stats();
        LinkStats {
            rtt: stats.path.rtt,
            lost_packets: stats.path.lost_packets,
            received_bytes: stats.udp_rx.bytes,
            sent_bytes: stats.udp_tx.bytes,
            mtu: stats.path.current_mtu,
        }
    }

    /// A number that no other link of this process has at the same time.
    pub fn id(&self) -> usize {
        self.connection.stable_id()
    }
}

impl IncomingStream {
    /// Reads what the stream is for.
    ///
    /// # Errors
    /// When the first bytes are late or unknown; the stream is cut then.
    pub async fn open(mut self) -> Result<(Kind, SendHalf, RecvHalf), AcceptError> {
        let opened = timeout(defaults::STREAM_HEAD, self.recv.open()).await;
        let kind = match opened {
            Ok(Ok(Open { kind: Some(kind) })) => kind,
            Ok(Ok(Open { kind: None })) => return Err(self.refuse(AcceptError::Kind)),
            Ok(Err(error)) => return Err(self.refuse(error.into())),
            Err(_) => return Err(self.cut(StreamCode::Unstarted, AcceptError::Late)),
        };
        let (forward, back) = directions(&kind);
        self.send.set_direction(back);
        self.recv.set_direction(forward);
        Ok((kind, self.send, self.recv))
    }

    fn refuse(self, error: AcceptError) -> AcceptError {
        self.cut(StreamCode::Protocol, error)
    }

    fn cut(self, code: StreamCode, error: AcceptError) -> AcceptError {
        self.send.reset(code);
        self.recv.stop(code);
        error
    }
}

/// The rules of the opener's and of the acceptor's sending direction.
fn directions(kind: &Kind) -> (Direction, Direction) {
    match kind {
        Kind::Proxy(_) => (Direction::Request, Direction::Response),
        Kind::Control(_) => (Direction::Control, Direction::Control),
    }
}
