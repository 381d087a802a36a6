//! The authorities of agents and hub are replaced while traffic flows, and nobody who uses a cluster notices: forward, back from each phase,
//! with an agent that is away, and with a hub that is killed at each step. Hub, agents and commands are processes of this build; only the
//! API server is a fake (`abuse/origin.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "abuse/setting.rs"]
mod setting;
#[path = "rotation/site.rs"]
mod site;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use origin::{Origin, RECORD, Then};
use setting::{origin, raw, world};
use site::{Site, Traffic};

/// How many events the watch has that spans a rotation.
const EVENTS: usize = 48;

/// Names of the clusters that hold up the rotation.
fn laggards(status: &Value) -> Vec<&str> {
    status["laggards"].as_array().unwrap().iter().map(|laggard| laggard["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_traffic_loses_nothing_and_names_the_agent_that_is_away() {
    let (site, origin) = (Site::start().await, Origin::start().await);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    origin.tell("fieldSelector=spanning", head, Then::Watch(EVENTS));
    let _one = site.agent("edge-1", &origin).await;
    let _two = site.agent("edge-2", &origin).await;
    let mut away = site.agent("edge-3", &origin).await;
    let first = site.status().await;
    let token = site.token("alice").await;
    let traffic = Traffic::start(&site, &token, &["edge-1", "edge-2"]);
    let (there, bearer) = (site.clone(), token.clone());
    let watching =
        tokio::spawn(async move { there.get(&bearer, "edge-1", "pods?watch=true&fieldSelector=spanning").await });
    away.end().await;

    // As far as it goes in that time, and who holds it up.
    let ran = site.roadstead(&["ca", "rotate", "--wait", "--timeout", "3s", "--output", "json"]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &report["rotated"], &report["status"]["phase"]),
        (7, &json!(false), &json!("init")),
        "{ran:?}"
    );
    assert_eq!(laggards(&report), ["edge-3"]);
    assert_eq!(site.step("revoke", &json!({})).await.0, 409, "the old root still signs");

    // It recovers when it returns, and then nothing holds the rotation up.
    let mut back = site.agent_again("edge-3", &origin);
    let ran = site.script(&["--timeout", "40s", "--bundle", site.path("bundle.pem").to_str().unwrap()]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!((ran.code, &report["rotated"]), (0, &json!(true)), "{ran:?}");
    let status = site.told().await;
    assert_eq!((&status["phase"], &status["counts"]["acknowledged"]), (&json!("standby"), &json!(3)));
    let pins =
        |status: &Value| status["authorities"].as_array().unwrap().iter().map(|a| a["pin"].clone()).collect::<Vec<_>>();
    assert!(pins(&status).iter().all(|pin| !pins(&first).contains(pin)), "{status}");
    assert_eq!(std::fs::read_to_string(site.path("bundle.pem")).unwrap(), status["hubCa"].as_str().unwrap());
    assert_eq!(site.metric("roadstead_ca_phase{phase=\"standby\"}").await, 1.0);
    assert!(
        site.metric("roadstead_ca_not_after_seconds{authority=\"hub\",generation=\"current\",part=\"root\"}").await
            > 2e9
    );

    // With one that stays away and is given up: it is shut out, and says in which state it is and what to do.
    back.end().await;
    let ran = site.roadstead(&["ca", "rotate", "--wait", "--timeout", "40s", "--accept-lost", "edge-3"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let back = site.agent_again("edge-3", &origin);
    world::until("the agent says that it does not trust the hub", || back.said().contains("HubUntrusted")).await;
    assert!(back.said().contains("--hub-ca-pin"), "{}", back.said());
    assert_eq!(site.cluster("edge-3").await["connected"], false);
    // The new pin and another join token are its way back; what it was told before stays told.
    drop(back);
    site.gets_another_token("edge-3").await;
    let _back = site.agent_again("edge-3", &origin);
    site.connected("edge-3").await;

    let events = watching.await.unwrap();
    assert_eq!((events.status(), events.first().whole), (200, true), "the watch was cut: {}", events.first().head);
    assert_eq!(events.first().text().matches(RECORD).count(), EVENTS);
    let (asked, failed) = traffic.stop().await;
    assert!(asked > 200 && failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
    site.check_unharmed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_from_each_phase_under_traffic_loses_nothing() {
    let (site, origin) = (Site::start().await, Origin::start().await);
    let _one = site.agent("edge-1", &origin).await;
    let mut two = site.agent("edge-2", &origin).await;
    let (token, first) = (site.token("alice").await, site.status().await);
    let traffic = Traffic::start(&site, &token, &["edge-1"]);
    for (steps, phase) in [(0, "init"), (1, "update_agents"), (2, "update_hub")] {
        assert_eq!(site.step("prepare", &json!({})).await.0, 200);
        for _ in 0..steps {
            site.goes_on().await;
        }
        assert_eq!(site.status().await["phase"], phase);
        // One goes away as soon as it may hold what is about to be discarded.
        two.end().await;
        assert_eq!(site.step("rollback", &json!({})).await.0, 200);
        if laggards(&site.status().await).contains(&"edge-2") {
            let (code, refused) = site.step("activate", &json!({})).await;
            assert!(code == 409 && refused["message"].as_str().unwrap().contains("edge-2"), "{refused}");
        }
        two = site.agent_again("edge-2", &origin);
        site.goes_on().await;
        let status = site.status().await;
        assert_eq!((&status["phase"], &status["hubCa"]), (&json!("standby"), &first["hubCa"]), "from {phase}");
        site.connected("edge-2").await;
    }
    let distrusted = site.told().await["distrusted"].as_array().unwrap().len();
    assert_eq!(distrusted, 6, "each rollback discards the two authorities that were made");
    let (asked, failed) = traffic.stop().await;
    assert!(asked > 40 && failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
    site.check_unharmed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_killed_at_each_step_goes_on_from_there() {
    let (mut site, origin) = (Site::start().await, Origin::start().await);
    let mut agents = vec![site.agent("edge-1", &origin).await, site.agent("edge-2", &origin).await];
    let (token, first) = (site.token("alice").await, site.status().await);
    let forward = ["prepare", "activate", "activate", "activate"];
    let back = ["prepare", "activate", "activate", "rollback", "activate"];
    for (n, step) in forward.into_iter().chain(back).enumerate() {
        let before = site.status().await["revision"].as_u64().unwrap();
        let phase = if step == "activate" { site.goes_on().await } else { site.step(step, &json!({})).await.1 };
        // At once: agents have heard of it, or not.
        site.kill_and_start().await;
        let status = site.status().await;
        assert_eq!((&status["phase"], &status["revision"]), (&phase["phase"], &json!(before + 1)), "after {step}");
        for name in ["edge-1", "edge-2"] {
            site.connected(name).await;
            let reply = site.clone().get(&token, name, "pods").await;
            assert_eq!(reply.status(), 200, "{name} after {step}: {}", reply.first().text());
        }
        // One that joins in this phase is part of it.
        agents.push(site.agent(&format!("new-{n}"), &origin).await);
    }
    let last = site.told().await;
    assert_eq!((&last["phase"], laggards(&last)), (&json!("standby"), vec![]));
    assert_ne!(last["hubCa"], first["hubCa"]);
    for agent in agents {
        assert!(!agent.said().contains("HubUntrusted"), "{}", agent.said());
    }
    site.check_unharmed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspected_key_signs_no_more_and_its_certificates_are_dead_once_it_is_revoked() {
    let (site, origin) = (Site::start().await, Origin::start().await);
    let _one = site.agent("edge-1", &origin).await;
    let mut two = site.agent("edge-2", &origin).await;
    two.end().await;
    let (code, status) = site.step("taint", &json!({})).await;
    assert_eq!((code, &status["phase"], &status["tainted"]), (200, &json!("update_agents"), &json!(true)));
    let started = Instant::now();
    while site.status().await["counts"]["onNext"] != 1 {
        assert!(started.elapsed() < Duration::from_secs(10), "not renewed: {}", site.status().await);
        sleep(Duration::from_millis(50)).await;
    }
    let (code, refused) = site.step("rollback", &json!({})).await;
    assert!(code == 409 && refused["message"].as_str().unwrap().contains("no way back"), "{refused}");
    let (code, refused) = site.step("revoke", &json!({})).await;
    assert!(code == 409 && refused["message"].as_str().unwrap().contains("edge-2 (not connected)"), "{refused}");
    let (code, status) = site.step("revoke", &json!({"acceptLost": ["edge-2"]})).await;
    assert_eq!((code, &status["revoked"]), (200, &json!(true)), "{status}");
    let two = site.agent_again("edge-2", &origin);
    world::until("the agent is refused", || two.said().contains("refused")).await;
    assert_eq!(site.cluster("edge-2").await["connected"], false);
    assert_eq!(site.cluster("edge-1").await["connected"], true);
    site.goes_on().await;
    site.goes_on().await;
    assert_eq!(site.status().await["phase"], "standby");
    site.check_unharmed();
}
