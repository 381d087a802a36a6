//! The UDP socket of a link.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use crate::defaults;

/// The most that the kernel joins into one datagram on receiving (UDP GRO), bytes.
const JOINED: usize = 65_535;

/// quinn's socket with smaller buffers.
///
/// What is received at once has room for what the kernel joins, not for 64 packets of the largest size: 2 MB instead of 13, for each
/// dial of an agent anew, and touched as a whole when the C library clears it.
#[derive(Debug)]
pub(super) struct LinkSocket {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    /// The most packets that are handed to the kernel at once. Each link keeps a buffer for as many.
    pub(super) segments: usize,
    /// Whether anything has come since it was last cleared, of any link.
    pub(super) heard: AtomicBool,
}

impl AsyncUdpSocket for LinkSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let came = self.socket.poll_recv(cx, bufs, meta);
        // Read first: a link that carries much would write to what all of its threads read.
        if matches!(came, Poll::Ready(Ok(_))) && !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
        came
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments().min(self.segments)
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments().min(JOINED.div_ceil(defaults::LINK_MTU.into()))
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
