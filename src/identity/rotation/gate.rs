//! Who holds up a rotation, and whom the operator gives up. By acknowledgement: nothing is assumed of an agent that it, or a certificate
//! in its hand, did not show.

use std::{collections::BTreeSet, fmt};

use super::{Generation, Phase, Refused, Rotation};

/// An enrolled cluster, as far as a rotation is concerned.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its identity.
    pub uid: String,
    /// What people call it.
    pub name: String,
    /// Whether it has a link now.
    pub live: bool,
    /// Whether its agent said that it keeps the hub's roots as they are to be trusted now.
    pub told: bool,
    /// Who signed the newest certificate that was issued to it; `None` = issued before the hub kept account of it.
    pub certified: Option<Generation>,
    /// Who signed the certificate that its newest link came with.
    pub linked: Option<Generation>,
    /// Its agent's certificate is of another CA: it need not be renewed here.
    pub external: bool,
    /// Which generation the hub presented to its newest link.
    pub saw: Option<Generation>,
}

impl Member {
    /// Whether every certificate that its agent may hold is of `generation`. One that was issued may be stored already and not be used
    /// yet; one that is in use may be stored still although a newer one was issued.
    pub fn is_on(&self, generation: Generation) -> bool {
        let of = |seen: Option<Generation>| seen.unwrap_or(Generation::Current) == generation;
        self.external || (of(self.certified) && of(self.linked))
    }
}

/// Whom an operator gives up: they may have to join again.
#[derive(Clone, Debug, Default)]
pub struct Acceptance {
    /// These, by name, connected or not.
    pub names: Vec<String>,
    /// Up to so many that are not connected, whoever they are.
    pub offline: usize,
}

/// What keeps a cluster from the next phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lack {
    /// Its agent did not acknowledge the roots.
    Roots,
    /// It may hold a certificate of the generation that is left.
    Certificate,
    /// It did not dial since the hub presents the other generation.
    Link,
}

impl Lack {
    /// For JSON and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Roots => "has not acknowledged the hub's roots",
            Self::Certificate => "may hold a certificate of the other generation",
            Self::Link => "has not dialled since the hub's certificate changed",
        }
    }
}

/// A cluster that holds up a rotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Laggard {
    /// Its identity.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Whether it has a link now.
    pub live: bool,
    /// What is missing first.
    pub lack: Lack,
}

impl fmt::Display for Laggard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.live { "connected" } else { "not connected" };
        write!(f, "{} ({state}) {}", self.name, self.lack.as_str())
    }
}

impl Rotation {
    /// Who keeps the rotation from leaving its phase, apart from those who were given up. In standby: who may still trust roots of the
    /// generation before.
    pub fn laggards(&self, members: &[Member]) -> Vec<Laggard> {
        let lacks = |member: &Member| match self.phase {
            Phase::Standby | Phase::Init => (!member.told).then_some(Lack::Roots),
            // One that is away may come back with its certificate of the current generation: it is trusted to the end.
            Phase::UpdateAgents if !member.told => Some(Lack::Roots),
            Phase::UpdateAgents => (member.live && !member.is_on(Generation::Next)).then_some(Lack::Certificate),
            Phase::UpdateHub if !member.told => Some(Lack::Roots),
            Phase::UpdateHub if !member.is_on(Generation::Next) => Some(Lack::Certificate),
            Phase::UpdateHub => (member.saw != Some(Generation::Next)).then_some(Lack::Link),
            Phase::Rollback if !member.is_on(Generation::Current) => Some(Lack::Certificate),
            Phase::Rollback => (member.live && member.saw == Some(Generation::Next)).then_some(Lack::Link),
        };
        members
            .iter()
            .filter(|m| !self.accepted.contains(&m.uid))
            .filter_map(|m| lacks(m).map(|lack| Laggard::of(m, lack)))
            .collect()
    }

    pub(super) fn gate(&self, members: &[Member]) -> Result<(), Refused> {
        self.refuse(self.laggards(members))
    }

    /// Refuses if one of these was not given up.
    pub(super) fn refuse(&self, laggards: Vec<Laggard>) -> Result<(), Refused> {
        let laggards: Vec<_> = laggards.into_iter().filter(|l| !self.accepted.contains(&l.uid)).collect();
        if laggards.is_empty() { Ok(()) } else { Err(Refused::Laggards { phase: self.phase, laggards }) }
    }

    /// Everybody who is given up once `accept` is granted, when these hold up the step.
    pub(super) fn accept(
        &self,
        accept: &Acceptance,
        members: &[Member],
        holding: &[Laggard],
    ) -> Result<BTreeSet<String>, Refused> {
        let mut accepted = self.accepted.clone();
        for name in &accept.names {
            let member = members.iter().find(|m| m.name == *name).ok_or_else(|| Refused::Unknown(name.clone()))?;
            accepted.insert(member.uid.clone());
        }
        let away = holding.iter().filter(|l| !l.live && !accepted.contains(&l.uid));
        let away: Vec<_> = away.map(|l| l.uid.clone()).collect();
        if away.len() <= accept.offline {
            accepted.extend(away);
        }
        Ok(accepted)
    }
}

impl Laggard {
    fn of(member: &Member, lack: Lack) -> Self {
        Self { uid: member.uid.clone(), name: member.name.clone(), live: member.live, lack }
    }
}

/// Who is locked out when the current generation is not trusted any more.
pub(super) fn still_on_current(members: &[Member]) -> Vec<Laggard> {
    let left = members.iter().filter(|m| !m.is_on(Generation::Next));
    left.map(|m| Laggard::of(m, Lack::Certificate)).collect()
}

/// `1 cluster is`, `2 clusters are`.
pub(super) fn counted(count: usize) -> String {
    if count == 1 { "1 cluster is".to_owned() } else { format!("{count} clusters are") }
}

/// The first of them by name, and how many more.
pub(super) fn listed(laggards: &[Laggard]) -> String {
    const SHOWN: usize = 10;
    let mut text: Vec<_> = laggards.iter().take(SHOWN).map(ToString::to_string).collect();
    if laggards.len() > SHOWN {
        text.push(format!("and {} more", laggards.len() - SHOWN));
    }
    text.join("; ")
}
