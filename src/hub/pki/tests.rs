//! Authorities in the store and in force: kept, renewed, rotated, and the same after a restart at any moment.

use std::time::Duration;

use super::*;
use crate::{
    identity::{
        AgentRequest, ClusterUid, Phase, Serial, VerifiedCsr,
        rotation::{Acceptance, Refused, Step},
    },
    store::{Embedded, Expect, Op},
};

struct World {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    public: PublicName,
    now: OffsetDateTime,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&dir.path().join("store.redb")).await.unwrap());
        let public = PublicName { dns: vec!["hub.example".into()], ips: vec![] };
        Self { dir, store, public, now: OffsetDateTime::now_utc() }
    }

    async fn pki(&self) -> Pki {
        self.pki_at(self.now).await
    }

    async fn pki_at(&self, now: OffsetDateTime) -> Pki {
        assert!(self.dir.path().exists());
        Pki::load_or_create(self.store.clone(), &self.public, now).await.unwrap()
    }

    async fn take(&self, pki: &Pki, step: Step) -> Result<Phase, StepError> {
        pki.step(&step, None, |_| Vec::new(), self.now).await.map(|keys| keys.rotation.phase())
    }

    fn agent(&self, pki: &Pki) -> Vec<rustls::pki_types::CertificateDer<'static>> {
        let (key, cluster) = (KeyPair::generate(), ClusterUid::generate(self.now));
        let csr = VerifiedCsr::parse(&key.csr()).unwrap();
        let ttl = Duration::from_secs(3_600);
        let request = AgentRequest { csr: &csr, cluster: &cluster, now: self.now, ttl, serial: Serial::random() };
        pki.agents().issue_agent(&request).unwrap().chain
    }

    /// The root of the hub's certificate on links.
    fn presented(&self, pki: &Pki) -> Vec<u8> {
        pki.link.current().cert.last().unwrap().to_vec()
    }
}

fn go() -> Step {
    Step::Activate(Acceptance::default())
}

#[tokio::test]
async fn issuing_certificates_are_replaced_in_time_and_kept_while_the_roots_stay() {
    let world = World::new().await;
    let (pki, start) = (world.pki().await, world.now);
    let (root, first, link) = (pki.agents().root_pem(), pki.agents().issuing_ends(), pki.link.current());
    pki.renew(start + time::Duration::days(1)).await.unwrap();
    assert_eq!(pki.agents().issuing_ends(), first);
    assert!(!Arc::ptr_eq(&link, &pki.link.current()));
    pki.renew(start + time::Duration::days(70)).await.unwrap();
    let second = pki.agents().issuing_ends();
    assert!(second > first && pki.agents().root_pem() == root);
    let again = world.pki_at(start + time::Duration::days(71)).await;
    assert_eq!(again.agents().issuing_ends(), second);
}

/// Each phase, seen by the hub that took the step and by one that was started after it.
#[tokio::test]
async fn a_rotation_swaps_what_is_trusted_signed_with_and_presented_and_survives_a_restart_in_each_phase() {
    let world = World::new().await;
    let mut pki = world.pki().await;
    let (old_agent, old_hub) = (world.agent(&pki), world.presented(&pki));
    let mut new_agent = None;
    // The phase that follows; whether the new one signs, is presented; whether the old agent is let in.
    let rows = [
        (Step::Prepare, Phase::Init, false, false, true),
        (go(), Phase::UpdateAgents, true, false, true),
        (go(), Phase::UpdateHub, true, true, true),
        (go(), Phase::Standby, true, true, false),
    ];
    let roots: Vec<_> = [pki.agents().pin(), pki.hub().pin()].into();
    for (step, phase, signs, presents, old) in rows {
        assert_eq!(world.take(&pki, step).await.unwrap(), phase);
        for restarted in [false, true] {
            if restarted {
                pki = world.pki().await;
            }
            let keys = pki.keys();
            assert_eq!(keys.rotation.phase(), phase, "restarted: {restarted}");
            assert_eq!(pki.agents().pin() != roots[0], signs, "{phase}");
            assert_eq!(
                (pki.hub().pin() != roots[1], world.presented(&pki) != old_hub),
                (presents, presents),
                "{phase}"
            );
            assert_eq!(pki.verifier.verify(&old_agent, world.now).is_ok(), old, "{phase}");
            assert_eq!(keys.pins().contains(&roots[1]), old, "{phase}");
            let pem = keys.roots_pem(AuthorityKind::Hub).matches("BEGIN CERTIFICATE").count();
            assert_eq!((pem, keys.pins().iter().count()), if old { (2, 2) } else { (1, 1) }, "{phase}");
        }
        if signs {
            let agent = new_agent.get_or_insert_with(|| world.agent(&pki));
            assert!(pki.verifier.verify(agent, world.now).is_ok(), "{phase}");
        }
    }
    let distrusted: Vec<_> = pki.distrusted(world.now).await.unwrap().into_iter().map(|(pin, _)| pin).collect();
    assert_eq!(distrusted, roots);
}

