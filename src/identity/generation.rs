//! Which certificate of a cluster is in use, and what it means when another one is shown. Two places, `current` and `next`: a renewed
//! certificate is next until a link with it is admitted; then it is current, and its predecessor is spent. Rules only: refuses to know
//! links, the store and who is told.
//!
//! An agent stores a renewed certificate before it dials with it, and never goes back. So a spent certificate is shown by a copy of the
//! agent's Secret or of a backup of it, and by nobody else. What an agent or a hub may suffer must never look like that:
//!
//! | what happened | what the hub sees | verdict |
//! |---|---|---|
//! | the agent crashed before it stored the next one | the current one again, a renewal with another key | current; a second next |
//! | it crashed after, or the hub did before it knew | the next one | next: becomes current |
//! | the reply of a renewal was lost, or the hub crashed between signing and replying | the current one, a renewal again | current |
//! | its Secret was written, but the answer to that was lost | any of several next ones, one of them in the end | next |
//! | it renewed over its live link and dials anew (make before break) | two links of one agent | next; the old link serves on |
//! | it dialled, gave up, dialled again and renewed; the first hello comes last | a spent one, moments after | late: refused, no more |
//! | a request for renewal overtaken by the link of its successor | a spent one, moments after | late: refused, no more |
//! | two processes of one agent share a Secret for a while, and one renews | a spent one, moments after, from the other | late; it is told to read again |
//! | the hub was restored from an older backup | a certificate that is not recorded | adopted: newer than all that are |
//! | a new agent joined with a new token | one of an older enrolment | replaced: refused, no more |
//! | one of two holders of a key renewed, and the other goes on | a spent one, later | copied |

use std::{cmp::Ordering, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, serde::rfc3339};

use super::{Serial, SpkiSha256};

/// How long after its successor came into use a spent certificate may still be on its way: twice the time after which a silent link is
/// dead. Shorter, and a delayed hello locks an honest cluster; longer, and a copy is told from its original that much later.
pub const LATE: Duration = Duration::from_secs(30);

/// Where a certificate stands in the history of its cluster: each enrolment begins a line, each renewal is a step in it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Position {
    /// Which enrolment, from 1; 0 = before hubs counted.
    #[serde(default)]
    pub enrolment: u64,
    /// Which certificate of it, from 1; 0 = before hubs counted.
    #[serde(default)]
    pub generation: u64,
}

/// A certificate as the hub knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its serial.
    pub serial: Serial,
    /// Of its key.
    pub spki: SpkiSha256,
    /// Its place.
    pub position: Position,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

/// The certificate in use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Current {
    /// Its place.
    #[serde(flatten)]
    pub position: Position,
    /// Its serial.
    pub serial: Serial,
    /// Of its key.
    pub spki: SpkiSha256,
    /// Since when it is in use.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
    /// When it ends.
    #[serde(with = "rfc3339")]
    pub not_after: OffsetDateTime,
}

/// That all certificates of a cluster so far are dead.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Revoked {
    /// The last enrolment whose certificates are dead.
    pub through: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
}

/// What the hub knows of a cluster's certificates.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Standing {
    /// Enrolments so far.
    #[serde(default)]
    enrolments: u64,
    #[serde(default)]
    current: Option<Current>,
    #[serde(default)]
    revoked: Option<Revoked>,
}

/// What a certificate that is shown means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is in use.
    Current,
    /// The next one: it will be in use once its link is admitted.
    Next,
    /// Spent, but only just: what was sent before may come after. Refuse it.
    Late,
    /// Spent. Whoever shows it has a copy.
    Copied,
    /// Another agent has joined since, with a join token. Refuse it.
    Replaced,
    /// Revoked with all of its time. Refuse it.
    Revoked,
}

/// Why a certificate is not renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RenewalRefused {
    /// A renewal is for a new key.
    #[error("a renewal needs a new key")]
    SameKey,
    /// Because of the certificate that asks.
    #[error("the certificate of this link is not the one in use")]
    Standing(Verdict),
}

