//! Section I: a hub that the agent trusts by its certificate, and that asks for what no hub may have. The agent is real, its API
//! server is the fake: nothing of these requests may arrive there.

use std::{path::Path, sync::Arc, time::Duration};

use prost::Message;
use quinn::{Connection, Endpoint, crypto::rustls::QuicServerConfig};
use roadstead::{
    identity::{
        AgentRequest, Authority, AuthorityKind, ClusterUid, KeyPair, LinkRequest, Secret, Serial, TrustDomain,
        VerifiedCsr, tls,
    },
    wire::{
        ALPN_LINK, Frame, FrameKind,
        generated::{
            Control, ControlMessage, Extra, Failure, FailureCode, Header, Identity, Proxy, RequestHead, Welcome,
            control_message::Body, open::Kind,
        },
    },
};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

use crate::{
    origin::{AGENT_TOKEN, Origin},
    quic::{Frames, SOON, frame, opening},
    rows::{Outcome, Rows, expect},
    world::{Process, marker, spawn_agent, write_private},
};

const HOUR: Duration = Duration::from_secs(3600);

/// The evil hub's side of a link of the real agent's.
struct Link {
    connection: Connection,
    _endpoint: Endpoint,
    _dir: TempDir,
    agent: Process,
    origin: Origin,
    /// The control stream must live.
    control: (quinn::SendStream, quinn::RecvStream),
}

