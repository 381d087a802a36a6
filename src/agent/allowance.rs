//! How far the answers of one link may go ([`crate::wire::pace`]): the hub says, answers wait. Refuses to know what an answer is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::wire::{generated::Allowance, pace};

/// The answers of one link that are long enough for the hub to say something of them.
#[derive(Debug)]
pub(super) struct Allowances {
    /// Not agreed with this hub, or the link is being retired and nobody listens any more: QUIC's windows are the only bound.
    unbounded: AtomicBool,
    answers: Mutex<HashMap<u64, Arc<Limit>>>,
}

#[derive(Debug)]
struct Limit {
    bytes: AtomicU64,
    raised: Notify,
}

impl Allowances {
    /// `agreed`: the hub will say how far answers may go.
    pub(super) fn new(agreed: bool) -> Arc<Self> {
        Arc::new(Self { unbounded: AtomicBool::new(!agreed), answers: Mutex::default() })
    }

    /// What the hub says. Of answers that have ended meanwhile it means nothing.
    pub(super) fn allow(&self, allowances: &[Allowance]) {
        let answers = self.lock();
        for Allowance { stream, bytes } in allowances {
            if let Some(limit) = answers.get(stream) {
                limit.raise(if *bytes == pace::UNBOUNDED { u64::MAX } else { *bytes });
            }
        }
    }

    /// No answer waits any more.
    pub(super) fn lift(&self) {
        self.unbounded.store(true, Ordering::Relaxed);
        self.lock().values().for_each(|limit| limit.raise(u64::MAX));
    }

    /// One answer, on the stream of that number.
    pub(super) fn answer(self: &Arc<Self>, stream: u64) -> Pacer {
        Pacer { of: self.clone(), stream, sent: 0, limit: None }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Limit>>> {
        self.answers.lock().expect("no panic while it is held")
    }
}

impl Limit {
    fn raise(&self, bytes: u64) {
        self.bytes.fetch_max(bytes, Ordering::Relaxed);
        self.raised.notify_one();
    }
}

/// What was sent of one answer, and what may be.
pub(super) struct Pacer {
    of: Arc<Allowances>,
    stream: u64,
    sent: u64,
    limit: Option<Arc<Limit>>,
}

impl Pacer {
    /// Counts what is to be sent next. `true`: it may go now, though it may pass the limit; `false`: after [`Pacer::raised`].
    pub(super) fn may_send(&mut self, bytes: usize) -> bool {
        let before = self.sent;
        self.sent = before.saturating_add(bytes as u64);
        if self.of.unbounded.load(Ordering::Relaxed) || self.sent < pace::WORD {
            return true;
        }
        // Before the bytes leave after which the hub may speak: what it says is never missed.
        before < self.known().bytes.load(Ordering::Relaxed)
    }

    /// Until what was counted last may go.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn raised(&mut self, bytes: usize) {
        let before = self.sent.saturating_sub(bytes as u64);
        let limit = self.known().clone();
        while before >= limit.bytes.load(Ordering::Relaxed) {
            limit.raised.notified().await;
        }
    }

    fn known(&mut self) -> &Arc<Limit> {
        self.limit.get_or_insert_with(|| {
            let limit = Arc::new(Limit { bytes: AtomicU64::new(pace::FIRST), raised: Notify::new() });
            self.of.lock().insert(self.stream, limit.clone());
            // Lifted before it was known.
            if self.of.unbounded.load(Ordering::Relaxed) {
                limit.raise(u64::MAX);
            }
            limit
        })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        if self.limit.is_some() {
            self.of.lock().remove(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 64 << 10;

    #[tokio::test]
    async fn an_answer_waits_until_the_hub_allows_more_and_no_longer() {
        let allowances = Allowances::new(true);
        let mut answer = allowances.answer(7);
        assert!(answer.may_send(BATCH) && answer.may_send(BATCH));
        assert!(!answer.may_send(BATCH));
        allowances.allow(&[Allowance { stream: 8, bytes: pace::UNBOUNDED }]);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), answer.raised(BATCH)).await.is_err());
        allowances.allow(&[Allowance { stream: 7, bytes: 192 << 10 }]);
        answer.raised(BATCH).await;
        assert!(!answer.may_send(BATCH));
        allowances.allow(&[Allowance { stream: 7, bytes: pace::UNBOUNDED }]);
        answer.raised(BATCH).await;
        assert!(answer.may_send(BATCH));
    }

    #[tokio::test]
    async fn nothing_waits_where_it_was_not_agreed_or_the_link_is_retired_and_nothing_stays() {
        let mut answer = Allowances::new(false).answer(1);
        assert!(answer.may_send(1 << 30) && answer.may_send(1));
        let allowances = Allowances::new(true);
        let (mut waiting, mut later) = (allowances.answer(1), allowances.answer(2));
        assert!(waiting.may_send(BATCH * 2) && !waiting.may_send(BATCH));
        allowances.lift();
        waiting.raised(BATCH).await;
        assert!(later.may_send(BATCH * 9) && later.may_send(BATCH));
        drop((waiting, later));
        assert!(allowances.lock().is_empty());
    }
}