impl Standing {
    /// What it means that an agent shows `held`. The hub's clock going back makes it milder, never harder.
    pub fn judge(&self, held: &Held, now: OffsetDateTime) -> Verdict {
        if self.buries(held.position) {
            return Verdict::Revoked;
        }
        let Some(current) = &self.current else { return Verdict::Next };
        match held.position.cmp(&current.position) {
            Ordering::Greater => Verdict::Next,
            // The same key twice: the answer to an enrolment was lost, and it was asked again. Uncounted ones are not told apart.
            Ordering::Equal
                if held.serial == current.serial || held.spki == current.spki || held.position.generation == 0 =>
            {
                Verdict::Current
            }
            Ordering::Less if held.position.enrolment < current.position.enrolment => Verdict::Replaced,
            Ordering::Equal | Ordering::Less if now - current.since < LATE => Verdict::Late,
            Ordering::Equal | Ordering::Less => Verdict::Copied,
        }
    }

    /// A link with `held` is admitted. True: it came into use by that, and what was current is spent.
    pub fn promote(&mut self, held: &Held, now: OffsetDateTime) -> bool {
        let next = self.judge(held, now) == Verdict::Next;
        if next {
            let Held { serial, spki, position, not_after } = *held;
            self.enrolments = self.enrolments.max(position.enrolment);
            self.current = Some(Current { position, serial, spki, since: now, not_after });
        }
        next
    }

    /// The place of a first certificate: a new line begins.
    pub fn enrol(&mut self) -> Position {
        self.enrolments += 1;
        Position { enrolment: self.enrolments, generation: 1 }
    }

    /// The place of the certificate that renews `held` for the key `spki`.
    ///
    /// # Errors
    /// [`RenewalRefused`]; of its verdicts [`Verdict::Copied`] wants action.
    pub fn successor(&self, held: &Held, spki: SpkiSha256, now: OffsetDateTime) -> Result<Position, RenewalRefused> {
        match self.judge(held, now) {
            Verdict::Current | Verdict::Next if spki == held.spki => Err(RenewalRefused::SameKey),
            Verdict::Current | Verdict::Next => {
                let Position { enrolment, generation } = held.position;
                Ok(Position { enrolment, generation: generation + 1 })
            }
            // The key that is in use already: the request is an older one, whatever the time.
            Verdict::Copied if self.current.as_ref().is_some_and(|current| current.spki == spki) => {
                Err(RenewalRefused::Standing(Verdict::Late))
            }
            verdict => Err(RenewalRefused::Standing(verdict)),
        }
    }

    /// The place of a genuine certificate that is not recorded: this hub knows less than it once did, so it is newer than all that
    /// are. `None` when certificates were revoked: nobody can tell on which side of that it stands.
    pub fn adopt(&self) -> Option<Position> {
        if self.revoked.is_some() {
            return None;
        }
        let position = self
            .current
            .as_ref()
            .map_or(Position { enrolment: self.enrolments, generation: 0 }, |current| current.position);
        Some(Position { generation: position.generation + 1, ..position })
    }

    /// All certificates so far are dead from now on; those of later enrolments are not.
    pub fn revoke(&mut self, now: OffsetDateTime) {
        self.revoked = Some(Revoked { through: self.enrolments, at: now });
    }

    /// Whether what stands there was revoked with all of its time.
    pub fn buries(&self, position: Position) -> bool {
        self.revoked.as_ref().is_some_and(|revoked| position.enrolment <= revoked.through)
    }

    /// The certificate in use.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// When certificates were revoked last, whoever has joined since.
    pub fn revoked_at(&self) -> Option<OffsetDateTime> {
        self.revoked.as_ref().map(|revoked| revoked.at)
    }

    /// When its certificates were revoked, if no agent has joined since.
    pub fn revoked(&self) -> Option<&Revoked> {
        self.revoked.as_ref().filter(|revoked| revoked.through >= self.enrolments)
    }
}

#[cfg(test)]
mod tests;
