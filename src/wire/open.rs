//! The first bytes of a stream: one length-delimited `Open`.

use bytes::{Buf, BytesMut};
use prost::Message;

use super::{CodecError, generated::Open};

/// No `Open` of version 1 comes near this, in bytes; room for fields of newer versions.
const MAX_OPEN: usize = 4096;

/// Appends a length-delimited `Open`.
pub fn encode_open(open: &Open, out: &mut BytesMut) {
    open.encode_length_delimited(out).expect("a BytesMut grows");
}

/// Reads the `Open` of a stream that the peer opened.
#[derive(Debug, Default)]
pub struct OpenDecoder;

impl OpenDecoder {
    /// The `Open` at the start of `buf`, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`CodecError::Open`] when it is too large or no `Open`.
    pub fn decode(buf: &mut BytesMut) -> Result<Option<Open>, CodecError> {
        let mut len = 0usize;
        for i in 0..2 {
            let Some(&byte) = buf.get(i) else { return Ok(None) };
            len |= usize::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Self::body(buf, i + 1, len);
            }
        }
        Err(CodecError::Open)
    }

    fn body(buf: &mut BytesMut, header: usize, len: usize) -> Result<Option<Open>, CodecError> {
        if len > MAX_OPEN {
            return Err(CodecError::Open);
        }
        if buf.len() < header + len {
            return Ok(None);
        }
        buf.advance(header);
        Open::decode(buf.split_to(len)).map(Some).map_err(|_| CodecError::Open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::generated::{Control, Proxy, open::Kind};

    #[test]
    fn open_has_these_bytes_and_comes_back() {
        for (kind, bytes) in [(Kind::Proxy(Proxy {}), &[2, 0x0a, 0][..]), (Kind::Control(Control {}), &[2, 0x12, 0])] {
            let open = Open { kind: Some(kind) };
            let mut buf = BytesMut::new();
            encode_open(&open, &mut buf);
            assert_eq!(buf, bytes);
            assert_eq!(OpenDecoder::decode(&mut buf), Ok(Some(open)));
            assert!(buf.is_empty());
        }
    }

    #[test]
    fn an_open_above_the_limit_is_refused_before_it_arrives() {
        assert_eq!(OpenDecoder::decode(&mut BytesMut::from(&[0xff, 0x7f][..])), Err(CodecError::Open));
        assert_eq!(OpenDecoder::decode(&mut BytesMut::from(&[0xff, 0xff][..])), Err(CodecError::Open));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = OpenDecoder::decode(&mut BytesMut::from(&bytes[..]));
        }
    }
}
