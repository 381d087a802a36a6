//! Agents whose certificates another CA issues: let in by an exact name, moved to a new certificate without a request lost, out within a
//! second when the name, the CA, the key or the cluster is. Hub and agent are processes of this build; only the API server is a fake
//! (`abuse/origin.rs`), and the other CA is made here.
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[allow(dead_code, reason = "the abuse tests use more of it")]
#[path = "abuse/origin.rs"]
mod origin;
#[path = "bring_your_own/pki.rs"]
mod pki;
#[allow(dead_code, reason = "the abuse tests use more of it")]
#[path = "abuse/raw.rs"]
mod raw;
#[allow(dead_code, reason = "the abuse tests use more of it")]
#[path = "abuse/world.rs"]
mod world;

use std::{fs, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use origin::Origin;
use pki::{NAME, Pki};
use world::{Announced, Hub, Process, until, write_private};

/// Everything must be out within this.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A hub that trusts the PKI, and a cluster that one name of it stands for.
struct Site {
    hub: Arc<Hub>,
    origin: Origin,
    pki: Pki,
    ca: String,
    announced: Announced,
}

impl Site {
    async fn start() -> Self {
        let (hub, origin, pki) = (Hub::start("info").await, Origin::start().await, Pki::new());
        let announced = hub.announce("edge-1").await;
        let (status, added) = hub.api("POST", "/api/v1/ca/external", &json!({"certificate": pki.root_pem()})).await;
        assert_eq!(status, 201, "{added}");
        let ca = added["ca"].as_str().unwrap().to_owned();
        Self { hub: Arc::new(hub), origin, pki, ca, announced }
    }

    /// An agent with the files of the PKI.
    fn agent(&self, name: &str) -> Process {
        let at = |file: &str| self.hub.dir.path().join(format!("{name}.{file}")).to_str().unwrap().to_owned();
        let (kubeconfig, state, url) = (at("kubeconfig"), at("state"), format!("https://{}", self.hub.door.address));
        write_private(kubeconfig.as_ref(), &self.origin.kubeconfig());
        let [cert, key] = ["tls.crt", "tls.key"].map(|file| self.pki.path(file).to_str().unwrap().to_owned());
        let mut flags = vec!["agent", "--hub", &url, "--hub-ca-pin", &self.announced.pin, "--state", &state];
        flags.extend(["--kubeconfig", &kubeconfig, "--cert", &cert, "--key", &key]);
        Process::spawn(&format!("agent-{name}"), &flags, "info", self.hub.dir.path())
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.hub.api("POST", path, &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn map(&self, what: &str, uri: &str) -> Value {
        self.post(&format!("/api/v1/clusters/edge-1/{what}"), json!({"ca": self.ca, "uri": uri})).await
    }

    async fn show(&self) -> Value {
        self.hub.api("GET", "/api/v1/clusters/edge-1", &Value::Null).await.1
    }

    /// What was done cut the one link at once, and nothing comes in its place.
    async fn cut(&self, acted: &Value, since: Instant) {
        assert_eq!(acted["linksClosed"], 1, "{acted}");
        assert!(since.elapsed() < AT_ONCE, "after {:?}", since.elapsed());
        assert_eq!(self.show().await["connected"], false);
    }
}

/// Asks 20 times a second until `until`; how often, and what was not answered with 200.
async fn ask(hub: Arc<Hub>, token: String, until: Instant) -> (usize, Vec<String>) {
    let (mut every, mut asked, mut failed) = (interval(Duration::from_millis(50)), 0, Vec::new());
    while Instant::now() < until {
        every.tick().await;
        let reply = hub.post("GET", "/clusters/edge-1/api/v1/namespaces/default/pods", &token, "").await;
        asked += 1;
        if reply.status() != 200 || !reply.first().whole {
            failed.push(reply.first().head.clone());
        }
    }
    (asked, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_joins_by_its_files_moves_to_new_ones_unnoticed_and_is_out_when_its_name_is() {
    let site = Site::start().await;
    let token = site.hub.token("alice").await;
    // Nobody mapped it: refused, and the log says what to map.
    let mut agent = site.agent("a");
    until("the hub names what to map", || {
        site.hub.process.said().contains(&format!("no cluster is mapped to a name of this certificate (URI {NAME})"))
    })
    .await;
    until("the agent knows", || agent.said().contains("roadstead cluster map")).await;
    agent.end().await;
    site.map("map", NAME).await;
    let mut agent = site.agent("a");
    site.hub.connected("edge-1").await;
    let view = site.show().await;
    assert_eq!((&view["state"], &view["mapped"][0]["uri"]), (&json!("enrolled"), &json!(NAME)), "{view}");

    moved(&site, &agent, &token).await;
    halves(&site, &agent, &token).await;
    restarted(site, &mut agent).await;
}

/// A new pair by a symbolic link turned elsewhere, as Kubernetes does: no request is lost, the old link goes.
async fn moved(site: &Site, agent: &Process, token: &str) {
    let (_, before) = site.hub.api("GET", "/api/v1/certificates?cluster=edge-1", &Value::Null).await;
    let asking = tokio::spawn(ask(site.hub.clone(), token.to_owned(), Instant::now() + Duration::from_secs(5)));
    site.pki.turn(NAME, time::Duration::HOUR);
    until("the new pair is in use", || agent.said().contains("a new certificate is in use")).await;
    let (asked, failed) = asking.await.unwrap();
    eprintln!("figure: {asked} requests while the certificate changed, {} failed", failed.len());
    assert!(asked > 50 && failed.is_empty(), "{} of {asked}: {:?}", failed.len(), failed.first());
    assert!(site.hub.process.said().contains("closed by the peer: superseded by a newer link"));
    let (_, after) = site.hub.api("GET", "/api/v1/certificates?cluster=edge-1", &Value::Null).await;
    assert_eq!(
        (before["items"].as_array().unwrap().len(), &after["items"][1]["state"]),
        (1, &json!("current")),
        "{after}"
    );
    assert_eq!(after["items"][0]["state"], "superseded", "{after}");
    assert_eq!(after["items"][1]["externalCa"], site.ca);
}

/// A key without its certificate is not taken, and says so; the old pair serves on.
async fn halves(site: &Site, agent: &Process, token: &str) {
    let good = fs::read(site.pki.path("tls.key")).unwrap();
    write_private(&site.pki.path("tls.key"), &rcgen::KeyPair::generate().unwrap().serialize_pem());
    until("the fault is told", || agent.said().contains("does not belong to the certificate")).await;
    let (asked, failed) = ask(site.hub.clone(), token.to_owned(), Instant::now() + Duration::from_millis(500)).await;
    assert!(asked > 5 && failed.is_empty(), "{failed:?}");
    fs::write(site.pki.path("tls.key"), good).unwrap();
}

/// Trust and names survive the hub; then each way out.
async fn restarted(site: Site, agent: &mut Process) {
    let Site { hub, origin, pki, ca, announced } = site;
    let Ok(mut hub) = Arc::try_unwrap(hub) else { panic!("requests are under way") };
    hub.process.end().await;
    let hub = Arc::new(Hub::start_in(hub.dir, "info").await);
    let site = Site { hub, origin, pki, ca, announced };
    agent.end().await;
    // The port is another one.
    let mut agent = site.agent("a");
    site.hub.connected("edge-1").await;

    let since = Instant::now();
    site.cut(&site.map("unmap", NAME).await, since).await;
    agent.end().await;
    site.map("map", NAME).await;
    agent = site.agent("a");
    site.hub.connected("edge-1").await;
    let (_, list) = site.hub.api("GET", "/api/v1/certificates?cluster=edge-1", &Value::Null).await;
    let key = list["items"].as_array().unwrap().last().unwrap()["key"].as_str().unwrap().to_owned();
    let since = Instant::now();
    let (status, acted) =
        site.hub.api("POST", &format!("/api/v1/certificates/{key}/revoke"), &json!({"reason": "INC-4711"})).await;
    assert_eq!((status, &acted["state"]), (200, &json!("revoked")), "{acted}");
    site.cut(&acted, since).await;
    let view = site.show().await;
    assert!(view["state"] == "revoked" && view["stateReason"].to_string().contains("INC-4711"), "{view}");
    agent.end().await;
    // The CA signs for another key: that one is good.
    site.pki.turn(NAME, time::Duration::HOUR);
    agent = site.agent("a");
    site.hub.connected("edge-1").await;
    let since = Instant::now();
    site.cut(&site.post("/api/v1/clusters/edge-1/revoke", json!({})).await, since).await;
    agent.end().await;
    // What is issued from now on is good again, and the removal of the CA ends that.
    sleep(Duration::from_millis(1_100)).await;
    site.pki.turn_from(NAME, time::Duration::HOUR, time::OffsetDateTime::now_utc());
    agent = site.agent("a");
    site.hub.connected("edge-1").await;
    assert_eq!(site.show().await["state"], "enrolled");
    let since = Instant::now();
    let (status, acted) = site.hub.api("DELETE", &format!("/api/v1/ca/external/{}", site.ca), &Value::Null).await;
    assert_eq!((status, &acted["names"]), (200, &json!(1)), "{acted}");
    site.cut(&acted, since).await;
    agent.end().await;
    assert!(!site.hub.process.said().contains("panicked"), "{}", site.hub.process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_and_a_name_are_only_what_an_administrator_may_say_and_exact() {
    let site = Site::start().await;
    let hub = &site.hub;
    let alice = hub.token("alice").await;
    let add = async |pem: &str| hub.api("POST", "/api/v1/ca/external", &json!({"certificate": pem})).await;
    let says = |answer: &(u16, Value)| answer.1["message"].as_str().unwrap_or_default().to_owned();
    for file in ["agents-ca.pem", "hub-ca.pem"] {
        let own = fs::read_to_string(hub.dir.path().join("data").join(file)).unwrap();
        let refused = add(&own).await;
        assert!(refused.0 == 422 && says(&refused).contains("an authority of this hub"), "{refused:?}");
    }
    assert_eq!(add(&site.pki.root_pem()).await.0, 409);
    for (pem, why) in [
        (site.pki.leaf_pem(), "not the certificate of a CA"),
        (String::new(), "no certificate"),
        (Pki::ended().root_pem(), "ended on"),
    ] {
        let refused = add(&pem).await;
        assert!(refused.0 == 422 && says(&refused).contains(why), "{refused:?}");
    }
    hub.announce("edge-2").await;
    let map = async |cluster: &str, ca: &str, name: Value| {
        let mut body = name;
        body["ca"] = json!(ca);
        hub.api("POST", &format!("/api/v1/clusters/{cluster}/map"), &body).await
    };
    site.map("map", NAME).await;
    let elsewhere = format!("sha256:{}", "0".repeat(64));
    let (_, whoami) = hub.api("GET", "/api/v1/clusters/edge-2", &Value::Null).await;
    let own = format!("spiffe://x/cluster/{}", whoami["uid"].as_str().unwrap());
    let rows = [
        (map("edge-2", &site.ca, json!({"uri": NAME})).await, 409, "mapped to cluster \"edge-1\" already"),
        (map("edge-1", &site.ca, json!({"uri": NAME})).await, 200, ""),
        (map("edge-2", &site.ca, json!({"uri": "spiffe://corp.example/*"})).await, 422, "no patterns"),
        (map("edge-2", &site.ca, json!({"dns": "*.corp.example"})).await, 422, "no patterns"),
        (map("edge-2", &site.ca, json!({"uri": "a:b", "dns": "c"})).await, 422, "exactly one"),
        (map("edge-2", &elsewhere, json!({"uri": NAME})).await, 404, "ca external list"),
        (map("edge-3", &site.ca, json!({"uri": "a:b"})).await, 404, "edge-3"),
        // Another trust domain: a name like any other.
        (map("edge-2", &site.ca, json!({"uri": own})).await, 200, ""),
    ];
    for (answer, status, why) in rows {
        assert!(answer.0 == status && says(&answer).contains(why), "{status} {why}: {answer:?}");
    }
    let asks = [
        ("GET", "/api/v1/ca/external"),
        ("POST", "/api/v1/ca/external"),
        ("DELETE", "/api/v1/ca/external/sha256:00"),
        ("GET", "/api/v1/names"),
        ("POST", "/api/v1/clusters/edge-1/map"),
        ("POST", "/api/v1/clusters/edge-1/unmap"),
    ];
    for (method, path) in asks {
        let reply = hub.post(method, path, &alice, "{}").await;
        assert_eq!(reply.status(), 403, "{method} {path}");
    }
    let (_, names) = hub.api("GET", "/api/v1/names", &Value::Null).await;
    assert_eq!(names["items"].as_array().unwrap().len(), 2, "{names}");
    // A cluster that goes takes its names along.
    hub.api("DELETE", "/api/v1/clusters/edge-1", &Value::Null).await;
    assert_eq!(map("edge-2", &site.ca, json!({"uri": NAME})).await.0, 200);
}
