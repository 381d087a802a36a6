//! When the agent dials again, and when it lets an old link go. Decides; time and chance come from outside.

use std::time::Duration;

use crate::{defaults, transport::LinkEnd, wire::CloseCode};

/// Waits between attempts: full jitter, doubling, from the beginning after a link that was good.
#[derive(Debug, Default)]
pub(crate) struct Redial {
    failures: u32,
    shut: Option<Shut>,
}

/// Why the hub does not let this agent in until an operator acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shut {
    /// The cluster is locked.
    Locked,
    /// The cluster was removed, or the certificate was revoked.
    Revoked,
    /// The certificate's successor is in use, and this process has not got it.
    Spent,
    /// The certificate is of another CA, and no cluster is mapped to it.
    Unmapped,
}

impl Shut {
    /// What a link's end says of it.
    pub(crate) fn of(end: &LinkEnd) -> Option<Self> {
        match end {
            LinkEnd::Peer(CloseCode::Locked) => Some(Self::Locked),
            LinkEnd::Peer(CloseCode::Revoked) => Some(Self::Revoked),
            LinkEnd::Peer(CloseCode::Superseded) => Some(Self::Spent),
            LinkEnd::Peer(CloseCode::Unmapped) => Some(Self::Unmapped),
            _ => None,
        }
    }

    /// For the log and for probes: what it is, and what to do.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Locked => {
                "the hub has locked this cluster: nothing is served until it is unlocked there (`roadstead cluster show` says why)"
            }
            Self::Spent => {
                "another agent has renewed the certificate of this one: two installations have one Secret; keep one of them"
            }
            Self::Unmapped => {
                "the hub knows no cluster, or more than one, by the names of this agent's certificate: map one of them there (`roadstead cluster map`)"
            }
            Self::Revoked => {
                "the hub has removed this cluster or revoked its certificate: join again with a new token and an empty state"
            }
        }
    }
}

impl Redial {
    /// How long to wait before the next attempt; `jitter` is between 0 and 1.
    pub(crate) fn wait(&mut self, jitter: f64) -> Duration {
        match self.shut {
            Some(Shut::Unmapped) => return defaults::UNMAPPED_WAIT.mul_f64(0.5 + jitter),
            Some(Shut::Locked | Shut::Revoked | Shut::Spent) => return slowly(jitter),
            None => {}
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
        self.shut = Shut::of(end);
        if let Some(shut) = self.shut {
            tracing::error!("{}", shut.as_str());
        }
    }
}

/// How long to wait before asking again where only an operator can help.
pub(super) fn slowly(jitter: f64) -> Duration {
    defaults::REFUSED_WAIT.mul_f64(0.5 + jitter)
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
    fn a_removed_or_locked_cluster_does_not_hammer_the_hub_and_a_fleet_of_them_not_at_once() {
        for code in [CloseCode::Revoked, CloseCode::Locked, CloseCode::Superseded] {
            let mut redial = Redial::default();
            redial.lost(Duration::ZERO, &LinkEnd::Peer(code));
            for _ in 0..3 {
                assert_eq!(redial.wait(0.0), defaults::REFUSED_WAIT / 2);
                assert_eq!(redial.wait(1.0), defaults::REFUSED_WAIT * 3 / 2);
            }
            redial.lost(defaults::LINK_PROVEN, &LinkEnd::Silent);
            assert!(redial.wait(1.0) <= defaults::REDIAL_FIRST * 2, "it is back to normal");
        }
    }

    #[test]
    fn an_agent_that_nobody_mapped_asks_again_soon_for_somebody_is_waiting() {
        let mut redial = Redial::default();
        redial.lost(Duration::ZERO, &LinkEnd::Peer(CloseCode::Unmapped));
        assert_eq!(redial.wait(0.0), defaults::UNMAPPED_WAIT / 2);
        assert_eq!(redial.wait(1.0), defaults::UNMAPPED_WAIT * 3 / 2);
        assert!(defaults::UNMAPPED_WAIT < defaults::REFUSED_WAIT);
    }
}
