//! What is to be said to an agent of its answers' allowances. At most fourteen words of each open stream
//! (`wire::pace`), and streams are bounded: nothing here needs a bound of its own.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::{defaults, wire::generated::Allowance};

/// Words that wait for the conversation with the agent.
#[derive(Debug, Default)]
pub(in crate::hub) struct Outbox {
    waiting: Mutex<Vec<Allowance>>,
    some: Notify,
    leads: AtomicUsize,
}

/// One of the few answers of a link that may be far ahead of a client that has not proved yet that it reads.
#[derive(Debug)]
pub(in crate::hub) struct Lead(Arc<Outbox>);

impl Drop for Lead {
    fn drop(&mut self) {
        self.0.leads.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outbox {
    /// To be said soon.
    pub(in crate::hub) fn push(&self, allowance: Allowance) {
        self.waiting.lock().expect("no panic while it is held").push(allowance);
        self.some.notify_one();
    }

    /// One of [`defaults::LEADS`], if one is free.
    pub(in crate::hub) fn lead(self: &Arc<Self>) -> Option<Lead> {
        let more = |leads| (leads < defaults::LEADS).then_some(leads + 1);
        self.leads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Lead(self.clone()))
    }

    /// All that waits, when there is some.
    ///
    /// # Cancel safety
    /// Safe: what is taken is returned at once.
    pub(in crate::hub) async fn take(&self) -> Vec<Allowance> {
        loop {
            let waiting = std::mem::take(&mut *self.waiting.lock().expect("no panic while it is held"));
            if !waiting.is_empty() {
                return waiting;
            }
            self.some.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_answers_lead_as_may_and_the_next_does_when_one_of_them_ends() {
        let outbox = Arc::new(Outbox::default());
        let mut leads: Vec<_> = (0..defaults::LEADS).map(|_| outbox.lead().unwrap()).collect();
        assert!(outbox.lead().is_none());
        leads.pop();
        let last = outbox.lead();
        assert!(last.is_some() && outbox.lead().is_none());
    }
}
