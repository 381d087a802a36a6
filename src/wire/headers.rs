//! Headers of a request or an answer as they travel.

use bytes::{BufMut, BytesMut};

use super::generated::Header;

/// Room for what most heads have, bytes.
const USUAL: usize = 512;

/// The headers of a head. They are copied into few pieces of memory, not each into two of its own.
pub fn headers<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<Header> {
    let mut all = BytesMut::with_capacity(USUAL);
    let mut piece = |bytes: &[u8]| {
        all.put_slice(bytes);
        all.split().freeze()
    };
    pairs.map(|(name, value)| Header { name: piece(name), value: piece(value) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_travel_in_order_and_repeated() {
        let pairs: [(&[u8], &[u8]); 3] = [(b"accept", b"a"), (b"x-empty", b""), (b"accept", b"\xff")];
        let headers = headers(pairs.into_iter());
        let back: Vec<_> = headers.iter().map(|header| (&header.name[..], &header.value[..])).collect();
        assert_eq!(back, pairs);
    }
}
