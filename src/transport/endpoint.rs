//! The two ends that make links: the hub's listener and the agent's dialer.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quinn::{
    ClientConfig, Connecting, Endpoint, EndpointConfig, Incoming, Runtime, ServerConfig, TokioRuntime,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{task::yield_now, time::timeout};

use super::{
    config::{RestartKeys, agent_endpoint, agent_transport, hub_transport},
    link::{Link, LinkEnd},
    socket::LinkSocket,
};
use crate::{defaults, wire::CloseCode};

/// An end could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The UDP socket.
    #[error("cannot bind udp {address}")]
    Socket {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The TLS configuration lacks what QUIC needs (TLS 1.3 with AES-128-GCM).
    #[error("TLS configuration does not fit QUIC")]
    Tls(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Dialling failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// QUIC could not even start: a bad name or an ended dialer.
    #[error("cannot dial {address}")]
    Start {
        /// What was dialled.
        address: SocketAddr,
        /// Why not.
        source: quinn::ConnectError,
    },
    /// Nothing came in time.
    #[error("no answer from udp {address} within {} s: is the hub up, and is UDP allowed on the way?", within.as_secs_f32())]
    Timeout {
        /// What was dialled.
        address: SocketAddr,
        /// The deadline.
        within: Duration,
    },
    /// Something came, but not all of a handshake in time.
    #[error(
        "udp {address} answers, but no handshake was done within {} s: too many agents may be dialling, or packets are lost",
        defaults::HANDSHAKE.as_secs_f32()
    )]
    Slow {
        /// What was dialled.
        address: SocketAddr,
    },
    /// The hub or TLS refused.
    #[error("link to udp {address} refused: {end}")]
    Refused {
        /// What was dialled.
        address: SocketAddr,
        /// What the hub or TLS said.
        end: LinkEnd,
    },
}

/// A peer that dialled did not become a link.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("handshake not done within {} s", defaults::HANDSHAKE.as_secs())]
    Timeout,
    /// TLS or QUIC failed.
    #[error("handshake failed: {0}")]
    Failed(LinkEnd),
}

/// The hub's end: takes links.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
}

/// A peer that is dialling.
#[derive(Debug)]
pub struct Handshake {
    incoming: Incoming,
}

impl Listener {
    /// Binds `address` and takes links with the given TLS (mutual, ALPN set, no resumption: see `identity`).
    ///
    /// # Errors
    /// When the socket cannot be had or TLS does not fit.
    pub fn bind(address: SocketAddr, tls: Arc<rustls::ServerConfig>, keys: RestartKeys) -> Result<Self, BindError> {
        Self::on(udp_socket(address)?, tls, keys)
    }

    /// As [`Listener::bind`], on a socket that is there already.
    ///
    /// # Errors
    /// When TLS does not fit, or the runtime cannot use the socket.
    pub fn on(socket: UdpSocket, tls: Arc<rustls::ServerConfig>, keys: RestartKeys) -> Result<Self, BindError> {
        let crypto = QuicServerConfig::try_from(tls).map_err(BindError::Tls)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::new(hub_transport()))
            .max_incoming(defaults::HANDSHAKES_WAITING + defaults::HANDSHAKES)
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(32 << 20);
        let (endpoint, _) = endpoint(socket, keys.endpoint_config(), Some(config))?;
        Ok(Self { endpoint })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The next peer that dials; `None` once the listener is closed.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn accept(&self) -> Option<Handshake> {
        self.endpoint.accept().await.map(|incoming| Handshake { incoming })
    }

    /// Closes every link and waits, at most `grace`, until the peers know.
    pub async fn close(&self, code: CloseCode, grace: Duration) {
        close(&self.endpoint, code, grace).await;
    }
}

