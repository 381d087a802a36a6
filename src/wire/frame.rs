//! Frames: a type byte, a varint length, and at most 64 KiB of payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most payload that one frame carries, in bytes. Larger bodies are many DATA frames.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// A varint of a length up to [`MAX_PAYLOAD`] takes at most three bytes (7 bits each).
const MAX_LENGTH_BYTES: usize = 3;

/// What a frame is. The numbers are the wire's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum FrameKind {
    /// A request's or response's head (protobuf).
    Head = 1,
    /// Bytes of the request may have reached the API server from here on. No payload.
    Dispatched = 2,
    /// Bytes of the body.
    Data = 3,
    /// Trailing headers (protobuf).
    Trailers = 4,
    /// The clean end of one direction. No payload. A stream that stops without it was cut.
    End = 5,
    /// The exchange failed (protobuf `Failure`).
    Error = 6,
    /// A message of a control stream (protobuf).
    Message = 7,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Head,
            2 => Self::Dispatched,
            3 => Self::Data,
            4 => Self::Trailers,
            5 => Self::End,
            6 => Self::Error,
            7 => Self::Message,
            _ => return None,
        })
    }
}

/// A decoded frame. DATA may come in pieces: bytes are passed on as they arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// See [`FrameKind::Head`].
    Head(Bytes),
    /// See [`FrameKind::Dispatched`].
    Dispatched,
    /// Some bytes of a DATA frame, never empty.
    Data(Bytes),
    /// See [`FrameKind::Trailers`].
    Trailers(Bytes),
    /// See [`FrameKind::End`].
    End,
    /// See [`FrameKind::Error`].
    Error(Bytes),
    /// See [`FrameKind::Message`].
    Message(Bytes),
}

impl Frame {
    /// Its kind.
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Head(_) => FrameKind::Head,
            Self::Dispatched => FrameKind::Dispatched,
            Self::Data(_) => FrameKind::Data,
            Self::Trailers(_) => FrameKind::Trailers,
            Self::End => FrameKind::End,
            Self::Error(_) => FrameKind::Error,
            Self::Message(_) => FrameKind::Message,
        }
    }
}

/// The peer sent bytes that are no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// A type byte that this version does not know.
    #[error("unknown frame type {0}")]
    UnknownKind(u8),
    /// More than [`MAX_PAYLOAD`], or a length that is not in its shortest form.
    #[error("frame length is not a minimal varint of at most {MAX_PAYLOAD}")]
    Length,
    /// A payload where there must be none, or none where there must be one.
    #[error("frame of kind {0:?} has a payload it must not have, or lacks one")]
    Payload(FrameKind),
    /// The stream's first message is larger than allowed or no protobuf.
    #[error("stream does not start with a valid open message")]
    Open,
}

/// The bytes that go before a payload of `len` bytes.
///
/// # Panics
/// If `len` is more than [`MAX_PAYLOAD`]: a bug of the caller.
pub fn frame_header(kind: FrameKind, len: usize, out: &mut BytesMut) {
    assert!(len <= MAX_PAYLOAD, "frame payload above the wire's limit");
    out.put_u8(kind as u8);
    prost::encoding::encode_varint(len as u64, out);
}

/// Appends a whole frame.
///
/// # Panics
/// If the payload is more than [`MAX_PAYLOAD`]: a bug of the caller.
pub fn encode_frame(kind: FrameKind, payload: &[u8], out: &mut BytesMut) {
    frame_header(kind, payload.len(), out);
    out.put_slice(payload);
}

/// Turns received bytes into frames. Holds no bytes itself: they stay in the caller's buffer until a frame is whole,
/// except DATA, which is handed on at once.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the current DATA frame that have not arrived.
    data_left: usize,
}

impl Decoder {
    /// The next frame in `buf`, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no frame. The stream is to be reset then.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        if self.data_left > 0 {
            return Ok(self.take_data(buf));
        }
        let Some((kind, len, header)) = parse_header(buf)? else { return Ok(None) };
        let empty_kind = matches!(kind, FrameKind::Dispatched | FrameKind::End);
        if empty_kind != (len == 0) && kind != FrameKind::Trailers && kind != FrameKind::Error {
            return Err(CodecError::Payload(kind));
        }
        if kind == FrameKind::Data {
            buf.advance(header);
            self.data_left = len;
            return Ok(self.take_data(buf));
        }
        if buf.len() < header + len {
            return Ok(None);
        }
        buf.advance(header);
        let payload = buf.split_to(len).freeze();
        Ok(Some(match kind {
            FrameKind::Head => Frame::Head(payload),
            FrameKind::Dispatched => Frame::Dispatched,
            FrameKind::Data => Frame::Data(payload),
            FrameKind::Trailers => Frame::Trailers(payload),
            FrameKind::End => Frame::End,
            FrameKind::Error => Frame::Error(payload),
            FrameKind::Message => Frame::Message(payload),
        }))
    }

    /// Whether `buf` begins with one whole DATA frame and END after it.
    pub fn is_rest(&self, buf: &[u8]) -> bool {
        let Ok(Some((FrameKind::Data, len, header))) = parse_header(buf) else { return false };
        let after = buf.get(header + len..).unwrap_or_default();
        self.data_left == 0 && matches!(parse_header(after), Ok(Some((FrameKind::End, 0, _))))
    }

    /// Whether the stream may end here without cutting a frame in two, given that `buf` holds what is left.
    pub fn at_boundary(&self, buf: &BytesMut) -> bool {
        self.data_left == 0 && buf.is_empty()
    }

    fn take_data(&mut self, buf: &mut BytesMut) -> Option<Frame> {
        let n = self.data_left.min(buf.len());
        if n == 0 {
            return None;
        }
        self.data_left -= n;
        Some(Frame::Data(buf.split_to(n).freeze()))
    }
}

/// Kind, payload length and length of the header; `None` when the header is not whole.
fn parse_header(buf: &[u8]) -> Result<Option<(FrameKind, usize, usize)>, CodecError> {
    let Some(&first) = buf.first() else { return Ok(None) };
    let kind = FrameKind::from_byte(first).ok_or(CodecError::UnknownKind(first))?;
    let mut len = 0usize;
    for i in 0..MAX_LENGTH_BYTES {
        let Some(&byte) = buf.get(1 + i) else { return Ok(None) };
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let minimal = i == 0 || byte != 0;
            return if minimal && len <= MAX_PAYLOAD { Ok(Some((kind, len, 2 + i))) } else { Err(CodecError::Length) };
        }
    }
    Err(CodecError::Length)
}

#[cfg(test)]
mod tests;
