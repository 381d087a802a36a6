//! What every implementation of [`Store`] must do, as tests that know only the trait. [`contract_tests`] runs all of them on a store.

use std::time::Duration;

use super::*;

/// Declares one test per claim of the contract. `$open` is an async function that gives an empty store and something to keep until the
/// end of the test, such as a directory.
macro_rules! contract_tests {
    ($open:path) => {
        $crate::store::contract::contract_tests! { $open;
            what_is_put_is_got,
            keys_are_listed_by_prefix_in_order,
            revisions_grow_with_every_change,
            conditions_decide,
            a_commit_is_all_or_nothing,
            limits_are_typed_errors,
            one_of_many_racing_creates_wins,
            no_update_is_lost_between_racing_writers,
            a_watch_sees_every_change_in_order_and_nothing_else,
            a_watch_continues_a_listing_without_a_gap,
            a_watch_from_the_future_must_list_again,
            a_dropped_next_loses_no_change,
            a_lease_takes_its_keys_with_it,
            a_lease_lives_as_long_as_it_is_kept_alive,
            a_key_written_without_its_lease_outlives_it,
            leases_outside_the_limits_are_refused,
        }
    };
    ($open:path; $($claim:ident),+ $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $claim() {
                let (store, _keep) = $open().await;
                $crate::store::contract::$claim(&store).await;
            }
        )+
    };
}
pub(super) use contract_tests;

async fn put(store: &dyn Store, key: &'static str, value: &'static str) -> Revision {
    store.commit(vec![Op::put(key, value, Expect::Any)]).await.unwrap()
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let entry = store.get(key.as_bytes()).await.unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let listing = store.list(prefix.as_bytes()).await.unwrap();
    listing.entries.iter().map(|entry| String::from_utf8(entry.key.to_vec()).unwrap()).collect()
}

/// The next change as (key, value or `-`).
async fn next(watch: &mut Watch) -> (String, String) {
    let change = watch.next().await.unwrap();
    let value = change.value.map_or("-".into(), |value| String::from_utf8(value.to_vec()).unwrap());
    (String::from_utf8(change.key.to_vec()).unwrap(), value)
}

pub(super) async fn what_is_put_is_got(store: &dyn Store) {
    assert_eq!(store.get(b"a").await.unwrap(), None);
    let revision = put(store, "a", "1").await;
    let entry = Entry { key: "a".into(), value: "1".into(), revision };
    assert_eq!(store.get(b"a").await.unwrap(), Some(entry));
    store.commit(vec![Op::put(&b"\x00\xff"[..], &b"\xff\x00"[..], Expect::Any)]).await.unwrap();
    assert_eq!(store.get(b"\x00\xff").await.unwrap().unwrap().value, &b"\xff\x00"[..]);
    store.commit(vec![Op::put("empty", "", Expect::Any)]).await.unwrap();
    assert_eq!(value(store, "empty").await.as_deref(), Some(""));
    store.commit(vec![Op::delete("a", Expect::Any)]).await.unwrap();
    assert_eq!(value(store, "a").await, None);
}

pub(super) async fn keys_are_listed_by_prefix_in_order(store: &dyn Store) {
    for key in ["b/2", "a/1", "b/10", "b", "b0", "c/1", "b/1"] {
        put(store, key, "x").await;
    }
    assert_eq!(keys(store, "b/").await, ["b/1", "b/10", "b/2"]);
    assert_eq!(keys(store, "").await, ["a/1", "b", "b/1", "b/10", "b/2", "b0", "c/1"]);
    assert_eq!(keys(store, "d").await, [""; 0]);
    let last = put(store, "z", "x").await;
    assert_eq!(store.list(b"nothing").await.unwrap(), Listing { entries: vec![], revision: last });
}

pub(super) async fn revisions_grow_with_every_change(store: &dyn Store) {
    let first = put(store, "a", "1").await;
    let second = put(store, "a", "1").await;
    assert!(first > Revision::ZERO && second > first);
    let together = store.commit(vec![Op::put("b", "1", Expect::Any), Op::put("c", "1", Expect::Any)]).await.unwrap();
    assert_eq!(store.get(b"b").await.unwrap().unwrap().revision, together);
    assert_eq!(store.get(b"c").await.unwrap().unwrap().revision, together);
    for nothing in [vec![], vec![Op::delete("none", Expect::Any)], vec![Op::check("a", Expect::Any)]] {
        assert_eq!(store.commit(nothing).await.unwrap(), together);
    }
    let deleted = store.commit(vec![Op::delete("a", Expect::Any)]).await.unwrap();
    assert!(deleted > together);
    assert_eq!(store.list(b"").await.unwrap().revision, deleted);
}

