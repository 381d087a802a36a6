//! Section E: who may have a link. Certificates are signed with the hub's own keys, taken from its store, so that only the one
//! thing that a row names is wrong with them.

#[path = "links/forge.rs"]
mod forge;
#[path = "links/silent.rs"]
mod silent;

use std::{sync::Arc, time::Duration};

use quinn::ConnectionError;
use roadstead::wire::{ALPN_LINK, CloseCode};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

use crate::{
    origin::Origin,
    quic::{SOON, config, dial, endpoint, hello, join, moor},
    rows::{Outcome, Rows, expect},
    world::{Hub, Process, spawn_agent},
};
use forge::{Keys, Leaf, any_hub, present};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_agents_get_links() {
    let mut hub = Hub::start("debug").await;
    let victim = join(&hub, "victim").await;
    let uid = hub.api("GET", "/api/v1/clusters/victim", &serde_json::Value::Null).await.1["uid"].clone();
    // A cluster of its own: a genuine certificate that the hub did not record takes the place of those that it did.
    let forged = hub.announce("forged").await;
    let short = hub.announce("short").await;
    hub.process.end().await;
    let keys = Keys::read(&hub.dir.path().join("data/store.redb")).await;
    let mut hub = Hub::start_in(hub.dir, "debug").await;
    let rows = Rows::default();
    let uid = uid.as_str().unwrap_or_default();

    rows.run("T074", "(control) a forgery with nothing wrong gets a link", control(&hub, &keys, &forged.uid)).await;
    for (id, what, leaf) in forge::bad_leaves(&keys, uid) {
        rows.run(id, what, refused(&hub, present(leaf))).await;
    }
    rows.run("T074", "no client certificate", refused(&hub, no_certificate())).await;
    rows.run("T074", "a certificate whose key it does not have", refused(&hub, stolen(&keys, uid))).await;
    for (what, alpn) in alpns() {
        rows.run("T083", &format!("QUIC with {what}"), wrong_alpn(&hub, victim.tls(b"roadstead/1"), alpn)).await;
    }
    rows.run("T083", "HTTPS with the link's ALPN", tcp_alpn(&hub)).await;
    rows.run("T076", "a finished link leaves no ticket: no resumption", no_ticket(&hub, &victim)).await;
    rows.run("T077", "0-RTT is not possible", no_ticket(&hub, &victim)).await;
    rows.run("T081", "an agent's certificate makes nobody a user", no_user(&hub, &victim)).await;
    rows.run("T082", "a hub with a certificate of the agents' CA: the agent refuses", false_hub(&hub, &keys, uid))
        .await;
    rows.run("T086", "a link is closed by the hub when its certificate ends", outlived(&hub, &keys, &short.uid)).await;
    let what = "400 peers of one address take the turns of handshakes: another gets its link";
    let other = join(&hub, "other").await;
    rows.run("T114", what, silent::others_get_their_links(&hub, &victim, &other)).await;
    hub.check_unharmed();
    rows.end().await;
}

/// An agent of ours would have moved to another link long before.
async fn outlived(hub: &Hub, keys: &Keys, uid: &str) -> Outcome {
    let (tls, ends) = forge::ending(keys, uid, Duration::from_secs(2));
    let link = moor(dial(hub.door.address, tls).await?, hello("1.0.0")).await?;
    let closed = timeout(SOON, link.connection.closed()).await.map_err(|_| "it outlives its certificate by seconds")?;
    let late = OffsetDateTime::now_utc() - ends;
    let code = match &closed {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => return Err(format!("{other:?}")),
    };
    expect(code == CloseCode::Expired.code(), format!("closed by {closed:?}"))?;
    // The second of its end is the last one of its life.
    expect((0.0..2.0).contains(&late.as_seconds_f64()), format!("closed {late} after its end"))
}

async fn control(hub: &Hub, keys: &Keys, uid: &str) -> Outcome {
    let connection = dial(hub.door.address, present(Leaf::good(keys, uid).sign())).await?;
    moor(connection, hello("1.0.0")).await.map(drop)
}

/// TLS 1.3 lets a client finish before the server has judged it: the refusal may come right after.
async fn refused(hub: &Hub, tls: rustls::ClientConfig) -> Outcome {
    let Ok(connection) = dial(hub.door.address, tls).await else { return Ok(()) };
    match timeout(SOON, connection.closed()).await {
        // By the transport, which is TLS (0x100 + alert, RFC 9001 § 4.8) or what limits its messages; 0xc would be the hub above it.
        Ok(ConnectionError::ConnectionClosed(close)) => {
            expect(u64::from(close.error_code) != 0xc, format!("closed by {close}"))
        }
        Ok(other) => Err(format!("not refused by TLS but {other}")),
        Err(_) => Err("a link was made".to_owned()),
    }
}

