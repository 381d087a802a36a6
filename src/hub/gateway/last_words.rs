//! The last words of an HTTP/2 answer that was cut. A reset of its stream carries a number and nothing else; GOAWAY carries text
//! (RFC 9113 § 6.8), which Go's clients show, kubectl among them. So the client of the only answer on a connection is told
//! with a GOAWAY and the connection's end; beside other requests an answer ends with its stream alone.
//!
//! hyper cannot send that text: it is put between the frames that hyper writes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Length, type, flags and stream of a frame (RFC 9113 § 4.1).
const FRAME_HEAD: usize = 9;

/// The frame types that matter here.
const HEADERS: u8 = 0x1;
const GOAWAY: u8 = 0x7;

/// `INTERNAL_ERROR`: with any code but `NO_ERROR` a client does not take what it has for the whole.
const INTERNAL_ERROR: u32 = 0x2;

/// The longest text, bytes: far below a frame's 16 KiB.
const LONGEST: usize = 1024;

/// One HTTP/2 connection of a client, as its answers and its writer share it.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    open: AtomicUsize,
    said: Mutex<Option<String>>,
}

impl Farewell {
    /// Counts a request for as long as its answer lasts.
    pub(super) fn request(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    fn said(&self) -> MutexGuard<'_, Option<String>> {
        self.said.lock().expect("no panic while it is held")
    }
}

/// A request on an HTTP/2 connection whose answer has not ended.
#[derive(Debug)]
pub(in crate::hub) struct OpenRequest(Arc<Farewell>);

impl OpenRequest {
    /// The answer is cut: when nobody else's is under way on the connection, `text` becomes its last words. The caller fails
    /// the body next; what hyper then writes is what brings the words on their way.
    pub(in crate::hub) fn cut(&self, text: impl FnOnce() -> String) {
        if self.0.open.load(Ordering::Relaxed) == 1 {
            *self.0.said() = Some(text());
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the writer is among the frames.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; FRAME_HEAD],
    /// Bytes of `head` that were written.
    in_head: usize,
    /// Bytes of the frame's payload that were not.
    payload: usize,
    /// The newest stream that an answer began on.
    newest: u32,
}

impl Frames {
    fn between(&self) -> bool {
        self.in_head == 0 && self.payload == 0
    }

    /// Bytes to the end of what is known of the current frame.
    fn left(&self) -> usize {
        if self.payload > 0 { self.payload } else { FRAME_HEAD - self.in_head }
    }

    fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let n = self.payload.min(bytes.len());
                self.payload -= n;
                bytes.advance(n);
                continue;
            }
            let n = (FRAME_HEAD - self.in_head).min(bytes.len());
            self.head[self.in_head..self.in_head + n].copy_from_slice(&bytes[..n]);
            self.in_head += n;
            bytes.advance(n);
            if self.in_head == FRAME_HEAD {
                self.in_head = 0;
                self.began();
            }
        }
    }

    fn began(&mut self) {
        let [a, b, c, kind, _, stream @ ..] = self.head;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if kind == HEADERS {
            self.newest = u32::from_be_bytes(stream) & 0x7fff_ffff;
        }
    }
}

/// GOAWAY: no stream after `newest` was looked at.
fn goaway(newest: u32, text: &str) -> Bytes {
    let text = &text[..text.floor_char_boundary(LONGEST)];
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + 8 + text.len());
    frame.put_uint(8 + text.len() as u64, 3);
    frame.put_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
    frame.put_u32(newest);
    frame.put_u32(INTERNAL_ERROR);
    frame.put_slice(text.as_bytes());
    frame.freeze()
}

/// A client's connection whose writer can say last words.
pub(super) struct Speaking<Io> {
    io: Io,
    farewell: Arc<Farewell>,
    frames: Frames,
    /// What is left to write of the words; nothing comes after them.
    leaving: Option<Bytes>,
}

impl<Io: AsyncWrite + Unpin> Speaking<Io> {
    pub(super) fn new(io: Io, farewell: Arc<Farewell>) -> Self {
        Self { io, farewell, frames: Frames::default(), leaving: None }
    }

    /// How many bytes may be written now, when words are to be said: `None` without any, up to the end of a frame otherwise.
    /// At that end the words are written, and the connection ends with an error.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        if self.leaving.is_none() {
            let mut said = self.farewell.said();
            let Some(text) = &*said else { return Poll::Ready(Ok(None)) };
            if !self.frames.between() {
                return Poll::Ready(Ok(Some(self.frames.left())));
            }
            self.leaving = Some(goaway(self.frames.newest, text));
            *said = None;
        }
        while let Some(words) = self.leaving.as_mut().filter(|words| words.has_remaining()) {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, words))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            words.advance(n);
        }
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client was told why its answer was cut")))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Speaking<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Speaking<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let room = ready!(this.poll_room(cx))?.unwrap_or(buf.len()).min(buf.len());
        let n = ready!(Pin::new(&mut this.io).poll_write(cx, &buf[..room]))?;
        this.frames.wrote(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if ready!(this.poll_room(cx))?.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        let n = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        let mut written = n;
        for buf in bufs {
            let part = written.min(buf.len());
            this.frames.wrote(&buf[..part]);
            written -= part;
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.put_uint(payload.len() as u64, 3);
        frame.put_slice(&[kind, 0]);
        frame.put_u32(stream);
        frame.extend_from_slice(payload);
        frame
    }

    fn speaking() -> (Speaking<DuplexStream>, DuplexStream, Arc<Farewell>) {
        let (near, far) = duplex(1 << 16);
        let farewell = Arc::new(Farewell::default());
        (Speaking::new(near, farewell.clone()), far, farewell)
    }

    #[tokio::test]
    async fn words_come_between_frames_wherever_a_write_was_split() {
        let whole = [frame(HEADERS, 7, b"head"), frame(0, 7, b"data")].concat();
        for at in 1..whole.len() {
            let (mut io, mut far, farewell) = speaking();
            let request = farewell.request();
            io.write_all(&whole[..at]).await.unwrap();
            request.cut(|| "why".to_owned());
            let ended = io.write_all(&[&whole[at..], &frame(3, 7, &[0; 4])[..]].concat()).await;
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted, "{at}");
            drop(io);
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            let first = frame(HEADERS, 7, b"head");
            // Frames that had begun are whole; the words follow; nothing follows them.
            let end = if at > first.len() { whole.len() } else { first.len() };
            assert_eq!(read[..end], whole[..end], "{at}");
            assert_eq!(read[end..], goaway(7, "why")[..], "{at}");
        }
    }

    #[tokio::test]
    async fn beside_another_request_nothing_is_said() {
        let (mut io, _far, farewell) = speaking();
        let (one, _other) = (farewell.request(), farewell.request());
        one.cut(|| "why".to_owned());
        io.write_all(&frame(3, 1, &[0; 4])).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_ended_does_not_count() {
        let (mut io, _far, farewell) = speaking();
        drop(farewell.request());
        farewell.request().cut(|| "why".to_owned());
        assert!(io.write_all(&frame(3, 1, &[0; 4])).await.is_err());
    }

    #[test]
    fn words_are_cut_at_a_character() {
        let frame = goaway(1, &"ż".repeat(LONGEST));
        assert_eq!(frame.len(), FRAME_HEAD + 8 + LONGEST);
        assert_eq!(goaway(1, &format!("a{}", "ż".repeat(LONGEST))).len(), FRAME_HEAD + 8 + LONGEST - 1);
    }
}
