//! A client of the hub that does exactly what it is told: HTTP/1.1 or HTTP/2, no retries, no pool.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;

/// Where the hub is, and who we are there.
#[derive(Clone)]
pub(crate) struct HubClient {
    pub(crate) address: SocketAddr,
    token: String,
    roots: Arc<rustls::RootCertStore>,
    tasks: TaskTracker,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HubClient {
    /// Of the hub at `address`, which the CA in that file vouches for.
    pub(crate) fn of(address: SocketAddr, token: &str, ca: &Path) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        Ok(Self { address, token: token.to_owned(), roots: Arc::new(roots), tasks: TaskTracker::new() })
    }

    /// The same from another place: through whatever listens there.
    #[allow(dead_code, reason = "only the lab does")]
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same as somebody else.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// A TLS connection that speaks `alpn`.
    pub(crate) async fn connect(&self, alpn: &str) -> Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::IpAddress(self.address.ip().into()), tcp).await?)
    }

    /// An HTTP/1.1 connection.
    pub(crate) async fn http1(&self) -> Result<http1::SendRequest<Full<Bytes>>> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect("http/1.1").await?)).await?;
        self.tasks.spawn(connection);
        Ok(sender)
    }

    /// An HTTP/2 connection.
    pub(crate) async fn http2(&self) -> Result<http2::SendRequest<Full<Bytes>>> {
        let io = TokioIo::new(self.connect("h2").await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        self.tasks.spawn(connection);
        Ok(sender)
    }

    /// A request with our token, fit for HTTP/1.1 and HTTP/2.
    pub(crate) fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://{}{path}", self.address).parse().expect("a literal address and path");
        let headers = request.headers_mut();
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token)).expect("tokens are ASCII");
        headers.insert(http::header::AUTHORIZATION, bearer);
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// The same, as the HTTP/1.1 of hyper's low-level client wants it: a path, and the host in its header.
    pub(crate) fn request_h1(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request = self.request(method, path, body);
        *request.uri_mut() = path.parse().expect("a literal path");
        let host = HeaderValue::from_str(&self.address.to_string()).expect("addresses are ASCII");
        request.headers_mut().insert(http::header::HOST, host);
        request
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        let mut sender = self.http1().await?;
        let response = sender.send_request(self.request_h1(Method::GET, path, "")).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// The bytes of a GET's head, to be written to a connection of [`Self::connect`].
    pub(crate) fn raw_get(&self, path: &str) -> String {
        self.raw_head("GET", path) + "\r\n"
    }

    /// The first lines of a head, to which others are added.
    pub(crate) fn raw_head(&self, method: &str, path: &str) -> String {
        let Self { address, token, .. } = self;
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n")
    }
}

/// Runs asynchronous parts of a test.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Until a cluster answers through the hub. What is asked goes to the newest link; one that died silently must not hold us.
pub(crate) fn answers(client: &HubClient, cluster: &str, within: Duration) -> Result<Duration> {
    let started = Instant::now();
    let path = format!("/clusters/{cluster}/version");
    block_on(async {
        loop {
            let answer = tokio::time::timeout(Duration::from_millis(250), client.get(&path)).await;
            if matches!(&answer, Ok(Ok(answer)) if answer.status == 200) {
                return Ok(started.elapsed());
            }
            ensure!(started.elapsed() < within, "{cluster} does not answer within {within:?}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}
