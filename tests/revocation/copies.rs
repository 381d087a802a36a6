//! T095: two holders of one identity. The link protocol is spoken by hand, for no agent of ours does this.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use roadstead::{
    identity::{KeyPair, generation::LATE},
    wire::{
        ALPN_LINK, Frame, FrameKind, GENERATION, RENEW,
        generated::{ControlMessage, Hello, RenewRequest, RenewResponse, control_message::Body},
    },
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    ends,
    origin::Origin,
    post,
    quic::{Frames, Joined, Moored, SOON, dial, frame, hello, join, moor},
    refused,
    rows::{Outcome, Rows, expect},
    show,
    world::Hub,
};

impl Joined {
    fn copy(&self) -> Self {
        let key = KeyPair::from_pem(&self.key.to_pem()).unwrap();
        Self { key, chain: self.chain.clone(), trust_domain: self.trust_domain.clone(), pin: self.pin.clone() }
    }

    async fn link(&self, hub: &Hub, instance: &str, can: &[&str]) -> Result<Moored, String> {
        let capabilities = can.iter().map(|can| (*can).to_owned()).collect();
        let hello = Hello { capabilities, instance: instance.to_owned(), ..hello("1.0.0") };
        moor(dial(hub.door.address, self.tls(ALPN_LINK)).await?, hello).await
    }

