//! WebSocket framing (RFC 6455) of the `v4` and `v5` channel protocols, server to client.

use super::{Injection, Outcome};
use crate::k8s::Status;

/// Channel of the session's result.
const ERROR_CHANNEL: u8 = 3;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xa;

/// Largest payload of a control frame (RFC 6455 § 5.5).
const MAX_CONTROL: u64 = 125;

/// Follows the frames that a client was sent.
#[derive(Clone, Debug, Default)]
pub struct WebSocketTracker {
    /// Bytes of a frame header so far; a server's is at most 10 long.
    head: [u8; 10],
    have: usize,
    /// The frame whose payload is passing, and how much of it is left.
    frame: Option<Frame>,
    message: Message,
    status_seen: bool,
    closed: bool,
    off: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    fin: bool,
    left: u64,
}

/// A data message, which may span frames.
#[derive(Clone, Debug, Default)]
struct Message {
    open: bool,
    /// Its first byte.
    channel: Option<u8>,
    /// Something follows the first byte.
    filled: bool,
}

impl WebSocketTracker {
    /// At the first byte after the 101.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that were written to the client.
    pub fn feed_to_client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.off {
            bytes = self.step(bytes);
        }
    }

    /// How many of `bytes`, which come next, end with a whole message: sent no further, the session can still be failed in
    /// its own protocol.
    pub fn whole(&self, bytes: &[u8]) -> usize {
        let (mut ahead, mut rest, mut whole) = (self.clone(), bytes, 0);
        while !rest.is_empty() && !ahead.off {
            rest = ahead.step(rest);
            if ahead.at_boundary() {
                whole = bytes.len() - rest.len();
            }
        }
        if ahead.off { bytes.len() } else { whole }
    }

    /// Takes a part of a payload or one byte of a header, and gives the rest.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if let Some(frame) = self.frame {
            let n = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
            self.payload(frame, &bytes[..n]);
            return &bytes[n..];
        }
        self.head[self.have] = bytes[0];
        self.have += 1;
        self.try_begin();
        &bytes[1..]
    }

    fn at_boundary(&self) -> bool {
        self.have == 0 && self.frame.is_none() && !self.message.open
    }

    /// Complete once a result passed on the error channel; an empty message there only says that the session began.
    pub fn outcome(&self) -> Outcome {
        if self.status_seen && !self.off { Outcome::Complete } else { Outcome::Unfinished }
    }

    /// At a boundary, the Status on channel 3 and a Close 1000. A Close alone would be success to kubectl, so it is sent
    /// only behind a Status.
    pub fn failure(&self, status: &Status) -> Injection {
        match (self.off || !self.at_boundary(), self.status_seen, self.closed) {
            (true, _, _) | (false, false, true) => Injection::Abort,
            (false, true, true) => Injection::Bytes(Vec::new()),
            (false, true, false) => Injection::Bytes(close_frame()),
            (false, false, false) => {
                let mut bytes = frame(BINARY, &[&[ERROR_CHANNEL], &*status.to_json()].concat());
                bytes.extend(close_frame());
                Injection::Bytes(bytes)
            }
        }
    }

    /// Begins a frame when its header is complete, by the rules for a server's frames.
    fn try_begin(&mut self) {
        if self.have < 2 {
            return;
        }
        let (first, second) = (self.head[0], self.head[1]);
        let (reserved, opcode, fin, masked) = (first & 0x70, first & 0x0f, first & 0x80 != 0, second & 0x80 != 0);
        let needed = match second & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if self.have < needed {
            return;
        }
        let left = match needed {
            4 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            10 => self.head[2..].iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            _ => u64::from(second & 0x7f),
        };
        let legal = match opcode {
            CONTINUATION => self.message.open,
            TEXT | BINARY => !self.message.open,
            CLOSE..=PONG => fin && left <= MAX_CONTROL,
            _ => false,
        };
        if !legal || reserved != 0 || masked || left >> 63 != 0 || self.closed {
            self.off = true;
            return;
        }
        self.have = 0;
        if matches!(opcode, TEXT | BINARY) {
            self.message = Message { open: true, ..Message::default() };
        }
        let frame = Frame { opcode, fin, left };
        self.frame = Some(frame);
        if left == 0 {
            self.end(frame);
        }
    }

    fn payload(&mut self, frame: Frame, bytes: &[u8]) {
        if frame.opcode < CLOSE {
            self.message.filled |= self.message.channel.is_some() || bytes.len() > 1;
            self.message.channel = self.message.channel.or(bytes.first().copied());
        }
        let left = frame.left - bytes.len() as u64;
        self.frame = Some(Frame { left, ..frame });
        if left == 0 {
            self.end(frame);
        }
    }

    fn end(&mut self, frame: Frame) {
        self.frame = None;
        match frame.opcode {
            CLOSE => self.closed = true,
            CONTINUATION..=BINARY if frame.fin => {
                self.status_seen |= self.message.filled && self.message.channel == Some(ERROR_CHANNEL);
                self.message = Message::default();
            }
            _ => {}
        }
    }
}

/// An unmasked, final frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(n @ 0..=125), _) => bytes.push(n),
        (_, Ok(n)) => {
            bytes.push(126);
            bytes.extend(n.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// Close with code 1000: the readers of the channels end, and what they read counts.
fn close_frame() -> Vec<u8> {
    frame(CLOSE, &1000_u16.to_be_bytes())
}