#[tokio::test]
async fn a_rollback_from_each_phase_ends_with_the_old_keys_and_without_the_new() {
    for steps in 0..3 {
        let world = World::new().await;
        let pki = world.pki().await;
        let (old_agent, old_hub) = (world.agent(&pki), world.presented(&pki));
        world.take(&pki, Step::Prepare).await.unwrap();
        for _ in 0..steps {
            world.take(&pki, go()).await.unwrap();
        }
        let agent = world.agent(&pki);
        assert_eq!(world.take(&pki, Step::Rollback).await.unwrap(), Phase::Rollback);
        assert!(pki.verifier.verify(&agent, world.now).is_ok(), "who was renewed is not locked out");
        assert_eq!(world.presented(&pki), old_hub);
        assert_eq!(world.take(&pki, go()).await.unwrap(), Phase::Standby);
        let pki = world.pki().await;
        assert!(pki.verifier.verify(&old_agent, world.now).is_ok());
        assert_eq!(pki.verifier.verify(&agent, world.now).is_ok(), steps == 0);
        assert_eq!(pki.distrusted(world.now).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn of_two_who_take_the_same_step_one_is_told_that_the_other_was_faster() {
    let world = World::new().await;
    let pki = world.pki().await;
    let step = || async { pki.step(&Step::Prepare, Some(0), |_| Vec::new(), world.now).await };
    let (one, other) = tokio::join!(step(), step());
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(matches!(&refused[..], [StepError::Refused(Refused::Stale { expected: 0, actual: 1 })]), "{refused:?}");
    // One on another replica, which this process does not see, is caught by the store.
    let elsewhere = world.pki().await;
    elsewhere.step(&go(), Some(1), |_| Vec::new(), world.now).await.unwrap();
    let stale = pki.step(&go(), Some(1), |_| Vec::new(), world.now).await;
    assert!(matches!(stale, Err(StepError::Refused(Refused::Stale { expected: 1, actual: 2 }))));
}

fn key_of(authority: &Authority) -> crate::identity::Secret {
    authority.root_key().expect("it is here")
}

/// Days after the key left: the hub serves, issues and restarts until the issuing certificate ends, then it says what it needs.
#[tokio::test]
async fn a_hub_whose_roots_are_offline_serves_to_the_end_of_its_issuing_certificates_and_takes_the_keys_back() {
    let world = World::new().await;
    let pki = world.pki().await;
    let keys = [key_of(&pki.agents()), key_of(&pki.hub())];
    let day = time::Duration::days(1);
    for key in &keys {
        pki.change_root(key, RootFate::Remove, world.now + day).await.unwrap();
    }
    assert!(pki.agents().is_root_offline() && pki.hub().is_root_offline());
    let again = pki.change_root(&keys[0], RootFate::Remove, world.now).await;
    assert!(matches!(again, Err(RootError::Offline)), "{again:?}");
    let stored = world.store.get(b"pki/authorities").await.unwrap().unwrap().value;
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert!(stored["agents"]["root_key"].is_null() && stored["hub"]["root_key"].is_null());
    let ends = pki.hub().issuing_ends();
    assert_eq!(
        ends.date(),
        (world.now + time::Duration::days(91)).date(),
        "removing it makes as much time as there can be"
    );
    for days in [2, 60, 85, 90] {
        let now = world.now + day * days;
        pki.renew(now).await.unwrap();
        let pki = world.pki_at(now).await;
        assert_eq!(pki.hub().issuing_ends(), ends, "day {days}");
        assert_eq!(pki.agents().pin(), pki.keys().pair(Generation::Current).unwrap().agents.pin());
    }
    let late = world.now + day * 92;
    let Err(refused) = Pki::load_or_create(world.store.clone(), &world.public, late).await else {
        panic!("it started")
    };
    assert!(matches!(refused, PkiError::RootNeeded(AuthorityKind::Hub, at) if at == ends), "{refused}");
    assert!(refused.to_string().contains("ca root import"), "{refused}");
    for key in &keys {
        import(&*world.store, key, late).await.unwrap();
    }
    let pki = world.pki_at(late).await;
    assert!(!pki.hub().is_root_offline() && pki.agents().issuing_ends() > late + day * 89);
}

#[tokio::test]
async fn a_roots_key_is_used_once_or_kept_and_only_one_of_this_hubs_is_taken() {
    let world = World::new().await;
    let pki = world.pki().await;
    let key = key_of(&pki.hub());
    pki.change_root(&key, RootFate::Remove, world.now).await.unwrap();
    let (first, pin) = (pki.hub().issuing_ends(), pki.hub().pin());
    let stranger = KeyPair::generate().to_pem();
    let refused = pki.change_root(&stranger, RootFate::Import, world.now).await;
    assert!(matches!(refused, Err(RootError::Foreign(_))), "{refused:?}");
    let later = world.now + time::Duration::days(20);
    assert_eq!(pki.change_root(&key, RootFate::Use, later).await.unwrap(), pin);
    assert!(pki.hub().is_root_offline() && pki.hub().issuing_ends() > first);
    pki.change_root(&key, RootFate::Import, later).await.unwrap();
    assert!(!pki.hub().is_root_offline());
    assert_eq!((world.pki().await.hub().pin(), world.pki().await.hub().is_root_offline()), (pin, false));
}

/// New roots come with keys; the old ones are needed on the way back alone, and only when their issuing certificates are about to end.
#[tokio::test]
async fn a_rotation_needs_no_offline_key_but_for_a_way_back_that_comes_late() {
    let world = World::new().await;
    let pki = world.pki().await;
    let key = key_of(&pki.agents());
    pki.change_root(&key, RootFate::Remove, world.now).await.unwrap();
    world.take(&pki, Step::Prepare).await.unwrap();
    let rotating = pki.change_root(&key_of(&pki.hub()), RootFate::Remove, world.now).await;
    assert!(matches!(rotating, Err(RootError::Rotating(Phase::Init))), "{rotating:?}");
    let late = world.now + time::Duration::days(59);
    let back = pki.step(&Step::Rollback, None, |_| Vec::new(), late).await;
    assert!(matches!(back, Err(StepError::Pki(PkiError::RootNeeded(AuthorityKind::Agents, _)))), "{back:?}");
    assert_eq!(pki.keys().rotation.phase(), Phase::Init, "refused before anything changed");
    pki.change_root(&key, RootFate::Use, late).await.unwrap();
    pki.step(&Step::Rollback, None, |_| Vec::new(), late).await.unwrap();
    world.take(&pki, go()).await.unwrap();
    world.take(&pki, Step::Prepare).await.unwrap();
    for _ in 0..3 {
        world.take(&pki, go()).await.unwrap();
    }
    assert!(!pki.agents().is_root_offline(), "the new root's key is here");
}

#[tokio::test]
async fn a_record_of_an_older_hub_is_in_standby_and_one_that_contradicts_itself_is_refused() {
    let world = World::new().await;
    let pki = world.pki().await;
    let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let mut record = read(&world.store.get(b"pki/authorities").await.unwrap().unwrap().value);
    for added in ["rotation", "next", "distrusted"] {
        record.as_object_mut().unwrap().remove(added);
    }
    let write = async |record: &serde_json::Value| {
        let put = Op::put("pki/authorities", serde_json::to_vec(record).unwrap(), Expect::Any);
        world.store.commit(vec![put]).await.unwrap();
    };
    write(&record).await;
    let again = world.pki().await;
    assert_eq!((again.keys().rotation.phase(), again.hub().pin()), (Phase::Standby, pki.hub().pin()));
    record["rotation"] = serde_json::json!({"phase": "update_hub", "revision": 3});
    write(&record).await;
    let refused = Pki::load_or_create(world.store.clone(), &world.public, world.now).await;
    assert!(matches!(refused, Err(PkiError::Generations)));
}
