//! `roadstead doctor` against a real hub and a real agent: all is well, and then one thing after the other is not. Only the API server is
//! a fake (`abuse/origin.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "abuse/setting.rs"]
mod setting;

use std::{fs, net::SocketAddr, path::Path};

use serde_json::Value;
use tokio::{io::copy_bidirectional, net::TcpListener};

use origin::{Origin, Then, json};
use setting::{origin, raw, world};
use world::Hub;

/// What the doctor said, by check, and how it exited.
struct Said {
    checks: Vec<(String, String, String)>,
    code: Option<i32>,
}

impl Said {
    fn verdict(&self, check: &str) -> &str {
        self.checks.iter().find(|(name, ..)| name == check).map_or("absent", |(_, verdict, _)| verdict)
    }

    fn found(&self, check: &str) -> &str {
        self.checks.iter().find(|(name, ..)| name == check).map_or("", |(.., found)| found)
    }

    /// Everything but these is in order, and these are not.
    fn check(&self, failed: &[&str]) {
        for (check, verdict, found) in &self.checks {
            let expected = if failed.contains(&check.as_str()) { "failed" } else { "ok" };
            assert_eq!(verdict, expected, "{check}: {found}");
        }
        assert_eq!(self.code, Some(i32::from(!failed.is_empty())));
    }
}

async fn doctor(arguments: &[&str]) -> Said {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command.arg("doctor").args(arguments).args(["--output", "json"]).env_clear();
    let output = command.output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaint}"));
    assert_eq!(value["ok"], output.status.success());
    let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let checks = value["checks"].as_array().unwrap().iter();
    let checks = checks.map(|c| (text(c, "check"), text(c, "verdict"), text(c, "found"))).collect();
    Said { checks, code: output.status.code() }
}

/// An address where the hub's TCP answers and its UDP does not.
async fn tcp_only(hub: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut there = tokio::net::TcpStream::connect(hub).await.unwrap();
                let _ = copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    address
}

/// Waits until the hub knows that the agent is gone.
async fn gone(hub: &Hub) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while hub.api("GET", "/api/v1/clusters/edge-1", &Value::Null).await.1["connected"] == true {
        assert!(tokio::time::Instant::now() < deadline, "it is still connected");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn may(origin: &Origin, allowed: bool) {
    let review = format!(
        r#"{{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{{}},"status":{{"allowed":{allowed}}}}}"#
    );
    origin.tell("/selfsubjectaccessreviews", json("201 Created", "", &review), Then::Stay);
}

fn path(dir: &Path, file: &str) -> String {
    dir.join(file).to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_learns_what_is_between_them_and_the_hub() {
    let (hub, origin) = (Hub::start("info").await, Origin::start().await);
    let config = path(hub.dir.path(), "data/admin.yaml");
    doctor(&["--client-config", &config]).await.check(&[]);

    let mut agent = hub.agent("edge-1", &origin, "info").await;
    let said = doctor(&["--client-config", &config]).await;
    said.check(&[]);
    assert_eq!(said.found("clusters"), "1 joined, all connected");
    assert_eq!(said.found("cluster clocks"), "1 known, none is off by more than a minute");
    agent.end().await;
    gone(&hub).await;
    let said = doctor(&["--client-config", &config]).await;
    said.check(&["clusters"]);
    assert_eq!(said.found("clusters"), "offline: edge-1");

    let no_udp = format!("https://{}", tcp_only(hub.door.address).await);
    let said = doctor(&["--client-config", &config, "--hub", &no_udp]).await;
    said.check(&["hub udp", "clusters"]);
    assert!(said.found("hub udp").contains("no answer"), "{}", said.found("hub udp"));

    let other = Hub::start("info").await;
    let said = doctor(&["--client-config", &config, "--hub", &format!("https://{}", other.door.address)]).await;
    assert_eq!((said.code, said.verdict("hub https"), said.verdict("token")), (Some(1), "failed", "skipped"));
    assert!(said.found("hub https").contains("another CA"), "{}", said.found("hub https"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_learns_what_keeps_it_from_its_work() {
    let (hub, origin) = (Hub::start("info").await, Origin::start().await);
    may(&origin, true);
    let announced = hub.announce("edge-1").await;
    let mut agent = hub.spawn_agent("edge-1", &announced, &origin, "info");
    hub.connected("edge-1").await;
    let dir = hub.dir.path();
    let (url, kubeconfig, state) =
        (format!("https://{}", hub.door.address), path(dir, "edge-1.kubeconfig"), path(dir, "edge-1"));
    let settings = |url: &str, pin: &str, state: &str| {
        let flags = ["agent", "--hub", url, "--hub-ca-pin", pin, "--state", state, "--kubeconfig", &kubeconfig];
        flags.map(str::to_owned)
    };
    let ask = async |flags: [String; 9]| doctor(&flags.each_ref().map(String::as_str)).await;

    // Beside the agent that runs, which must not notice.
    let said = ask(settings(&url, &announced.pin, &state)).await;
    said.check(&[]);
    assert!(said.found("hub udp").contains("comes up"), "{}", said.found("hub udp"));
    assert!(said.found("identity").contains("edge-1"), "{}", said.found("identity"));
    assert!(!agent.said().contains("link lost"), "{}", agent.said());

    may(&origin, false);
    ask(settings(&url, &announced.pin, &state)).await.check(&["rights"]);
    may(&origin, true);

    let wrong = format!("sha256:{}", "0".repeat(64));
    let said = ask(settings(&url, &wrong, &state)).await;
    assert_eq!((said.code, said.verdict("hub https"), said.verdict("hub udp")), (Some(1), "failed", "failed"));
    assert!(said.found("hub udp").contains("answers by QUIC"), "{}", said.found("hub udp"));

    // Nobody has joined there, and there is no token.
    let said = ask(settings(&url, &announced.pin, &path(dir, "elsewhere"))).await;
    said.check(&["identity"]);
    assert!(said.found("hub udp").contains("answers by QUIC"), "{}", said.found("hub udp"));

    let no_udp = format!("https://{}", tcp_only(hub.door.address).await);
    ask(settings(&no_udp, &announced.pin, &state)).await.check(&["hub udp"]);

    agent.end().await;
    hub.api("DELETE", "/api/v1/clusters/edge-1", &Value::Null).await;
    fs::write(path(dir, "edge-1/identity.json"), "{").unwrap();
    let said = ask(settings(&url, &announced.pin, &state)).await;
    said.check(&["identity"]);
    assert!(said.found("identity").contains("cannot be read"), "{}", said.found("identity"));
}
