//! What is locked or revoked is out within a second: links, live streams, new handshakes, enrolments; and stays out when the hub comes
//! back. Hub and agent are processes of this build; only the API server is a fake (`abuse/origin.rs`). Each row of the security design
//! is named, run and printed. T095 takes half a minute: so long may a message of an honest agent be late.
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "revocation/copies.rs"]
mod copies;
#[allow(dead_code, reason = "the abuse tests use more of it")]
#[path = "abuse/quic.rs"]
mod quic;
#[allow(dead_code, reason = "the abuse tests use more of it")]
#[path = "abuse/rows.rs"]
mod rows;
#[path = "abuse/setting.rs"]
mod setting;
#[path = "revocation/streams.rs"]
mod streams;

use std::{sync::Arc, time::Duration};

use roadstead::{identity::KeyPair, wire::ALPN_LINK};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep, timeout},
};

use origin::Origin;
use quic::{Joined, SOON, dial, enrol, hello, join, moor};
use rows::{Outcome, Rows, expect};
use setting::{origin, raw, world};
use streams::Streams;
use world::{Hub, until};

/// Everything must be out within this.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn post(hub: &Hub, path: &str, body: &Value) -> Result<Value, String> {
    let (status, answer) = hub.api("POST", path, body).await;
    if status == 200 { Ok(answer) } else { Err(format!("POST {path}: {status} {answer}")) }
}

async fn show(hub: &Hub, name: &str) -> Value {
    hub.api("GET", &format!("/api/v1/clusters/{name}"), &Value::Null).await.1
}

/// Ends as these words say, within a second of `since`.
async fn ends(connection: &quinn::Connection, words: &str, since: Instant) -> Outcome {
    let end = timeout(AT_ONCE, connection.closed()).await.map_err(|_| "the live link stays".to_owned())?;
    expect(end.to_string().contains(words), format!("ended with: {end}"))?;
    expect(since.elapsed() < AT_ONCE, format!("after {:?}", since.elapsed()))
}

