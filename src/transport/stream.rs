//! The sending half of a stream, and how both halves fail: frames out, and no way to end cleanly by accident.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quinn::{SendStream, VarInt, WriteError};

use super::LinkEnd;
use crate::wire::{
    CodecError, Direction, FrameKind, MAX_PAYLOAD, ReceptionError, Rules, RulesError, StreamCode, encode_frame,
    encode_open, frame_header, generated::Open,
};

/// Room for what goes before and after one message: opening, header, end, bytes.
const FRAME_HEADERS: usize = 16;

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

pub(super) fn varint(code: StreamCode) -> VarInt {
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

    /// Of this stream, among those that its opener opened.
    pub fn number(&self) -> u64 {
        self.stream.id().index()
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

    /// Makes room for so many bytes of frames at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.queue.reserve(bytes + FRAME_HEADERS);
    }

    /// Queues a frame; [`SendHalf::flush`] sends it. `payload` is at most [`MAX_PAYLOAD`].
    ///
    /// # Panics
    /// In debug builds, when the contract does not allow this frame now: a bug of the caller.
    pub fn queue(&mut self, kind: FrameKind, payload: &[u8]) {
        self.allow(kind);
        encode_frame(kind, payload, &mut self.queue);
    }

    /// Queues a frame with a message; as [`SendHalf::queue`], without a copy of it.
    ///
    /// # Panics
    /// As [`SendHalf::queue`].
    pub fn queue_message(&mut self, kind: FrameKind, message: &impl Message) {
        self.allow(kind);
        let len = message.encoded_len();
        self.reserve(len);
        frame_header(kind, len, &mut self.queue);
        message.encode(&mut self.queue).expect("it grows");
    }

    /// Queues body bytes as DATA frames, however many there are.
    pub fn queue_data(&mut self, data: &[u8]) {
        data.chunks(MAX_PAYLOAD).for_each(|payload| self.queue(FrameKind::Data, payload));
    }

    /// Queues pieces of a body that came together in as few DATA frames as they fit into: what is small on the way in need not
    /// be small on the way out.
    pub fn queue_pieces(&mut self, pieces: &[Bytes]) {
        let mut left: usize = pieces.iter().map(Bytes::len).sum();
        // At once: to grow piece by piece copies what is there each time.
        self.queue.reserve(left + FRAME_HEADERS * (1 + left / MAX_PAYLOAD));
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
