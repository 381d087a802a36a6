//! The two halves of a stream: frames out, frames in, and no way to end cleanly by accident.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio_util::io::poll_read_buf;

use super::LinkEnd;
use crate::wire::{
    CodecError, Direction, Frame, FrameKind, MAX_PAYLOAD, OpenDecoder, Received, Reception, ReceptionError, Rules,
    RulesError, StreamCode, encode_frame, encode_open, frame_header, generated::Open,
};

/// How much of a stream is read at once when little comes, bytes. What an idle watch costs.
const SMALL_READ: usize = 2 * 1024;
/// How much of a stream is read at once when much comes, bytes.
const LARGE_READ: usize = 64 * 1024;

/// Which stream of a link goes first when not all can.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// Lists, large bodies.
    Bulk,
    /// Logs, watches, sessions.
    Streaming,
    /// Single objects.
    Interactive,
    /// The link's own messages.
    Control,
}

/// Sending failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The peer does not want more of this stream.
    #[error("stream stopped by the peer: {}", .0.as_str())]
    Stopped(StreamCode),
    /// The link is gone.
    #[error("link lost: {0}")]
    Lost(LinkEnd),
    /// The stream was already ended or cut here.
    #[error("stream is closed")]
    Closed,
}

/// Receiving failed: what came so far is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The peer cut the stream.
    #[error("stream cut by the peer: {}", .0.as_str())]
    Cut(StreamCode),
    /// The peer finished the stream without END.
    #[error("stream finished without its end frame")]
    Unfinished,
    /// The link is gone.
    #[error("link lost: {0}")]
    Lost(LinkEnd),
    /// What came is no frame.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame came out of order.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The stream was already closed here.
    #[error("stream is closed")]
    Closed,
}

impl From<ReceptionError> for RecvError {
    fn from(error: ReceptionError) -> Self {
        match error {
            ReceptionError::Codec(error) => Self::Codec(error),
            ReceptionError::Rules(error) => Self::Rules(error),
        }
    }
}

impl From<WriteError> for SendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Stopped(code.into_inner().into()),
            WriteError::ConnectionLost(end) => Self::Lost(end.into()),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// quinn's reader as `AsyncRead` wraps its own error in the I/O error.
fn read_error(error: std::io::Error) -> RecvError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>()) {
        Some(ReadError::Reset(code)) => RecvError::Cut(code.into_inner().into()),
        Some(ReadError::ConnectionLost(end)) => RecvError::Lost(end.clone().into()),
        _ => RecvError::Closed,
    }
}

fn varint(code: StreamCode) -> VarInt {
    VarInt::from_u64(code.code()).unwrap_or(VarInt::MAX)
}

/// The sending half. Dropped before [`SendHalf::finish`], it resets the stream: quinn's own drop would end it cleanly.
#[derive(Debug)]
pub struct SendHalf {
    stream: SendStream,
    queue: BytesMut,
    writing: Bytes,
    rules: Rules,
    open: bool,
}

impl SendHalf {
    pub(super) fn new(stream: SendStream, direction: Direction) -> Self {
        Self { stream, queue: BytesMut::new(), writing: Bytes::new(), rules: Rules::new(direction), open: true }
    }

    pub(super) fn set_direction(&mut self, direction: Direction) {
        self.rules = Rules::new(direction);
    }

    pub(super) fn queue_open(&mut self, open: &Open) {
        encode_open(open, &mut self.queue);
    }

    /// Ranks this stream among the link's others.
    pub fn set_priority(&self, priority: Priority) {
        let rank = match priority {
            Priority::Bulk => 0,
            Priority::Streaming => 5,
            Priority::Interactive => 10,
            Priority::Control => 20,
        };
        // Fails on a closed stream only, where rank means nothing.
        let _ = self.stream.set_priority(rank);
    }

    /// Queues a frame; [`SendHalf::flush`] sends it. `payload` is at most [`MAX_PAYLOAD`].
    ///
    /// # Panics
    /// In debug builds, when the contract does not allow this frame now: a bug of the caller.
    pub fn queue(&mut self, kind: FrameKind, payload: &[u8]) {
        self.allow(kind);
        encode_frame(kind, payload, &mut self.queue);
    }

