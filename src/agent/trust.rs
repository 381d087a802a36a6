//! Which roots of the hub this agent trusts: those of its settings, until a hub that they vouch for says otherwise. What was said is kept and
//! survives a restart; a root that was taken away does not come back because an old manifest still names it (security design § 4.6).

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};

use super::state::{State, StateError};
use crate::{
    defaults,
    identity::{PinSet, SpkiSha256, verify::key_of},
    wire::generated::TrustUpdate,
};

/// Of how many roots it is remembered that they were taken away.
const REMEMBERED: usize = 32;

/// What the hub said, as it is kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Told {
    /// The roots to trust; `None` before the hub said anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    roots: Option<PinSet>,
    /// Roots that were trusted once and are not any more, the newest last.
    distrusted: Vec<SpkiSha256>,
}

impl Told {
    /// The pins of hubs that are accepted. Of those in the settings, one that the hub took away does not count; one that is new there is the
    /// operator's word and does: it is the way back for an agent that was away for a whole rotation.
    fn pins(&self, settings: &[SpkiSha256]) -> Vec<SpkiSha256> {
        let mut pins: Vec<_> = self.roots.iter().flat_map(PinSet::iter).collect();
        pins.extend(settings.iter().filter(|pin| !self.distrusted.contains(pin)));
        pins.sort_unstable();
        pins.dedup();
        pins
    }

    /// After a hub that is trusted said `roots`.
    fn after(&self, roots: &PinSet, settings: &[SpkiSha256]) -> Self {
        let mut distrusted = self.distrusted.clone();
        distrusted.extend(self.pins(settings));
        let mut seen = std::collections::HashSet::new();
        distrusted.retain(|pin| !roots.contains(pin) && seen.insert(*pin));
        let excess = distrusted.len().saturating_sub(REMEMBERED);
        distrusted.drain(..excess);
        Self { roots: Some(roots.clone()), distrusted }
    }
}

/// Why roots that the hub said are not taken over.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the hub's roots cannot be read")]
    Unreadable,
    #[error("none of the hub's roots is known here, not even its own: this agent could not dial it again")]
    Unknown,
}

/// The roots that are trusted, and the keeping of them.
pub(super) struct Trust {
    settings: Vec<SpkiSha256>,
    wanted: watch::Sender<Option<PinSet>>,
    told: watch::Sender<Told>,
}

impl Trust {
    pub(super) fn new(settings: Vec<SpkiSha256>) -> Self {
        Self { settings, wanted: watch::Sender::new(None), told: watch::Sender::new(Told::default()) }
    }

    /// Reads what the hub said before this process. Before the first dial.
    pub(super) async fn load(&self, state: &State) -> Result<(), StateError> {
        if let Some(told) = state.load_trust().await? {
            self.told.send_replace(told);
        }
        Ok(())
    }

    /// The pins of hubs that are accepted now.
    pub(super) fn pins(&self) -> Vec<SpkiSha256> {
        self.told.borrow().pins(&self.settings)
    }

