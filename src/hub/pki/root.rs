//! The roots' keys: only new issuing certificates need them, so an operator may keep them offline in between. Nothing else of the hub
//! knows where they are.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{Keys, Pair, Pki, PkiError, stored::Record};
use crate::{
    identity::{
        Authority, AuthorityKind, KeyPair, Phase, Secret, SpkiSha256, ca::IssueError, keys::KeyError,
        rotation::Generation,
    },
    store::{CommitError, Store},
};

/// What becomes of a root's key at the hub.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::hub) enum RootFate {
    /// It makes a last issuing certificate and is kept elsewhere.
    Remove,
    /// It makes an issuing certificate, and is kept here again.
    Import,
    /// It makes an issuing certificate, and is not kept here.
    Use,
}

/// Nothing was done with a root's key.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It is something else.
    #[error("it is not a root's private key")]
    Key(#[from] KeyError),
    /// It is of another hub, or of a generation that is gone.
    #[error("{0} is the key of no root that this hub has now: `roadstead ca status` shows their pins")]
    Foreign(SpkiSha256),
    /// There is nothing to remove or export.
    #[error("the key of this root is kept offline already")]
    Offline,
    /// Which roots stay is not decided yet.
    #[error("a rotation is in phase {0}: remove a root's key when it has ended, for then there are other roots")]
    Rotating(Phase),
    /// Somebody else was faster.
    #[error("the authorities were changed by another at the same moment: look at them again")]
    Conflict,
    /// Keys, certificates or the store.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl Pki {
    /// Does with the key of a root what is said. Whoever gives the key has it: that is why it may be removed.
    ///
    /// # Errors
    /// [`RootError`]; nothing has changed then.
    pub(in crate::hub) async fn change_root(
        &self,
        key: &Secret,
        fate: RootFate,
        now: OffsetDateTime,
    ) -> Result<SpkiSha256, RootError> {
        let key = KeyPair::from_pem(key)?;
        let pin = key.spki_sha256();
        let _changing = self.changing.lock().await;
        let mut record = Record::current(&*self.store, now).await?;
        let phase = record.keys.rotation.phase();
        if fate == RootFate::Remove && phase != Phase::Standby {
            return Err(RootError::Rotating(phase));
        }
        record.keys.change_root(key, fate, now)?;
        let ready = self.ready(record.keys.clone(), now)?;
        record.replace(&*self.store).await.map_err(conflict)?;
        self.put_in_force(ready);
        Ok(pin)
    }
}

/// The same in the store of a hub that does not run: one whose issuing certificates have ended cannot start without it.
///
/// # Errors
/// [`RootError`]; nothing has changed then.
pub(in crate::hub) async fn import(store: &dyn Store, key: &Secret, now: OffsetDateTime) -> Result<(), RootError> {
    let mut record = Record::stored(store).await?.ok_or(PkiError::Nothing)?;
    record.keys.change_root(KeyPair::from_pem(key)?, RootFate::Import, now)?;
    record.replace(store).await.map_err(conflict)
}

impl Keys {
    fn change_root(&mut self, key: KeyPair, fate: RootFate, now: OffsetDateTime) -> Result<(), RootError> {
        let pin = key.spki_sha256();
        let authority = self.of_root(&pin).ok_or(RootError::Foreign(pin))?;
        if fate == RootFate::Remove && authority.is_root_offline() {
            return Err(RootError::Offline);
        }
        authority.bring_root_key(key).map_err(PkiError::from)?;
        // As long as it can be until the key is needed again.
        authority.renew_issuing(now).map_err(PkiError::from)?;
        if fate != RootFate::Import {
            authority.forget_root_key();
        }
        Ok(())
    }

    /// The authority with this root, in keys that were just loaded.
    fn of_root(&mut self, pin: &SpkiSha256) -> Option<&mut Authority> {
        let pairs = [Some(&mut self.current), self.next.as_mut()].into_iter().flatten();
        let found = pairs.flat_map(|Pair { agents, hub }| [agents, hub]).find(|authority| authority.pin() == *pin)?;
        Some(Arc::get_mut(found).expect("it was just loaded, nobody else has it"))
    }

    /// Says of each root that is needed, and is not here, how to bring it back.
    pub(super) fn warn_of_roots(&self, now: OffsetDateTime) {
        for authority in [Generation::Current, Generation::Next].into_iter().filter_map(|g| self.pair(g)).flat_map(both)
        {
            if authority.is_root_offline() && authority.issuing_due() <= now {
                tracing::warn!(
                    authority = ?authority.kind(), pin = %authority.pin(), issuing_ends = %authority.issuing_ends(),
                    "the issuing certificate is to be replaced and its root's key is offline: bring it with `roadstead ca root import FILE`"
                );
            }
        }
    }

    /// Refuses to go back to keys that cannot sign for long.
    pub(super) fn can_go_back(&self, now: OffsetDateTime) -> Result<(), PkiError> {
        let lacks = |authority: &&Authority| authority.is_root_offline() && authority.issuing_due() <= now;
        match both(&self.current).into_iter().find(lacks) {
            Some(authority) => Err(PkiError::RootNeeded(authority.kind(), authority.issuing_ends())),
            None => Ok(()),
        }
    }
}

fn both(pair: &Pair) -> [&Authority; 2] {
    [&pair.agents, &pair.hub]
}

/// What keeps the hub's authority from issuing for itself, in words that help.
pub(super) fn explained(kind: AuthorityKind, authority: &Authority, error: IssueError) -> PkiError {
    match error {
        IssueError::Life(_) | IssueError::IssuerEnds(_) if authority.is_root_offline() => {
            PkiError::RootNeeded(kind, authority.issuing_ends())
        }
        other => other.into(),
    }
}

fn conflict(error: PkiError) -> RootError {
    match error {
        PkiError::Commit(CommitError::Conflict { .. }) => RootError::Conflict,
        other => other.into(),
    }
}
