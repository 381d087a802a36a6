//! An agent of which only identity and link are real, and streams that never end by themselves: what is measured is how they do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use prost::Message;
use roadstead::hub::api_types::{EnrolRequest, EnrolResponse};
use roadstead::identity::{HubTrust, HubVerifier, KeyPair, tls::agent_client, verify::LINK_SERVER_NAME};
use roadstead::transport::{Dialer, IncomingStream, Link, LinkEnd, RecvHalf, SendHalf};
use roadstead::wire::generated::{
    Control, ControlMessage, Header, Hello, ResponseHead, control_message::Body, open::Kind,
};
use roadstead::wire::{ALPN_LINK, Frame, FrameKind};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::super::hub::{Hub, Sender, add_cluster, post};
use super::{AT_ONCE, SOON};
use crate::client::HubClient;

/// What a watch carries.
const RECORD: &[u8] = b"{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Namespace\",\"apiVersion\":\"v1\"}}\n";

/// How often: a thousand of them are two hundred a second.
const EVERY: Duration = Duration::from_secs(5);

/// An identity, and how to show it.
pub(super) struct Agent {
    pub(super) name: String,
    tls: Arc<rustls::ClientConfig>,
}

/// A link that was welcomed and serves watches; its control stream must live.
pub(super) struct Moored {
    pub(super) link: Link,
    _control: (SendHalf, RecvHalf),
    _serving: JoinSet<()>,
}

impl Agent {
    /// Announces a cluster and enrols a key for it.
    pub(super) async fn enrol(sender: &mut Sender, operator: &HubClient, name: &str) -> Result<Self> {
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
    pub(super) async fn moor(&self, dialer: &Dialer, hub: &Hub) -> Result<Moored> {
        let link = dialer.dial(hub.address, LINK_SERVER_NAME, self.tls.clone(), SOON).await?;
        let (mut send, mut recv) = link.open(Kind::Control(Control {})).await?;
        let hello = Hello { agent_version: "lab".to_owned(), ..Hello::default() };
        send.queue_message(FrameKind::Message, &ControlMessage { body: Some(Body::Hello(hello)) });
        send.flush().await?;
        let Some(Frame::Message(bytes)) = timeout(SOON, recv.frame()).await?? else { bail!("no message") };
        let Some(Body::Welcome(_)) = ControlMessage::decode(bytes)?.body else { bail!("no welcome") };
        link.grant_streams(2 * super::LINKS as u32);
        let mut serving = JoinSet::new();
        serving.spawn(serve(link.clone()));
        Ok(Moored { link, _control: (send, recv), _serving: serving })
    }
}

async fn serve(link: Link) {
    let mut watches = JoinSet::new();
    while let Ok(incoming) = link.accept().await {
        watches.spawn(serve_watch(incoming));
    }
}

/// The head of an answer, and a record now and then for as long as somebody takes them.
async fn serve_watch(incoming: IncomingStream) -> Result<()> {
    let (Kind::Proxy(_), mut send, mut recv) = incoming.open().await? else { bail!("no request") };
    recv.frame().await?;
    let json = Bytes::from_static(b"application/json");
    let header = Header { name: Bytes::from_static(b"content-type"), value: json };
    send.queue_message(FrameKind::Head, &ResponseHead { status: 200, headers: vec![header] });
    loop {
        send.queue_data(RECORD);
        send.flush().await?;
        sleep(EVERY).await;
    }
}

/// When something ended, and how.
pub(super) struct Ended<T> {
    pub(super) at: Instant,
    pub(super) how: T,
}

/// When each of these links ends.
pub(super) fn follow_links<'a>(links: impl IntoIterator<Item = &'a Link>) -> mpsc::Receiver<Ended<LinkEnd>> {
    let (tell, seen) = mpsc::channel(super::LINKS);
    let mut watching = JoinSet::new();
    for link in links {
        let (link, tell) = (link.clone(), tell.clone());
        watching.spawn(async move {
            let how = link.closed().await;
            // Nobody listens any more when the measurement has failed.
            let _ = tell.send(Ended { at: Instant::now(), how }).await;
        });
    }
    watching.detach_all();
    seen
}

/// A watch that is under way.
pub(super) struct Watch {
    ended: mpsc::Receiver<Ended<String>>,
    _reading: JoinSet<()>,
}

impl Watch {
    /// Begins one, and waits for its first record.
    pub(super) async fn begin(user: &HubClient, cluster: &str) -> Result<Self> {
        let mut sender = user.http1().await?;
        let path = format!("/clusters/{cluster}/api/v1/namespaces?watch=true");
        let response = timeout(SOON, sender.send_request(user.request_h1(Method::GET, &path, ""))).await??;
        ensure!(response.status() == StatusCode::OK, "{cluster}: watch: {}", response.status());
        let mut body = response.into_body();
        timeout(SOON, body.frame()).await?.context("an empty watch")??;
        let (tell, ended) = mpsc::channel(1);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let _sender = sender;
            let mut last = String::new();
            while let Some(Ok(frame)) = body.frame().await {
                last = frame.data_ref().map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default();
            }
            let _ = tell.send(Ended { at: Instant::now(), how: last }).await;
        });
        Ok(Self { ended, _reading: reading })
    }

    /// One for each of these clusters, some at a time.
    pub(super) async fn all(user: &HubClient, clusters: impl IntoIterator<Item = &str>) -> Result<Vec<Self>> {
        let (mut beginning, mut watches) = (JoinSet::new(), Vec::new());
        for (number, cluster) in clusters.into_iter().enumerate() {
            if beginning.len() == AT_ONCE
                && let Some(begun) = beginning.join_next().await
            {
                watches.push(begun??);
            }
            let (user, cluster) = (user.clone(), cluster.to_owned());
            beginning.spawn(async move { Ok::<_, anyhow::Error>((number, Self::begin(&user, &cluster).await?)) });
        }
        while let Some(begun) = beginning.join_next().await {
            watches.push(begun??);
        }
        watches.sort_by_key(|(number, _)| *number);
        Ok(watches.into_iter().map(|(_, watch)| watch).collect())
    }

    /// When it ended; its last words must have these in them.
    pub(super) async fn ends(&mut self, words: &str) -> Result<Instant> {
        let Ended { at, how } =
            timeout(SOON, self.ended.recv()).await.context("a watch goes on")?.context("a watch's reader is gone")?;
        ensure!(how.contains(words), "a watch did not say {words:?} but {how:?}");
        Ok(at)
    }
}
