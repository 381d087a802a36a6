//! What is to be said to an agent of its answers' allowances. At most fourteen words of each open stream
//! (`wire::pace`), and streams are bounded: nothing here needs a bound of its own.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::wire::generated::Allowance;

/// Words that wait for the conversation with the agent.
#[derive(Debug, Default)]
pub(in crate::hub) struct Outbox {
    waiting: Mutex<Vec<Allowance>>,
    some: Notify,
}

impl Outbox {
    /// To be said soon.
    pub(in crate::hub) fn push(&self, allowance: Allowance) {
        self.waiting.lock().expect("no panic while it is held").push(allowance);
        self.some.notify_one();
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
