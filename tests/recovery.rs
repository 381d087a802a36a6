//! A cluster proves itself by its agent's ServiceAccount: hub and agent are processes of this build, the tokens are a real API server's.
//! An agent that lost its identity, or was away until it ended, is back without a person; whoever has another token is not let in.
//! Takes a minute and more, for that is how long the shortest certificate lives.
#![allow(clippy::disallowed_methods, reason = "no runtime here: processes are waited for in real time")]

#[path = "cluster/mod.rs"]
mod cluster;
#[allow(dead_code, reason = "the deploy tests use more of it")]
#[path = "deploy/hub.rs"]
mod hub;
#[allow(dead_code, reason = "the deploy tests use more of it")]
#[path = "deploy/pod.rs"]
mod pod;

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use cluster::{ControlPlane, Options};
use hub::Hub;
use roadstead::identity::{KeyPair, TrustDomain, service_account::audience};
use serde_json::{Value, json};

/// The shortest that a hub takes.
const LIFE: Duration = Duration::from_secs(60);

fn start_hub() -> Result<Hub> {
    Hub::start_with(&["--agent-cert-ttl", "60s"], &[], None)
}

/// `curl` with what it prints: the status, and the body as JSON.
fn curl(hub: &Hub, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}", "--cacert"]).arg(hub.ca());
    if let Some(body) = body {
        command.args(["--header", "content-type: application/json", "--data-binary", &body.to_string()]);
    }
    let output = command.arg(format!("{}{path}", hub.address()?)).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (body, status) = text.rsplit_once('\n').context("curl printed nothing")?;
    Ok((status.parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// One attempt to enrol as cluster `uid`, by hand.
struct Attempt {
    uid: String,
    key: KeyPair,
    nonce: String,
    audience: String,
}

impl Attempt {
    fn begin(hub: &Hub, uid: &str) -> Result<Self> {
        let (status, given) = curl(hub, "/enrol/v1/nonce", None)?;
        ensure!(status == 200, "no nonce: {status} {given}");
        let nonce = given["nonce"].as_str().context("no nonce")?.to_owned();
        let trust_domain: TrustDomain = given["trustDomain"].as_str().context("no trust domain")?.parse()?;
        let key = KeyPair::generate();
        let audience = audience(&trust_domain, &key.spki_der(), &BASE64_URL_SAFE_NO_PAD.decode(&nonce)?);
        Ok(Self { uid: uid.to_owned(), key, nonce, audience })
    }

    fn send(&self, hub: &Hub, jwt: &str) -> Result<(u16, Value)> {
        let csr = BASE64_STANDARD.encode(self.key.csr());
        curl(hub, "/enrol/v1", Some(&json!({"cluster": self.uid, "nonce": self.nonce, "jwt": jwt, "csr": csr})))
    }
}

/// A token that the cluster's API server makes.
fn token(plane: &ControlPlane, account: &str, audience: &str, life: &str) -> Result<String> {
    let namespace = ["--namespace", "roadstead", "--audience", audience, "--duration", life];
    plane.kubectl_ok(&[&["create", "token", account], &namespace[..]].concat())
}

fn jwks(plane: &ControlPlane) -> Result<String> {
    plane.kubectl_ok(&["get", "--raw", "/openid/v1/jwks"])
}

fn shown(hub: &Hub, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&hub.roadstead(&["cluster", "jwks", "show", name, "-ojson"])?)?)
}

fn account(plane: &ControlPlane) -> Result<()> {
    plane.kubectl_ok(&["create", "namespace", "roadstead"])?;
    for name in ["roadstead-agent", "other"] {
        plane.kubectl_ok(&["--namespace", "roadstead", "create", "serviceaccount", name])?;
    }
    Ok(())
}