    /// The hub of a link said whom to trust. Taken over by [`Trust::keep`], if that hub itself or another that is trusted is among them; what is
    /// to be acknowledged then.
    pub(super) fn hear(&self, update: &TrustUpdate, hub: &[CertificateDer<'_>]) -> Option<[u8; 32]> {
        match fit(update, hub, &self.pins()) {
            Ok(roots) => {
                let hash = roots.hash();
                self.wanted.send_replace(Some(roots));
                Some(hash)
            }
            Err(error) => {
                tracing::error!(%error, "the hub's roots are not taken over");
                None
            }
        }
    }

    /// Tells whenever roots are kept.
    pub(super) fn kept(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Keeps what is heard, for as long as the agent lives. Roots count, and are acknowledged, once they are kept.
    pub(super) async fn keep(&self, state: &State) {
        let mut wanted = self.wanted.subscribe();
        while wanted.changed().await.is_ok() {
            while let Some(roots) = wanted.borrow_and_update().clone() {
                let next = self.told.borrow().after(&roots, &self.settings);
                if *self.told.borrow() != next {
                    if let Err(error) = state.save_trust(&next).await {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the hub's roots cannot be kept; they are tried again");
                        sleep(defaults::RENEWAL_RETRY_FIRST).await;
                        continue;
                    }
                    tracing::info!(roots = roots.iter().count(), "the hub's roots are kept");
                }
                self.told.send_replace(next);
                break;
            }
        }
    }
}

/// What is acknowledged: computed from what is kept.
pub(super) fn hash(told: &Told) -> Option<[u8; 32]> {
    told.roots.as_ref().map(PinSet::hash)
}

fn fit(update: &TrustUpdate, hub: &[CertificateDer<'_>], trusted: &[SpkiSha256]) -> Result<PinSet, Unfit> {
    let pins: Result<Vec<_>, _> = update.pins.iter().map(|pin| SpkiSha256::try_from(&pin[..])).collect();
    let roots = pins.ok().and_then(|pins| PinSet::try_from(pins).ok()).ok_or(Unfit::Unreadable)?;
    let its_own = hub.iter().skip(1).filter_map(key_of);
    let known = its_own.chain(trusted.iter().copied()).any(|pin| roots.contains(&pin));
    if known { Ok(roots) } else { Err(Unfit::Unknown) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn pin(n: u8) -> SpkiSha256 {
        SpkiSha256::of(&[n])
    }

    fn set(pins: &[u8]) -> PinSet {
        PinSet::try_from(pins.iter().map(|n| pin(*n)).collect::<Vec<_>>()).unwrap()
    }

    fn sorted(pins: &[u8]) -> Vec<SpkiSha256> {
        set(pins).iter().collect()
    }

    #[test]
    fn what_the_hub_says_replaces_the_settings_which_cannot_bring_back_what_it_took_away() {
        let settings = [pin(1)];
        let told = Told::default();
        assert_eq!(told.pins(&settings), sorted(&[1]));
        let during = told.after(&set(&[1, 2]), &settings);
        assert_eq!(during.pins(&settings), sorted(&[1, 2]));
        let over = during.after(&set(&[2]), &settings);
        assert_eq!(over.pins(&settings), sorted(&[2]), "the manifest still names the first");
        let next = over.after(&set(&[2, 3]), &settings).after(&set(&[3]), &settings);
        assert_eq!(next.pins(&[pin(1), pin(2)]), sorted(&[3]), "neither does one of the rotation between");
        assert_eq!(next.pins(&[pin(1), pin(4)]), sorted(&[3, 4]), "a new one is the operator's word");
    }

    #[test]
    fn a_rollback_takes_the_next_root_away_again_and_another_rotation_may_bring_it_back() {
        let settings = [pin(1)];
        let back = Told::default().after(&set(&[1, 2]), &settings).after(&set(&[1]), &settings);
        assert_eq!(back.pins(&[pin(1), pin(2)]), sorted(&[1]));
        assert_eq!(back.after(&set(&[1, 2]), &settings).pins(&settings), sorted(&[1, 2]));
    }

    #[test]
    fn the_memory_of_what_was_taken_away_is_bounded_and_survives_its_json() {
        let mut told = Told::default();
        for n in 0..=100 {
            told = told.after(&set(&[n, n + 1]), &[]);
        }
        assert_eq!((told.distrusted.len(), *told.distrusted.last().unwrap()), (REMEMBERED, pin(99)));
        let json = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Told>(&json).unwrap(), told);
        assert_eq!(serde_json::from_str::<Told>("{}").unwrap(), Told::default());
    }

    #[test]
    fn roots_of_which_none_is_known_or_that_are_none_are_not_taken_over() {
        let hub = crate::identity::testing::World::new();
        let chain = hub.link().chain;
        let update = |pins: &[SpkiSha256]| TrustUpdate {
            pins: pins.iter().map(|pin| Bytes::copy_from_slice(pin.as_bytes())).collect(),
        };
        let fit = |update: &TrustUpdate| fit(update, &chain, &[pin(2)]);
        assert!(fit(&update(&[pin(1), hub.hub.pin()])).is_ok());
        assert!(fit(&update(&[pin(2)])).is_ok(), "the link is one of before the hub's certificate changed");
        assert!(matches!(fit(&update(&[pin(1)])), Err(Unfit::Unknown)));
        assert!(matches!(fit(&update(&[])), Err(Unfit::Unreadable)));
        let short = TrustUpdate { pins: vec![Bytes::from_static(b"short")] };
        assert!(matches!(fit(&short), Err(Unfit::Unreadable)));
    }

    #[tokio::test]
    async fn roots_count_once_they_are_kept_and_are_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (state, world) = (State::in_directory(dir.path()), crate::identity::testing::World::new());
        let (own, chain) = (world.hub.pin(), world.link().chain);
        let trust = Trust::new(vec![own]);
        trust.load(&state).await.unwrap();
        let mut kept = trust.kept();
        let pins = [own, pin(2)].map(|pin| Bytes::copy_from_slice(pin.as_bytes())).to_vec();
        // In the way of the first attempt.
        std::fs::create_dir_all(dir.path().join("trust.part")).unwrap();
        let heard = async {
            tokio::task::yield_now().await;
            let asked = trust.hear(&TrustUpdate { pins: pins.clone() }, &chain);
            tokio::time::sleep(defaults::RENEWAL_RETRY_FIRST / 2).await;
            assert_eq!(trust.pins(), [own], "not kept, so not trusted");
            std::fs::remove_dir(dir.path().join("trust.part")).unwrap();
            kept.changed().await.unwrap();
            assert_eq!(hash(&kept.borrow_and_update()), asked);
            assert_eq!(asked, Some(PinSet::try_from(vec![own, pin(2)]).unwrap().hash()));
            // The same again is acknowledged again.
            trust.hear(&TrustUpdate { pins: pins.clone() }, &chain);
            kept.changed().await.unwrap();
        };
        tokio::select! { () = trust.keep(&state) => unreachable!(), () = heard => {} }
        let again = Trust::new(vec![own]);
        again.load(&state).await.unwrap();
        assert_eq!(again.pins(), trust.pins());
    }
}
