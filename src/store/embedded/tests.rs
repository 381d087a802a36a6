//! The embedded store beyond the contract: crashes, damage, and who may open it.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::*;
use crate::store::{Change, Expect, contract::contract_tests};

async fn fresh() -> (Embedded, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(&directory.path().join("store.redb")).await.unwrap();
    (store, directory)
}

contract_tests!(fresh);

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening_and_revisions_go_on() {
    let (store, directory) = fresh().await;
    let last = store.commit(vec![Op::put("a", "1", Expect::Any)]).await.unwrap();
    store.close().await;
    let store = Embedded::open(&directory.path().join("store.redb")).await.unwrap();
    let entry = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (&b"1"[..], last));
    assert!(store.commit(vec![Op::put("a", "2", Expect::Revision(last))]).await.unwrap() > last);
    store.close().await;
}

#[tokio::test]
async fn leases_do_not_survive_reopening_and_are_not_granted_twice() {
    let (store, directory) = fresh().await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    store
        .commit(vec![Op::put("kept", "", Expect::Any), Op::put_leased("leased", "", Expect::Any, lease)])
        .await
        .unwrap();
    let before = store.list(b"").await.unwrap().revision;
    store.close().await;
    let store = Embedded::open(&directory.path().join("store.redb")).await.unwrap();
    let listing = store.list(b"").await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert!(listing.revision > before, "a removal is a change");
    assert_ne!(store.grant(Duration::from_secs(60)).await.unwrap(), lease);
    assert!(matches!(store.keep_alive(lease).await, Err(LeaseError::Ended)));
}

#[tokio::test]
async fn after_an_error_of_the_file_system_the_file_is_opened_again() {
    let (store, _directory) = fresh().await;
    let first = store.commit(vec![Op::put("a", "1", Expect::Any)]).await.unwrap();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    store.commit(vec![Op::put_leased("leased", "", Expect::Any, lease)]).await.unwrap();
    store.inner.file().unwrap().give_up();
    assert_eq!(store.get(b"a").await.unwrap().unwrap().revision, first);
    assert!(store.get(b"leased").await.unwrap().is_some(), "it is the same run: leases go on");
    store.inner.file().unwrap().give_up();
    let second = store.commit(vec![Op::put("a", "2", Expect::Revision(first))]).await.unwrap();
    assert_eq!(store.get(b"a").await.unwrap().unwrap().revision, second);
}

#[tokio::test]
async fn history_from_before_the_opening_is_compacted() {
    let (store, directory) = fresh().await;
    let first = store.commit(vec![Op::put("a", "1", Expect::Any)]).await.unwrap();
    let second = store.commit(vec![Op::put("a", "2", Expect::Any)]).await.unwrap();
    store.close().await;
    let store = Embedded::open(&directory.path().join("store.redb")).await.unwrap();
    assert!(matches!(store.watch(b"", first).await.err(), Some(WatchError::Compacted { after }) if after == first));
    assert!(store.watch(b"", second).await.is_ok());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (store, _directory) = fresh().await;
    let mut watch = store.watch(b"", Revision::ZERO).await.unwrap();
    store.close().await;
    assert!(matches!(store.get(b"a").await, Err(StoreError::Closed)));
    let commit = store.commit(vec![Op::put("a", "1", Expect::Any)]).await;
    assert!(matches!(commit, Err(CommitError::Store(StoreError::Closed))));
    assert!(matches!(watch.next().await, Err(WatchError::Store(StoreError::Closed))));
    assert!(matches!(store.grant(Duration::from_secs(9)).await, Err(LeaseError::Store(StoreError::Closed))));
}

#[tokio::test]
async fn commits_that_were_accepted_are_written_before_close_returns() {
    let (store, directory) = fresh().await;
    let writing = async {
        let commits = (0..100).map(|i| store.commit(vec![Op::put(format!("{i}"), "", Expect::Any)]));
        let mut accepted = 0;
        for commit in commits {
            accepted += usize::from(commit.await.is_ok());
        }
        accepted
    };
    let (accepted, ()) = tokio::join!(writing, async {
        tokio::task::yield_now().await;
        store.close().await;
    });
    let store = Embedded::open(&directory.path().join("store.redb")).await.unwrap();
    assert_eq!(store.list(b"").await.unwrap().entries.len(), accepted);
}

