//! A backup is restored whole and only whole, and a restored hub says so.

use std::path::PathBuf;

use tempfile::TempDir;
use time::Duration;

use super::*;
use crate::hub::{
    backup::Keeper,
    directory::{Directory, JoinWish, LockedBy},
    pki::Pki,
    restored::Restored,
    sealed::{Opened, open},
    settings::PublicName,
};

struct Place {
    dir: TempDir,
    now: OffsetDateTime,
}

/// A hub's state, without a hub.
struct State {
    pin: String,
    directory: Directory,
    restored: Restored,
    keeper: Keeper,
    raw: Arc<dyn Store>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "correct horse battery\n").unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        Self { dir, now: OffsetDateTime::now_utc() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn state(&self, data: &str) -> State {
        let data = self.at(data);
        let Opened { raw, store, keys } = open(&data.join(STORE), Some(&self.at("key")), None).await.unwrap();
        let name = PublicName { dns: vec!["hub.example".into()], ips: vec![] };
        let pki = Pki::load_or_create(store.clone(), &name, self.now).await.unwrap();
        let (directory, restored) =
            (Directory::load(store.clone()).await.unwrap(), Restored::load(store.clone()).await.unwrap());
        let pin = pki.hub().pin().to_string();
        State { pin, directory, restored, keeper: Keeper::new(raw.clone(), keys, &data), raw }
    }

    /// A hub with two clusters and a token, backed up into `backup`.
    async fn backed_up(&self) -> State {
        fs::write(self.at("data/grants.yaml"), "# grants\n").unwrap();
        let state = self.state("data").await;
        for name in ["edge-1", "edge-2"] {
            let wish = JoinWish { ttl: Duration::HOUR, max_uses: 1, sources: vec![], by: "token:admin".into() };
            state.directory.add_cluster(name.into(), [].into(), wish, self.now).await.unwrap();
        }
        fs::write(self.at("backup"), state.keeper.backup(self.now).await.unwrap()).unwrap();
        state
    }

    fn settings(&self, data: &str) -> RestoreSettings {
        let [data, from, seal_key] = [data, "backup", "key"].map(|name| self.at(name));
        RestoreSettings { data, from, seal_key, force: false, lock: Locking::Known, drop_tokens: false }
    }
}

#[tokio::test]
async fn what_was_backed_up_is_restored_and_what_came_later_is_not() {
    let place = Place::new();
    let first = place.backed_up().await;
    let (token, _) =
        first.directory.create_token("late".into(), vec![], false, Duration::HOUR, place.now).await.unwrap();
    first.directory.remove_cluster("edge-2").await.unwrap();
    let later = place.now + Duration::HOUR;
    let report = restore(&place.settings("new"), later).await.unwrap();
    assert!(report.grants && report.made == place.now && report.moved_aside.is_empty(), "{report:?}");
    assert_eq!(fs::read_to_string(place.at("new/grants.yaml")).unwrap(), "# grants\n");
    let again = place.state("new").await;
    assert_eq!(again.pin, first.pin);
    let names: Vec<_> = again.directory.clusters().iter().map(|cluster| cluster.name.to_string()).collect();
    assert_eq!(names, ["edge-1", "edge-2"]);
    assert!(!again.directory.tokens().iter().any(|known| known.id == token.id));
    let restored = again.restored.last().unwrap();
    assert_eq!((restored.made, restored.restored, restored.acknowledged), (place.now, later, None));
    assert!(restored.to_string().contains("valid again"));
    assert!(again.raw.list(b"join/").await.unwrap().entries.is_empty(), "join tokens came back");
    assert!(!first.raw.list(b"join/").await.unwrap().entries.is_empty(), "there were none");
}

/// What an operator knows to be denied since, or fears to be, is denied before the first handshake.
#[tokio::test]
async fn clusters_are_locked_and_tokens_left_out_before_a_hub_serves_the_restored_state() {
    let place = Place::new();
    let first = place.backed_up().await;
    let (uid, lock) = (first.directory.cluster("edge-1").unwrap().uid.clone(), LockedBy::Admin("token:admin".into()));
    first.directory.lock(&uid, lock.clone(), "INC-1".into(), place.now).await.unwrap();
    first.directory.create_token("alice".into(), vec![], false, Duration::HOUR, place.now).await.unwrap();
    fs::write(place.at("backup"), first.keeper.backup(place.now).await.unwrap()).unwrap();
    let later = place.now + Duration::HOUR;
    let rows = [
        (Locking::Known, false, vec![]),
        (Locking::Named(vec!["edge-2".into()]), true, vec!["edge-2"]),
        (Locking::All, true, vec!["edge-2"]),
    ];
    for (at, (lock_these, drop_tokens, locked)) in rows.into_iter().enumerate() {
        let data = format!("new-{at}");
        let settings = RestoreSettings { lock: lock_these, drop_tokens, ..place.settings(&data) };
        let report = restore(&settings, later).await.unwrap();
        assert_eq!(
            (&report.locked, report.dropped_tokens),
            (&locked.iter().map(|n| (*n).to_owned()).collect(), usize::from(drop_tokens))
        );
        let directory = place.state(&data).await.directory;
        let of = |name: &str| directory.lock_of(&directory.cluster(name).unwrap().uid);
        assert_eq!(of("edge-1").unwrap().by, lock, "a lock of before stays as it was");
        assert_eq!(
            of("edge-2").map(|lock| (lock.by.clone(), lock.at)),
            (!locked.is_empty()).then_some((LockedBy::Restore, later))
        );
        assert_eq!(directory.tokens().is_empty(), drop_tokens);
    }
    let lock = Locking::Named(vec!["edge-2".into(), "edge-9".into()]);
    let refused = restore(&RestoreSettings { lock, ..place.settings("none") }, later).await;
    assert!(matches!(&refused, Err(RestoreError::UnknownClusters(names)) if names == "edge-9"), "{refused:?}");
    assert!(!place.at("none").exists());
}

