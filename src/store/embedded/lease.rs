//! Which leases run, until when, and which keys are bound to them. Refuses to write.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Inner, file::Applied, writer};
use crate::store::{LeaseError, LeaseId, MAX_LEASE, MIN_LEASE, StoreError};

/// How long to wait before another attempt to remove the keys of an ended lease, after the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// All leases of this run.
pub(super) struct Leases {
    state: Mutex<State>,
    /// A deadline may have come nearer.
    nearer: Notify,
}

struct State {
    last: u64,
    running: BTreeMap<LeaseId, Lease>,
}

struct Lease {
    life: Duration,
    deadline: Instant,
    /// Ended, but its keys are not removed yet.
    ended: bool,
    keys: BTreeSet<Bytes>,
}

impl Leases {
    /// None yet. `run` differs at every opening and keeps ids from being granted twice.
    pub(super) fn new(run: u64) -> Self {
        Self { state: Mutex::new(State { last: run << 32, running: BTreeMap::new() }), nearer: Notify::new() }
    }

    pub(super) fn grant(&self, life: Duration) -> Result<LeaseId, LeaseError> {
        if life < MIN_LEASE || life > MAX_LEASE {
            return Err(LeaseError::Life(life));
        }
        let mut state = self.state();
        state.last += 1;
        let id = LeaseId(state.last);
        state.running.insert(id, Lease { life, deadline: Instant::now() + life, ended: false, keys: BTreeSet::new() });
        self.nearer.notify_one();
        Ok(id)
    }

    pub(super) fn keep_alive(&self, id: LeaseId) -> Result<(), LeaseError> {
        let mut state = self.state();
        let lease = state.running.get_mut(&id).filter(|lease| !lease.ended).ok_or(LeaseError::Ended)?;
        lease.deadline = Instant::now() + lease.life;
        Ok(())
    }

    /// Does it run?
    pub(super) fn runs(&self, id: LeaseId) -> bool {
        self.state().running.get(&id).is_some_and(|lease| !lease.ended)
    }

    /// Ends it, if it runs. Its keys are to be removed then.
    pub(super) fn expire(&self, id: LeaseId) -> bool {
        let mut state = self.state();
        let Some(lease) = state.running.get_mut(&id).filter(|lease| !lease.ended) else { return false };
        lease.ended = true;
        lease.deadline = Instant::now() + RETRY;
        true
    }

    /// The keys bound to it.
    pub(super) fn keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.state().running.get(&id).map(|lease| lease.keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// Its keys are gone.
    pub(super) fn forget(&self, id: LeaseId) {
        self.state().running.remove(&id);
    }

    /// Records what a commit bound and unbound.
    pub(super) fn record(&self, applied: &Applied) {
        if applied.bound.is_empty() && applied.unbound.is_empty() {
            return;
        }
        let mut state = self.state();
        for (id, key) in &applied.unbound {
            if let Some(lease) = state.running.get_mut(id) {
                lease.keys.remove(key);
            }
        }
        for (id, key) in &applied.bound {
            if let Some(lease) = state.running.get_mut(id) {
                lease.keys.insert(key.clone());
            }
        }
    }

    /// The leases whose time is over at `now`: marked as ended, to be tried again later if removing their keys fails.
    fn overdue(&self, now: Instant) -> Vec<LeaseId> {
        let mut state = self.state();
        let overdue = state.running.iter_mut().filter(|(_, lease)| lease.deadline <= now);
        overdue
            .map(|(id, lease)| {
                lease.ended = true;
                lease.deadline = now + RETRY;
                *id
            })
            .collect()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.state().running.values().map(|lease| lease.deadline).min()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends leases when their time is over, until the store stops.
pub(super) async fn end_expired(inner: Arc<Inner>) {
    loop {
        for lease in inner.leases.overdue(Instant::now()) {
            match writer::end_lease(&inner, lease).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "the keys of an ended lease could not be removed"),
            }
        }
        let deadline = inner.leases.next_deadline();
        let wait = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            () = inner.leases.nearer.notified() => {}
            () = wait => {}
        }
    }
}