/// T011 to T015, each against the keys of a real API server.
#[test]
fn only_the_clusters_own_agent_with_its_own_key_and_a_fresh_nonce_is_let_in() -> Result<()> {
    let (plane, other) = (ControlPlane::start(Options::new("own"))?, ControlPlane::start(Options::new("other"))?);
    account(&plane)?;
    account(&other)?;
    let hub = start_hub()?;
    let file = plane.dir().join("jwks.json");
    fs::write(&file, jwks(&plane)?)?;
    let file = file.to_str().context("a path")?;
    let added = hub.roadstead(&["cluster", "add", "own", "--service-account-jwks", file, "-ojson"])?;
    let uid = serde_json::from_str::<Value>(&added)?["uid"].as_str().context("no uid")?.to_owned();
    let bare = serde_json::from_str::<Value>(&hub.roadstead(&["cluster", "add", "bare", "-ojson"])?)?["uid"].clone();

    let attempt = Attempt::begin(&hub, &uid)?;
    let good = token(&plane, "roadstead-agent", &attempt.audience, "600s")?;
    let (status, body) = attempt.send(&hub, &good)?;
    ensure!(status == 200 && body["uid"] == uid.as_str(), "its own agent: {status} {body}");
    let (status, body) = attempt.send(&hub, &good)?;
    ensure!(
        status == 401 && body["message"].as_str().unwrap_or_default().contains("used"),
        "T014, again: {status} {body}"
    );

    let refused = |what: &str, uid: &str, make: &dyn Fn(&Attempt) -> Result<String>, why: &str| -> Result<()> {
        let attempt = Attempt::begin(&hub, uid)?;
        let (status, body) = attempt.send(&hub, &make(&attempt)?)?;
        let message = body["message"].as_str().unwrap_or_default();
        ensure!(status == 401 && message.contains(why), "{what}: {status} {body}");
        Ok(())
    };
    let own = |attempt: &Attempt| token(&plane, "roadstead-agent", &attempt.audience, "600s");
    let foreign = |attempt: &Attempt| token(&other, "roadstead-agent", &attempt.audience, "600s");
    refused("T011, another cluster's token", &uid, &foreign, "cannot verify")?;
    refused("T011, a cluster without keys", bare.as_str().context("no uid")?, &own, "cannot verify")?;
    refused("a cluster that does not exist", "01jdzzzzzzzzzzzzzzzzzzzzzz", &own, "cannot verify")?;
    refused("T012, for another key", &uid, &|_| own(&Attempt::begin(&hub, &uid)?), "aud")?;
    refused("T013, another account", &uid, &|attempt| token(&plane, "other", &attempt.audience, "600s"), "sub")?;
    refused(
        "T013, a token of a day",
        &uid,
        &|attempt| token(&plane, "roadstead-agent", &attempt.audience, "24h"),
        "exp",
    )?;
    refused("T013, the API server's audience", &uid, &|_| plane.token_request("roadstead", "roadstead-agent"), "aud")?;
    refused("no token", &uid, &|_| Ok("a.b.c".to_owned()), "cannot verify")?;
    let stale = Attempt { nonce: "AAAA".to_owned(), ..Attempt::begin(&hub, &uid)? };
    let (status, body) = stale.send(&hub, &own(&stale)?)?;
    ensure!(status == 401 && body["message"].as_str().unwrap_or_default().contains("nonce"), "T014: {status} {body}");

    let clone = hub.roadstead(&["cluster", "add", "clone", "--service-account-jwks", file]);
    ensure!(
        clone.is_err_and(|error| error.to_string().contains("pinned for cluster \"own\"")),
        "T015: a clone is let in"
    );
    ensure!(hub.roadstead(&["cluster", "show", "clone"]).is_err(), "T015: the clone is announced all the same");
    ensure!(shown(&hub, "own")?["pinned"]["by"] == "token:admin", "{}", shown(&hub, "own")?);
    Ok(())
}