#[tokio::test]
async fn a_restore_is_acknowledged_once_and_for_good() {
    let place = Place::new();
    assert!(place.backed_up().await.restored.acknowledge(place.now).await.unwrap().is_none());
    restore(&place.settings("new"), place.now).await.unwrap();
    let later = place.now + Duration::HOUR;
    let state = place.state("new").await;
    let acknowledged = state.restored.acknowledge(later).await.unwrap().unwrap();
    assert_eq!(acknowledged.acknowledged, Some(later));
    assert_eq!(state.restored.acknowledge(later + Duration::HOUR).await.unwrap(), Some(acknowledged.clone()));
    assert_eq!(Restored::load(state.raw.clone()).await.unwrap().last(), Some(acknowledged));
}

#[tokio::test]
async fn a_backup_that_is_cut_changed_or_sealed_by_another_is_refused_and_nothing_is_made() {
    let place = Place::new();
    place.backed_up().await;
    let whole = fs::read(place.at("backup")).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bad in [&whole[..whole.len() - 1], &whole[..20], &changed, b"not a backup"] {
        fs::write(place.at("backup"), bad).unwrap();
        let error = restore(&place.settings("new"), place.now).await.unwrap_err();
        assert!(matches!(error, RestoreError::Backup { .. }), "{error:?}");
    }
    fs::write(place.at("backup"), &whole).unwrap();
    fs::write(place.at("key"), "another passphrase\n").unwrap();
    let error = restore(&place.settings("new"), place.now).await.unwrap_err();
    assert!(matches!(error, RestoreError::WrongKey(_)), "{error:?}");
    assert!(!place.at("new").exists());
}

#[tokio::test]
async fn a_directory_with_a_state_is_kept_unless_forced_and_never_taken_from_a_running_hub() {
    let place = Place::new();
    let running = place.backed_up().await;
    let mut settings = place.settings("data");
    assert!(matches!(restore(&settings, place.now).await, Err(RestoreError::NotEmpty(_))));
    settings.force = true;
    assert!(matches!(restore(&settings, place.now).await, Err(RestoreError::Running(_))));
    running.directory.remove_cluster("edge-1").await.unwrap();
    drop(running);
    fs::write(place.at("data/admin.yaml"), "token: x\n").unwrap();
    // The file is let go by a thread that ends soon.
    let report = loop {
        match restore(&settings, place.now).await {
            Err(RestoreError::Running(_)) => tokio::task::yield_now().await,
            ended => break ended.unwrap(),
        }
    };
    let aside: Vec<_> =
        ["store.redb", "admin.yaml", "grants.yaml"].map(|name| format!("data/{name}.before-restore")).into();
    assert_eq!(report.moved_aside, aside.iter().map(|name| place.at(name)).collect::<Vec<_>>());
    assert!(aside.iter().all(|name| place.at(name).exists()) && !place.at("data/admin.yaml").exists());
    assert_eq!(place.state("data").await.directory.clusters().len(), 2);
}

#[tokio::test]
async fn a_store_that_is_damaged_is_replaced_too() {
    let place = Place::new();
    drop(place.backed_up().await);
    fs::create_dir(place.at("new")).unwrap();
    fs::write(place.at("new/store.redb"), "not a store").unwrap();
    let settings = RestoreSettings { force: true, ..place.settings("new") };
    restore(&settings, place.now).await.unwrap();
    assert_eq!(place.state("new").await.directory.clusters().len(), 2);
}

#[tokio::test]
async fn a_hub_without_a_sealing_key_gives_no_backup() {
    let place = Place::new();
    let Opened { raw, .. } = open(&place.at("data/store.redb"), None, None).await.unwrap();
    let error = Keeper::new(raw, None, &place.at("data")).backup(place.now).await.unwrap_err();
    assert!(error.to_string().contains("--seal-key FILE"), "{error}");
}

#[tokio::test]
async fn many_records_are_restored_in_several_commits() {
    let place = Place::new();
    let state = place.state("data").await;
    for batch in 0..5 {
        let op = |at: usize| Op::put(format!("seen/{batch}-{at}"), vec![b'x'; 9_000], Expect::Absent);
        state.raw.commit((0..MAX_OPS).map(op).collect()).await.unwrap();
    }
    fs::write(place.at("backup"), state.keeper.backup(place.now).await.unwrap()).unwrap();
    restore(&place.settings("new"), place.now).await.unwrap();
    let store = Embedded::open(&place.at("new/store.redb")).await.unwrap();
    assert_eq!(store.list(b"seen/").await.unwrap().entries, {
        let mut before = state.raw.list(b"seen/").await.unwrap().entries;
        let after = store.list(b"seen/").await.unwrap().entries;
        before.iter_mut().zip(after).for_each(|(before, after)| before.revision = after.revision);
        before
    });
}

#[test]
fn serials_issued_after_a_restore_are_not_those_of_before() {
    // 126 random bits: nothing is counted that a restore could set back.
    let serials: std::collections::HashSet<_> = (0..10_000).map(|_| crate::identity::Serial::random()).collect();
    assert_eq!(serials.len(), 10_000);
}
