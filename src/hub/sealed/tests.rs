//! The hub's keys at rest: sealed, moved to another passphrase, and refused in words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::{
    hub::{pki::Pki, settings::PublicName},
    store::{Embedded, Expect, OpenError},
};

struct Place {
    dir: TempDir,
    old: PathBuf,
    new: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old.key"), dir.path().join("new.key"));
        fs::write(&old, "correct horse battery\n").unwrap();
        fs::write(&new, "another passphrase\n").unwrap();
        Self { dir, old, new }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store.redb")
    }

    /// Opens the store, makes or loads the authorities, and closes it: the pin of the hub's CA.
    async fn start(&self, key: Option<&Path>, before: Option<&Path>) -> Result<String, String> {
        let (key, before) = (key.map(Path::to_owned), before.map(Path::to_owned));
        let open = async || open(&self.path(), key.as_ref(), before.as_ref()).await;
        let opened = patiently(open).await.map_err(|error| error.to_string())?;
        let name = PublicName { dns: vec!["hub.example".into()], ips: vec![] };
        let pki = Pki::load_or_create(opened.store.clone(), &name, OffsetDateTime::now_utc()).await.unwrap();
        Ok(pki.hub().pin().to_string())
    }

    fn has_private_keys_in_the_clear(&self) -> bool {
        let bytes = fs::read(self.path()).unwrap();
        bytes.windows(11).any(|part| part == b"PRIVATE KEY")
    }
}

/// Opens a store, once the tasks of one that was dropped just before have let go of its file; they end by themselves.
async fn patiently<T, E: Into<SealedError>>(open: impl AsyncFn() -> Result<T, E>) -> Result<T, SealedError> {
    loop {
        match open().await.map_err(Into::into) {
            Err(SealedError::Open(OpenError::InUse)) => tokio::task::yield_now().await,
            ended => return ended,
        }
    }
}

#[tokio::test]
async fn a_store_in_the_clear_is_sealed_at_the_next_start_and_nothing_is_left_of_it() {
    let place = Place::new();
    let pin = place.start(None, None).await.unwrap();
    assert!(place.has_private_keys_in_the_clear(), "nothing to seal: the test shows nothing");
    assert_eq!(place.start(Some(&place.old), None).await.as_deref(), Ok(&*pin));
    assert!(!place.has_private_keys_in_the_clear());
    assert_eq!(place.start(Some(&place.old), None).await.as_deref(), Ok(&*pin));
}

#[tokio::test]
async fn a_hub_that_begins_with_a_key_never_writes_one_in_the_clear() {
    let place = Place::new();
    let pin = place.start(Some(&place.old), None).await.unwrap();
    assert!(!place.has_private_keys_in_the_clear());
    assert_eq!(place.start(Some(&place.old), None).await, Ok(pin));
}

#[tokio::test]
async fn without_its_key_or_with_another_a_sealed_store_is_refused_and_says_which_flag() {
    let place = Place::new();
    place.start(Some(&place.old), None).await.unwrap();
    let missing = place.start(None, None).await.unwrap_err();
    assert!(missing.contains("--seal-key FILE"), "{missing}");
    let wrong = place.start(Some(&place.new), None).await.unwrap_err();
    assert!(wrong.contains("new.key does not open the store") && wrong.contains("--seal-key-old"), "{wrong}");
    let both_wrong = place.start(Some(&place.new), Some(&place.new)).await.unwrap_err();
    assert!(both_wrong.contains("does not open the store"), "{both_wrong}");
    fs::write(&place.new, "short\n").unwrap();
    let short = place.start(Some(&place.new), None).await.unwrap_err();
    assert!(short.contains("new.key holds no passphrase"), "{short}");
    assert!(place.start(Some(&place.dir.path().join("none")), None).await.unwrap_err().contains("none"));
}

#[tokio::test]
async fn the_passphrase_is_changed_by_a_start_with_both() {
    let place = Place::new();
    let pin = place.start(Some(&place.old), None).await.unwrap();
    let before = fs::read(place.path()).unwrap();
    assert_eq!(place.start(Some(&place.new), Some(&place.old)).await.as_deref(), Ok(&*pin));
    assert_eq!(place.start(Some(&place.new), Some(&place.old)).await.as_deref(), Ok(&*pin), "again with both");
    assert_eq!(place.start(Some(&place.new), None).await.as_deref(), Ok(&*pin));
    assert!(place.start(Some(&place.old), None).await.is_err());
    // What the old passphrase opens is gone from the file, too: 32 bytes of a wrapped key that it had.
    let at = before.windows(7).position(|part| part == b"rsseal\0").unwrap() + 60;
    let after = fs::read(place.path()).unwrap();
    assert!(!after.windows(32).any(|part| part == &before[at..at + 32]));
}

#[tokio::test]
async fn a_file_that_was_not_written_anew_because_of_a_crash_is_at_the_next_start() {
    let place = Place::new();
    place.start(None, None).await.unwrap();
    let store = patiently(async || Embedded::open(&place.path()).await).await.unwrap();
    let keys = read_key(&place.old).unwrap();
    // Many, so that not every page of them is in use again.
    let many = |at: usize| Op::put(format!("pki/{at}"), "PRIVATE KEY ".repeat(50), Expect::Any);
    store.commit((0..100).map(many).collect()).await.unwrap();
    let mut ops = vec![Op::put("hub/stale-keys", "", Expect::Any)];
    for Entry { key, value, .. } in store.list(SECRET).await.unwrap().entries {
        let sealed = seal_value(&keys, &key, &value).await.unwrap();
        ops.push(Op::put(key, sealed, Expect::Any));
    }
    store.commit(ops).await.unwrap();
    store.close().await;
    assert!(place.has_private_keys_in_the_clear(), "nothing to do: the test shows nothing");
    place.start(Some(&place.old), None).await.unwrap();
    assert!(!place.has_private_keys_in_the_clear());
}

#[tokio::test]
async fn values_below_pki_are_sealed_for_their_key_and_others_pass() {
    let place = Place::new();
    let opened = open(&place.path(), Some(&place.old), None).await.unwrap();
    let (raw, store) = (opened.raw, opened.store);
    let mut watch = store.watch(b"", Revision::ZERO).await.unwrap();
    let put = |key: &'static str| Op::put(key, "value", Expect::Absent);
    let done = store.commit(vec![put("pki/a"), put("pki/b"), put("clusters/a")]).await.unwrap();
    let on_disk = |key: &'static str| async { raw.get(key.as_bytes()).await.unwrap().unwrap().value };
    assert!(seal::is_sealed(&on_disk("pki/a").await) && &on_disk("clusters/a").await[..] == b"value");
    for entry in store.list(b"").await.unwrap().entries {
        assert_eq!((&entry.value[..], entry.revision), (&b"value"[..], done), "{:?}", entry.key);
    }
    for _ in 0..3 {
        assert_eq!(watch.next().await.unwrap().value.as_deref(), Some(&b"value"[..]));
    }
    raw.commit(vec![Op::put("pki/b", on_disk("pki/a").await, Expect::Any)]).await.unwrap();
    assert!(store.get(b"pki/b").await.is_err(), "a sealed value took the place of another");
    assert!(store.get(b"pki/a").await.is_ok());
}
