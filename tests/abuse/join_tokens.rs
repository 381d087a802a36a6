//! Section A: what a join token is bound to, who used it, and how it ends.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use roadstead::identity::KeyPair;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    quic::enrol,
    rows::{Outcome, Rows, expect},
    world::Hub,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_is_what_it_was_made_for() {
    let mut hub = Hub::start("info").await;
    let rows = Rows::default();
    rows.run("T003a", "200 parallel uses of a token for three keys: three identities", several(&hub)).await;
    rows.run("T003b", "200 parallel uses of one token by one key: one use", one_key(&hub)).await;
    rows.run("T003c", "a token that is bound to addresses, from another one", elsewhere(&hub)).await;
    rows.run("T003d", "a revoked token: the words of an unknown one", revoked(&hub)).await;
    rows.run("T003e", "another cluster's administrator's path: the id must be of that cluster", crossed(&hub)).await;
    rows.run("T003f", "an enrolled cluster enrols again only with a token that was made for it since", again(&hub))
        .await;
    rows.run("T003g", "tokens in a loop: bounded, and who used one is told", bounded(&hub)).await;
    hub.check_unharmed();
    let hub = restarted(hub, &rows).await;
    rows.run("T003i", "nobody but an administrator makes, lists or ends one", not_for_all(&hub)).await;
    rows.end().await;
}

async fn token(hub: &Hub, cluster: &str, wish: Value) -> Result<(String, String), String> {
    let (status, made) = hub.api("POST", &format!("/api/v1/clusters/{cluster}/tokens"), &wish).await;
    expect(status == 201, format!("{status} {made}"))?;
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    Ok((text("token"), text("tokenId")))
}

async fn tokens(hub: &Hub, cluster: &str) -> Vec<Value> {
    let (_, list) = hub.api("GET", &format!("/api/v1/clusters/{cluster}/tokens"), &Value::Null).await;
    list["items"].as_array().cloned().unwrap_or_default()
}

/// How many of 200 at once get a certificate, each with the key that `key` gives.
async fn at_once(hub: &Hub, token: &str, key: impl Fn() -> KeyPair) -> (usize, usize) {
    let (mut asking, token) = (JoinSet::new(), Arc::new(token.to_owned()));
    for _ in 0..200 {
        let (door, token, csr) = (hub.door.elsewhere(), token.clone(), BASE64_STANDARD.encode(key().csr()));
        asking.spawn(async move { door.enrol(&json!({"token": *token, "csr": csr}).to_string()).await.status() });
    }
    let statuses = asking.join_all().await;
    let of = |status| statuses.iter().filter(|s| **s == status).count();
    (of(200), of(401))
}

async fn several(hub: &Hub) -> Outcome {
    hub.announce("several").await;
    let (token, _) = token(hub, "several", json!({"maxUses": 3})).await?;
    let (given, refused) = at_once(hub, &token, KeyPair::generate).await;
    expect((given, refused) == (3, 197), format!("{given} × 200, {refused} × 401"))?;
    let listed = tokens(hub, "several").await;
    let uses = listed.iter().find(|t| t["maxUses"] == 3).and_then(|t| t["uses"].as_array()).map_or(0, Vec::len);
    expect(uses == 3, format!("{listed:?}"))
}

async fn one_key(hub: &Hub) -> Outcome {
    let announced = hub.announce("one-key").await;
    let key = KeyPair::generate();
    let (given, refused) = at_once(hub, &announced.token, || key.clone()).await;
    expect((given, refused) == (200, 0), format!("{given} × 200, {refused} × 401"))?;
    let listed = tokens(hub, "one-key").await;
    expect(listed[0]["uses"].as_array().is_some_and(|uses| uses.len() == 1), format!("{listed:?}"))
}

async fn elsewhere(hub: &Hub) -> Outcome {
    hub.announce("bound").await;
    let (token, _) = token(hub, "bound", json!({"sources": ["192.0.2.0/24"]})).await?;
    let (status, body) = enrol(hub, &token, &KeyPair::generate().csr()).await;
    let (_, unknown) = enrol(hub, "rsj_", &KeyPair::generate().csr()).await;
    expect(status == 401 && body["message"] == unknown["message"], format!("{status} {body}"))?;
    let (token, _) = self::token(hub, "bound", json!({"sources": ["192.0.2.0/24", "127.0.0.0/8"]})).await?;
    let (status, body) = enrol(hub, &token, &KeyPair::generate().csr()).await;
    expect(status == 200, format!("from where it may: {status} {body}"))?;
    for wish in
        [json!({"sources": ["127.0.0.1/8"]}), json!({"maxUses": 0}), json!({"maxUses": 101}), json!({"ttlSeconds": 0})]
    {
        let (status, _) = hub.api("POST", "/api/v1/clusters/bound/tokens", &wish).await;
        expect(status == 400 || status == 422, format!("{wish}: {status}"))?;
    }
    Ok(())
}