pub(super) async fn conditions_decide(store: &dyn Store) {
    let now = put(store, "there", "1").await;
    let cases = [
        ("there", Expect::Absent, false),
        ("there", Expect::Revision(now), true),
        ("there", Expect::Revision(now.next()), false),
        ("there", Expect::Revision(Revision::ZERO), false),
        ("there", Expect::Any, true),
        ("absent", Expect::Absent, true),
        ("absent", Expect::Revision(now), false),
        ("absent", Expect::Any, true),
    ];
    for (key, expect, holds) in cases {
        let checked = store.commit(vec![Op::check(key, expect)]).await;
        assert_eq!(checked.is_ok(), holds, "{key} {expect:?}");
        assert!(holds || matches!(checked, Err(CommitError::Conflict { key: conflict }) if conflict == key));
    }
    let stale = store.commit(vec![Op::delete("there", Expect::Revision(Revision::ZERO))]).await;
    assert!(matches!(stale, Err(CommitError::Conflict { .. })));
    store.commit(vec![Op::delete("there", Expect::Revision(now))]).await.unwrap();
    store.commit(vec![Op::put("there", "2", Expect::Absent)]).await.unwrap();
}

pub(super) async fn a_commit_is_all_or_nothing(store: &dyn Store) {
    let before = put(store, "b", "1").await;
    let ops = vec![
        Op::put("a", "2", Expect::Absent),
        Op::delete("b", Expect::Any),
        Op::put("c", "2", Expect::Revision(before)),
    ];
    assert!(matches!(store.commit(ops).await, Err(CommitError::Conflict { key }) if key == "c"));
    assert_eq!((value(store, "a").await, value(store, "b").await.as_deref()), (None, Some("1")));
    assert_eq!(store.list(b"").await.unwrap().revision, before);
    // Conditions are about the state before the commit, not about its own earlier operations.
    let ops = vec![Op::put("a", "2", Expect::Absent), Op::delete("b", Expect::Revision(before))];
    store.commit(ops).await.unwrap();
    assert_eq!((value(store, "a").await.as_deref(), value(store, "b").await), (Some("2"), None));
}

pub(super) async fn limits_are_typed_errors(store: &dyn Store) {
    let put = |key: usize, value: usize| Op::put(vec![b'k'; key], vec![0; value], Expect::Any);
    store.commit(vec![put(MAX_KEY, MAX_VALUE)]).await.unwrap();
    let many = |count: usize| (0..count).map(|i| Op::put(i.to_string(), "", Expect::Any)).collect::<Vec<_>>();
    store.commit(many(MAX_OPS)).await.unwrap();
    let heavy = vec![put(1, MAX_VALUE), put(2, MAX_COMMIT - MAX_VALUE)];
    for ops in [vec![put(MAX_KEY + 1, 0)], vec![put(1, MAX_VALUE + 1)], many(MAX_OPS + 1), heavy] {
        assert!(matches!(store.commit(ops).await, Err(CommitError::TooLarge { .. })));
    }
    let twice = vec![Op::put("a", "1", Expect::Any), Op::delete("a", Expect::Any)];
    assert!(matches!(store.commit(twice).await, Err(CommitError::Twice { key }) if key == "a"));
}

pub(super) async fn one_of_many_racing_creates_wins(store: &dyn Store) {
    let create = |i: usize| store.commit(vec![Op::put("one", i.to_string(), Expect::Absent)]);
    let results = all((0..200).map(create)).await;
    let winners: Vec<_> =
        results.iter().enumerate().filter(|(_, result)| result.is_ok()).map(|(i, _)| i.to_string()).collect();
    assert_eq!(winners, [value(store, "one").await.unwrap()]);
    assert!(results.iter().flat_map(|r| r.as_ref().err()).all(|error| matches!(error, CommitError::Conflict { .. })));
}

