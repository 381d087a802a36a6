//! The minimal origin: a TLS server in this process, on a thread of its own, that answers what the measurements ask for. It is no API server
//! and is named in every row that uses it; it shows what a tunnel can do where a real API server is too slow to show it.
//!
//! `…/version` is small, `…/body-N` has N bytes, `…?watch=true` is a watch (see `stream.rs`).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::stream::{Repeat, Watches};

/// What `/version` answers, as long as a real one.
const VERSION: &str = r#"{"major":"1","minor":"36","emulationMajor":"1","emulationMinor":"36","minCompatibilityMajor":"1","minCompatibilityMinor":"35","gitVersion":"v1.36.3","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":"minimal origin"}"#;

type Body = BoxBody<Bytes, std::convert::Infallible>;

/// The running origin; its thread ends with the program.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its certificate.
    pub(crate) ca_pem: String,
    /// What its watches do.
    pub(crate) watches: Arc<Watches>,
}

impl Origin {
    /// Listens on a port of its own.
    pub(crate) fn start() -> Result<Self> {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            socket.listen(4_096)
        })?;
        let address = listener.local_addr()?;
        let watches = Arc::<Watches>::default();
        let of = watches.clone();
        std::thread::spawn(move || runtime.block_on(serve(listener, TlsAcceptor::from(Arc::new(tls)), of)));
        Ok(Self { address, ca_pem: cert.pem(), watches })
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A kubeconfig that leads an agent here.
    pub(crate) fn kubeconfig(&self) -> Value {
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca_pem);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "origin",
            "clusters": [{"name": "origin", "cluster": {"server": self.url(), "certificate-authority-data": ca}}],
            "users": [{"name": "origin", "user": {"token": "minimal-origin"}}],
            "contexts": [{"name": "origin", "context": {"cluster": "origin", "user": "origin"}}],
        })
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, watches: Arc<Watches>) {
    let tasks = TaskTracker::new();
    while let Ok((tcp, _)) = listener.accept().await {
        tasks.spawn(connection(tls.clone(), tcp, watches.clone()));
    }
}

/// One connection. The other side may cut it at any time: clients that stop and leave are part of what is measured.
async fn connection(tls: TlsAcceptor, tcp: TcpStream, watches: Arc<Watches>) {
    let _ = tcp.set_nodelay(true);
    let Ok(io) = tls.accept(tcp).await else { return };
    let h2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let answer = answer(&request, &watches);
        async move { answer }
    });
    if h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(2_000).max_send_buf_size(1 << 20);
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
    }
}

fn answer(request: &Request<Incoming>, watches: &Arc<Watches>) -> Result<Response<Body>, http::Error> {
    let path = request.uri().path();
    let response = Response::builder().header("content-type", "application/json");
    let sized = path.rsplit_once("/body-").and_then(|(_, size)| size.parse().ok());
    if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        return response.body(watches.open(path.contains("/busy/")).boxed());
    }
    match sized {
        Some(size) => response.header("content-length", size).body(Repeat::new(size).boxed()),
        None if path.ends_with("/version") => response.body(Full::new(Bytes::from_static(VERSION.as_bytes())).boxed()),
        None => response.status(StatusCode::NOT_FOUND).body(Full::new(Bytes::new()).boxed()),
    }
}
