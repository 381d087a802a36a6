//! The receiving half of an answer whose client may stop reading. What it holds unread counts against the whole link, so
//! the link may take it away.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use tokio::time::Instant;

use crate::{
    defaults,
    transport::{RecvError, RecvHalf},
    wire::{Frame, StreamCode},
};

/// One answer under way.
#[derive(Debug)]
pub(in crate::hub) struct Reader(Mutex<State>);

#[derive(Debug)]
struct State {
    recv: Option<RecvHalf>,
    /// Since when nobody asked for more, although more may be there.
    idle: Option<Instant>,
    taken: bool,
}

/// What a reader gets.
pub(super) enum Read {
    /// From the link.
    Frame(Result<Option<Frame>, RecvError>),
    /// The link needed the room.
    Taken,
}

impl Reader {
    pub(super) fn new(recv: RecvHalf) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { recv: Some(recv), idle: Some(Instant::now()), taken: false })))
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        let Some(recv) = &mut state.recv else {
            return Poll::Ready(if state.taken { Read::Taken } else { Read::Frame(Ok(None)) });
        };
        let polled = recv.poll_frame(cx);
        // Waiting for the cluster is not idling: then there is nothing to hold.
        state.idle = polled.is_ready().then(Instant::now);
        polled.map(Read::Frame)
    }

    /// Ends it: nothing more is wanted.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        (state.recv, state.taken) = (None, false);
    }

    /// Whether it came to its end; what was taken away did not.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.recv.is_none() && !state.taken
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.recv.as_ref().and(state.idle)
    }

    fn take(&self) {
        let mut state = self.lock();
        if let Some(recv) = state.recv.take() {
            recv.stop(StreamCode::SlowReader);
            state.taken = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while it is held")
    }
}

/// Takes the room of those that have not read for the longest, while more of them than a link bears have not read for a
/// while. Returns how many.
pub(in crate::hub) fn relieve(readers: &[Arc<Reader>]) -> usize {
    let now = Instant::now();
    let mut stalled: Vec<_> = readers
        .iter()
        .filter_map(|reader| Some((reader.idle_since()?, reader)))
        .filter(|(since, _)| now.duration_since(*since) >= defaults::STALLED)
        .collect();
    let excess = stalled.len().saturating_sub(defaults::STALLED_READERS);
    stalled.sort_by_key(|(since, _)| *since);
    stalled.iter().take(excess).for_each(|(_, reader)| reader.take());
    excess
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readers whose answers ended here already: only their times matter.
    fn idle(count: usize, since: Instant) -> Vec<Arc<Reader>> {
        let state = || State { recv: None, idle: Some(since), taken: false };
        (0..count).map(|_| Arc::new(Reader(Mutex::new(state())))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_ended_holds_nothing() {
        let readers = idle(defaults::STALLED_READERS * 2, Instant::now());
        tokio::time::advance(defaults::STALLED * 2).await;
        assert_eq!(relieve(&readers), 0);
    }
}
