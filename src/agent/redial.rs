//! How long the agent waits before it dials again. Knows no sockets.

use std::time::Duration;

use crate::{defaults, transport::LinkEnd, wire::CloseCode};

/// Waits between attempts: full jitter, doubling, from the beginning after a link that was good.
#[derive(Debug, Default)]
pub(super) struct Redial {
    failures: u32,
    refused: bool,
}

impl Redial {
    /// How long to wait before the next attempt.
    pub(super) fn wait(&mut self) -> Duration {
        if self.refused {
            return defaults::REFUSED_WAIT;
        }
        let failures = self.failures;
        self.failures += 1;
        if failures == 0 {
            return Duration::ZERO;
        }
        let most = defaults::REDIAL_FIRST.saturating_mul(1 << failures.min(10)).min(defaults::REDIAL_LONGEST);
        most.mul_f64(jitter())
    }

    /// A link ended after `lived`.
    pub(super) fn lost(&mut self, lived: Duration, end: &LinkEnd) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over_after_a_good_link() {
        let mut redial = Redial::default();
        assert_eq!(redial.wait(), Duration::ZERO);
        for _ in 0..40 {
            assert!(redial.wait() <= defaults::REDIAL_LONGEST);
        }
        redial.lost(defaults::LINK_PROVEN, &LinkEnd::Silent);
        assert!(redial.wait() <= defaults::REDIAL_FIRST * 2);
    }

    #[test]
    fn a_removed_cluster_does_not_hammer_the_hub() {
        let mut redial = Redial::default();
        redial.lost(Duration::ZERO, &LinkEnd::Peer(CloseCode::Revoked));
        assert_eq!(redial.wait(), defaults::REFUSED_WAIT);
    }
}
