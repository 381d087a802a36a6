//! The receiving half of a stream: bytes in, frames out.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::stream::{RecvError, varint};
use crate::wire::{Direction, Frame, OpenDecoder, Received, Reception, StreamCode, generated::Open};

/// How much of a stream is read at once when little comes, bytes: what most small answers take, and just what the C library's
/// allocator has at hand.
const SMALL_READ: usize = 1000;
/// By how much more is read once that was not enough.
const MORE: usize = 8;
/// How much of a stream is read at once when much comes, bytes.
const LARGE_READ: usize = 64 * 1024;

/// quinn's reader as `AsyncRead` wraps its own error in the I/O error.
fn read_error(error: io::Error) -> RecvError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>()) {
        Some(ReadError::Reset(code)) => RecvError::Cut(code.into_inner().into()),
        Some(ReadError::ConnectionLost(end)) => RecvError::Lost(end.clone().into()),
        _ => RecvError::Closed,
    }
}

/// The receiving half. Dropped before the end of the stream, it tells the peer to stop.
#[derive(Debug)]
pub struct RecvHalf {
    stream: RecvStream,
    buf: BytesMut,
    reception: Reception,
    read_size: usize,
    finished: bool,
}

impl RecvHalf {
    pub(super) fn new(stream: RecvStream, direction: Direction) -> Self {
        Self {
            stream,
            buf: BytesMut::new(),
            reception: Reception::new(direction),
            read_size: SMALL_READ,
            finished: false,
        }
    }

    /// Reads the `Open` of a stream that the peer opened, then expects what `direction` says of its kind.
    pub(super) async fn open(&mut self) -> Result<Open, RecvError> {
        loop {
            if let Some(open) = OpenDecoder::decode(&mut self.buf)? {
                return Ok(open);
            }
            if !std::future::poll_fn(|cx| self.poll_fill(cx)).await? {
                return Err(RecvError::Unfinished);
            }
        }
    }

    /// Of this stream, among those that its opener opened.
    pub fn number(&self) -> u64 {
        self.stream.id().index()
    }

    pub(super) fn set_direction(&mut self, direction: Direction) {
        self.reception = Reception::new(direction);
    }

    /// The next frame; `None` after the clean end. END and the finish of the stream are one here.
    ///
    /// # Errors
    /// When the stream was cut, ended without END, or broke the contract.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>, RecvError>> {
        loop {
            let received = self.reception.take(&mut self.buf)?;
            if self.reception.closed() && !matches!(received, Received::Frame(_)) {
                // Usually the finish came with the last frame: taking it spares the peer a STOP_SENDING.
                let _ = self.poll_fill(cx);
            }
            match received {
                Received::Frame(frame) => return Poll::Ready(Ok(Some(frame))),
                Received::End => return Poll::Ready(Ok(None)),
                Received::Failed => return Poll::Ready(Err(RecvError::Closed)),
                Received::More if ready!(self.poll_fill(cx))? => {}
                Received::More => return Poll::Ready(Err(RecvError::Unfinished)),
            }
        }
    }

    /// The rest of the stream, if it is here and small: one DATA frame and the clean end. Never waits.
    ///
    /// # Errors
    /// As [`RecvHalf::poll_frame`].
    pub fn take_rest(&mut self, cx: &mut Context<'_>) -> Result<Option<Bytes>, RecvError> {
        if self.read_size > SMALL_READ
            && let Poll::Ready(Err(error)) = self.poll_fill(cx)
        {
            return Err(error);
        }
        if !self.reception.is_rest(&self.buf) {
            return Ok(None);
        }
        match (self.poll_frame(cx), self.poll_frame(cx)) {
            (Poll::Ready(Ok(Some(Frame::Data(rest)))), Poll::Ready(Ok(None))) => Ok(Some(rest)),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Err(error),
            _ => Err(RecvError::Unfinished),
        }
    }

    /// As [`RecvHalf::poll_frame`].
    ///
    /// # Cancel safety
    /// Safe: a frame is taken only when it is returned.
    ///
    /// # Errors
    /// As [`RecvHalf::poll_frame`].
    pub async fn frame(&mut self) -> Result<Option<Frame>, RecvError> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Tells the peer to stop sending, and why.
    pub fn stop(mut self, code: StreamCode) {
        self.stop_sending(code);
    }

    /// Reads what is there. `false` when the peer finished the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, RecvError>> {
        let read = if self.read_size == SMALL_READ { self.poll_little(cx) } else { self.poll_much(cx) };
        let Poll::Ready(read) = read else {
            self.read_size = SMALL_READ;
            if self.buf.is_empty() {
                self.buf = BytesMut::new();
            }
            return Poll::Pending;
        };
        let n = read.inspect_err(|_| self.finished = true).map_err(read_error)?;
        self.finished = n == 0;
        if n >= self.read_size {
            self.read_size = (self.read_size * MORE).min(LARGE_READ);
        }
        Poll::Ready(Ok(n > 0))
    }

    /// By way of the stack: mostly nothing is there, and then nothing is allocated.
    fn poll_little(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut little = [const { MaybeUninit::uninit() }; SMALL_READ];
        let mut little = ReadBuf::uninit(&mut little);
        ready!(AsyncRead::poll_read(Pin::new(&mut self.stream), cx, &mut little))?;
        self.buf.extend_from_slice(little.filled());
        Poll::Ready(Ok(little.filled().len()))
    }

    fn poll_much(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buf.reserve(self.read_size);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.buf)
    }

    fn stop_sending(&mut self, code: StreamCode) {
        if !std::mem::replace(&mut self.finished, true) {
            // Fails only when the stream is gone already, which is what is wanted.
            let _ = self.stream.stop(varint(code));
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        self.stop_sending(StreamCode::Cancelled);
    }
}
