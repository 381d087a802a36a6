//! How fast a thousand links are revoked: from the request of an administrator until the agents' ends have seen the close, and whether
//! anybody gets in after its answer. The hub is the program; of the agents only identity and link are real, for nothing else is measured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use hdrhistogram::Histogram;
use http::Method;
use http_body_util::BodyExt;
use prost::Message;
use roadstead::hub::api_types::{ClusterActed, EnrolRequest, EnrolResponse};
use roadstead::identity::{HubTrust, HubVerifier, KeyPair, tls::agent_client, verify::LINK_SERVER_NAME};
use roadstead::transport::{Dialer, Link, LinkEnd, RecvHalf, SendHalf};
use roadstead::wire::generated::{Control, ControlMessage, Hello, control_message::Body, open::Kind};
use roadstead::wire::{ALPN_LINK, CloseCode, Frame, FrameKind};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::Arguments;
use super::hub::{Hub, Sender, add_cluster, post};
use super::report::Report;
use crate::client::HubClient;
use crate::janitor::Workspace;

/// Links at once, as the goal has it.
const LINKS: usize = 1_000;

/// How often all links of one cluster are cut at once.
const ROUNDS: usize = 5;

/// What the whole must not take longer than.
const AT_ONCE_MS: f64 = 1_000.0;

/// Anything on loopback that takes longer does not happen.
const SOON: Duration = Duration::from_secs(30);

/// An identity, and how to show it.
struct Agent {
    name: String,
    tls: Arc<rustls::ClientConfig>,
}

/// A link that was welcomed; its control stream must live.
struct Moored {
    link: Link,
    _control: (SendHalf, RecvHalf),
}

/// Measures everything.
pub(super) async fn all(arguments: &Arguments) -> Result<Report> {
    let program = super::measure::program(arguments)?;
    let dir = Workspace::new()?;
    let hub = Hub::start(&program, dir.path()).await?;
    let operator = hub.operator()?;
    let mut sender = operator.http1().await?;
    let dialer = Dialer::bind(hub.address)?;
    let mut report = Report::default();
    each_by_itself(&hub, &operator, &mut sender, &dialer, &mut report).await?;
    all_of_one(&hub, &operator, &mut sender, &dialer, &mut report).await?;
    Ok(report)
}

/// A thousand clusters with a link each; they are locked one after another.
async fn each_by_itself(
    hub: &Hub,
    operator: &HubClient,
    sender: &mut Sender,
    dialer: &Dialer,
    report: &mut Report,
) -> Result<()> {
    let mut links = Vec::with_capacity(LINKS);
    for number in 0..LINKS {
        let agent = Agent::enrol(sender, operator, &format!("revoked-{number}")).await?;
        let moored = agent.moor(dialer, hub).await?;
        links.push((agent, moored));
    }
    report.add("links, of as many clusters, locked one after another", links.len() as f64, "");
    let (mut closed, mut answered, mut refused) = (times()?, times()?, times()?);
    let mut admitted = 0;
    for (agent, moored) in &links {
        let (told, mut seen) = (Instant::now(), watch([&moored.link]));
        act(sender, operator, &agent.name, "lock", 1).await?;
        answered.record(micros(told.elapsed()))?;
        let (end, at) = timeout(SOON, seen.recv()).await?.context("the link's watcher is gone")?;
        ensure!(end == LinkEnd::Peer(CloseCode::Locked), "the link ended otherwise: {end}");
        closed.record(micros(at - told))?;
        match agent.moor(dialer, hub).await {
            Ok(_) => admitted += 1,
            Err(_) => refused.record(micros(told.elapsed()))?,
        }
    }
    quantiles(report, ["lock: until the agent's end saw the close, p50", "the same, p99"], &closed);
    quantiles(report, ["lock: until the administrator had the answer, p50", "the same answer, p99"], &answered);
    quantiles(report, ["lock: until a new handshake was refused, p50", "the same handshake, p99"], &refused);
    report.add_at_most("new links that got in after the answer", f64::from(admitted), "", 0.0);
    Ok(())
}

