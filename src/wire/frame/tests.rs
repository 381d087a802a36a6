//! Frames byte by byte, round trips, and that no bytes make the decoder panic.

use proptest::prelude::*;

use super::*;

fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, CodecError> {
    let (mut decoder, mut buf, mut frames) = (Decoder::default(), BytesMut::from(bytes), Vec::new());
    while let Some(frame) = decoder.decode(&mut buf)? {
        frames.push(frame);
    }
    Ok(frames)
}

#[test]
fn frames_have_these_bytes() {
    let cases: [(FrameKind, &[u8], &[u8]); 6] = [
        (FrameKind::Head, b"h", &[1, 1, b'h']),
        (FrameKind::Dispatched, b"", &[2, 0]),
        (FrameKind::Data, b"abc", &[3, 3, b'a', b'b', b'c']),
        (FrameKind::Trailers, b"", &[4, 0]),
        (FrameKind::End, b"", &[5, 0]),
        (FrameKind::Message, b"m", &[7, 1, b'm']),
    ];
    for (kind, payload, bytes) in cases {
        let mut out = BytesMut::new();
        encode_frame(kind, payload, &mut out);
        assert_eq!(out, bytes, "{kind:?}");
    }
    let mut out = BytesMut::new();
    frame_header(FrameKind::Data, MAX_PAYLOAD, &mut out);
    assert_eq!(out[..], [3, 0x80, 0x80, 0x04]);
}

#[test]
fn only_one_whole_piece_and_its_end_are_the_rest() {
    let whole: &[u8] = &[3, 2, b'a', b'b', 5, 0];
    let rest = |bytes: &[u8]| Decoder::default().is_rest(bytes);
    assert!(rest(whole) && rest(&[whole, b"more"].concat()));
    // Cut anywhere, it is not.
    assert!((0..whole.len()).all(|end| !rest(&whole[..end])));
    for other in [&[5, 0][..], &[3, 1, b'a', 3, 1, b'b', 5, 0], &[3, 1, b'a', 6, 0], &[1, 1, b'a', 5, 0], &[9, 9]] {
        assert!(!rest(other), "{other:?}");
    }
    // In the middle of a piece nothing is.
    let mut begun = Decoder::default();
    begun.decode(&mut BytesMut::from(&[3, 9, b'a'][..])).unwrap();
    assert!(!begun.is_rest(whole));
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    let cases: [(&[u8], CodecError); 8] = [
        (&[0], CodecError::UnknownKind(0)),
        (&[8, 0], CodecError::UnknownKind(8)),
        (&[3, 0], CodecError::Payload(FrameKind::Data)),
        (&[1, 0], CodecError::Payload(FrameKind::Head)),
        (&[5, 1, 0], CodecError::Payload(FrameKind::End)),
        (&[3, 0x81, 0x00], CodecError::Length),
        (&[3, 0x81, 0x80, 0x04], CodecError::Length),
        (&[3, 0xff, 0xff, 0xff, 0x01], CodecError::Length),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode_all(bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn data_is_handed_on_before_its_frame_is_whole() {
    let (mut decoder, mut buf) = (Decoder::default(), BytesMut::from(&[3u8, 4, b'a', b'b'][..]));
    assert_eq!(decoder.decode(&mut buf), Ok(Some(Frame::Data(Bytes::from_static(b"ab")))));
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    assert!(!decoder.at_boundary(&buf));
    buf.extend_from_slice(&[b'c', b'd', 5, 0]);
    assert_eq!(decoder.decode(&mut buf), Ok(Some(Frame::Data(Bytes::from_static(b"cd")))));
    assert_eq!(decoder.decode(&mut buf), Ok(Some(Frame::End)));
    assert!(decoder.at_boundary(&buf));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_all(&bytes);
    }

    #[test]
    fn data_survives_any_cut(payload in proptest::collection::vec(any::<u8>(), 1..5000), cut in 1usize..700) {
        let mut wire = BytesMut::new();
        encode_frame(FrameKind::Head, b"head", &mut wire);
        encode_frame(FrameKind::Data, &payload, &mut wire);
        encode_frame(FrameKind::End, b"", &mut wire);
        let (mut decoder, mut buf, mut got, mut kinds) = (Decoder::default(), BytesMut::new(), Vec::new(), Vec::new());
        for piece in wire.chunks(cut) {
            buf.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut buf).unwrap() {
                kinds.push(frame.kind());
                if let Frame::Data(bytes) = frame { got.extend_from_slice(&bytes) }
            }
        }
        kinds.dedup();
        prop_assert_eq!(kinds, [FrameKind::Head, FrameKind::Data, FrameKind::End]);
        prop_assert_eq!(got, payload);
        prop_assert!(decoder.at_boundary(&buf));
    }
}
