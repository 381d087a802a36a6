//! The bodies of the minimal origin that are streams: so many bytes, and watches whose events say when they were due.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at};
use tokio_util::task::TaskTracker;

/// Bytes a piece of a large body.
const PIECE: usize = 64 << 10;

static LETTERS: [u8; PIECE] = [b'x'; PIECE];

/// So many bytes of the same letter.
#[derive(Debug)]
pub(crate) struct Repeat(u64);

impl Repeat {
    /// A body of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self(size)
    }
}

impl Body for Repeat {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let size = self.0.min(PIECE as u64);
        self.0 -= size;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&LETTERS[..size as usize])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// How often a busy watch has an event.
pub(crate) const EVENT_EVERY: Duration = Duration::from_millis(100);

/// What all watches do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// They are open and say nothing, or nothing more.
    Quiet,
    /// The busy ones have events.
    Events,
    /// They end, cleanly.
    End,
}

/// The watches of an origin: orders to them, and what they did.
#[derive(Debug)]
pub(crate) struct Watches {
    phase: watch::Sender<Phase>,
    sent: AtomicU64,
    epoch: Instant,
    opened: AtomicU64,
    tasks: TaskTracker,
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Quiet),
            sent: AtomicU64::new(0),
            epoch: Instant::now(),
            opened: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }
}

impl Watches {
    /// What all of them are to do from now on.
    pub(crate) fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Events sent since the last time that somebody asked.
    pub(crate) fn take_sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// How long ago an event was due that says `nanos`.
    pub(crate) fn age(&self, nanos: u64) -> Duration {
        self.epoch.elapsed().saturating_sub(Duration::from_nanos(nanos))
    }

    /// The body of a new watch. Its task ends with the watch: a body that is dropped closes the queue.
    pub(crate) fn open(self: &Arc<Self>, busy: bool) -> Events {
        let (queue, events) = mpsc::channel(4);
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn(self.clone().feed(number, busy, queue));
        Events(events)
    }

    async fn feed(self: Arc<Self>, number: u64, busy: bool, queue: mpsc::Sender<Bytes>) {
        let mut phase = self.phase.subscribe();
        // Says that the watch is there, all the way to the client.
        if queue.send(Bytes::from_static(HELLO)).await.is_err() {
            return;
        }
        let _ = phase.wait_for(|phase| *phase == Phase::End || busy && *phase == Phase::Events).await;
        // Spread over the interval; what is late keeps the time at which it was due.
        let first = Instant::now() + EVENT_EVERY * ((number.wrapping_mul(7_919) % 100) as u32) / 100;
        let mut due = interval_at(first, EVENT_EVERY);
        while *phase.borrow() == Phase::Events {
            tokio::select! {
                at = due.tick() => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    if queue.send(event(number, at.duration_since(self.epoch))).await.is_err() {
                        return;
                    }
                }
                _ = phase.changed() => {}
                () = queue.closed() => return,
            }
        }
        let _ = phase.wait_for(|phase| *phase == Phase::End).await;
    }
}

const HELLO: &[u8] = b"{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1\"}}}\n";

/// What stands before the time in an event.
pub(crate) const DUE: &[u8] = b"\"due\":\"";

/// An event as large as a small object's.
fn event(number: u64, due: Duration) -> Bytes {
    let due = due.as_nanos();
    let object = format!(
        "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"w{number}\",\"namespace\":\"busy\",\"resourceVersion\":\"{due}\"}},\
         \"data\":{{\"due\":\"{due}\",\"filler\":\"{:0>200}\"}}}}",
        number
    );
    Bytes::from(format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n"))
}

/// The body of a watch.
#[derive(Debug)]
pub(crate) struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
