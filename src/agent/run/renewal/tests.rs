//! T091: whenever an agent ends, what it left is an identity with which it goes on, and never a certificate without its key.

use bytes::Bytes;

use super::*;
use crate::identity::{
    AgentRequest, ClusterUid, Serial, VerifiedCsr,
    testing::{HOUR, World},
};

/// A hub that signs, and an agent's directory.
struct Setting {
    world: World,
    cluster: ClusterUid,
    dir: tempfile::TempDir,
}

impl Setting {
    async fn new() -> Self {
        let world = World::new();
        let cluster = ClusterUid::generate(world.now);
        let setting = Self { world, cluster, dir: tempfile::tempdir().unwrap() };
        let holder = setting.world.agent(&setting.cluster);
        let enrolled = Enrolled::new("edge-1".to_owned(), holder.chain, &holder.key, setting.world.now).unwrap();
        let identity = Identity { key: Arc::new(holder.key), enrolled: Some(enrolled), ..Identity::fresh() };
        assert!(matches!(setting.state().save(&identity).await.unwrap(), Kept::Mine));
        setting
    }

    /// As an agent has it that starts now.
    fn state(&self) -> State {
        State::in_directory(self.dir.path())
    }

    async fn started(&self) -> (State, Identity) {
        let state = self.state();
        let identity = state.load().await.unwrap().expect("an identity is there");
        (state, identity)
    }

    /// What the hub answers to a request with this key.
    fn sign(&self, key: &KeyPair) -> RenewResponse {
        let csr = VerifiedCsr::parse(&key.csr()).unwrap();
        let (cluster, now) = (&self.cluster, self.world.now);
        let request = AgentRequest { csr: &csr, cluster, now, ttl: HOUR, serial: Serial::random() };
        let chain = self.world.agents.issue_agent(&request).unwrap().chain;
        RenewResponse { chain: chain.iter().map(|der| Bytes::from(der.to_vec())).collect(), ..RenewResponse::default() }
    }

    /// A renewal from where it stands to its end.
    async fn renew(&self, state: &State, identity: &mut Identity) {
        assert!(matches!(prepare(state, identity).await, Outcome::Kept));
        let response = self.sign(identity.next.as_ref().unwrap());
        let renewed = answered(response, identity, self.world.now).unwrap();
        assert!(matches!(keep(state, identity, renewed).await, Outcome::Kept));
    }
}

fn key(identity: &Identity) -> crate::identity::SpkiSha256 {
    identity.key.spki_sha256()
}

fn next(identity: &Identity) -> Option<crate::identity::SpkiSha256> {
    identity.next.as_ref().map(|key| key.spki_sha256())
}

/// Every step after which the process may be gone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Nothing,
    NextKept,
    Asked,
    Answered,
    Kept,
}

/// Renews up to and with `last`, and is gone.
async fn renew_until(setting: &Setting, last: Step) -> (Identity, Identity) {
    let (state, mut identity) = setting.started().await;
    let before = identity.clone();
    if last == Step::Nothing {
        return (before, identity);
    }
    assert!(matches!(prepare(&state, &mut identity).await, Outcome::Kept));
    if last == Step::NextKept {
        return (before, identity);
    }
    let response = setting.sign(identity.next.as_ref().unwrap());
    if last == Step::Asked {
        return (before, identity);
    }
    let renewed = answered(response, &mut identity, setting.world.now).unwrap();
    if last == Step::Kept {
        assert!(matches!(keep(&state, &mut identity, renewed).await, Outcome::Kept));
    }
    (before, identity)
}

#[tokio::test]
async fn an_agent_that_ends_at_any_step_of_a_renewal_goes_on_with_what_it_left() {
    for last in [Step::Nothing, Step::NextKept, Step::Asked, Step::Answered, Step::Kept] {
        let setting = Setting::new().await;
        let (before, at_end) = renew_until(&setting, last).await;
        let (state, mut again) = setting.started().await;
        assert!(again.is_valid(setting.world.now), "{last:?}");
        let expected = if last == Step::Kept { &at_end } else { &before };
        assert_eq!(key(&again), key(expected), "{last:?}");
        let asked_with = matches!(last, Step::NextKept | Step::Asked | Step::Answered).then(|| next(&at_end).unwrap());
        assert_eq!(next(&again), asked_with, "{last:?}");
        setting.renew(&state, &mut again).await;
        assert_ne!(key(&again), key(expected), "{last:?}");
        if let Some(asked_with) = asked_with {
            assert_eq!(key(&again), asked_with, "{last:?}: the key that the hub heard of is lost");
        }
        let (_, last_start) = setting.started().await;
        assert_eq!((key(&last_start), next(&last_start)), (key(&again), None), "{last:?}");
    }
}