/// A new link is refused with these words, before or after its hello.
async fn refused(hub: &Hub, joined: &Joined, words: &str) -> Outcome {
    let connection = dial(hub.door.address, joined.tls(ALPN_LINK)).await?;
    let welcomed = moor(connection.clone(), hello("1.0.0")).await.is_ok();
    expect(!welcomed, "it was welcomed")?;
    let end = timeout(SOON, connection.closed()).await.map_err(|_| "it stays".to_owned())?;
    expect(end.to_string().contains(words), format!("ended with: {end}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_cluster_is_out_at_once_and_stays_out_until_it_is_unlocked() {
    let (mut hub, origin) = (Hub::start("info").await, Origin::start().await);
    let alice = hub.token("alice").await;
    let announced = hub.announce("edge-1").await;
    let mut agent = hub.spawn_agent("edge-1", &announced, &origin, "info");
    hub.connected("edge-1").await;
    let rows = Rows::default();

    rows.run("T099", "lock: exec, watch and log are cut in a second, and say why", locked(&hub, &origin, &alice)).await;
    until("the agent knows", || agent.said().contains("has locked this cluster")).await;
    rows.run("T099", "lock: a request gets a 403 that says why, as a warning, too", told(&hub, &alice)).await;
    rows.run(
        "T099",
        "lock: an agent that starts is refused, and knows",
        starts_refused(&hub, &mut agent, &announced, &origin),
    )
    .await;
    hub.process.end().await;
    let Hub { dir, .. } = hub;
    let mut hub = Hub::start_in(dir, "info").await;
    rows.run("T102", "a lock survives a restart of the hub", still_locked(&hub, &alice)).await;
    rows.run("T102", "unlocked, it is served again", unlocked(&hub, &mut agent, &announced, &origin)).await;
    hub.check_unharmed();
    rows.end().await;
}

async fn locked(hub: &Hub, origin: &Origin, alice: &str) -> Outcome {
    let streams = Streams::start(hub, origin, alice, "edge-1").await?;
    let since = Instant::now();
    let acted = post(hub, "/api/v1/clusters/edge-1/lock", &json!({"reason": "INC-4711"})).await?;
    expect(acted["linksClosed"] == 1 && acted["state"] == "locked", acted.to_string())?;
    streams.say("the cluster is locked: INC-4711", since).await?;
    let view = show(hub, "edge-1").await;
    expect(view["connected"] == false, view.to_string())?;
    expect(
        view["stateReason"].as_str().is_some_and(|why| why.contains("INC-4711 (locked by token:admin)")),
        view.to_string(),
    )
}

async fn told(hub: &Hub, alice: &str) -> Outcome {
    let reply = hub.post("GET", "/clusters/edge-1/api/v1/pods", alice, "").await;
    let answer = reply.first();
    expect(answer.status == 403 && answer.text().contains("ClusterLocked"), answer.text())?;
    let warned = answer.header("warning").iter().any(|w| w.contains("is locked: INC-4711"));
    expect(warned && answer.header("retry-after").is_empty(), &answer.head)
}

async fn starts_refused(
    hub: &Hub,
    agent: &mut world::Process,
    announced: &world::Announced,
    origin: &Origin,
) -> Outcome {
    agent.end().await;
    let before = agent.said().matches("has locked this cluster").count();
    *agent = hub.spawn_agent_again("edge-1", announced, origin, "info");
    until("the new process knows", || agent.said().matches("has locked this cluster").count() > before).await;
    expect(show(hub, "edge-1").await["connected"] == false, "it is connected")
}

async fn still_locked(hub: &Hub, alice: &str) -> Outcome {
    let view = show(hub, "edge-1").await;
    expect(
        view["state"] == "locked" && view["nextStep"].as_str().is_some_and(|n| n.contains("unlock")),
        view.to_string(),
    )?;
    told(hub, alice).await
}

async fn unlocked(hub: &Hub, agent: &mut world::Process, announced: &world::Announced, origin: &Origin) -> Outcome {
    let acted = post(hub, "/api/v1/clusters/edge-1/unlock", &Value::Null).await?;
    expect(acted["state"] == "enrolled", acted.to_string())?;
    // The one that runs asks again within two minutes: too long for a test.
    agent.end().await;
    *agent = hub.spawn_agent_again("edge-1", announced, origin, "info");
    hub.connected("edge-1").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_in_every_state_are_cut_and_nothing_of_a_locked_or_revoked_cluster_gets_in() {
    let mut hub = Hub::start("info").await;
    let rows = Rows::default();
    rows.run("T099", "lock in the middle of a handshake", mid_handshake(&hub)).await;
    rows.run("T099", "lock with two links (make before break)", two_links(&hub)).await;
    rows.run("T099", "lock: nobody enrols, and the token is good once it is unlocked", enrols_later(&hub)).await;
    rows.run("T099", "revoke a cluster: links, certificates and join tokens are dead", cluster_revoked(&hub)).await;
    rows.run("T099", "revoke a certificate: its links and its key, and no other", certificate_revoked(&hub)).await;
    rows.run("T099", "only administrators lock and revoke", only_administrators(&hub)).await;
    let revoked = join(&hub, "revoked").await;
    post(&hub, "/api/v1/clusters/revoked/revoke", &json!({})).await.unwrap();
    hub.process.end().await;
    let Hub { dir, .. } = hub;
    hub = Hub::start_in(dir, "info").await;
    rows.run("T102", "what was revoked stays so when the hub comes back", refused(&hub, &revoked, "revoked")).await;
    hub.check_unharmed();
    rows.end().await;
}

/// Each goes away a fifth of a millisecond later than the one before: some while the hub stores what they want.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_whole_or_not_there_when_its_administrator_goes_away() {
    let mut hub = Hub::start("info").await;
    let mut links = Vec::new();
    for n in 0..40 {
        let name = format!("left-{n}");
        links.push((name.clone(), join(&hub, &name).await.moor(hub.door.address).await));
    }
    for (n, (name, _)) in links.iter().enumerate() {
        let mut tls = hub.door.connect("127.0.0.1", &[b"http/1.1"]).await.unwrap();
        let (host, admin) = (hub.door.address, &hub.admin);
        let head =
            format!("POST /api/v1/clusters/{name}/lock HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {admin}\r\n");
        tls.write_all(format!("{head}Content-Length: 2\r\n\r\n{{}}").as_bytes()).await.unwrap();
        tls.flush().await.unwrap();
        sleep(Duration::from_micros(200) * u32::try_from(n).unwrap()).await;
    }
    sleep(AT_ONCE).await;
    let (mut locked, mut states) = (0, Vec::new());
    for (name, link) in &links {
        let state = show(&hub, name).await["state"].clone();
        assert_eq!(state == "locked", link.connection.close_reason().is_some(), "{name} is {state}");
        locked += usize::from(state == "locked");
        states.push(state);
    }
    hub.process.end().await;
    let Hub { dir, .. } = hub;
    let hub = Hub::start_in(dir, "info").await;
    for ((name, _), state) in links.iter().zip(states) {
        assert_eq!(show(&hub, name).await["state"], state, "{name}: the store knows more than the hub did");
    }
    assert!(locked > 0, "nobody stayed for long enough");
}

async fn mid_handshake(hub: &Hub) -> Outcome {
    let joined = join(hub, "mid-handshake").await;
    let connection = dial(hub.door.address, joined.tls(ALPN_LINK)).await?;
    let since = Instant::now();
    post(hub, "/api/v1/clusters/mid-handshake/lock", &json!({})).await?;
    expect(moor(connection.clone(), hello("1.0.0")).await.is_err(), "it was welcomed")?;
    ends(&connection, "locked", since).await
}

async fn two_links(hub: &Hub) -> Outcome {
    let joined = join(hub, "two-links").await;
    let links = [joined.moor(hub.door.address).await, joined.moor(hub.door.address).await];
    let since = Instant::now();
    let acted = post(hub, "/api/v1/clusters/two-links/lock", &json!({"reason": "x"})).await?;
    expect(acted["linksClosed"] == 2, acted.to_string())?;
    for link in &links {
        ends(&link.connection, "locked", since).await?;
    }
    refused(hub, &joined, "locked").await
}

async fn enrols_later(hub: &Hub) -> Outcome {
    let announced = hub.announce("enrols-later").await;
    let key = KeyPair::generate();
    post(hub, "/api/v1/clusters/enrols-later/lock", &json!({"reason": "not yet"})).await?;
    let (status, answer) = enrol(hub, &announced.token, &key.csr()).await;
    let cause = &answer["details"]["causes"][0]["reason"];
    expect(status == 403 && cause == "ClusterLocked", format!("{status} {answer}"))?;
    post(hub, "/api/v1/clusters/enrols-later/unlock", &Value::Null).await?;
    let (status, answer) = enrol(hub, &announced.token, &key.csr()).await;
    expect(status == 200, format!("{status} {answer}"))
}

async fn cluster_revoked(hub: &Hub) -> Outcome {
    let joined = join(hub, "dead").await;
    let link = joined.moor(hub.door.address).await;
    let since = Instant::now();
    let acted = post(hub, "/api/v1/clusters/dead/revoke", &json!({"reason": "stolen laptop"})).await?;
    expect(acted["linksClosed"] == 1 && acted["state"] == "revoked", acted.to_string())?;
    ends(&link.connection, "revoked", since).await?;
    refused(hub, &joined, "revoked").await?;
    // Neither does a token that was made before.
    let announced = hub.announce("unused-token").await;
    post(hub, "/api/v1/clusters/unused-token/revoke", &json!({})).await?;
    let (status, answer) = enrol(hub, &announced.token, &KeyPair::generate().csr()).await;
    expect(status == 401, format!("{status} {answer}"))?;
    let (_, list) = hub.api("GET", "/api/v1/certificates?cluster=dead", &Value::Null).await;
    expect(list["items"].as_array().is_some_and(|l| l.len() == 1 && l[0]["state"] == "revoked"), list.to_string())
}

async fn certificate_revoked(hub: &Hub) -> Outcome {
    let (joined, other) = (join(hub, "one-of-two").await, join(hub, "other").await);
    let (link, others) = (joined.moor(hub.door.address).await, other.moor(hub.door.address).await);
    let (_, list) = hub.api("GET", "/api/v1/certificates?cluster=one-of-two", &Value::Null).await;
    expect(list["items"][0]["state"] == "current", list.to_string())?;
    let path = format!("/api/v1/certificates/{}", list["items"][0]["serial"].as_str().unwrap_or_default());
    let since = Instant::now();
    let (status, answer) = hub.api("POST", &format!("{path}/revoke"), &json!({"reason": "x".repeat(1_025)})).await;
    expect(status == 422 && others.connection.close_reason().is_none(), format!("{status} {answer}"))?;
    let acted = post(hub, &format!("{path}/revoke"), &json!({"reason": "INC-4711"})).await?;
    expect(acted["linksClosed"] == 1 && acted["state"] == "revoked", acted.to_string())?;
    ends(&link.connection, "revoked", since).await?;
    refused(hub, &joined, "revoked").await?;
    expect(others.connection.close_reason().is_none(), "another cluster's link was cut")?;
    let view = show(hub, "one-of-two").await;
    let why = view["stateReason"].as_str().unwrap_or_default();
    expect(view["state"] == "revoked" && why.starts_with("INC-4711: certificate"), view.to_string())?;
    let (status, shown) = hub.api("GET", &path, &Value::Null).await;
    expect(
        status == 200 && shown["revokedBy"] == "token:admin" && shown["revokedReason"] == "INC-4711",
        shown.to_string(),
    )?;
    let (status, _) = hub.api("GET", "/api/v1/certificates/00ff", &Value::Null).await;
    expect(status == 404, format!("status {status}"))
}

async fn only_administrators(hub: &Hub) -> Outcome {
    hub.announce("guarded").await;
    let alice = hub.token("alice").await;
    let asks = [
        ("POST", "/api/v1/clusters/guarded/lock"),
        ("POST", "/api/v1/clusters/guarded/unlock"),
        ("POST", "/api/v1/clusters/guarded/revoke"),
        ("GET", "/api/v1/certificates"),
        ("GET", "/api/v1/certificates/00ff"),
        ("POST", "/api/v1/certificates/00ff/revoke"),
    ];
    for (method, path) in asks {
        let reply = hub.post(method, path, &alice, "{}").await;
        expect(reply.status() == 403, format!("{method} {path}: {}", reply.status()))?;
    }
    expect(show(hub, "guarded").await["state"] == "pending", "something was done")?;
    let (status, answer) = hub.api("POST", "/api/v1/clusters/guarded/lock", &json!({"reason": "two\nlines"})).await;
    expect(status == 422, format!("{status} {answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_ends_its_streams_at_once() {
    let (hub, origin) = (Arc::new(Hub::start("info").await), Origin::start().await);
    let _agent = hub.agent("edge-1", &origin, "info").await;
    let rows = Rows::default();
    rows.run(
        "T100",
        "token revoke: exec, watch and log are cut in a second, and say why",
        token_revoked(&hub, &origin),
    )
    .await;
    rows.end().await;
}

async fn token_revoked(hub: &Hub, origin: &Origin) -> Outcome {
    let (_, created) = hub.api("POST", "/api/v1/tokens", &json!({"user": "alice"})).await;
    let text = |key: &str| created[key].as_str().unwrap_or_default().to_owned();
    let streams = Streams::start(hub, origin, &text("token"), "edge-1").await?;
    let since = Instant::now();
    let (status, _) = hub.api("DELETE", &format!("/api/v1/tokens/{}", text("id")), &Value::Null).await;
    expect(status == 200, format!("status {status}"))?;
    streams.say("the caller's token was revoked", since).await
}
