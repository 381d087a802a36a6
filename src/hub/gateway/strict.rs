//! The gate in front of hyper's HTTP/1.1 parser: sees every head first, and shows hyper a request of its own instead of
//! one that is not let in, so that the refusal is answered in order and nothing of the refused request is ever parsed.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use super::framing::{Body, ChunkedScan, MAX_HEAD, Violation, judge};
use crate::defaults;

/// What hyper is shown in place of a refused request. The service answers it by [`Verdict::next`].
const REFUSED: &[u8] = b"GET /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How much is read at once.
const READ: usize = 16 << 10;
/// How much room a read has at least: a head that is usual fits.
const LEAST: usize = 2 << 10;

/// The refusal of this connection, from the gate to the service. The gate reads ahead of the service, so both count requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    served: u64,
    refused: Option<Violation>,
}

impl Verdict {
    /// Asked once for each request that the service gets: the refusal, when the request is the gate's own.
    pub(super) fn next(&self) -> Option<Violation> {
        let mut counts = self.0.lock().expect("no panic while it is held");
        counts.served += 1;
        // One more than the gate let in: its own request, or bytes that it never judged.
        (counts.served > counts.passed).then(|| counts.refused.unwrap_or(Violation::Syntax))
    }

    fn pass(&self) {
        self.0.lock().expect("no panic while it is held").passed += 1;
    }

    fn refuse(&self, violation: Violation) {
        self.0.lock().expect("no panic while it is held").refused = Some(violation);
    }
}

enum State {
    Head,
    Length(u64),
    Chunked(ChunkedScan),
    /// Bytes are no longer HTTP.
    Opaque,
    /// Refused: what the client still sends is not read.
    Closed,
    /// A body broke its framing: hyper sees an error, never bytes that could pass for its end.
    Broken(Violation),
}

/// A connection behind the gate.
pub(super) struct Strict<Io> {
    io: Io,
    sni: Option<String>,
    verdict: Verdict,
    state: State,
    /// Read, and not judged yet.
    raw: BytesMut,
    /// Judged, and not taken by hyper yet.
    passed: BytesMut,
    /// Runs while a head is incomplete, and from the start until the first one is.
    slow: Option<Pin<Box<Sleep>>>,
}

impl<Io: AsyncRead + Unpin> Strict<Io> {
    pub(super) fn new(io: Io, sni: Option<String>, verdict: Verdict) -> Self {
        let slow = Some(Box::pin(sleep(defaults::REQUEST_HEAD)));
        Self { io, sni, verdict, state: State::Head, raw: BytesMut::new(), passed: BytesMut::new(), slow }
    }

    /// Moves from `raw` to `passed` what may pass.
    fn judge(&mut self) {
        loop {
            let step = match &mut self.state {
                State::Head => self.head(),
                State::Length(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.raw.len());
                    *left -= n as u64;
                    let done = *left == 0;
                    self.passed.unsplit(self.raw.split_to(n));
                    Ok(done.then_some(State::Head))
                }
                State::Chunked(scan) => scan.scan(&self.raw).map(|(n, done)| {
                    self.passed.unsplit(self.raw.split_to(n));
                    done.then_some(State::Head)
                }),
                State::Opaque => {
                    self.passed.unsplit(self.raw.split());
                    Ok(None)
                }
                State::Closed | State::Broken(_) => return,
            };
            match step {
                Ok(Some(next)) => self.state = next,
                Ok(None) => return,
                Err(violation) if matches!(self.state, State::Chunked(_)) => {
                    return self.state = State::Broken(violation);
                }
                Err(violation) => return self.refuse(violation),
            }
        }
    }

    fn head(&mut self) -> Result<Option<State>, Violation> {
        if self.raw.is_empty() {
            return Ok(None);
        }
        let end = self.raw.windows(4).position(|w| w == b"\r\n\r\n").map(|i| i + 4);
        match end {
            Some(end) if end <= MAX_HEAD => {
                self.slow = None;
                let body = judge(&self.raw[..end], self.sni.as_deref())?;
                self.verdict.pass();
                self.passed.unsplit(self.raw.split_to(end));
                Ok(Some(match body {
                    Body::Length(0) => State::Head,
                    Body::Length(n) => State::Length(n),
                    Body::Chunked => State::Chunked(ChunkedScan::new()),
                    Body::Upgrade => State::Opaque,
                }))
            }
            Some(_) => Err(Violation::TooLarge),
            None if self.raw.len() > MAX_HEAD => Err(Violation::TooLarge),
            // A head of bare line feeds would never end in CR LF CR LF: say so now, not at the deadline.
            None if self.raw.windows(2).any(|w| w == b"\n\n") => Err(Violation::BareLineFeed),
            None => {
                self.slow.get_or_insert_with(|| Box::pin(sleep(defaults::REQUEST_HEAD)));
                Ok(None)
            }
        }
    }

    fn refuse(&mut self, violation: Violation) {
        self.verdict.refuse(violation);
        self.slow = None;
        self.raw.clear();
        self.passed.extend_from_slice(REFUSED);
        self.state = State::Closed;
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Strict<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.passed.is_empty() {
                let n = this.passed.len().min(out.remaining());
                out.put_slice(&this.passed[..n]);
                this.passed.advance(n);
                if this.passed.is_empty() {
                    // Of one piece with `raw`, which has its room back with this.
                    this.passed = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.state {
                // The gate's own request was the last; hyper closes once it is answered.
                State::Closed => return Poll::Pending,
                State::Broken(violation) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
                State::Opaque => return Pin::new(&mut this.io).poll_read(cx, out),
                State::Head | State::Length(_) | State::Chunked(_) => {}
            }
            if let Some(slow) = &mut this.slow
                && slow.as_mut().poll(cx).is_ready()
            {
                if this.raw.is_empty() {
                    // Never a word: there is nothing to answer.
                    return Poll::Ready(Ok(()));
                }
                this.refuse(Violation::Slow);
                continue;
            }
            if this.raw.capacity() - this.raw.len() < LEAST {
                this.raw.reserve(READ);
            }
            if ready!(poll_read_buf(Pin::new(&mut this.io), cx, &mut this.raw))? == 0 {
                return Poll::Ready(Ok(()));
            }
            this.judge();
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Strict<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
