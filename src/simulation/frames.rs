//! Frames in any order, in pieces of any size, and bytes that are no frames.

use bytes::{Bytes, BytesMut};

use super::{Dice, play};
use crate::{
    transport::RecvError,
    wire::{Direction, Frame, FrameKind, Received, Reception, encode_frame},
};

const KINDS: [FrameKind; 7] = [
    FrameKind::Head,
    FrameKind::Dispatched,
    FrameKind::Data,
    FrameKind::Trailers,
    FrameKind::End,
    FrameKind::Error,
    FrameKind::Message,
];

/// What a receiver made of bytes.
#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    /// Whole, with this many bytes of body.
    Whole(usize),
    Failed,
    /// Cut: bytes ended before their end.
    Cut,
    Refused,
}

/// The contract once more, as a grammar over letters, written without looking at the rules.
fn expected(direction: Direction, kinds: &[FrameKind], body: usize) -> Verdict {
    let mut order: String = kinds.iter().map(|kind| "?HPDTEXM".chars().nth(*kind as usize).unwrap()).collect();
    // The receiver stops at the first end; what comes behind it is never looked at.
    if let Some(at) = order.find(['E', 'X']) {
        order.truncate(at + 1);
    }
    let (ends, fails) = (order.ends_with('E'), order.ends_with('X'));
    let inner = order.trim_end_matches(['E', 'X']);
    let legal = match direction {
        Direction::Control => inner.chars().all(|letter| letter == 'M') && !fails,
        Direction::Request | Direction::Response => {
            let answer = direction == Direction::Response;
            let rest = inner.strip_prefix('P').filter(|_| answer).unwrap_or(inner);
            let (head, rest) = rest.strip_prefix('H').map_or((false, rest), |rest| (true, rest));
            let (trailed, data) = rest.strip_suffix('T').map_or((false, rest), |data| (true, data));
            let shape = data.chars().all(|letter| letter == 'D') && (head || (data.is_empty() && !trailed));
            shape && (!ends || head) && (!fails || (answer && !trailed))
        }
    };
    match (legal, ends, fails) {
        (false, ..) => Verdict::Refused,
        (true, true, _) => Verdict::Whole(body),
        (true, _, true) => Verdict::Failed,
        (true, ..) => Verdict::Cut,
    }
}

/// Feeds bytes in pieces of any size.
fn receive(dice: &mut Dice, direction: Direction, mut bytes: Bytes) -> Verdict {
    let (mut reception, mut buf, mut body) = (Reception::new(direction), BytesMut::new(), 0);
    loop {
        match reception.take(&mut buf) {
            Ok(Received::Frame(Frame::Data(data))) => {
                assert!(!data.is_empty());
                body += data.len();
            }
            Ok(Received::Frame(_)) => {}
            Ok(Received::End) => return Verdict::Whole(body),
            Ok(Received::Failed) => return Verdict::Failed,
            Ok(Received::More) if bytes.is_empty() => return Verdict::Cut,
            Ok(Received::More) => buf.extend_from_slice(&bytes.split_to(1 + dice.below(bytes.len().min(9)))),
            Err(error) => {
                // Whoever sees it cuts the stream; there is a word for it.
                assert!(!RecvError::from(error).to_string().is_empty());
                return Verdict::Refused;
            }
        }
    }
}

#[test]
fn frames_in_a_legal_order_are_taken_and_others_refused() {
    play(30_000, |dice| {
        let direction = dice.one(&[Direction::Request, Direction::Response, Direction::Control]);
        let legal: &[FrameKind] = match direction {
            Direction::Control => &[FrameKind::Message],
            _ => &[FrameKind::Data],
        };
        let (mut kinds, mut bytes, mut body) = (Vec::new(), BytesMut::new(), 0);
        if direction == Direction::Response && dice.chance(40) {
            kinds.push(FrameKind::Dispatched);
        }
        if direction != Direction::Control && dice.chance(85) {
            kinds.push(FrameKind::Head);
        }
        for _ in 0..dice.below(6) {
            kinds.push(if dice.chance(85) { legal[0] } else { dice.one(&KINDS) });
        }
        if dice.chance(80) {
            kinds.push(dice.one(&[FrameKind::End, FrameKind::End, FrameKind::End, FrameKind::Error]));
        }
        for kind in &kinds {
            let len = if matches!(kind, FrameKind::Dispatched | FrameKind::End) { 0 } else { 1 + dice.below(300) };
            body += if *kind == FrameKind::Data { len } else { 0 };
            encode_frame(*kind, &vec![7; len], &mut bytes);
        }
        let verdict = receive(dice, direction, bytes.freeze());
        let until_end = kinds.iter().position(|kind| matches!(kind, FrameKind::End | FrameKind::Error));
        let counted = until_end.is_none_or(|at| !kinds[at..].contains(&FrameKind::Data));
        if counted || !matches!(verdict, Verdict::Whole(_)) {
            assert_eq!(verdict, expected(direction, &kinds, body), "{direction:?} {kinds:?}");
        }
    });
}

#[test]
fn damaged_bytes_never_panic_and_never_make_a_longer_body() {
    play(15_000, |dice| {
        let (mut bytes, mut body) = (BytesMut::new(), 0);
        encode_frame(FrameKind::Head, &[1; 20], &mut bytes);
        for _ in 0..dice.below(4) {
            let len = 1 + dice.below(200);
            body += len;
            encode_frame(FrameKind::Data, &vec![7; len], &mut bytes);
        }
        encode_frame(FrameKind::End, &[], &mut bytes);
        match dice.below(3) {
            0 => {
                // A truncated stream never looks complete, wherever it was cut.
                bytes.truncate(dice.below(bytes.len()));
                assert_ne!(receive(dice, Direction::Response, bytes.freeze()), Verdict::Whole(body));
            }
            1 => {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
                if let Verdict::Whole(got) = receive(dice, Direction::Response, bytes.freeze()) {
                    assert!(got <= body + 64 * 1024);
                }
            }
            _ => {
                let noise: Vec<u8> = (0..dice.below(64)).map(|_| dice.roll().to_le_bytes()[0]).collect();
                receive(dice, Direction::Response, Bytes::from(noise));
            }
        }
    });
}