#[tokio::test]
async fn the_file_is_for_its_user_alone_and_for_one_opener() {
    let (_store, directory) = fresh().await;
    let path = directory.path().join("store.redb");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Embedded::open(&path).await, Err(OpenError::InUse)));
}

#[tokio::test]
async fn other_files_are_refused_and_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "not a store\n".repeat(1000)).unwrap();
    assert!(matches!(Embedded::open(&text).await, Err(OpenError::Damaged(_))));
    assert_eq!(std::fs::read(&text).unwrap().len(), 12_000);

    let schema = directory.path().join("newer");
    write_meta(&schema, "schema", 7);
    assert!(matches!(Embedded::open(&schema).await, Err(OpenError::UnknownSchema { found: 7, known: 1 })));

    let foreign = directory.path().join("foreign");
    write_meta(&foreign, "something", 1);
    assert!(matches!(Embedded::open(&foreign).await, Err(OpenError::UnknownSchema { found: 0, .. })));

    let nowhere = directory.path().join("no/such/directory");
    assert!(matches!(Embedded::open(&nowhere).await, Err(OpenError::Io(_))));
}

fn write_meta(path: &Path, name: &str, value: u64) {
    let database = redb::Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap().insert(name, value).unwrap();
    transaction.commit().unwrap();
}

/// A file with damage in the middle is an error or still readable; it is never a panic of this program.
#[tokio::test]
async fn damage_is_an_error_and_no_panic() {
    let (store, directory) = fresh().await;
    for i in 0..50 {
        store.commit(vec![Op::put(format!("{i}"), vec![7; 2000], Expect::Any)]).await.unwrap();
    }
    store.close().await;
    let path = directory.path().join("store.redb");
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 8) {
        let mut damaged = whole.clone();
        let end = (at + 4096).min(damaged.len());
        damaged[at..end].iter_mut().for_each(|byte| *byte ^= 0xa5);
        std::fs::write(&path, damaged).unwrap();
        if let Ok(store) = Embedded::open(&path).await {
            let _ = store.list(b"").await;
            store.close().await;
        }
    }
}

fn change(key: &str, revision: u64) -> Change {
    Change { key: key.to_owned().into(), value: Some(vec![0; 100].into()), revision: Revision(revision) }
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_to_list_again() {
    let feed = Feed::new(Revision::ZERO);
    let mut slow = feed.watch("".into(), Revision::ZERO).unwrap();
    feed.publish((1..=10).map(|revision| change("k", revision)));
    assert_eq!(slow.next().await.unwrap().revision, Revision(1));
    feed.publish((11..=10_000).map(|revision| change("k", revision)));
    for _ in 0..2 {
        assert!(matches!(slow.next().await, Err(WatchError::Lagged { .. })));
    }
    assert!(matches!(feed.watch("".into(), Revision(11)), Err(WatchError::Compacted { .. })));
    assert!(feed.watch("".into(), Revision(9_999)).is_ok());
}

/// A listing can be ahead of the feed by commits that are written but not announced yet.
#[tokio::test]
async fn a_watch_from_ahead_of_the_feed_skips_what_its_listing_had() {
    let feed = Feed::new(Revision::ZERO);
    let mut watch = feed.watch("".into(), Revision(2)).unwrap();
    feed.publish((1..=3).map(|revision| change("k", revision)));
    assert_eq!(watch.next().await.unwrap().revision, Revision(3));
}

/// All three are written together, so the end must see what the transaction itself did to the binding.
#[tokio::test]
async fn a_lease_that_ends_in_the_transaction_that_unbinds_a_key_leaves_it() {
    let (store, _directory) = fresh().await;
    for i in 0..30 {
        let lease = store.grant(Duration::from_secs(60)).await.unwrap();
        store.commit(vec![Op::put_leased("k", "leased", Expect::Any, lease)]).await.unwrap();
        let (first, rebound, ended) = tokio::join!(
            store.commit(vec![Op::put("other", format!("{i}"), Expect::Any)]),
            store.commit(vec![Op::put("k", "mine", Expect::Any)]),
            store.end(lease),
        );
        assert!(first.is_ok() && rebound.is_ok() && ended.is_ok());
        assert_eq!(store.get(b"k").await.unwrap().unwrap().value, "mine");
    }
}

#[tokio::test]
async fn a_lease_does_not_remember_keys_that_are_no_longer_its_own() {
    let (store, _directory) = fresh().await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    for i in 0..20 {
        let key = format!("{i}");
        store.commit(vec![Op::put_leased(key.clone(), "", Expect::Any, lease)]).await.unwrap();
        let unbind = if i % 2 == 0 { Op::delete(key, Expect::Any) } else { Op::put(key, "", Expect::Any) };
        store.commit(vec![unbind]).await.unwrap();
    }
    assert!(store.inner.leases.keys(lease).is_empty());
}

#[tokio::test]
async fn history_is_bounded_in_bytes_too() {
    let feed = Feed::new(Revision::ZERO);
    let mut watch = feed.watch("".into(), Revision::ZERO).unwrap();
    let large =
        |revision| Change { key: "k".into(), value: Some(vec![0; 1 << 20].into()), revision: Revision(revision) };
    feed.publish((1..=20).map(large));
    assert!(matches!(watch.next().await, Err(WatchError::Lagged { .. })));
    let mut rest = feed.watch("".into(), Revision(18)).unwrap();
    assert_eq!(rest.next().await.unwrap().revision, Revision(19));
}

/// The child of the test below: commits until it is killed, and prints each acknowledged number.
#[tokio::test]
#[ignore = "runs only as the child of a_killed_process_keeps_what_it_acknowledged"]
async fn child_that_commits_until_killed() {
    let path = std::env::var("ROADSTEAD_TEST_STORE").unwrap();
    let round = std::env::var("ROADSTEAD_TEST_ROUND").unwrap();
    let store = Embedded::open(Path::new(&path)).await.unwrap();
    for i in 0..1_000_000 {
        let number = |key: &str| Op::put(key.to_owned(), i.to_string(), Expect::Any);
        let ops = vec![number(&format!("{round}/{i}")), number("last"), number("twin")];
        store.commit(ops).await.unwrap();
        println!("acknowledged {i}");
    }
}

#[test]
fn a_killed_process_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0..3_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "store::embedded::tests::child_that_commits_until_killed"])
            .env("ROADSTEAD_TEST_STORE", &path)
            .env("ROADSTEAD_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledged: Vec<u32> = lines.by_ref().filter_map(number).take(15 + round * 7).collect();
        child.kill().unwrap();
        let rest: Vec<u32> = lines.filter_map(number).collect();
        child.wait().unwrap();
        runtime.block_on(check_kept(&path, round, acknowledged.iter().chain(&rest).copied().collect()));
    }
}