/// Writes the identity that an agent keeps: its certificate came at `since`.
pub(crate) fn write_state(dir: &Path, key_pem: &str, chain: &[CertificateDer<'static>], since: OffsetDateTime) {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let since = since.format(&time::format_description::well_known::Rfc3339).unwrap();
    let chain: Vec<String> = chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect();
    let enrolled = json!({ "cluster": "edge", "chain": chain, "notBefore": since });
    std::fs::create_dir_all(dir).unwrap();
    write_private(&dir.join("identity.json"), &json!({"key": key_pem, "enrolled": enrolled}).to_string());
}

/// The agent's certificate came at a time such that it is due for renewal or not; the hub says what it can.
async fn moor(since: Duration, capabilities: &[&str]) -> Link {
    let (now, dir) = (OffsetDateTime::now_utc(), TempDir::new().unwrap());
    let domain: TrustDomain = "evil.roadstead".parse().unwrap();
    let agents = Authority::create(AuthorityKind::Agents, domain.clone(), now).unwrap();
    let hub = Authority::create(AuthorityKind::Hub, domain.clone(), now).unwrap();
    let (key, cluster) = (KeyPair::generate(), ClusterUid::generate(now));
    let csr = VerifiedCsr::parse(&key.csr()).unwrap();
    let request = AgentRequest { csr: &csr, cluster: &cluster, now, ttl: 20 * HOUR, serial: Serial::random() };
    let chain = agents.issue_agent(&request).unwrap().chain;
    write_state(&dir.path().join("edge"), key.to_pem().expose(), &chain, now - since);

    let link_key = KeyPair::generate();
    let name = "hub-0".parse().unwrap();
    let issued = hub.issue_hub_link(&LinkRequest { key: &link_key, name: &name, now, ttl: HOUR }).unwrap();
    let endpoint = listener(issued.chain, &link_key.to_pem());
    let (origin, address) = (Origin::start().await, endpoint.local_addr().unwrap().to_string());
    let agent = spawn_agent(dir.path(), "edge", &address, &hub.pin().to_string(), &origin, "debug");
    let incoming = timeout(Duration::from_secs(15), endpoint.accept()).await.unwrap().unwrap();
    let connection = incoming.await.unwrap();
    let (mut send, mut recv) = timeout(SOON, connection.accept_bi()).await.unwrap().unwrap();
    let mut frames = Frames::after_open(&mut recv).await.unwrap();
    assert!(matches!(frames.next(&mut recv).await, Some(Frame::Message(_))));
    let capabilities = capabilities.iter().map(|c| (*c).to_owned()).collect();
    let welcome = Welcome { capabilities, ..Welcome::default() };
    let welcome = ControlMessage { body: Some(Body::Welcome(welcome)) };
    send.write_all(&frame(FrameKind::Message, &welcome.encode_to_vec())).await.unwrap();
    Link { connection, _endpoint: endpoint, _dir: dir, agent, origin, control: (send, recv) }
}

fn listener(chain: Vec<CertificateDer<'static>>, key: &Secret) -> Endpoint {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A request that an honest hub could send.
fn good(marker: &str) -> RequestHead {
    RequestHead {
        method: "GET".to_owned(),
        target: format!("/api/v1/namespaces/default/configmaps/{marker}"),
        headers: vec![header("accept", "application/json")],
        identity: Some(identity("alice", &["dev"])),
        request_id: "01J00000000000000000000000".to_owned(),
        upgrade: 0,
        class: 0,
        bodyless: true,
    }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.as_bytes().to_vec().into(), value: value.as_bytes().to_vec().into() }
}

fn identity(user: &str, groups: &[&str]) -> Identity {
    Identity {
        user: user.to_owned(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        extras: vec![Extra { key: "roadstead.dev/subject".to_owned(), values: vec!["token:alice".to_owned()] }],
    }
}

impl Link {
    /// Sends raw bytes on a stream of their own; the frames that come back, until the stream ends.
    async fn send(&self, bytes: &[u8]) -> Vec<Frame> {
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        let mut frames = Vec::new();
        let mut reader = Frames::default();
        while let Ok(Some(frame)) = timeout(SOON, reader.next(&mut recv)).await {
            frames.push(frame);
        }
        frames
    }

    async fn ask(&self, head: &RequestHead) -> Vec<Frame> {
        let mut bytes = opening(Kind::Proxy(Proxy {}));
        bytes.extend(frame(FrameKind::Head, &head.encode_to_vec()));
        bytes.extend(frame(FrameKind::End, b""));
        self.send(&bytes).await
    }

    /// The agent itself says no, and the API server hears nothing.
    async fn refuses(&self, change: impl FnOnce(&mut RequestHead)) -> Outcome {
        let marker = marker();
        let mut head = good(&marker);
        head.headers.push(header("x-mark", &marker));
        change(&mut head);
        let frames = self.ask(&head).await;
        let failure = frames.iter().find_map(|f| match f {
            Frame::Error(bytes) => Failure::decode(bytes.clone()).ok(),
            _ => None,
        });
        let failure = failure.ok_or_else(|| format!("no refusal but {frames:?}"))?;
        let refused = matches!(failure.code(), FailureCode::Refused | FailureCode::Protocol);
        expect(refused && !failure.dispatched, format!("{failure:?}"))?;
        expect(self.origin.seen(&marker).is_empty(), "it arrived")
    }

    /// Bytes that are no request: the stream is cut.
    async fn cuts(&self, bytes: &[u8]) -> Outcome {
        let before = self.origin.all().len();
        let frames = self.send(bytes).await;
        expect(!frames.iter().any(|f| matches!(f, Frame::Head(_) | Frame::Data(_))), format!("{frames:?}"))?;
        expect(self.origin.all().len() == before, "something arrived")
    }

    async fn serves(&self) -> Outcome {
        let marker = marker();
        let frames = self.ask(&good(&marker)).await;
        let seen = self.origin.seen(&marker);
        let [request] = seen.as_slice() else { return Err(format!("{frames:?}")) };
        expect(request.header("impersonate-user") == ["alice"], &request.head)?;
        expect(request.header("authorization") == [format!("Bearer {AGENT_TOKEN}")], "not the agent's credential")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malicious_hub_gets_nothing_from_an_agent() {
    let mut link = moor(HOUR, &[]).await;
    let rows = Rows::default();
    rows.run("T116", "(control) an honest request passes", link.serves()).await;
    identities(&rows, &link).await;
    targets(&rows, &link).await;
    headers(&rows, &link).await;
    for (what, bytes) in bogus() {
        rows.run("T118", what, link.cuts(&bytes)).await;
    }
    rows.run("T118", "the agent lives and still serves", link.serves()).await;
    assert!(link.agent.alive() && !link.agent.said().contains("panicked"), "{}", link.agent.said());
    sleep(Duration::from_millis(10)).await;
    rows.end().await;
}

/// What is not agreed is not used: an agent whose certificate is due asks the hub that can renew it, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_asks_for_nothing_that_was_not_agreed() {
    // 20 h are left of 120 h: due since long ago.
    const DUE: Duration = Duration::from_secs(100 * 3600);
    let rows = Rows::default();
    let (mut able, mut unable) = tokio::join!(moor(DUE, &["renew", "more"]), moor(DUE, &["more"]));
    rows.run("renew", "(control) a hub that renews is asked", async {
        let asked = timeout(SOON, Frames::default().next(&mut able.control.1)).await;
        let Ok(Some(Frame::Message(bytes))) = asked else { return Err(format!("{asked:?}")) };
        let body = ControlMessage::decode(bytes).map_err(|e| e.to_string())?.body;
        expect(matches!(body, Some(Body::RenewRequest(_))), format!("{body:?}"))
    })
    .await;
    rows.run("renew", "a hub that does not renew is not asked; the agent says so, once, and serves", async {
        let asked = timeout(Duration::from_secs(2), Frames::default().next(&mut unable.control.1)).await;
        expect(asked.is_err(), format!("{asked:?}"))?;
        let said = unable.agent.said().matches("does not renew certificates").count();
        expect(said == 1, format!("said {said} times: {}", unable.agent.said()))?;
        unable.serves().await
    })
    .await;
    rows.end().await;
}

async fn identities(rows: &Rows, link: &Link) {
    rows.run("T045", "no identity", link.refuses(|h| h.identity = None)).await;
    rows.run("T045", "an empty user", link.refuses(|h| h.identity = Some(identity("", &[])))).await;
    rows.run("T045", "a user of spaces", link.refuses(|h| h.identity = Some(identity("  ", &[])))).await;
    for (user, groups) in [
        ("alice", vec!["system:masters"]),
        ("alice", vec!["dev", "System:Masters"]),
        ("alice", vec![" system:masters"]),
        ("system:admin", vec![]),
        ("system:serviceaccount:kube-system:admin", vec![]),
        ("system:serviceaccount:roadstead:roadstead-agent", vec![]),
        ("system:node:n1", vec!["system:nodes"]),
        ("alice", vec!["system:serviceaccounts"]),
        ("alice\r\nImpersonate-Group: system:masters", vec![]),
        ("alice", vec!["dev\nsystem:masters"]),
        ("alice ", vec![]),
        ("alice", vec![""]),
    ] {
        let what = format!("identity {user:?} {groups:?}");
        rows.run("T116", &what, link.refuses(|h| h.identity = Some(identity(user, &groups)))).await;
    }
    for (key, value) in [("a\r\nx", "v"), ("", "v"), ("scopes", "v\r\nImpersonate-Group: system:masters")] {
        let extra = Extra { key: key.to_owned(), values: vec![value.to_owned()] };
        let change = |h: &mut RequestHead| h.identity.get_or_insert_default().extras.push(extra.clone());
        rows.run("T116", &format!("extra {key:?}: {value:?}"), link.refuses(change)).await;
    }
}

async fn targets(rows: &Rows, link: &Link) {
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "https://evil.example/api",
        "evil.example:443",
        "*",
        "",
        "api/v1/pods",
        "/api/v1/pods HTTP/1.1\r\nHost: evil\r\n\r\nGET /x",
        "/api/v1/../../metrics",
        "/api/v1/namespaces/a/%2e%2e/b/pods",
        "//evil.example/api",
        "/api/v1/pods\u{0}",
    ] {
        rows.run("T118", &format!("target {target:?}"), link.refuses(|h| h.target = target.to_owned())).await;
    }
    for method in ["CONNECT", "TRACE", "GET /x HTTP/1.1\r\n", "", "G ET"] {
        rows.run("T118", &format!("method {method:?}"), link.refuses(|h| h.method = method.to_owned())).await;
    }
    rows.run("T118", "a request id with a line break", link.refuses(|h| h.request_id = "x\r\ny: z".to_owned())).await;
}

async fn headers(rows: &Rows, link: &Link) {
    for (name, value) in [
        ("impersonate-user", "root"),
        ("Impersonate-Group", "system:masters"),
        ("impersonate_user", "root"),
        ("impersonate-extra-scopes", "x"),
        ("authorization", "Bearer stolen"),
        ("cookie", "x"),
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
        ("proxy-authorization", "x"),
        ("connection", "impersonate-user, impersonate-group"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("host", "evil.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-original-url", "/metrics"),
        ("audit-id", "forged"),
        ("expect", "100-continue"),
        ("x-a", "b\r\nimpersonate-group: system:masters"),
        ("x-a\r\nimpersonate-group", "system:masters"),
    ] {
        let what = format!("header {name:?}: {value:?}");
        rows.run("T116", &what, link.refuses(|h| h.headers.push(header(name, value)))).await;
    }
}

fn bogus() -> Vec<(&'static str, Vec<u8>)> {
    let proxy = || opening(Kind::Proxy(Proxy {}));
    vec![
        ("a stream that is no Open", vec![0xff; 32]),
        ("an Open of an unknown kind", vec![2, 0x7a, 0]),
        (
            "a control stream from the hub",
            [opening(Kind::Control(Control {})), frame(FrameKind::Message, b"x")].concat(),
        ),
        ("data before the head", [proxy(), frame(FrameKind::Data, b"GET / HTTP/1.1\r\n\r\n")].concat()),
        ("an unknown frame", [proxy(), vec![0x2a, 0]].concat()),
        ("a head that is no protobuf", [proxy(), frame(FrameKind::Head, b"\xff\xff\xff")].concat()),
        ("a head of 10 MB", [proxy(), vec![1, 0x80, 0xad, 0xe2, 0x04], vec![0; 1 << 20]].concat()),
        ("nothing", proxy()),
    ]
}