pub(super) async fn no_update_is_lost_between_racing_writers(store: &dyn Store) {
    put(store, "count", "0").await;
    let increment = || async move {
        loop {
            let entry = store.get(b"count").await.unwrap().unwrap();
            let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
            let next = Op::put("count", (count + 1).to_string(), Expect::Revision(entry.revision));
            match store.commit(vec![next]).await {
                Ok(_) => return,
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    all((0..20).map(|_| increment())).await;
    assert_eq!(value(store, "count").await.as_deref(), Some("20"));
}

pub(super) async fn a_watch_sees_every_change_in_order_and_nothing_else(store: &dyn Store) {
    let start = put(store, "w/a", "old").await;
    let mut watch = store.watch(b"w/", start).await.unwrap();
    put(store, "v/x", "1").await;
    put(store, "w/a", "1").await;
    let both = vec![Op::put("w/b", "2", Expect::Any), Op::put("x/y", "2", Expect::Any), Op::delete("w/a", Expect::Any)];
    store.commit(both).await.unwrap();
    store.commit(vec![Op::put("w/c", "3", Expect::Revision(start))]).await.unwrap_err();
    put(store, "w/d", "4").await;
    let seen = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await, next(&mut watch).await];
    let seen: Vec<_> = seen.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(seen, [("w/a", "1"), ("w/b", "2"), ("w/a", "-"), ("w/d", "4")]);
}

pub(super) async fn a_watch_continues_a_listing_without_a_gap(store: &dyn Store) {
    let writing = async {
        for i in 0..60 {
            store.commit(vec![Op::put(format!("k/{i:02}"), "x", Expect::Any)]).await.unwrap();
        }
    };
    let following = async {
        while store.get(b"k/20").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        let listing = store.list(b"k/").await.unwrap();
        let mut seen: Vec<_> = listing.entries.iter().map(|entry| entry.key.clone()).collect();
        let mut watch = store.watch(b"k/", listing.revision).await.unwrap();
        while seen.len() < 60 {
            seen.push(watch.next().await.unwrap().key);
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, following);
    let expected: Vec<_> = (0..60).map(|i| Bytes::from(format!("k/{i:02}"))).collect();
    assert_eq!(seen, expected);
}

pub(super) async fn a_watch_from_the_future_must_list_again(store: &dyn Store) {
    let now = put(store, "a", "1").await;
    let watch = store.watch(b"", Revision::new(now.get() + 1)).await;
    assert!(matches!(watch.err(), Some(WatchError::Compacted { .. })));
}

pub(super) async fn a_dropped_next_loses_no_change(store: &dyn Store) {
    let mut watch = store.watch(b"", store.list(b"").await.unwrap().revision).await.unwrap();
    for i in 0..10 {
        let waited = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
        assert!(waited.is_err(), "nothing was written yet");
        store.commit(vec![Op::put("k", i.to_string(), Expect::Any)]).await.unwrap();
        drop(watch.next());
        assert_eq!(next(&mut watch).await, ("k".to_owned(), i.to_string()));
    }
}

pub(super) async fn a_lease_takes_its_keys_with_it(store: &dyn Store) {
    let lease = store.grant(Duration::from_secs(10)).await.unwrap();
    let other = store.grant(Duration::from_secs(60)).await.unwrap();
    put(store, "kept", "x").await;
    store
        .commit(vec![Op::put_leased("l/1", "x", Expect::Any, lease), Op::put_leased("l/2", "x", Expect::Any, other)])
        .await
        .unwrap();
    let mut watch = store.watch(b"", store.list(b"").await.unwrap().revision).await.unwrap();
    // The clock is paused: it jumps to the end of the lease when everything waits for it.
    assert_eq!(next(&mut watch).await, ("l/1".to_owned(), "-".to_owned()));
    assert_eq!(keys(store, "").await, ["kept", "l/2"]);
    store.end(other).await.unwrap();
    assert_eq!(keys(store, "").await, ["kept"]);
    for ended in [lease, other] {
        assert!(matches!(store.keep_alive(ended).await, Err(LeaseError::Ended)));
        assert!(matches!(store.end(ended).await, Err(LeaseError::Ended)));
        let late = store.commit(vec![Op::put_leased("l/3", "x", Expect::Any, ended)]).await;
        assert!(matches!(late, Err(CommitError::Lease(id)) if id == ended));
    }
}

pub(super) async fn a_lease_lives_as_long_as_it_is_kept_alive(store: &dyn Store) {
    let lease = store.grant(Duration::from_secs(10)).await.unwrap();
    store.commit(vec![Op::put_leased("l", "x", Expect::Any, lease)]).await.unwrap();
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(9)).await;
        store.keep_alive(lease).await.unwrap();
        assert_eq!(value(store, "l").await.as_deref(), Some("x"));
    }
    let mut watch = store.watch(b"", store.list(b"").await.unwrap().revision).await.unwrap();
    assert_eq!(next(&mut watch).await, ("l".to_owned(), "-".to_owned()));
}

pub(super) async fn a_key_written_without_its_lease_outlives_it(store: &dyn Store) {
    let lease = store.grant(Duration::from_secs(10)).await.unwrap();
    let second = store.grant(Duration::from_secs(10)).await.unwrap();
    let leased = |key: &'static str, lease| Op::put_leased(key, "x", Expect::Any, lease);
    store.commit(vec![leased("a", lease), leased("b", lease), leased("c", lease), leased("d", lease)]).await.unwrap();
    put(store, "a", "mine").await;
    store.commit(vec![leased("b", second), Op::delete("c", Expect::Any)]).await.unwrap();
    put(store, "c", "again").await;
    store.end(lease).await.unwrap();
    assert_eq!(keys(store, "").await, ["a", "b", "c"]);
}

pub(super) async fn leases_outside_the_limits_are_refused(store: &dyn Store) {
    for life in [Duration::ZERO, MIN_LEASE - Duration::from_nanos(1), MAX_LEASE + Duration::from_nanos(1)] {
        assert!(matches!(store.grant(life).await, Err(LeaseError::Life(_))));
    }
    let a = store.grant(MIN_LEASE).await.unwrap();
    let b = store.grant(MAX_LEASE).await.unwrap();
    assert_ne!(a, b);
}

/// Runs futures together on this task.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in waiting.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *slot = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