fn no_certificate() -> rustls::ClientConfig {
    let mut config = any_hub().with_no_client_auth();
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    config
}

fn stolen(keys: &Keys, uid: &str) -> rustls::ClientConfig {
    let (chain, _) = Leaf::good(keys, uid).sign();
    present((chain, rcgen::KeyPair::generate().unwrap()))
}

fn alpns() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        ("no ALPN", vec![]),
        ("ALPN h3", vec![b"h3".to_vec()]),
        ("ALPN roadstead/2", vec![b"roadstead/2".to_vec()]),
        ("ALPN roadstead-mesh/1", vec![b"roadstead-mesh/1".to_vec()]),
        ("ALPN ROADSTEAD/1", vec![b"ROADSTEAD/1".to_vec()]),
        ("an empty ALPN", vec![b"roadstead/1\0".to_vec()]),
    ]
}

async fn wrong_alpn(hub: &Hub, mut tls: rustls::ClientConfig, alpn: Vec<Vec<u8>>) -> Outcome {
    tls.alpn_protocols = alpn;
    refused(hub, tls).await
}

async fn tcp_alpn(hub: &Hub) -> Outcome {
    for alpn in [b"roadstead/1".as_slice(), b"roadstead-mesh/1", b"h3", b"acme-tls/1"] {
        let connected = hub.door.connect("127.0.0.1", &[alpn]).await;
        expect(connected.is_err(), format!("HTTPS speaks {}", String::from_utf8_lossy(alpn)))?;
    }
    hub.door.connect("127.0.0.1", &[b"h2"]).await.map(drop)
}

/// With everything that a client can do to be resumed: nothing to resume, so no early data either.
async fn no_ticket(hub: &Hub, victim: &crate::quic::Joined) -> Outcome {
    let mut tls = victim.tls(ALPN_LINK);
    let tickets = Arc::new(forge::Tickets::default());
    tls.resumption = rustls::client::Resumption::store(tickets.clone());
    tls.enable_early_data = true;
    let (endpoint, config) = (endpoint(), config(tls));
    for _ in 0..2 {
        let name = roadstead::identity::verify::LINK_SERVER_NAME;
        let connecting = endpoint.connect_with(config.clone(), hub.door.address, name).map_err(|e| e.to_string())?;
        let connection = match connecting.into_0rtt() {
            Ok(_) => return Err("early data was possible".to_owned()),
            Err(connecting) => timeout(SOON, connecting).await.map_err(|_| "no answer")?.map_err(|e| e.to_string())?,
        };
        let _moored = moor(connection, hello("1.0.0")).await?;
        sleep(std::time::Duration::from_millis(50)).await;
    }
    expect(tickets.given() == 0, format!("{} tickets", tickets.given()))
}

async fn no_user(hub: &Hub, victim: &crate::quic::Joined) -> Outcome {
    let mut tls = victim.tls(b"http/1.1");
    let verifier =
        roadstead::identity::HttpsVerifier::new(roadstead::identity::HubTrust::from_pem(&hub.door.ca).unwrap());
    tls.dangerous().set_certificate_verifier(Arc::new(verifier));
    let request = format!("GET /api/v1/whoami HTTP/1.1\r\nHost: {}\r\n\r\n", hub.door.address);
    let connection = hub.door.connect_with("127.0.0.1", tls).await?;
    let reply = crate::raw::exchange(connection, request.as_bytes(), crate::raw::Until::Answered).await;
    expect(reply.status() == 401, format!("status {}", reply.status()))
}

/// The real agent, with a good identity, meets somebody who holds an agents' certificate and calls itself the hub.
async fn false_hub(hub: &Hub, keys: &Keys, uid: &str) -> Outcome {
    let origin = Origin::start().await;
    let dir = hub.dir.path();
    for (name, leaf) in forge::false_hubs(keys, uid) {
        let server = forge::listener(leaf);
        let address = server.local_addr().map_err(|e| e.to_string())?;
        forge::write_state(&dir.join(name), keys, uid);
        let agent: Process = spawn_agent(dir, name, &address.to_string(), &keys.hub_pin(), &origin, "debug");
        let incoming = timeout(std::time::Duration::from_secs(15), server.accept()).await;
        let incoming =
            incoming.map_err(|_| format!("{name}: the agent never dialled: {}", agent.said()))?.ok_or("closed")?;
        match timeout(SOON, incoming).await {
            Ok(Err(_)) => {}
            Ok(Ok(connection)) => {
                let stream = timeout(std::time::Duration::from_secs(2), connection.accept_bi()).await;
                expect(!matches!(stream, Ok(Ok(_))), format!("{name}: the agent said hello"))?;
            }
            Err(_) => return Err(format!("{name}: no handshake")),
        }
        expect(!agent.said().contains("moored"), format!("{name}: moored"))?;
    }
    Ok(())
}
