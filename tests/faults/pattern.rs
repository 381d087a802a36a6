//! Bytes that are known at every place, so that a lost, repeated or moved one shows.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::noise::Noise;

/// The pattern repeats after this: a prime, so that no buffer's size hides a shift.
const PERIOD: usize = 65_521;

fn block() -> &'static Bytes {
    static BLOCK: OnceLock<Bytes> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut noise = Noise(0x2545_F491_4F6C_DD1D);
        (0..PERIOD).map(|_| (noise.next() >> 24) as u8).collect()
    })
}

/// A body of so many bytes of the pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    left: u64,
}

impl Pattern {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    /// So many bytes from some place on.
    #[allow(dead_code, reason = "only the lab uploads")]
    pub(crate) fn slice(at: usize, bytes: usize) -> Vec<u8> {
        block().iter().copied().cycle().skip(at % PERIOD).take(bytes).collect()
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let now = self.left.min(PERIOD as u64);
        if now == 0 {
            return Poll::Ready(None);
        }
        self.left -= now;
        Poll::Ready(Some(Ok(Frame::data(block().slice(..now as usize)))))
    }
}

/// Compares what came with the pattern.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Check {
    bytes: u64,
    wrong: bool,
}

impl Check {
    /// The next bytes.
    pub(crate) fn take(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let at = (self.bytes % PERIOD as u64) as usize;
            let length = data.len().min(PERIOD - at);
            self.wrong |= data[..length] != block()[at..at + length];
            self.bytes += length as u64;
            data = &data[length..];
        }
    }

    /// How many came.
    pub(crate) fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether each was the one that belongs there.
    pub(crate) fn right(self) -> bool {
        !self.wrong
    }
}
