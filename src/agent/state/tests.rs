//! What is kept survives, is never half of one and half of another, and is never written over what somebody else wrote.

use std::{os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::identity::{ClusterUid, SpkiSha256, Token, TokenKind, testing::World};

fn state(directory: &Path) -> State {
    State::in_place(Place::File(directory.join("deep/identity.json")))
}

/// A fresh identity with a certificate.
fn enrolled(world: &World) -> Identity {
    let holder = world.agent(&ClusterUid::generate(world.now));
    let enrolled = Enrolled::new("edge-1".to_owned(), holder.chain, &holder.key, world.now).unwrap();
    Identity { key: Arc::new(holder.key), enrolled: Some(enrolled), ..Identity::fresh() }
}

fn keys(identity: &Identity) -> (SpkiSha256, Option<SpkiSha256>) {
    (identity.key.spki_sha256(), identity.next.as_ref().map(|key| key.spki_sha256()))
}

async fn stored(directory: &Path) -> Identity {
    state(directory).load().await.unwrap().unwrap()
}

async fn keep(state: &State, identity: &Identity) {
    assert!(matches!(state.save(identity).await.unwrap(), Kept::Mine));
}

#[tokio::test]
async fn an_identity_survives_in_a_file_that_only_its_owner_reads() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    assert!(state.load().await.unwrap().is_none());
    let world = World::new();
    let bare = Identity::fresh();
    let token = Token::generate(TokenKind::Join).id().clone();
    let next = Some(Arc::new(KeyPair::generate()));
    let whole = Identity { next, joined_with: Some(token), ..enrolled(&world) };
    for identity in [bare, whole] {
        keep(&state, &identity).await;
        let again = stored(dir.path()).await;
        assert_eq!(keys(&again), keys(&identity));
        assert_eq!(again.joined_with, identity.joined_with);
        let chain = |identity: &Identity| identity.enrolled.as_ref().map(|e| e.chain.clone());
        assert_eq!(chain(&again), chain(&identity));
    }
    for file in ["identity.json", "identity.lock"] {
        let mode = std::fs::metadata(dir.path().join("deep").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_an_error_not_a_fresh_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("deep")).unwrap();
    std::fs::write(dir.path().join("deep/identity.json"), b"{\"key\":").unwrap();
    assert!(matches!(state(dir.path()).load().await, Err(StateError::Document(_))));
}

/// What versions before the next key wrote, and what later ones may add.
#[test]
fn documents_of_other_versions_are_read() {
    let identity = enrolled(&World::new());
    let mut document: serde_json::Value = serde_json::from_slice(&encode(&identity).unwrap()).unwrap();
    assert!(document.get("next").is_none(), "{document}");
    assert_eq!(keys(&decode(document.to_string().as_bytes()).unwrap()), keys(&identity));
    document["later"] = serde_json::json!({"a": 1});
    assert_eq!(keys(&decode(document.to_string().as_bytes()).unwrap()), keys(&identity));
}

#[tokio::test]
async fn what_another_stored_is_adopted_and_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other, world) = (state(dir.path()), state(dir.path()), World::new());
    let first = enrolled(&world);
    keep(&one, &first).await;
    assert_eq!(keys(&other.load().await.unwrap().unwrap()), keys(&first));

    let renewed = enrolled(&world);
    keep(&other, &renewed).await;
    let mine = Identity { next: Some(Arc::new(KeyPair::generate())), ..first };
    let Kept::Theirs(theirs) = one.save(&mine).await.unwrap() else { panic!("written over") };
    assert_eq!(keys(&theirs), keys(&renewed));
    assert_eq!(keys(&stored(dir.path()).await), keys(&renewed));
    // What was adopted is what was last seen: now there is nothing in the way.
    keep(&one, &mine).await;
    assert_eq!(keys(&stored(dir.path()).await), keys(&mine));
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let (state, identity) = (state(dir.path()), Identity::fresh());
    assert!(state.load().await.unwrap().is_none());
    std::fs::create_dir(dir.path().join("deep")).unwrap();
    std::fs::write(dir.path().join("deep/identity.json"), encode(&identity).unwrap()).unwrap();
    keep(&state, &identity).await;
}

#[tokio::test]
async fn a_document_that_was_removed_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (state, identity) = (state(dir.path()), enrolled(&World::new()));
    keep(&state, &identity).await;
    std::fs::remove_file(dir.path().join("deep/identity.json")).unwrap();
    keep(&state, &identity).await;
    assert_eq!(keys(&stored(dir.path()).await), keys(&identity));
}

/// Many at once: whoever is late learns what the first one stored, and all end up with the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_writers_at_once_one_wins_and_the_others_learn_of_it() {
    let dir = tempfile::tempdir().unwrap();
    keep(&state(dir.path()), &enrolled(&World::new())).await;
    let mut states = Vec::new();
    for _ in 0..16 {
        let state = state(dir.path());
        state.load().await.unwrap();
        states.push(state);
    }
    let mut writing = tokio::task::JoinSet::new();
    for state in states {
        writing.spawn(async move {
            let mine = Identity::fresh();
            match state.save(&mine).await.unwrap() {
                Kept::Mine => (true, keys(&mine)),
                Kept::Theirs(theirs) => (false, keys(&theirs)),
            }
        });
    }
    let ends = writing.join_all().await;
    assert_eq!(ends.iter().filter(|(won, _)| *won).count(), 1);
    let winner = keys(&stored(dir.path()).await);
    assert!(ends.iter().all(|(_, keys)| *keys == winner), "{ends:?}");
}
