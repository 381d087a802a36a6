//! TLS handshakes of clients, some at a time. When thousands come at once, all of them in parallel would all be too late: those that
//! are begun are finished first, and those that waited too long cost nothing any more.

use std::sync::Arc;

use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::defaults;

/// The way in.
#[derive(Clone)]
pub(super) struct Entrance {
    acceptor: TlsAcceptor,
    turns: Arc<Semaphore>,
}

impl Entrance {
    pub(super) fn new(acceptor: TlsAcceptor) -> Self {
        Self { acceptor, turns: Arc::new(Semaphore::new(defaults::TLS_TURNS)) }
    }

    /// The handshake; `None` when it fails, or is not done [`defaults::REQUEST_HEAD`] after the connection was taken.
    pub(super) async fn pass(&self, tcp: TcpStream) -> Option<TlsStream<TcpStream>> {
        timeout(defaults::REQUEST_HEAD, self.shake(tcp)).await.ok().flatten()
    }

    async fn shake(&self, tcp: TcpStream) -> Option<TlsStream<TcpStream>> {
        // A client that says nothing takes nobody's turn.
        tcp.readable().await.ok()?;
        let turn = self.turns.acquire().await.ok()?;
        let handshake = self.acceptor.accept(tcp);
        tokio::pin!(handshake);
        // What is dear is done with the first answer; a client that is slow or stops there does not hold up the others.
        let done = timeout(defaults::TLS_TURN, &mut handshake).await;
        drop(turn);
        match done {
            Ok(done) => done.ok(),
            Err(_) => handshake.await.ok(),
        }
    }
}