/// One cluster with a thousand links; all of them are cut at once, several times.
async fn all_of_one(
    hub: &Hub,
    operator: &HubClient,
    sender: &mut Sender,
    dialer: &Dialer,
    report: &mut Report,
) -> Result<()> {
    let agent = Agent::enrol(sender, operator, "crowded").await?;
    let (mut closed, mut last, mut answered) = (times()?, times()?, times()?);
    for _ in 0..ROUNDS {
        let mut moored = Vec::with_capacity(LINKS);
        for _ in 0..LINKS {
            moored.push(agent.moor(dialer, hub).await?);
        }
        let (told, mut seen) = (Instant::now(), watch(moored.iter().map(|moored| &moored.link)));
        act(sender, operator, &agent.name, "lock", LINKS as u64).await?;
        answered.record(micros(told.elapsed()))?;
        let mut latest = told;
        for _ in 0..LINKS {
            let (end, at) = timeout(SOON, seen.recv()).await?.context("a link's watcher is gone")?;
            ensure!(end == LinkEnd::Peer(CloseCode::Locked), "a link ended otherwise: {end}");
            closed.record(micros(at - told))?;
            latest = latest.max(at);
        }
        last.record(micros(latest - told))?;
        ensure!(agent.moor(dialer, hub).await.is_err(), "a link got in");
        act(sender, operator, &agent.name, "unlock", 0).await?;
    }
    report.add("links of one cluster, locked at once, 5 times", LINKS as f64, "");
    quantiles(report, ["all at once: until an end saw the close, p50", "the same end, p99"], &closed);
    quantiles(report, ["all at once: until the administrator had the answer, p50", "the same for all, p99"], &answered);
    report.add_at_most(
        "all at once: until the last end saw it, the worst of 5",
        last.max() as f64 / 1e3,
        "ms",
        AT_ONCE_MS,
    );
    Ok(())
}

impl Agent {
    /// Announces a cluster and enrols a key for it.
    async fn enrol(sender: &mut Sender, operator: &HubClient, name: &str) -> Result<Self> {
        let created = add_cluster(sender, operator, name).await?;
        let key = KeyPair::generate();
        let csr = BASE64_STANDARD.encode(key.csr());
        let wish = EnrolRequest { token: Some(created.token), csr, cluster: None, nonce: None, jwt: None, jwks: None };
        let enrolled: EnrolResponse = post(sender, operator, "/enrol/v1", &wish).await?;
        let der = |text: &String| BASE64_STANDARD.decode(text).map(CertificateDer::from);
        let chain = enrolled.chain.iter().map(der).collect::<Result<Vec<_>, _>>()?;
        let trust = HubTrust::Pins(vec![created.hub_ca_pin.parse().context("the hub's pin")?]);
        let verifier = HubVerifier::new(trust, enrolled.trust_domain.parse().context("the trust domain")?);
        let tls = Arc::new(agent_client(Arc::new(verifier), chain, &key, ALPN_LINK)?);
        Ok(Self { name: name.to_owned(), tls })
    }

    /// A link that the hub welcomed.
    async fn moor(&self, dialer: &Dialer, hub: &Hub) -> Result<Moored> {
        let link = dialer.dial(hub.address, LINK_SERVER_NAME, self.tls.clone(), SOON).await?;
        let (mut send, mut recv) = link.open(Kind::Control(Control {})).await?;
        let hello = Hello { agent_version: "lab".to_owned(), ..Hello::default() };
        send.queue_message(FrameKind::Message, &ControlMessage { body: Some(Body::Hello(hello)) });
        send.flush().await?;
        let Some(Frame::Message(bytes)) = timeout(SOON, recv.frame()).await?? else { bail!("no message") };
        match ControlMessage::decode(bytes)?.body {
            Some(Body::Welcome(_)) => Ok(Moored { link, _control: (send, recv) }),
            other => bail!("no welcome but {other:?}"),
        }
    }
}

/// When each of these links ends, and how.
fn watch<'a>(links: impl IntoIterator<Item = &'a Link>) -> mpsc::Receiver<(LinkEnd, Instant)> {
    let (tell, seen) = mpsc::channel(LINKS);
    let mut watching = JoinSet::new();
    for link in links {
        let (link, tell) = (link.clone(), tell.clone());
        watching.spawn(async move {
            let end = link.closed().await;
            // Nobody listens any more when the measurement has failed.
            let _ = tell.send((end, Instant::now())).await;
        });
    }
    watching.detach_all();
    seen
}

async fn act(sender: &mut Sender, operator: &HubClient, name: &str, verb: &str, links: u64) -> Result<()> {
    let path = format!("/api/v1/clusters/{name}/{verb}");
    sender.ready().await?;
    let response = sender.send_request(operator.request_h1(Method::POST, &path, json!({}).to_string())).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "POST {path}: {status}: {}", String::from_utf8_lossy(&body));
    let acted: ClusterActed = serde_json::from_slice(&body)?;
    ensure!(acted.links_closed == links, "{verb} closed {} links, not {links}", acted.links_closed);
    Ok(())
}

/// Microseconds, up to a minute.
fn times() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn quantiles(report: &mut Report, [p50, p99]: [&'static str; 2], times: &Histogram<u64>) {
    report.add(p50, times.value_at_quantile(0.5) as f64 / 1e3, "ms");
    report.add_at_most(p99, times.value_at_quantile(0.99) as f64 / 1e3, "ms", AT_ONCE_MS);
}
