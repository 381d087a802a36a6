//! SPDY/3.1 sessions of `exec` and `attach`: the error stream is found by its headers, and the framing is followed.
//!
//! On SPDY every ending without a result is success to kubectl, even a reset (§ 2.12), so giving up is the last resort:
//! a frame that was cut is filled up first.

mod dictionary;
mod frame;
mod headers;

use frame::{Cursor, Head, Step};
use headers::{HeaderReader, Opened, Unreadable};

use super::{ErrorFormat, Injection, Outcome};
use crate::k8s::Status;

/// Most streams that a client of `exec` opens is five: error, stdin, stdout, stderr, resize.
const MAX_STREAMS: usize = 8;

/// Status of the `RST_STREAM` for a stream that the client still waits to have accepted.
const INTERNAL_ERROR: u32 = 6;

/// Follows both directions of a session.
#[derive(Debug)]
pub struct SpdyTracker {
    format: ErrorFormat,
    from_client: Cursor,
    headers: HeaderReader,
    to_client: Cursor,
    streams: Vec<Stream>,
    /// A result passed on the error stream.
    result_seen: bool,
    /// The server said GOAWAY: the client reads nothing more.
    gone: bool,
    off: bool,
}

/// A stream that the client opened.
#[derive(Debug)]
struct Stream {
    id: u32,
    is_error: bool,
    /// The client got the `SYN_REPLY`, before which it reads no data.
    accepted: bool,
    /// The client got FIN or RST_STREAM.
    ended: bool,
}

impl SpdyTracker {
    /// At the first byte after the 101.
    pub(super) fn new(format: ErrorFormat) -> Self {
        Self {
            format,
            from_client: Cursor::default(),
            headers: HeaderReader::new(),
            to_client: Cursor::default(),
            streams: Vec::new(),
            result_seen: false,
            gone: false,
            off: false,
        }
    }

    /// Bytes that came from the client.
    pub fn feed_from_client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.off {
            let (step, rest) = self.from_client.step(bytes);
            bytes = rest;
            match step {
                Step::Head => {}
                Step::Malformed => self.off = true,
                Step::Frame { head, part, last } => match self.headers.push(head, part, last) {
                    Ok(None) => {}
                    Ok(Some(opened)) => self.off |= !self.add(opened),
                    Err(Unreadable) => self.off = true,
                },
            }
        }
    }

    /// Bytes that were written to the client.
    pub fn feed_to_client(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.off {
            let (step, rest) = self.to_client.step(bytes);
            bytes = rest;
            match step {
                Step::Head | Step::Frame { last: false, .. } => {}
                Step::Malformed => self.off = true,
                Step::Frame { head, last: true, .. } => self.delivered(head),
            }
        }
    }

    /// How many of the bytes end with a frame; all of them if they cannot be followed.
    pub(super) fn whole_frames(&self, bytes: &[u8]) -> usize {
        let (mut probe, mut rest, mut whole) = (self.to_client.clone(), bytes, 0);
        while !rest.is_empty() {
            let (step, after) = probe.step(rest);
            rest = after;
            match step {
                Step::Head | Step::Frame { last: false, .. } => {}
                Step::Frame { last: true, .. } => whole = bytes.len() - rest.len(),
                Step::Malformed => return bytes.len(),
            }
        }
        if self.off { bytes.len() } else { whole }
    }

    /// Complete once a result passed on the error stream; before `v4`, once that stream ended.
    pub fn outcome(&self) -> Outcome {
        let done = match self.format {
            ErrorFormat::Json => self.result_seen,
            ErrorFormat::Text => self.streams.iter().any(|s| s.is_error && s.ended),
        };
        if done && !self.off { Outcome::Complete } else { Outcome::Unfinished }
    }

    /// The result on the error stream, then the end of every other stream, for which kubectl waits before it looks at
    /// the result. A stream that was not yet accepted is reset: its opening fails, and with it the command.
    pub fn failure(&self, status: &Status) -> Injection {
        let complete = self.outcome() == Outcome::Complete;
        let error = self.streams.iter().find(|s| s.is_error);
        let Some(error) = error.filter(|e| !self.off && (complete || !e.ended)) else { return Injection::Abort };
        if self.gone {
            return if complete { Injection::Bytes(Vec::new()) } else { Injection::Abort };
        }
        let Some(mut bytes) = self.to_client.completion() else { return Injection::Abort };
        if error.accepted && !error.ended {
            let text = match self.format {
                _ if complete => Vec::new(),
                ErrorFormat::Json => status.to_json().to_vec(),
                ErrorFormat::Text => status.message().as_bytes().to_vec(),
            };
            bytes.extend(frame::data_fin(error.id, &text));
        }
        for stream in self.streams.iter().filter(|s| !s.ended) {
            match (stream.accepted, stream.is_error) {
                (false, _) => bytes.extend(frame::reset(stream.id, INTERNAL_ERROR)),
                (true, false) => bytes.extend(frame::data_fin(stream.id, &[])),
                (true, true) => {}
            }
        }
        Injection::Bytes(bytes)
    }

    /// Whether the stream may be opened.
    fn add(&mut self, opened: Opened) -> bool {
        let fresh = opened.id != 0 && self.streams.iter().all(|s| s.id != opened.id);
        if fresh && self.streams.len() < MAX_STREAMS {
            self.streams.push(Stream { id: opened.id, is_error: opened.is_error, accepted: false, ended: false });
            return true;
        }
        false
    }

    /// The client has a whole frame.
    fn delivered(&mut self, head: Head) {
        self.gone |= head.is_goaway();
        let id = self.to_client.stream_of(head);
        let Some(stream) = self.streams.iter_mut().find(|s| Some(s.id) == id) else { return };
        stream.accepted |= head.is_reply();
        stream.ended |= head.ends_stream();
        self.result_seen |= stream.is_error && stream.accepted && head.carries_data();
    }
}

#[cfg(test)]
pub(super) use dictionary::dictionary as test_dictionary;
