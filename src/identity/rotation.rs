//! The replacement of both authorities while traffic flows: which generation is trusted, which signs and which the hub presents in each
//! phase, and what must hold before the next one (security design § 4.5). Decides; keys, stores, links and clocks are elsewhere.
//!
//! ```text
//!            prepare        activate            activate         activate
//!   standby ────────► init ────────► update_agents ────► update_hub ────► standby (new)
//!      │ taint                         ▲ │ revoke            │
//!      └───────────────────────────────┘ └─ from any of the three: rollback ── activate ──► standby (old)
//! ```

mod gate;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use self::gate::{Acceptance, Lack, Laggard, Member};

/// Where a rotation stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// None is under way: one generation does everything.
    #[default]
    Standby,
    /// Agents learn the next roots; nothing else changes.
    Init,
    /// Agents get certificates of the next generation.
    UpdateAgents,
    /// The hub presents certificates of the next generation.
    UpdateHub,
    /// Back: the current generation signs and is presented again, and agents get its certificates again.
    Rollback,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Standby, Self::Init, Self::UpdateAgents, Self::UpdateHub, Self::Rollback];

    /// As JSON, logs and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Init => "init",
            Self::UpdateAgents => "update_agents",
            Self::UpdateHub => "update_hub",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of the two generations that a rotation is between.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Generation {
    /// The one that was there before.
    Current,
    /// The one that replaces it.
    Next,
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes the next generation and has agents trust it beside the current one.
    Prepare,
    /// Into the next phase, if its gate holds.
    Activate(Acceptance),
    /// Back to the current generation.
    Rollback,
    /// A key of the current generation is suspected: stop signing with it and renew all of its certificates, now.
    Taint,
    /// Trust the current generation no more, though agents may still hold its certificates.
    Revoke(Acceptance),
}

impl Step {
    /// As commands and logs name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Activate(_) => "activate",
            Self::Rollback => "rollback",
            Self::Taint => "taint",
            Self::Revoke(_) => "revoke",
        }
    }
}

/// What becomes of the keys with a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keys {
    /// Nothing.
    Keep,
    /// The next generation is made.
    Make,
    /// The next generation becomes the current one, which is distrusted.
    Promote,
    /// The next generation is discarded and distrusted.
    Discard,
}

/// Why a step is not taken. Nothing has changed then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The step makes no sense now.
    #[error("`{step}` is not possible in phase {phase}: {next}")]
    Phase {
        /// Which.
        step: &'static str,
        /// Where the rotation stands.
        phase: Phase,
        /// What to do instead.
        next: &'static str,
    },
    /// The gate is closed.
    #[error("{} not ready to leave phase {phase}: {}", gate::counted(laggards.len()), gate::listed(laggards))]
    Laggards {
        /// Where the rotation stands.
        phase: Phase,
        /// Who holds it up, by name.
        laggards: Vec<Laggard>,
    },
    /// A cluster to be given up does not exist, or never enrolled.
    #[error("there is no enrolled cluster named {0:?} to be accepted as lost")]
    Unknown(String),
    /// What would be gone back to is suspected or distrusted.
    #[error("the current generation was {0}: it must not sign again, so there is no way back; go on with `activate`")]
    NoWayBack(&'static str),
    /// Somebody else took a step meanwhile.
    #[error("the rotation has moved on to revision {actual} since you looked (revision {expected}): look at it again")]
    Stale {
        /// What the caller had seen.
        expected: u64,
        /// What is.
        actual: u64,
    },
}

/// A step that may be taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The state after it.
    pub rotation: Rotation,
    /// What becomes of the keys.
    pub keys: Keys,
}

/// Where the replacement of the authorities stands: kept in the store beside their keys, changed in one commit with them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Rotation {
    phase: Phase,
    /// Counts the steps taken.
    revision: u64,
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    /// Clusters, by uid, that the operator gave up in this rotation.
    accepted: BTreeSet<String>,
    tainted: bool,
    revoked: bool,
}

impl Rotation {
    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How many steps were ever taken: two callers who saw the same number cannot both take the next one.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Since when it is in this phase; `None` before the first rotation.
    pub fn since(&self) -> Option<OffsetDateTime> {
        self.since
    }

    /// Whether a key of the current generation is suspected.
    pub fn tainted(&self) -> bool {
        self.tainted
    }

    /// Whether the current agents' CA was put out of trust before the end.
    pub fn revoked(&self) -> bool {
        self.revoked
    }

    /// Whose certificates agents get.
    pub fn signs(&self) -> Generation {
        match self.phase {
            Phase::Standby | Phase::Init | Phase::Rollback => Generation::Current,
            Phase::UpdateAgents | Phase::UpdateHub => Generation::Next,
        }
    }

