//! One direction of a stream as its receiver sees it: bytes in, frames out in a legal order, and whether it came to its end.

use bytes::BytesMut;

use super::{CodecError, Decoder, Direction, Frame, Rules, RulesError};

/// What received bytes amount to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// The next frame; never END.
    Frame(Frame),
    /// The clean end: END came.
    End,
    /// ERROR came before: there is no more, and what came is not whole.
    Failed,
    /// More bytes are needed. When none come any more the stream was cut.
    More,
}

/// The peer broke the contract; the stream is to be cut with [`super::StreamCode::Protocol`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceptionError {
    /// What came is no frame.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A frame came out of order.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// The receiver of one direction.
#[derive(Debug)]
pub struct Reception {
    decoder: Decoder,
    rules: Rules,
}

impl Reception {
    /// Of a fresh stream.
    pub fn new(direction: Direction) -> Self {
        Self { decoder: Decoder::default(), rules: Rules::new(direction) }
    }

    /// Whether nothing may follow any more.
    pub fn closed(&self) -> bool {
        self.rules.closed()
    }

    /// Whether `buf` begins with one whole DATA frame and the clean end after it.
    pub fn is_rest(&self, buf: &[u8]) -> bool {
        self.decoder.is_rest(buf)
    }

    /// Takes the next frame out of `buf`.
    ///
    /// # Errors
    /// When the bytes are no frame, or one that may not come now.
    pub fn take(&mut self, buf: &mut BytesMut) -> Result<Received, ReceptionError> {
        loop {
            if self.rules.ended() {
                return Ok(Received::End);
            }
            if self.rules.closed() {
                return Ok(Received::Failed);
            }
            let Some(frame) = self.decoder.decode(buf)? else { return Ok(Received::More) };
            self.rules.accept(frame.kind())?;
            if frame != Frame::End {
                return Ok(Received::Frame(frame));
            }
        }
    }
}