async fn revoked(hub: &Hub) -> Outcome {
    hub.announce("revoked").await;
    let (token, id) = token(hub, "revoked", json!({})).await?;
    let path = format!("/api/v1/clusters/revoked/tokens/{id}");
    let (status, _) = hub.api("DELETE", &path, &Value::Null).await;
    expect(status == 200, format!("revoking: {status}"))?;
    let (status, body) = enrol(hub, &token, &KeyPair::generate().csr()).await;
    let (_, unknown) = enrol(hub, "rsj_", &KeyPair::generate().csr()).await;
    expect(status == 401 && body["message"] == unknown["message"], format!("{status} {body}"))?;
    let (status, _) = hub.api("DELETE", &path, &Value::Null).await;
    expect(status == 404, format!("revoking twice: {status}"))
}

async fn crossed(hub: &Hub) -> Outcome {
    hub.announce("mine").await;
    hub.announce("yours").await;
    let (token, id) = token(hub, "yours", json!({})).await?;
    let (status, _) = hub.api("DELETE", &format!("/api/v1/clusters/mine/tokens/{id}"), &Value::Null).await;
    expect(status == 404, format!("status {status}"))?;
    let (status, _) = enrol(hub, &token, &KeyPair::generate().csr()).await;
    expect(status == 200, "it was revoked all the same")
}

async fn again(hub: &Hub) -> Outcome {
    let announced = hub.announce("again").await;
    let (status, first) = enrol(hub, &announced.token, &KeyPair::generate().csr()).await;
    expect(status == 200, format!("{status}"))?;
    let (status, _) = enrol(hub, &announced.token, &KeyPair::generate().csr()).await;
    expect(status == 401, format!("the old token gives a second identity: {status}"))?;
    let (token, _) = token(hub, "again", json!({})).await?;
    let (status, second) = enrol(hub, &token, &KeyPair::generate().csr()).await;
    expect(status == 200 && first["uid"] == second["uid"], format!("{status} {second}"))
}

async fn bounded(hub: &Hub) -> Outcome {
    let announced = hub.announce("loop").await;
    let key = KeyPair::generate();
    let (status, _) = enrol(hub, &announced.token, &key.csr()).await;
    expect(status == 200, format!("{status}"))?;
    let used = tokens(hub, "loop").await;
    let by = &used[0]["uses"][0];
    let told = by["key"] == key.spki_sha256().to_string() && by["from"].as_str().is_some_and(|a| a.starts_with("127."));
    expect(told && used[0]["by"] == "token:admin" && used[0]["open"] == false, format!("{used:?}"))?;
    for _ in 0..roadstead::defaults::JOIN_TOKENS {
        token(hub, "loop", json!({})).await?;
    }
    let kept = tokens(hub, "loop").await;
    expect(
        kept.len() == roadstead::defaults::JOIN_TOKENS && kept.iter().all(|t| t["open"] == true),
        format!("{} kept", kept.len()),
    )?;
    let (status, body) = hub.api("POST", "/api/v1/clusters/loop/tokens", &json!({})).await;
    expect(status == 409, format!("one more: {status} {body}"))
}

/// The hub ends between "token used" and "certificate delivered".
async fn restarted(hub: Hub, rows: &Rows) -> Hub {
    let announced = hub.announce("restarted").await;
    let key = KeyPair::generate();
    let (status, first) = enrol(&hub, &announced.token, &key.csr()).await;
    assert_eq!(status, 200, "{first}");
    let Hub { process, dir, .. } = hub;
    // Killed, not asked to end.
    drop(process);
    let hub = Hub::start_in(dir, "info").await;
    let check = async {
        let (status, body) = enrol(&hub, &announced.token, &KeyPair::generate().csr()).await;
        expect(status == 401, format!("another key: {status} {body}"))?;
        let (status, body) = enrol(&hub, &announced.token, &key.csr()).await;
        expect(status == 200 && body["uid"] == first["uid"], format!("the same key: {status} {body}"))?;
        let listed = tokens(&hub, "restarted").await;
        expect(listed[0]["uses"].as_array().is_some_and(|uses| uses.len() == 1), format!("{listed:?}"))
    };
    rows.run("T002h", "the hub is killed after the use: the same key gets its certificate, another does not", check)
        .await;
    hub
}

async fn not_for_all(hub: &Hub) -> Outcome {
    let alice = hub.token("alice").await;
    for (method, path) in [
        ("POST", "/api/v1/clusters/mine/tokens"),
        ("GET", "/api/v1/clusters/mine/tokens"),
        ("DELETE", "/api/v1/clusters/mine/tokens/aaaaaaaaaa"),
    ] {
        let status = hub.post(method, path, &alice, "{}").await.status();
        expect(status == 403, format!("{method}: {status}"))?;
    }
    Ok(())
}