    /// Whose certificates the hub presents.
    pub fn presents(&self) -> Generation {
        match self.phase {
            Phase::Standby | Phase::Init | Phase::UpdateAgents | Phase::Rollback => Generation::Current,
            Phase::UpdateHub => Generation::Next,
        }
    }

    /// Which agents' CAs the hub trusts.
    pub fn trusted_agents(&self) -> &'static [Generation] {
        match self.phase {
            Phase::Standby => &[Generation::Current],
            _ if self.revoked => &[Generation::Next],
            Phase::Init | Phase::UpdateAgents | Phase::UpdateHub | Phase::Rollback => {
                &[Generation::Current, Generation::Next]
            }
        }
    }

    /// Which hub's CAs agents are told to trust. Not less than both before the end: the hub may go back.
    pub fn trusted_hubs(&self) -> &'static [Generation] {
        match self.phase {
            Phase::Standby => &[Generation::Current],
            Phase::Init | Phase::UpdateAgents | Phase::UpdateHub | Phase::Rollback => {
                &[Generation::Current, Generation::Next]
            }
        }
    }

    /// Whether a cluster was given up in this rotation.
    pub fn has_accepted(&self, uid: &str) -> bool {
        self.accepted.contains(uid)
    }

    /// Refuses a caller who saw another revision.
    ///
    /// # Errors
    /// [`Refused::Stale`].
    pub fn seen_at(&self, expected: Option<u64>) -> Result<(), Refused> {
        match expected {
            Some(expected) if expected != self.revision => Err(Refused::Stale { expected, actual: self.revision }),
            _ => Ok(()),
        }
    }

    /// The state after `step`, with these enrolled clusters.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take(&self, step: &Step, members: &[Member], now: OffsetDateTime) -> Result<Taken, Refused> {
        use Phase::{Init, Rollback, Standby, UpdateAgents, UpdateHub};
        let refused = |next| Refused::Phase { step: step.as_str(), phase: self.phase, next };
        let mut after = self.clone();
        let (phase, keys) = match (step, self.phase) {
            (Step::Prepare, Standby) => (Init, Keys::Make),
            (Step::Prepare, _) => return Err(refused("a rotation is under way; `activate` goes on with it")),
            (Step::Activate(_), Standby) => return Err(refused("`prepare` begins a rotation")),
            (Step::Activate(accept), _) => {
                after.accepted = self.accept(accept, members, &self.laggards(members))?;
                after.gate(members)?;
                match self.phase {
                    Init => (UpdateAgents, Keys::Keep),
                    UpdateAgents => (UpdateHub, Keys::Keep),
                    Rollback => (Standby, Keys::Discard),
                    Standby | UpdateHub => (Standby, Keys::Promote),
                }
            }
            (Step::Rollback, Standby) => return Err(refused("no rotation is under way")),
            (Step::Rollback, Rollback) => return Err(refused("it is under way; `activate` ends it")),
            (Step::Rollback, _) if self.revoked => return Err(Refused::NoWayBack("revoked")),
            (Step::Rollback, _) if self.tainted => return Err(Refused::NoWayBack("tainted")),
            (Step::Rollback, _) => (Rollback, Keys::Keep),
            // Whether agents know the next roots is asked again before the hub presents them.
            (Step::Taint, phase) => {
                after.tainted = true;
                match phase {
                    Standby => (UpdateAgents, Keys::Make),
                    Init | Rollback => (UpdateAgents, Keys::Keep),
                    UpdateAgents | UpdateHub => (phase, Keys::Keep),
                }
            }
            (Step::Revoke(accept), UpdateAgents) => {
                let holding = gate::still_on_current(members);
                after.accepted = self.accept(accept, members, &holding)?;
                after.refuse(holding)?;
                after.revoked = true;
                (UpdateAgents, Keys::Keep)
            }
            (Step::Revoke(accept), UpdateHub) => {
                after.accepted = self.accept(accept, members, &self.laggards(members))?;
                after.gate(members)?;
                (Standby, Keys::Promote)
            }
            (Step::Revoke(_), Standby) => return Err(refused("only one generation is trusted")),
            (Step::Revoke(_), Init) => return Err(refused("the current generation still signs; `taint` it first")),
            (Step::Revoke(_), Rollback) => return Err(refused("it would end both; `activate` ends the rollback")),
        };
        after.revision += 1;
        if phase != self.phase {
            (after.phase, after.since) = (phase, Some(now));
        }
        if phase == Rollback || self.phase == Rollback {
            // Who was given up on the way there need not be lost on the way back, and the other way round.
            after.accepted.clear();
        }
        if phase == Standby {
            (after.accepted, after.tainted, after.revoked) = (BTreeSet::new(), false, false);
        }
        Ok(Taken { rotation: after, keys })
    }
}

#[cfg(test)]
mod tests;
