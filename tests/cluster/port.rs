//! Ports that stay ours: a bound socket that never listens keeps the number while the server that uses it starts, or is down.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

/// A loopback TCP port that nobody else is given; a server that sets `SO_REUSEPORT` may listen on it.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    number: u16,
    _socket: Socket,
}

impl ReservedPort {
    /// Lets the system pick one.
    pub(crate) fn new() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = socket.local_addr()?.as_socket().context("a bound socket without an address")?;
        Ok(Self { number: address.port(), _socket: socket })
    }

    /// The port.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
