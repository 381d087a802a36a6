//! Header blocks of the client's frames: zlib over the whole direction, with the SPDY/3 dictionary.

use flate2::{Decompress, FlushDecompress};

use super::dictionary::dictionary;
use super::frame::Head;

/// Largest compressed block, and largest decompressed, in bytes; those of `exec` are below 100.
const MAX_BLOCK: usize = 16 * 1024;

/// Header by which the client says what a stream is for.
const STREAM_TYPE: &[u8] = b"streamtype";

/// Collects and reads the header blocks of one direction.
#[derive(Debug)]
pub(super) struct HeaderReader {
    inflate: Decompress,
    /// The payload so far of a frame that has a header block.
    payload: Vec<u8>,
}

/// A stream that a block opened.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Opened {
    pub(super) id: u32,
    pub(super) is_error: bool,
}

/// The block is not what SPDY/3 allows, or above the limit.
#[derive(Debug)]
pub(super) struct Unreadable;

impl HeaderReader {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(true), payload: Vec::new() }
    }

    /// Takes part of a frame's payload. At its end, reads the block, for which every block before it must have been
    /// read; gives the stream if the frame opened one.
    pub(super) fn push(&mut self, head: Head, part: &[u8], last: bool) -> Result<Option<Opened>, Unreadable> {
        let Some(offset) = head.block_offset() else { return Ok(None) };
        if self.payload.len() + part.len() > MAX_BLOCK {
            return Err(Unreadable);
        }
        self.payload.extend(part);
        if !last {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.payload);
        let (fixed, block) = payload.split_at_checked(offset).ok_or(Unreadable)?;
        let headers = self.inflate(block)?;
        let id = fixed.first_chunk::<4>().ok_or(Unreadable)?;
        let id = u32::from_be_bytes(*id) & 0x7fff_ffff;
        let is_error = stream_type(&headers)? == Some(b"error".as_slice());
        Ok(head.opens_stream().then_some(Opened { id, is_error }))
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut out = Vec::with_capacity(256);
        let start = self.inflate.total_in();
        loop {
            let used = usize::try_from(self.inflate.total_in() - start).map_err(|_| Unreadable)?;
            let rest = block.get(used..).ok_or(Unreadable)?;
            let full = out.len() == out.capacity();
            if full {
                out.reserve(out.len().max(256));
            }
            if rest.is_empty() && !full {
                return Ok(out);
            }
            let before = (used, out.len());
            match self.inflate.decompress_vec(rest, &mut out, FlushDecompress::Sync) {
                Ok(_) => {
                    let used = usize::try_from(self.inflate.total_in() - start).map_err(|_| Unreadable)?;
                    if rest.is_empty() && out.len() == before.1 {
                        return Ok(out);
                    }
                    if (used, out.len()) == before || out.len() > MAX_BLOCK {
                        return Err(Unreadable);
                    }
                }
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&dictionary()).map_err(|_| Unreadable)?;
                }
                Err(_) => return Err(Unreadable),
            }
        }
    }
}

/// The value of `streamtype` in a block: a count, then names and values, each with its length before it.
fn stream_type(block: &[u8]) -> Result<Option<&[u8]>, Unreadable> {
    let (count, mut rest) = block.split_first_chunk::<4>().ok_or(Unreadable)?;
    let mut found = None;
    for _ in 0..u32::from_be_bytes(*count) {
        let (name, after) = take_text(rest)?;
        let (value, after) = take_text(after)?;
        if name.eq_ignore_ascii_case(STREAM_TYPE) {
            found = Some(value);
        }
        rest = after;
    }
    Ok(found)
}

fn take_text(bytes: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Unreadable)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Unreadable)?;
    rest.split_at_checked(length).ok_or(Unreadable)
}
