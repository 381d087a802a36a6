//! A step of a rotation, as the store sees it: decided on what it holds, written in one commit, then put in force.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{
    Keys, Pair, Pki, PkiError,
    stored::{Distrusted, Record},
};
use crate::{
    identity::{
        SpkiSha256,
        rotation::{Keys as Fate, Member, Refused, Step},
    },
    store::CommitError,
};

/// A step was not taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::hub) enum StepError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Somebody else changed the record at the same moment.
    #[error("the authorities were changed by another at the same moment: look at them again")]
    Conflict,
    /// Keys, certificates or the store.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl Pki {
    /// Takes a step that the caller wants from `seen` on (`None` = wherever it is). What is in force after it.
    ///
    /// # Errors
    /// [`StepError`]. Nothing has changed then, except possibly when the store failed while writing: what it holds is put in force at the
    /// next renewal, step or start.
    pub(in crate::hub) async fn step(
        &self,
        step: &Step,
        seen: Option<u64>,
        members: impl FnOnce(&Keys) -> Vec<Member>,
        now: OffsetDateTime,
    ) -> Result<Arc<Keys>, StepError> {
        let _changing = self.changing.lock().await;
        let mut record = Record::current(&*self.store, now).await?;
        record.keys.rotation.seen_at(seen)?;
        if matches!(step, Step::Rollback) {
            record.keys.can_go_back(now)?;
        }
        let taken = record.keys.rotation.take(step, &members(&record.keys), now)?;
        let Keys { mut current, mut next, .. } = record.keys.clone();
        let severs = record.keys.rotation.tainted() || matches!(step, Step::Revoke(_));
        let left = current.agents.pin();
        match taken.keys {
            Fate::Keep => {}
            Fate::Make => next = Some(Pair::create(record.keys.trust_domain(), now).map_err(PkiError::from)?),
            Fate::Promote => {
                record.distrust(&current, now);
                current = next.take().ok_or(PkiError::Generations)?;
            }
            Fate::Discard => record.distrust(&next.take().ok_or(PkiError::Generations)?, now),
        }
        record.keys = Keys::new(taken.rotation, current, next)?;
        let ready = self.ready(record.keys.clone(), now)?;
        match record.replace(&*self.store).await {
            Ok(()) => {}
            Err(PkiError::Commit(CommitError::Conflict { .. })) => return Err(StepError::Conflict),
            Err(error) => return Err(error.into()),
        }
        if severs {
            self.severed.write().expect("no panic while it is held").insert(left);
        }
        self.put_in_force(ready);
        Ok(self.keys())
    }

    /// The roots that were trusted once, the newest last, and since when they are not.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub(in crate::hub) async fn distrusted(
        &self,
        now: OffsetDateTime,
    ) -> Result<Vec<(SpkiSha256, OffsetDateTime)>, PkiError> {
        let _changing = self.changing.lock().await;
        let record = Record::current(&*self.store, now).await?;
        Ok(record.distrusted.into_iter().map(|Distrusted { pin, since }| (pin, since)).collect())
    }
}