/// From joining by token to a lost Secret, a certificate that ended, and keys that changed.
#[test]
fn an_agent_that_lost_its_identity_comes_back_by_itself() -> Result<()> {
    let plane = ControlPlane::start(Options::new("lost"))?;
    let hub = start_hub()?;
    let mut pod = pod::Pod::new(&plane, &hub)?;
    pod.start()?;
    pod.wait_logged("moored")?;
    let pinned = shown(&hub, "edge-1")?;
    ensure!(pinned["pinned"]["by"] == "agent" && pinned["pending"].is_null(), "not trusted on first use: {pinned}");

    // Away until its certificate has ended, and the join token is gone.
    pod.stop();
    let stopped = Instant::now();
    pod.unmount_join_token()?;
    let first = pod.get("secret/roadstead-agent-state", "{.data}")?;
    std::thread::sleep(LIFE.saturating_sub(stopped.elapsed()) + Duration::from_secs(1));
    pod.start()?;
    pod.wait_logged("the stored certificate has ended")?;
    pod.wait_logged("moored")?;
    let second = pod.get("secret/roadstead-agent-state", "{.data}")?;
    ensure!(second != first, "the old identity is still there");
    ensure!(hub.log()?.contains("agent enrolled by its service account"), "{}", hub.log()?);

    // The Secret was emptied.
    pod.stop();
    plane.kubectl_ok(&[
        "--namespace",
        "roadstead",
        "patch",
        "secret",
        "roadstead-agent-state",
        "--type=json",
        "--patch",
        r#"[{"op": "remove", "path": "/data"}]"#,
    ])?;
    pod.start()?;
    pod.wait_logged("moored")?;
    ensure!(pod.get("secret/roadstead-agent-state", "{.data}")? != second, "nothing was kept");

    rekeyed(&plane, &hub, &mut pod)?;
    rotated(&plane, &hub, &mut pod)
}

/// The operator gives another join token.
fn rekeyed(plane: &ControlPlane, hub: &Hub, pod: &mut pod::Pod<'_>) -> Result<()> {
    let before = pod.get("secret/roadstead-agent-state", "{.data}")?;
    // Joined by ServiceAccount without a token at hand: the first token that is seen is taken for known, the next one is a wish.
    for expected in [false, true] {
        let manifest = hub.roadstead(&["cluster", "rekey", "edge-1"])?;
        plane.apply(&manifest)?;
        pod.mount_join_token()?;
        pod.stop();
        if !expected {
            plane.kubectl_ok(&[
                "--namespace",
                "roadstead",
                "patch",
                "secret",
                "roadstead-agent-state",
                "--type=json",
                "--patch",
                r#"[{"op": "remove", "path": "/data"}]"#,
            ])?;
        }
        pod.start()?;
        pod.wait_logged("moored")?;
        ensure!(pod.log()?.contains("there is another join token") == expected, "{}", pod.log()?);
    }
    ensure!(pod.get("secret/roadstead-agent-state", "{.data}")? != before, "the key is the old one");
    let tokens: Value = serde_json::from_str(&hub.roadstead(&["cluster", "token", "list", "edge-1", "-ojson"])?)?;
    let used = |at: usize| tokens["items"][at]["uses"].as_array().map_or(0, Vec::len);
    ensure!((used(0), used(1), used(2)) == (1, 0, 1), "{tokens}");
    Ok(())
}

/// T016: keys that share none with those that are pinned wait for an administrator.
fn rotated(plane: &ControlPlane, hub: &Hub, pod: &mut pod::Pod<'_>) -> Result<()> {
    let stranger = ControlPlane::start(Options::new("stranger"))?;
    let (own, foreign) = (plane.dir().join("own.json"), plane.dir().join("foreign.json"));
    fs::write(&own, jwks(plane)?)?;
    fs::write(&foreign, jwks(&stranger)?)?;
    hub.roadstead(&["cluster", "jwks", "set", "edge-1", foreign.to_str().context("a path")?])?;
    pod.stop();
    pod.start()?;
    pod.wait_logged("moored")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while shown(hub, "edge-1")?["pending"].is_null() {
        ensure!(Instant::now() < deadline, "the agent's keys are not seen: {}", shown(hub, "edge-1")?);
        std::thread::sleep(Duration::from_millis(100));
    }
    pod.stop();
    pod.unmount_join_token()?;
    plane.kubectl_ok(&[
        "--namespace",
        "roadstead",
        "patch",
        "secret",
        "roadstead-agent-state",
        "--type=json",
        "--patch",
        r#"[{"op": "remove", "path": "/data"}]"#,
    ])?;
    pod.start()?;
    pod.wait_logged("no proof of this cluster holds")?;
    let accepted: Value = serde_json::from_str(&hub.roadstead(&["cluster", "jwks", "accept", "edge-1", "-ojson"])?)?;
    ensure!(accepted["pending"].is_null() && accepted["pinned"]["by"] == "token:admin", "{accepted}");
    pod.start()?;
    pod.wait_logged("moored")
}