/// The number of a line `acknowledged 17`, which may follow other output of the test harness.
fn number(line: String) -> Option<u32> {
    line.split_once("acknowledged ")?.1.parse().ok()
}

async fn check_kept(path: &Path, round: usize, acknowledged: Vec<u32>) {
    let store = Embedded::open(path).await.unwrap();
    let last = store.get(b"last").await.unwrap().unwrap();
    let last: u32 = std::str::from_utf8(&last.value).unwrap().parse().unwrap();
    assert!(last >= *acknowledged.last().unwrap(), "{last} {acknowledged:?}");
    for i in acknowledged {
        let found = store.get(format!("{round}/{i}").as_bytes()).await.unwrap();
        assert!(found.is_some(), "{i} was acknowledged and is lost");
    }
    let twin = store.get(b"twin").await.unwrap().unwrap();
    assert_eq!(twin.value, last.to_string(), "half a commit was kept");
    store.close().await;
}

#[tokio::test]
async fn a_file_written_anew_has_every_entry_with_its_revision_and_nothing_that_was_overwritten() {
    let (store, directory) = fresh().await;
    let path = directory.path().join("store.redb");
    let secret = "a secret that is overwritten".repeat(20);
    for value in [&*secret, "sealed"] {
        let put = |at: usize| Op::put(format!("key/{at}"), value.to_owned(), Expect::Any);
        store.commit((0..100).map(put).collect()).await.unwrap();
    }
    let before = store.list(b"").await.unwrap();
    store.close().await;
    let contains = || String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(&secret);
    assert!(contains(), "nothing to do: the test shows nothing");
    std::fs::write(path.with_extension("rewrite"), "of a crash").unwrap();
    Embedded::rewrite(&path).await.unwrap();
    assert!(!contains());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!path.with_extension("rewrite").exists());
    let store = Embedded::open(&path).await.unwrap();
    assert_eq!(store.list(b"").await.unwrap(), before);
    assert!(matches!(Embedded::rewrite(&path).await, Err(OpenError::InUse)));
}
