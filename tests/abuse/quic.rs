//! Both ends of a link without our transport: QUIC by quinn directly, so that what no agent and no hub would send can be sent.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use prost::Message;
use quinn::{Connection, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig};
use roadstead::{
    identity::{HubTrust, HubVerifier, KeyPair, TrustDomain, tls, verify::LINK_SERVER_NAME},
    wire::{
        ALPN_LINK, Decoder, Frame, FrameKind, encode_frame, encode_open,
        generated::{Control, ControlMessage, Hello, Open, control_message::Body, open::Kind},
    },
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::world::{Announced, Hub};

/// How long anything on loopback may take.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// A certificate of a hub's, with its key.
pub(crate) struct Joined {
    pub(crate) key: KeyPair,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) pin: String,
}

/// Enrols as a program that is no agent would, by the hub's HTTPS.
pub(crate) async fn join(hub: &Hub, name: &str) -> Joined {
    let announced = hub.announce(name).await;
    join_with(hub, &announced).await
}

pub(crate) async fn join_with(hub: &Hub, announced: &Announced) -> Joined {
    let key = KeyPair::generate();
    let (status, body) = enrol(hub, &announced.token, &key.csr()).await;
    assert_eq!(status, 200, "{body}");
    let chain = body["chain"].as_array().unwrap().iter().map(|v| CertificateDer::from(decode(v))).collect();
    let trust_domain = body["trustDomain"].as_str().unwrap().parse().unwrap();
    Joined { key, chain, trust_domain, pin: announced.pin.clone() }
}

pub(crate) async fn enrol(hub: &Hub, token: &str, csr: &[u8]) -> (u16, Value) {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let body = json!({"token": token, "csr": BASE64_STANDARD.encode(csr)}).to_string();
    // Each from elsewhere, as agents are: failures from one place are limited, which is a row of its own.
    let reply = hub.door.elsewhere().enrol(&body).await;
    (reply.status(), serde_json::from_slice(&reply.first().body).unwrap_or(Value::Null))
}

pub(crate) fn decode(value: &Value) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

impl Joined {
    /// The configuration that the real agent has.
    pub(crate) fn tls(&self, alpn: &[u8]) -> rustls::ClientConfig {
        let trust = HubTrust::Pins(vec![self.pin.parse().unwrap()]);
        let verifier = Arc::new(HubVerifier::new(trust, self.trust_domain.clone()));
        tls::agent_client(verifier, self.chain.clone(), &self.key, alpn).unwrap()
    }

    /// A link that said hello.
    pub(crate) async fn moor(&self, hub: SocketAddr) -> Moored {
        let connection = dial(hub, self.tls(ALPN_LINK)).await.unwrap();
        moor(connection, hello("1.0.0")).await.unwrap()
    }
}

/// A link that the hub welcomed; its control stream must live.
pub(crate) struct Moored {
    pub(crate) connection: Connection,
    pub(crate) control: (SendStream, RecvStream),
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

pub(crate) fn config(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(2_000u32.into()).max_idle_timeout(Some(SOON.try_into().unwrap()));
    transport.keep_alive_interval(Some(Duration::from_secs(1)));
    config.transport_config(Arc::new(transport));
    config
}

/// A connection whose handshake is over at this end.
pub(crate) async fn dial(hub: SocketAddr, tls: rustls::ClientConfig) -> Result<Connection, String> {
    let connecting = endpoint().connect_with(config(tls), hub, LINK_SERVER_NAME).map_err(|e| e.to_string())?;
    timeout(SOON, connecting).await.map_err(|_| "no answer".to_owned())?.map_err(|e| e.to_string())
}

pub(crate) fn hello(version: &str) -> Hello {
    let text = |text: &str| text.to_owned();
    Hello {
        agent_version: text(version),
        capabilities: Vec::new(),
        instance: text("evil"),
        kubernetes_version: text("v1"),
        ..Hello::default()
    }
}

/// Opens the control stream, says hello and waits for the welcome.
pub(crate) async fn moor(connection: Connection, hello: Hello) -> Result<Moored, String> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
    let mut bytes = opening(Kind::Control(Control {}));
    bytes.extend(frame(FrameKind::Message, &ControlMessage { body: Some(Body::Hello(hello)) }.encode_to_vec()));
    send.write_all(&bytes).await.map_err(|e| e.to_string())?;
    match timeout(SOON, Frames::default().next(&mut recv)).await {
        Ok(Some(Frame::Message(_))) => Ok(Moored { connection, control: (send, recv) }),
        other => Err(format!("no welcome but {other:?}")),
    }
}

/// The first bytes of a stream.
pub(crate) fn opening(kind: Kind) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_open(&Open { kind: Some(kind) }, &mut bytes);
    bytes.to_vec()
}

/// One frame.
pub(crate) fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode_frame(kind, payload, &mut bytes);
    bytes.to_vec()
}

/// Reads frames off a stream.
#[derive(Default)]
pub(crate) struct Frames {
    buf: BytesMut,
    decoder: Decoder,
}

impl Frames {
    /// After an `Open`, which is skipped.
    pub(crate) async fn after_open(recv: &mut RecvStream) -> Option<Self> {
        let mut frames = Self::default();
        loop {
            if roadstead::wire::OpenDecoder::decode(&mut frames.buf).ok()?.is_some() {
                return Some(frames);
            }
            frames.buf.extend_from_slice(&recv.read_chunk(64 << 10, true).await.ok()??.bytes);
        }
    }

    /// The next frame; `None` when the stream ends, is cut, or holds none.
    pub(crate) async fn next(&mut self, recv: &mut RecvStream) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buf).ok()? {
                return Some(frame);
            }
            self.buf.extend_from_slice(&recv.read_chunk(64 << 10, true).await.ok()??.bytes);
        }
    }
}
