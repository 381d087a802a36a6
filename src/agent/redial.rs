//! When the agent dials again, and when it lets an old link go. Decides; time and chance come from outside.

use std::time::Duration;

use crate::{defaults, transport::LinkEnd, wire::CloseCode};

/// Waits between attempts: full jitter, doubling, from the beginning after a link that was good.
#[derive(Debug, Default)]
pub(crate) struct Redial {
    failures: u32,
    refused: bool,
}

impl Redial {
    /// How long to wait before the next attempt; `jitter` is between 0 and 1.
    pub(crate) fn wait(&mut self, jitter: f64) -> Duration {
        if self.refused {
            return defaults::REFUSED_WAIT;
        }
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return Duration::ZERO;
        }
        let most = defaults::REDIAL_FIRST.saturating_mul(1 << failures.min(10)).min(defaults::REDIAL_LONGEST);
        most.mul_f64(jitter)
    }

    /// A link ended after `lived`.
    pub(crate) fn lost(&mut self, lived: Duration, end: &LinkEnd) {
        self.failures = if lived >= defaults::LINK_PROVEN { 1 } else { self.failures.max(1) };
        self.refused = *end == LinkEnd::Peer(CloseCode::Revoked);
        if self.refused {
            tracing::error!("the hub does not know this cluster any more: it was removed; join again with a new token");
        }
    }
}

/// Between 0 and 1, differently on every machine.
pub(super) fn jitter() -> f64 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system has randomness");
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// A link that another one has replaced, for at most `grace`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retirement {
    /// It ends then, whatever is under way.
    pub(crate) grace: Duration,
}

impl Retirement {
    /// Whether it may end, so long after it was replaced and with so many requests under way.
    pub(crate) fn may_end(&self, since: Duration, streams: usize) -> bool {
        // The hub prefers the newer link; what it opened here before it knew arrives within a moment.
        since >= self.grace || (since >= defaults::RETIRE_FIRST && streams == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over_after_a_good_link() {
        let mut redial = Redial::default();
        assert_eq!(redial.wait(1.0), Duration::ZERO);
        for _ in 0..40 {
            assert!(redial.wait(1.0) <= defaults::REDIAL_LONGEST);
        }
        redial.lost(defaults::LINK_PROVEN, &LinkEnd::Silent);
        assert!(redial.wait(1.0) <= defaults::REDIAL_FIRST * 2);
    }

    #[test]
    fn a_removed_cluster_does_not_hammer_the_hub() {
        let mut redial = Redial::default();
        redial.lost(Duration::ZERO, &LinkEnd::Peer(CloseCode::Revoked));
        assert_eq!(redial.wait(0.0), defaults::REFUSED_WAIT);
    }
}