    /// Asks for the next certificate over a live link.
    async fn renew(&self, link: &mut Moored, generation: u64) -> Result<Self, String> {
        let key = KeyPair::generate();
        let request = RenewRequest { csr: Bytes::from(key.csr()), generation };
        let message = ControlMessage { body: Some(Body::RenewRequest(request)) }.encode_to_vec();
        link.control.0.write_all(&frame(FrameKind::Message, &message)).await.map_err(|e| e.to_string())?;
        let came = timeout(SOON, Frames::default().next(&mut link.control.1)).await.map_err(|_| "no answer")?;
        let Some(Frame::Message(bytes)) = came else { return Err(format!("{came:?}")) };
        match ControlMessage::decode(bytes).map_err(|e| e.to_string())?.body {
            Some(Body::RenewResponse(RenewResponse { chain, refusal, .. })) if refusal.is_empty() => {
                let chain = chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
                Ok(Self { key, chain, ..self.copy() })
            }
            Some(Body::RenewResponse(RenewResponse { refusal, .. })) => Err(refusal),
            other => Err(format!("{other:?}")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_an_agents_key_locks_its_cluster_and_an_honest_agent_never_does() {
    let mut hub = Hub::start("info").await;
    let rows = Rows::default();
    rows.run("T092", "lost replies, an old link beside a new one, a late message: no lock", honest(&hub)).await;
    rows.run("T085", "a renewal is of the link's own cluster, whatever the request says", own_cluster(&hub)).await;
    rows.run("T097", "a clock that is ten minutes behind: it renews, and the hub shows it", wrong_clock(&hub)).await;
    rows.run("T095", "a renewal that names another generation is refused, without a lock", generation(&hub)).await;
    let (mut dials, mut renews) =
        (Pair::renewed(&hub, "dials").await.unwrap(), Pair::renewed(&hub, "renews").await.unwrap());
    sleep(LATE + Duration::from_millis(300)).await;
    rows.run("T095", "a spent certificate dials again", dials.meets(&hub, How::Dials)).await;
    rows.run("T095", "a spent certificate asks for a renewal", renews.meets(&hub, How::Renews)).await;
    let alerts = hub.metric("roadstead_identity_alerts_total{kind=\"copied_key\"}").await;
    assert!((alerts - 2.0).abs() < f64::EPSILON, "{alerts} alerts");
    hub.check_unharmed();
    rows.end().await;
}

/// The request is a CSR and a number: its name is another cluster's here, and is not read.
async fn own_cluster(hub: &Hub) -> Outcome {
    let (prod, eu) = (join(hub, "prod").await, join(hub, "prod-eu").await);
    let mut link = prod.link(hub, "one", &[RENEW]).await?;
    let renewed = prod.renew(&mut link, 0).await?;
    let subject = |joined: &Joined| {
        let (_, leaf) = X509Certificate::from_der(&joined.chain[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter();
        (leaf.subject().to_string(), names.map(ToString::to_string).collect::<Vec<_>>())
    };
    expect(subject(&renewed) == subject(&prod) && subject(&renewed) != subject(&eu), format!("{:?}", subject(&renewed)))
}

async fn wrong_clock(hub: &Hub) -> Outcome {
    let slow = join(hub, "slow").await;
    let agent_time_ms = i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap() - 600_000;
    let hello = Hello { capabilities: vec![RENEW.to_owned()], agent_time_ms, ..hello("1.0.0") };
    let mut link = moor(dial(hub.door.address, slow.tls(ALPN_LINK)).await?, hello).await?;
    slow.renew(&mut link, 0).await?;
    let shown = show(hub, "slow").await["clockAheadSeconds"].as_i64();
    expect(shown.is_some_and(|ahead| (-605..=-600).contains(&ahead)), format!("{shown:?}"))?;
    let metric = hub.metric("roadstead_cluster_clock_ahead_seconds{cluster=\"slow\"}").await;
    expect((-605.0..=-600.0).contains(&metric), metric.to_string())
}

async fn honest(hub: &Hub) -> Outcome {
    let first = join(hub, "honest").await;
    let mut link = first.link(hub, "one", &[RENEW]).await?;
    // Replies that the agent never gets.
    for _ in 0..3 {
        first.renew(&mut link, 0).await?;
    }
    let again = first.link(hub, "two", &[RENEW]).await?;
    let second = first.renew(&mut link, 0).await?;
    let newer = second.link(hub, "one", &[RENEW]).await?;
    expect(link.connection.close_reason().is_none(), "the old link was closed under its requests")?;
    expect(again.connection.close_reason().is_none(), "a link was closed")?;
    let late = first.renew(&mut link, 0).await;
    expect(late.as_ref().is_err_and(|why| why.contains("moments ago")), "a late request was granted")?;
    refused(hub, &first, "superseded").await?;
    let view = show(hub, "honest").await;
    expect(view["state"] == "enrolled" && view["connected"] == true, view.to_string())?;
    expect(newer.connection.close_reason().is_none(), "the new link was closed")
}

async fn generation(hub: &Hub) -> Outcome {
    let first = join(hub, "counted").await;
    let mut link = first.link(hub, "one", &[RENEW, GENERATION]).await?;
    let wrong = first.renew(&mut link, 7).await;
    expect(wrong.as_ref().is_err_and(|why| why.contains("generation 7")), "another generation was renewed")?;
    first.renew(&mut link, 1).await?;
    expect(show(hub, "counted").await["state"] == "enrolled", "it was locked")
}

#[derive(Clone, Copy)]
enum How {
    Dials,
    Renews,
}

/// An agent that has renewed its certificate, and a thief with a copy of its Secret of before.
struct Pair {
    name: &'static str,
    next: Joined,
    link: Moored,
    thief: Joined,
    stolen: Moored,
}

impl Pair {
    async fn renewed(hub: &Hub, name: &'static str) -> Result<Self, String> {
        let agent = join(hub, name).await;
        let thief = agent.copy();
        let mut link = agent.link(hub, "agent", &[RENEW]).await?;
        let stolen = thief.link(hub, "thief", &[RENEW]).await?;
        let next = agent.renew(&mut link, 0).await?;
        let link = next.link(hub, "agent", &[RENEW]).await?;
        Ok(Self { name, next, link, thief, stolen })
    }

    async fn meets(&mut self, hub: &Hub, how: How) -> Outcome {
        let name = self.name;
        expect(show(hub, name).await["state"] == "enrolled", "locked too early")?;
        let since = Instant::now();
        match how {
            How::Dials => refused(hub, &self.thief, "locked").await?,
            How::Renews => expect(self.thief.renew(&mut self.stolen, 0).await.is_err(), "it was renewed")?,
        }
        for link in [&self.link, &self.stolen] {
            ends(&link.connection, "locked", since).await?;
        }
        refused(hub, &self.next, "locked").await?;
        let view = show(hub, name).await;
        let text = |key: &str| view[key].as_str().unwrap_or_default().to_owned();
        let readable = text("stateReason").contains("copy of the agent's key");
        expect(view["state"] == "locked" && readable, view.to_string())?;
        expect(text("nextStep").contains("revoke") && text("nextStep").contains("unlock"), text("nextStep"))?;
        expect(hub.process.said().contains("identity.copied"), "no alert in the log")?;
        // The way back: every copy dies, and an agent joins anew.
        post(hub, &format!("/api/v1/clusters/{name}/revoke"), &json!({})).await?;
        post(hub, &format!("/api/v1/clusters/{name}/unlock"), &Value::Null).await?;
        refused(hub, &self.next, "revoked").await?;
        refused(hub, &self.thief, "revoked").await
    }
}

/// Two processes with one state for longer than a certificate lives, as when a node is lost and comes back: each renewal is seen by the
/// other one, and neither is taken for a thief.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_agent_share_their_identity_without_a_lock() {
    let hub = Hub::start_with(&["--agent-cert-ttl", "60s"], "info").await;
    let origin = Origin::start().await;
    let announced = hub.announce("shared").await;
    let one = hub.spawn_agent("shared", &announced, &origin, "info");
    hub.connected("shared").await;
    let other = hub.spawn_agent_again("shared", &announced, &origin, "info");
    let started = Instant::now();
    let generation = async || {
        let (_, list) = hub.api("GET", "/api/v1/certificates?cluster=shared", &Value::Null).await;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let current = items.iter().find(|item| item["state"] == "current");
        current.and_then(|item| item["generation"].as_u64()).unwrap_or(0)
    };
    // Twice renewed, and the first one spent for longer than an honest message may take.
    while generation().await < 3 {
        assert!(started.elapsed() < Duration::from_secs(150), "not renewed:\n{}\n{}", one.said(), hub.process.said());
        sleep(Duration::from_millis(200)).await;
    }
    sleep(LATE + Duration::from_secs(2)).await;
    let view = show(&hub, "shared").await;
    assert_eq!((&view["state"], &view["connected"]), (&json!("enrolled"), &json!(true)), "{view}\n{}", one.said());
    assert!(view["stateReason"].as_str().is_some_and(|why| why.contains("2 agents")), "{view}\n{}", other.said());
    assert!(!hub.process.said().contains("identity.copied"));
}