impl Handshake {
    /// Where the peer says it is.
    pub fn remote_address(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Whether the address proved that it receives what is sent to it.
    pub fn address_validated(&self) -> bool {
        self.incoming.remote_address_validated()
    }

    /// Asks the peer to prove its address first (Retry).
    pub fn retry(self) {
        if let Err(error) = self.incoming.retry() {
            error.into_incoming().ignore();
        }
    }

    /// Refuses the peer at once.
    pub fn refuse(self) {
        self.incoming.refuse();
    }

    /// Runs the handshake.
    ///
    /// # Errors
    /// When TLS refuses the peer, or after [`defaults::HANDSHAKE`].
    pub async fn finish(self) -> Result<Link, HandshakeError> {
        let connecting = self.incoming.accept().map_err(|error| HandshakeError::Failed(error.into()))?;
        match timeout(defaults::HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Ok(Link::new(connection)),
            Ok(Err(error)) => Err(HandshakeError::Failed(error.into())),
            Err(_) => Err(HandshakeError::Timeout),
        }
    }
}

/// The agent's end: makes links.
#[derive(Debug)]
pub struct Dialer {
    endpoint: Endpoint,
    socket: Arc<LinkSocket>,
}

impl Dialer {
    /// Binds a UDP socket of any port, of the family of `towards`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn bind(towards: SocketAddr) -> Result<Self, BindError> {
        let any = if towards.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let address = any.parse().expect("a literal address");
        let (endpoint, socket) = endpoint(udp_socket(address)?, agent_endpoint(), None)?;
        Ok(Self { endpoint, socket })
    }

    /// Dials one link. `name` is the name sent as SNI; the hub is verified by its certificate's identity. Something must come back `within`
    /// that time. What answers has [`defaults::HANDSHAKE`] in all: to give up on a hub to which a whole fleet returns at once would only make it
    /// begin anew, and those that do so keep it from ever finishing one.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(
        &self,
        address: SocketAddr,
        name: &str,
        tls: Arc<rustls::ClientConfig>,
        within: Duration,
    ) -> Result<Link, DialError> {
        let refused = |error: LinkEnd| DialError::Refused { address, end: error };
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| refused(LinkEnd::Transport(error.to_string())))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(agent_transport()));
        self.socket.heard.store(false, Ordering::Relaxed);
        let mut connecting: Connecting =
            self.endpoint.connect_with(config, address, name).map_err(|source| DialError::Start { address, source })?;
        let mut done = timeout(within, &mut connecting).await;
        if done.is_err() {
            // On a busy machine what has come may not be read yet.
            yield_now().await;
            if !self.socket.heard.load(Ordering::Relaxed) {
                return Err(DialError::Timeout { address, within });
            }
            done = timeout(defaults::HANDSHAKE.saturating_sub(within), connecting).await;
        }
        match done {
            Ok(Ok(connection)) => Ok(Link::new(connection)),
            Ok(Err(error)) => Err(refused(error.into())),
            Err(_) => Err(DialError::Slow { address }),
        }
    }

    /// Closes every link and waits, at most `grace`, until the hub knows.
    pub async fn close(&self, code: CloseCode, grace: Duration) {
        close(&self.endpoint, code, grace).await;
    }
}

async fn close(endpoint: &Endpoint, code: CloseCode, grace: Duration) {
    endpoint.close(quinn::VarInt::from_u64(code.code()).unwrap_or(quinn::VarInt::MAX), code.as_str().as_bytes());
    // A peer in bad shape must not hold up the end of the process.
    let _ = timeout(grace, endpoint.wait_idle()).await;
}

/// A UDP socket for links, with buffers for many of them.
///
/// # Errors
/// When it cannot be had.
pub fn udp_socket(address: SocketAddr) -> Result<UdpSocket, BindError> {
    let bind = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // The kernel clamps to net.core.{r,w}mem_max; what it gives is logged below.
        let _ = socket.set_recv_buffer_size(defaults::UDP_BUFFER);
        let _ = socket.set_send_buffer_size(defaults::UDP_BUFFER);
        socket.bind(&address.into())?;
        tracing::debug!(receive_buffer = socket.recv_buffer_size().unwrap_or(0), "udp socket bound");
        Ok(socket.into())
    };
    bind().map_err(|source| BindError::Socket { address, source })
}

fn endpoint(
    socket: UdpSocket,
    config: EndpointConfig,
    server: Option<ServerConfig>,
) -> Result<(Endpoint, Arc<LinkSocket>), BindError> {
    let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
    let segments = if server.is_some() { defaults::HUB_SEGMENTS } else { usize::MAX };
    let bound = || {
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        let socket = Arc::new(LinkSocket { socket, segments, heard: AtomicBool::new(false) });
        let endpoint = Endpoint::new_with_abstract_socket(config, server, socket.clone(), Arc::new(TokioRuntime))?;
        Ok((endpoint, socket))
    };
    bound().map_err(|source| BindError::Socket { address, source })
}