    /// Queues body bytes as DATA frames, however many there are.
    pub fn queue_data(&mut self, data: &[u8]) {
        data.chunks(MAX_PAYLOAD).for_each(|payload| self.queue(FrameKind::Data, payload));
    }

    /// Queues pieces of a body that came together in as few DATA frames as they fit into: what is small on the way in need not
    /// be small on the way out.
    pub fn queue_pieces(&mut self, pieces: &[Bytes]) {
        let mut left: usize = pieces.iter().map(Bytes::len).sum();
        let mut room = 0;
        for mut piece in pieces.iter().map(|piece| &piece[..]) {
            while !piece.is_empty() {
                if room == 0 {
                    room = left.min(MAX_PAYLOAD);
                    self.allow(FrameKind::Data);
                    frame_header(FrameKind::Data, room, &mut self.queue);
                }
                let (now, later) = piece.split_at(piece.len().min(room));
                self.queue.put_slice(now);
                (room, left, piece) = (room - now.len(), left - now.len(), later);
            }
        }
    }

    fn allow(&mut self, kind: FrameKind) {
        let allowed = self.rules.accept(kind);
        debug_assert!(allowed.is_ok(), "{allowed:?}");
    }

    /// Bytes queued and not yet handed to QUIC.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.writing.len()
    }

    /// Hands everything queued to QUIC, waiting while the peer's window is full.
    ///
    /// # Cancel safety
    /// Safe: what was not handed over stays queued, in order.
    ///
    /// # Errors
    /// When the peer stopped the stream or the link is lost.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        while self.queued() > 0 {
            if self.writing.is_empty() {
                self.writing = self.queue.split().freeze();
            }
            self.stream.write_chunks(std::slice::from_mut(&mut self.writing)).await?;
        }
        Ok(())
    }

    /// Sends END and finishes the stream: the one clean end.
    ///
    /// # Errors
    /// As [`SendHalf::flush`].
    pub async fn finish(mut self) -> Result<(), SendError> {
        self.queue(FrameKind::End, b"");
        self.flush_last().await
    }

    /// Sends ERROR with the encoded `Failure` and finishes the stream.
    ///
    /// # Errors
    /// As [`SendHalf::flush`].
    pub async fn fail(mut self, failure: &[u8]) -> Result<(), SendError> {
        self.queue(FrameKind::Error, failure);
        self.flush_last().await
    }

    async fn flush_last(&mut self) -> Result<(), SendError> {
        self.flush().await?;
        self.open = false;
        self.stream.finish().map_err(|_| SendError::Closed)
    }

    /// Cuts the stream: the peer sees that it is incomplete, and why.
    pub fn reset(mut self, code: StreamCode) {
        self.cut(code);
    }

    /// Ends when the peer stops this stream, when it was received whole (`None`), or when the link is gone.
    pub fn stopped(&self) -> impl Future<Output = Option<StreamCode>> + Send + use<> {
        let stopped = self.stream.stopped();
        async move {
            match stopped.await {
                Ok(code) => code.map(|c| c.into_inner().into()),
                Err(_) => Some(StreamCode::Dropped),
            }
        }
    }

    fn cut(&mut self, code: StreamCode) {
        if std::mem::take(&mut self.open) {
            // Fails only when the stream is gone already, which is what is wanted.
            let _ = self.stream.reset(varint(code));
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.cut(StreamCode::Dropped);
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
        self.buf.reserve(self.read_size);
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.buf) {
            Poll::Pending => {
                self.read_size = SMALL_READ;
                if self.buf.is_empty() {
                    self.buf = BytesMut::new();
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => {
                self.finished = true;
                Poll::Ready(Err(read_error(error)))
            }
            Poll::Ready(Ok(n)) => {
                self.finished = n == 0;
                if n >= self.read_size {
                    self.read_size = LARGE_READ;
                }
                Poll::Ready(Ok(n > 0))
            }
        }
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