/// A write that came to nothing, and one of which half is left beside the document.
#[tokio::test]
async fn a_write_that_fails_leaves_the_old_identity_and_the_next_write_works() {
    let setting = Setting::new().await;
    let (state, mut identity) = setting.started().await;
    let (old, in_the_way) = (key(&identity), setting.dir.path().join("identity.part"));
    std::fs::create_dir(&in_the_way).unwrap();
    assert!(matches!(prepare(&state, &mut identity).await, Outcome::Failed));
    assert_eq!(next(&identity), None, "a key that is not kept must not be asked with");
    std::fs::remove_dir(&in_the_way).unwrap();
    std::fs::write(&in_the_way, b"{\"key\": \"-----BEG").unwrap();
    assert_eq!(key(&setting.started().await.1), old);
    setting.renew(&state, &mut identity).await;
    assert_eq!(key(&setting.started().await.1), key(&identity));
}

/// Two agents with one identity: they ask with one key, and the second one takes over what the first one got.
#[tokio::test]
async fn two_agents_with_one_place_never_have_two_identities() {
    let setting = Setting::new().await;
    let ((one_state, mut one), (other_state, mut other)) = (setting.started().await, setting.started().await);
    assert!(matches!(prepare(&one_state, &mut one).await, Outcome::Kept));
    // It is late: the key that is kept already is the one to ask with.
    assert!(matches!(prepare(&other_state, &mut other).await, Outcome::Failed));
    assert_eq!((key(&other), next(&other)), (key(&one), next(&one)));

    let for_other = setting.sign(other.next.as_ref().unwrap());
    setting.renew(&one_state, &mut one).await;
    let late = answered(for_other, &mut other, setting.world.now).unwrap();
    let outcome = keep(&other_state, &mut other, late).await;
    assert!(matches!(outcome, Outcome::Failed | Outcome::Overtaken));
    assert_eq!(key(&setting.started().await.1), key(&one), "the first certificate was written over");

    // And the next time round they are of one mind.
    setting.renew(&one_state, &mut one).await;
    assert!(matches!(prepare(&other_state, &mut other).await, Outcome::Overtaken));
    assert_eq!(key(&other), key(&one));
    assert_eq!(key(&setting.started().await.1), key(&one));
}

#[tokio::test]
async fn what_this_agent_cannot_use_is_not_taken_over() {
    let setting = Setting::new().await;
    let (state, mut identity) = setting.started().await;
    let mine = key(&identity);
    let stranger = Setting::new().await.started().await.1;
    for theirs in [Identity::fresh(), stranger] {
        let other = setting.state();
        other.load().await.unwrap();
        assert!(matches!(other.save(&theirs).await.unwrap(), Kept::Mine));
        assert!(matches!(prepare(&state, &mut identity).await, Outcome::Failed));
        assert_eq!((key(&identity), next(&identity)), (mine, None));
    }
}

#[tokio::test]
async fn answers_that_are_not_for_this_agent_and_key_change_nothing() {
    let setting = Setting::new().await;
    let now = setting.world.now;
    let (state, mut identity) = setting.started().await;
    assert!(answered(setting.sign(&KeyPair::generate()), &mut identity, now).is_none(), "it was not asked for");
    assert!(matches!(prepare(&state, &mut identity).await, Outcome::Kept));
    let asked_with = next(&identity);
    let mut other = Setting::new().await;
    assert!(answered(setting.sign(&KeyPair::generate()), &mut identity, now).is_none(), "for another key");
    other.cluster = ClusterUid::generate(other.world.now);
    assert!(answered(other.sign(identity.next.as_ref().unwrap()), &mut identity, now).is_none(), "another cluster's");
    assert!(answered(RenewResponse::default(), &mut identity, now).is_none(), "no certificate");
    assert_eq!(next(&identity), asked_with);
    let refusal = RenewResponse { refusal: "no".to_owned(), ..RenewResponse::default() };
    assert!(answered(refusal, &mut identity, now).is_none());
    assert_eq!(next(&identity), None, "a key that was refused is not asked with again");
    assert!(matches!(prepare(&state, &mut identity).await, Outcome::Kept));
    assert_ne!(next(&identity), asked_with);
}
