//! An agent's certificate is renewed over the live link, and nobody who uses the cluster notices. Hub and agent are processes of this
//! build, with certificates of the shortest life there is; only the API server is a fake (`abuse/origin.rs`). Takes a minute, for that
//! is how long the first certificate lives.
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "abuse/setting.rs"]
mod setting;

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use roadstead::identity::{KeyPair, Secret, SpkiSha256};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use origin::{Origin, RECORD, RECORD_EVERY, Then};
use setting::{origin, raw, world};
use world::Hub;

/// The shortest that a hub takes.
const LIFE: Duration = Duration::from_secs(60);
/// A watch begins so long after the first certificate: before any renewal, which comes at 34 s at the earliest, …
const WATCH_FROM: Duration = Duration::from_secs(30);
/// … and ends after any, which comes at 46 s at the latest, and before the first certificate does.
const WATCH_FOR: Duration = Duration::from_secs(24);

/// What the agent keeps.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    key: SpkiSha256,
    chain: Value,
    mode: u32,
}

fn kept(state: &Path) -> Kept {
    let file = state.join("identity.json");
    let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let key = KeyPair::from_pem(&Secret::new(document["key"].as_str().unwrap())).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    Kept { key: key.spki_sha256(), chain: document["enrolled"]["chain"].clone(), mode }
}

/// When the hub says that the agent's certificate ends.
async fn ends(hub: &Hub) -> OffsetDateTime {
    let (_, cluster) = hub.api("GET", "/api/v1/clusters/edge-1", &Value::Null).await;
    OffsetDateTime::parse(cluster["certificateExpires"].as_str().unwrap(), &Rfc3339).unwrap()
}

/// Asks 20 times a second, each time on a connection of its own, until `until`; how often, and what was not answered with 200.
async fn ask(hub: Arc<Hub>, token: String, until: Instant) -> (usize, Vec<String>) {
    let (mut asking, mut every, mut asked) = (JoinSet::new(), interval(Duration::from_millis(50)), 0);
    while Instant::now() < until {
        every.tick().await;
        let (hub, token) = (hub.clone(), token.clone());
        asked += 1;
        asking.spawn(async move {
            let reply = hub.post("GET", "/clusters/edge-1/api/v1/namespaces/default/pods", &token, "").await;
            let whole = reply.status() == 200 && reply.first().whole;
            (!whole).then(|| format!("{}: {}", OffsetDateTime::now_utc(), reply.first().head + &reply.first().text()))
        });
    }
    (asked, asking.join_all().await.into_iter().flatten().collect())
}

/// A watch that is under way while the agent moves to its new link; the events that came, if it came to its own end.
async fn watch(hub: Arc<Hub>, token: String) -> Result<usize, String> {
    let reply = hub.post("GET", "/clusters/edge-1/api/v1/pods?watch=true&fieldSelector=spanning", &token, "").await;
    let answer = reply.first();
    let events = answer.text().matches(RECORD).count();
    if answer.status == 200 && answer.whole { Ok(events) } else { Err(format!("{events} events, {}", answer.head)) }
}

/// A watch that goes on for longer than its link may: what it was told last, and when.
async fn outlive(hub: Arc<Hub>, token: String) -> (String, OffsetDateTime) {
    let reply = hub.post("GET", "/clusters/edge-1/api/v1/pods?watch=true&fieldSelector=outliving", &token, "").await;
    (reply.first().text().lines().next_back().unwrap_or_default().to_owned(), OffsetDateTime::now_utc())
}

