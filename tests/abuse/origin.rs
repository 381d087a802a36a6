//! A fake API server: it records every request byte for byte, and answers as it is told, lies included. A real one does neither, so
//! it could not show what reached it or what its lies do. Written by hand on a TLS socket: an HTTP library would not lie.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What the agent's own ServiceAccount is known by here; nobody else may ever send it.
pub(crate) const AGENT_TOKEN: &str = "fake-service-account-token-of-the-agent";

/// One event of [`Then::Watch`].
pub(crate) const RECORD: &str = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}}\n";

/// How far apart they are.
pub(crate) const RECORD_EVERY: Duration = Duration::from_millis(250);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// From the request line to the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to its end.
    pub(crate) whole: bool,
    pub(crate) connection: usize,
}

impl Recorded {
    /// The values of a header, in order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }
}

/// What is done once the answer is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    Stay,
    Close,
    /// Everything that comes is sent back: a session of exec.
    Echo,
    /// So many [`RECORD`]s, one each [`RECORD_EVERY`], and a clean end: a watch. The answer's head says that it is chunked.
    Watch(usize),
}

/// The fake.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    ca: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    recorded: Mutex<Vec<Recorded>>,
    told: Mutex<HashMap<String, (Vec<u8>, Then)>>,
    connections: AtomicUsize,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let provider = roadstead::identity::tls::provider().clone();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(State::default()));
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), state.clone()));
        Self { address, ca: ca.pem(), state }
    }

    /// Answers requests whose head has `marker` with exactly `bytes`.
    pub(crate) fn tell(&self, marker: &str, bytes: impl Into<Vec<u8>>, then: Then) {
        self.state.told.lock().unwrap().insert(marker.to_owned(), (bytes.into(), then));
    }

    /// The requests whose head or body has `marker`.
    pub(crate) fn seen(&self, marker: &str) -> Vec<Recorded> {
        let has =
            |r: &&Recorded| r.head.contains(marker) || r.body.windows(marker.len()).any(|w| w == marker.as_bytes());
        self.state.recorded.lock().unwrap().iter().filter(has).cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.state.recorded.lock().unwrap().clone()
    }

    /// For the agent: this API server, and the token of its ServiceAccount.
    pub(crate) fn kubeconfig(&self) -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let ca = BASE64_STANDARD.encode(&self.ca);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority-data: {ca}}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             users: [{{name: u, user: {{token: {AGENT_TOKEN}}}}}]\n",
            self.address
        )
    }
}

/// A complete answer with a JSON body.
pub(crate) fn json(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const VERSION: &str = r#"{"major":"1","minor":"36","gitVersion":"v1.36.3+fake","gitCommit":"0","gitTreeState":"clean",
"buildDate":"2026-01-01T00:00:00Z","goVersion":"go1.26","compiler":"gc","platform":"linux/amd64"}"#;

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            let connection = state.connections.fetch_add(1, Ordering::Relaxed);
            if let Ok(tls) = tls.accept(tcp).await {
                serve(tls, connection, &state).await;
            }
        });
    }
}

async fn serve(mut tls: TlsStream<TcpStream>, connection: usize, state: &State) {
    let mut buf = Vec::new();
    while let Some(head) = read_head(&mut tls, &mut buf).await {
        let index = {
            let mut recorded = state.recorded.lock().unwrap();
            recorded.push(Recorded { head: head.clone(), body: Vec::new(), whole: false, connection });
            recorded.len() - 1
        };
        let (body, whole) = read_body(&mut tls, &mut buf, &head).await;
        if let Some(recorded) = state.recorded.lock().unwrap().get_mut(index) {
            (recorded.body, recorded.whole) = (body, whole);
        }
        let (answer, then) = answer(state, &head);
        if tls.write_all(&answer).await.is_err() || tls.flush().await.is_err() {
            return;
        }
        match then {
            Then::Stay => {}
            Then::Close => return drop(tls.shutdown().await),
            Then::Echo => {
                let (mut read, mut write) = tokio::io::split(tls);
                drop(tokio::io::copy(&mut read, &mut write).await);
                return drop(write.shutdown().await);
            }
            Then::Watch(records) => {
                if watch(&mut tls, records).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn watch(tls: &mut TlsStream<TcpStream>, records: usize) -> std::io::Result<()> {
    for _ in 0..records {
        tokio::time::sleep(RECORD_EVERY).await;
        tls.write_all(format!("{:x}\r\n{RECORD}\r\n", RECORD.len()).as_bytes()).await?;
        tls.flush().await?;
    }
    tls.write_all(b"0\r\n\r\n").await?;
    tls.flush().await
}

fn answer(state: &State, head: &str) -> (Vec<u8>, Then) {
    let told = state.told.lock().unwrap();
    if let Some((_, told)) = told.iter().find(|(marker, _)| head.contains(marker.as_str())) {
        return told.clone();
    }
    let lower = head.to_ascii_lowercase();
    if lower.starts_with("get /version ") {
        return (json("200 OK", "", VERSION), Then::Stay);
    }
    let Some(upgrade) = lower.split("\r\n").find_map(|line| line.strip_prefix("upgrade:")) else {
        return (json("200 OK", "", r#"{"kind":"Fake","apiVersion":"v1"}"#), Then::Stay);
    };
    let switched = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {}\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v5.channel.k8s.io\r\n\r\n",
        upgrade.trim()
    );
    (switched.into_bytes(), Then::Echo)
}

async fn read_head(tls: &mut TlsStream<TcpStream>, buf: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = buf.drain(..end + 4).collect::<Vec<u8>>();
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        fill(tls, buf).await?;
    }
}

async fn read_body(tls: &mut TlsStream<TcpStream>, buf: &mut Vec<u8>, head: &str) -> (Vec<u8>, bool) {
    let lower = head.to_ascii_lowercase();
    let header = |name: &str| lower.split("\r\n").find_map(|line| line.strip_prefix(name).map(str::trim));
    if header("transfer-encoding:") == Some("chunked") {
        loop {
            if buf.windows(5).any(|w| w == b"0\r\n\r\n") {
                return (std::mem::take(buf), true);
            }
            if fill(tls, buf).await.is_none() {
                return (std::mem::take(buf), false);
            }
        }
    }
    let length = header("content-length:").and_then(|v| v.parse().ok()).unwrap_or(0);
    while buf.len() < length {
        if fill(tls, buf).await.is_none() {
            return (std::mem::take(buf), false);
        }
    }
    (buf.drain(..length).collect(), true)
}

async fn fill(tls: &mut TlsStream<TcpStream>, buf: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16 << 10];
    match tls.read(&mut piece).await {
        Ok(0) | Err(_) => None,
        Ok(n) => {
            buf.extend_from_slice(&piece[..n]);
            Some(())
        }
    }
}
