//! A way to an API server: where it is, who we are there, whose CPU it costs; and HTTP connections along it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::TaskTracker;

use super::process::Watched;

/// A small answer that takes longer than this is an error.
const PATIENCE: Duration = Duration::from_secs(20);

/// What clients speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

impl Protocol {
    /// As rows of the table name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
        }
    }
}

/// One way to one server.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Where connections go.
    pub(crate) address: SocketAddr,
    authority: String,
    server_name: ServerName<'static>,
    prefix: String,
    token: HeaderValue,
    h1: Arc<rustls::ClientConfig>,
    h2: Arc<rustls::ClientConfig>,
    /// Processes that carry the requests, the one nearest to the client first; neither client nor server.
    pub(crate) processes: Vec<Watched>,
    /// The API server at the end, if that is what is there.
    pub(crate) server: Option<Watched>,
    tasks: TaskTracker,
}

impl Way {
    /// `base` is `https://HOST:PORT[/prefix]`, `roots` the PEM of the CA of that server.
    ///
    /// # Errors
    /// When the address does not resolve, or CA and token are not what they should be.
    pub(crate) fn new(base: &str, roots: &[u8], token: &str, processes: Vec<Watched>) -> Result<Self> {
        let uri: Uri = base.trim_end_matches('/').parse().with_context(|| format!("reading the URL {base}"))?;
        ensure!(uri.scheme_str() == Some("https"), "{base} is not an https URL");
        let authority = uri.authority().with_context(|| format!("{base} names no host"))?.clone();
        let (host, port) = (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16().unwrap_or(443));
        let mut addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        let mut store = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots) {
            store.add(certificate?)?;
        }
        ensure!(!store.is_empty(), "the CA for {base} holds no certificate");
        let store = Arc::new(store);
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim())).context("reading the token")?;
        bearer.set_sensitive(true);
        Ok(Self {
            address,
            authority: authority.to_string(),
            server_name: ServerName::try_from(host)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            token: bearer,
            h1: tls(&store, b"http/1.1")?,
            h2: tls(&store, b"h2")?,
            processes,
            server: None,
            tasks: TaskTracker::new(),
        })
    }

    /// The same way, entered through another address: a relay in front of it.
    pub(crate) fn through(&self, relay: SocketAddr) -> Self {
        Self { address: relay, ..self.clone() }
    }

    /// A TLS connection, with a whole handshake: nothing is resumed.
    pub(crate) async fn connect(&self, protocol: Protocol) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let config = match protocol {
            Protocol::H1 => &self.h1,
            Protocol::H2 => &self.h2,
        };
        let io = TlsConnector::from(config.clone()).connect(self.server_name.clone(), tcp).await?;
        let agreed = io.get_ref().1.alpn_protocol();
        ensure!(protocol == Protocol::H1 || agreed == Some(b"h2"), "the server does not speak HTTP/2");
        Ok(io)
    }

    /// An HTTP connection.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Connection> {
        let io = TokioIo::new(tokio::time::timeout(PATIENCE, self.connect(protocol)).await??);
        Ok(match protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                self.tasks.spawn(connection);
                Connection::H1(sender)
            }
            Protocol::H2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                // As wide as client-go's, so that the client's own window is not what is measured.
                builder.timer(TokioTimer::new()).initial_stream_window_size(4 << 20);
                builder.initial_connection_window_size(1 << 30).max_frame_size(16 << 10);
                let (sender, connection) = builder.handshake(io).await?;
                self.tasks.spawn(connection);
                Connection::H2(sender)
            }
        })
    }

    /// The GET of an API path such as `/version`.
    pub(crate) fn request(&self, protocol: Protocol, path: &str) -> Result<Request<Empty<Bytes>>> {
        let target = format!("{}{path}", self.prefix);
        let mut request = Request::builder().method(Method::GET);
        request = match protocol {
            Protocol::H1 => request.uri(target).header(header::HOST, &self.authority),
            Protocol::H2 => request.uri(format!("https://{}{target}", self.authority)).version(Version::HTTP_2),
        };
        request = request.header(header::AUTHORIZATION, &self.token).header(header::ACCEPT, "application/json");
        Ok(request.header(header::USER_AGENT, "roadstead-lab").body(Empty::new())?)
    }

    /// The bytes of the same request, for a client that reads by hand.
    pub(crate) fn raw_get(&self, path: &str) -> Result<String> {
        let Self { prefix, authority, .. } = self;
        let token = self.token.to_str()?;
        Ok(format!("GET {prefix}{path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: {token}\r\n\r\n"))
    }

    /// How long the answer to `path` is, read whole on a connection of its own.
    pub(crate) async fn length(&self, protocol: Protocol, path: &str) -> Result<u64> {
        let mut length = 0;
        let mut connection = self.open(protocol).await?;
        connection.get(self.request(protocol, path)?, &mut |bytes| length += bytes.len() as u64).await?;
        Ok(length)
    }
}

fn tls(roots: &Arc<rustls::RootCertStore>, alpn: &[u8]) -> Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    // Each kubectl is a new process that has no session to resume.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// An HTTP connection along a way.
#[derive(Debug)]
pub(crate) enum Connection {
    /// HTTP/1.1: one request at a time.
    H1(http1::SendRequest<Empty<Bytes>>),
    /// HTTP/2.
    H2(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    /// Sends a GET and hands each piece of its body to `on_data`; the answer is whole when this succeeds.
    ///
    /// # Errors
    /// When the status is not 200, the answer is cut, or it takes too long to begin or to go on.
    pub(crate) async fn get(
        &mut self,
        request: Request<Empty<Bytes>>,
        on_data: &mut (dyn FnMut(&Bytes) + Send),
    ) -> Result<()> {
        let mut body = self.begin(request).await?;
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.context("the answer stopped")? {
            if let Some(data) = frame?.data_ref() {
                on_data(data);
            }
        }
        Ok(())
    }

    /// Sends a GET; the answer has begun, with 200, when this succeeds.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn begin(&mut self, request: Request<Empty<Bytes>>) -> Result<Incoming> {
        let answer = async {
            match self {
                Self::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Self::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        let response = tokio::time::timeout(PATIENCE, answer).await.context("no answer in time")??;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            bail!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
        }
        Ok(response.into_body())
    }
}