fn figure(text: &str) {
    let _ = writeln!(std::io::stderr(), "figure: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_over_the_link_and_nobody_notices() {
    let (hub, origin) = (Arc::new(Hub::start_with(&["--agent-cert-ttl", "60s"], "info").await), Origin::start().await);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let events = WATCH_FOR.div_duration_f64(RECORD_EVERY) as usize;
    origin.tell("fieldSelector=spanning", head, Then::Watch(events));
    let token = hub.token("alice").await;
    let started = Instant::now();
    let announced = hub.announce("edge-1").await;
    let mut agent = hub.spawn_agent("edge-1", &announced, &origin, "info");
    hub.connected("edge-1").await;
    let (state, first_ends) = (hub.dir.path().join("edge-1"), ends(&hub).await);
    let first = kept(&state);
    let asking = tokio::spawn(ask(hub.clone(), token.clone(), started + LIFE + Duration::from_secs(3)));
    tokio::time::sleep_until(started + WATCH_FROM).await;
    assert_eq!(kept(&state), first, "renewed at once");
    let watching = tokio::spawn(watch(hub.clone(), token));

    let second = renewed(&state, &first).await;
    figure(&format!("renewed {:.1} s after the first certificate", started.elapsed().as_secs_f64()));
    assert_ne!(second.key, first.key, "the same key");
    assert_ne!(second.chain, first.chain);
    assert_eq!(second.mode, 0o600);
    assert!(ends(&hub).await >= first_ends + time::Duration::seconds(25), "the hub does not know of it");
    links(&hub, 2.0).await;
    assert!(!watching.is_finished(), "the watch was to span the move");
    assert_eq!(timeout(WATCH_FOR, watching).await.unwrap().unwrap(), Ok(events), "the watch was cut");
    links(&hub, 1.0).await;
    figure(&format!("old link gone {:.1} s after the first certificate", started.elapsed().as_secs_f64()));
    assert!(OffsetDateTime::now_utc() < first_ends, "it went because its certificate ended");
    assert!(hub.process.said().contains("closed by the peer: superseded by a newer link"), "{}", hub.process.said());

    let (asked, failed) = asking.await.unwrap();
    figure(&format!("{asked} requests in {LIFE:?} and more, {} failed", failed.len()));
    assert!(asked > 1_000 && failed.is_empty(), "{} of {asked}: {:?}", failed.len(), failed.first());
    assert!(OffsetDateTime::now_utc() > first_ends);
    // The first certificate has ended: an agent that comes back can only have the second.
    agent.end().await;
    fs::remove_file(hub.dir.path().join("edge-1.join")).unwrap();
    let mut again = hub.spawn_agent_again("edge-1", &announced, &origin, "info");
    hub.connected("edge-1").await;
    assert_eq!(kept(&state), second);
    again.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_kept_is_asked_for_again_while_the_old_one_serves() {
    let (hub, origin) = (Arc::new(Hub::start_with(&["--agent-cert-ttl", "60s"], "info").await), Origin::start().await);
    let token = hub.token("alice").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    origin.tell("fieldSelector=outliving", head, Then::Watch(1_000));
    let agent = hub.agent("edge-1", &origin, "info").await;
    let (state, first_ends) = (hub.dir.path().join("edge-1"), ends(&hub).await);
    let outliving = tokio::spawn(outlive(hub.clone(), token.clone()));
    let (first, in_the_way) = (kept(&state), state.join("identity.part"));
    fs::create_dir(&in_the_way).unwrap();
    let deadline = Instant::now() + LIFE;
    while !agent.said().contains("cannot be kept") {
        assert!(Instant::now() < deadline, "it was kept: {}", agent.said());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(kept(&state), first);
    let until = Instant::now() + Duration::from_secs(1);
    let (asked, failed) = ask(hub.clone(), token.clone(), until).await;
    assert!(asked > 10 && failed.is_empty(), "{failed:?}");
    fs::remove_dir(&in_the_way).unwrap();
    let second = renewed(&state, &first).await;
    assert!(second.key != first.key && second.mode == 0o600);
    assert!(!outliving.is_finished(), "the watch was to stay on the old link");
    let (last, at) = timeout(LIFE, outliving).await.unwrap().unwrap();
    let words =
        "watch cut at the hub: the certificate of the link that it ran over has ended; the agent has a newer link";
    assert!(last.contains("\"type\":\"ERROR\"") && last.contains(words), "{last}");
    assert!((at - first_ends).abs() < time::Duration::SECOND, "ended at {at}, not at {first_ends}");
    links(&hub, 1.0).await;
    assert!(!agent.said().contains("link lost"), "{}", agent.said());
    let tries = agent.said().matches("cannot be kept").count();
    figure(&format!("renewed after {tries} tries that came to nothing"));
    let (_, failed) = ask(hub, token, Instant::now() + Duration::from_millis(500)).await;
    assert!(failed.is_empty(), "{failed:?}");
}

/// Waits until the agent keeps another identity.
async fn renewed(state: &Path, first: &Kept) -> Kept {
    let deadline = Instant::now() + LIFE - WATCH_FROM;
    loop {
        let now = kept(state);
        if now != *first {
            return now;
        }
        assert!(Instant::now() < deadline, "not renewed");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the hub has so many links.
async fn links(hub: &Hub, count: f64) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while hub.metric("roadstead_links").await != count {
        assert!(Instant::now() < deadline, "{} links, not {count}", hub.metric("roadstead_links").await);
        sleep(Duration::from_millis(20)).await;
    }
}
