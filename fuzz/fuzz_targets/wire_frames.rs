//! Frames: any bytes, in any pieces, decode to the same frames or the same refusal. DATA is handed on as it comes, so only its bytes count.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roadstead::wire::{CodecError, Decoder, Direction, Frame, FrameKind, Rules};

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<CodecError>) {
    let (mut decoder, mut buffer, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Frames with neighbouring DATA as one.
fn joined(frames: &[Frame]) -> Vec<(FrameKind, Vec<u8>)> {
    let mut all: Vec<(FrameKind, Vec<u8>)> = Vec::new();
    for frame in frames {
        let (kind, payload) = match frame {
            Frame::Head(p) | Frame::Data(p) | Frame::Trailers(p) | Frame::Error(p) | Frame::Message(p) => {
                (frame.kind(), &p[..])
            }
            Frame::Dispatched | Frame::End => (frame.kind(), &[][..]),
        };
        match all.last_mut() {
            Some((FrameKind::Data, so_far)) if kind == FrameKind::Data => so_far.extend_from_slice(payload),
            _ => all.push((kind, payload.to_vec())),
        }
    }
    all
}

fuzz_target!(|data: &[u8]| {
    let whole = decode(std::iter::once(data));
    let bytewise = decode(data.chunks(1));
    assert_eq!((joined(&whole.0), whole.1.as_ref()), (joined(&bytewise.0), bytewise.1.as_ref()));
    for direction in [Direction::Request, Direction::Response, Direction::Control] {
        let mut rules = Rules::new(direction);
        for frame in &whole.0 {
            if rules.accept(frame.kind()).is_err() {
                break;
            }
        }
    }
});
