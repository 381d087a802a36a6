//! A stand-in for an API server that remembers what it was asked, and is slow or rude when told so. Used only where a real one
//! cannot be made to do it: say of each attempt whether it saw it, hang, refuse, or send known bytes for as long as is wanted.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
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

use super::pattern::{Check, Pattern};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// How it treats connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Of so many connections one is dropped before its handshake: no request, so the agent can promise that nothing ran.
    pub(crate) drop_one_of: Option<u32>,
    /// A connection of HTTP/2 says GOAWAY after this: some requests are on their way to it just then.
    pub(crate) goaway_after: Option<Duration>,
}

impl Manners {
    /// Drops connections and says GOAWAY all the time.
    pub(crate) fn rude() -> Self {
        Self { drop_one_of: Some(8), goaway_after: Some(Duration::from_millis(60)) }
    }
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Attempts (`?attempt=N`) whose head arrived.
    pub(crate) seen: HashSet<u64>,
    /// How often each object was made.
    pub(crate) made: HashMap<String, u32>,
    /// Requests that were taken and are not answered.
    pub(crate) hanging: usize,
    /// Connections that were told GOAWAY.
    pub(crate) goaways: u64,
}

/// One request that hangs; dropped when the agent gives it up.
struct Hanging(Arc<Mutex<Book>>);

impl Hanging {
    fn new(book: &Arc<Mutex<Book>>) -> Result<Self> {
        book.lock().map_err(|_| anyhow::anyhow!("the book is lost"))?.hanging += 1;
        Ok(Self(book.clone()))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        if let Ok(mut book) = self.0.lock() {
            book.hanging -= 1;
        }
    }
}

/// A running stand-in; it ends with its thread's runtime, when the test's process does.
pub(crate) struct Origin {
    pub(crate) book: Arc<Mutex<Book>>,
    address: SocketAddr,
    ca_pem: String,
}

impl Origin {
    /// Listens on a port of its own.
    pub(crate) fn start(manners: Manners) -> Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let ca_pem = cert.pem();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let book = Arc::new(Mutex::new(Book::default()));
        let of = book.clone();
        std::thread::spawn(move || runtime.block_on(serve(listener, TlsAcceptor::from(Arc::new(tls)), of, manners)));
        Ok(Self { book, address, ca_pem })
    }

    /// A kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self) -> Value {
        use base64::Engine as _;
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca_pem);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority-data": ca}}],
            "users": [{"name": "it", "user": {"token": "stand-in"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        })
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, book: Arc<Mutex<Book>>, manners: Manners) {
    let tasks = TaskTracker::new();
    let mut taken = 0_u32;
    while let Ok((tcp, _)) = listener.accept().await {
        taken += 1;
        if !manners.drop_one_of.is_some_and(|one_of| taken.is_multiple_of(one_of)) {
            tasks.spawn(connection(tls.clone(), tcp, book.clone(), manners));
        }
    }
}

/// One connection. An agent that was killed cuts it, which is the test; so how it ends does not matter.
async fn connection(tls: TlsAcceptor, tcp: TcpStream, book: Arc<Mutex<Book>>, manners: Manners) {
    let _ = tcp.set_nodelay(true);
    let Ok(io) = tls.accept(tcp).await else { return };
    let h2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
    let of = book.clone();
    let service = service_fn(move |request| {
        let book = of.clone();
        async move { answer(&book, request).await }
    });
    if !h2 {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
        return;
    }
    let connection = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let Some(after) = manners.goaway_after else {
        let _ = connection.await;
        return;
    };
    if tokio::time::timeout(after, &mut connection).await.is_err() {
        if let Ok(mut book) = book.lock() {
            book.goaways += 1;
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// The answer to one request; an error cuts the connection instead.
async fn answer(book: &Arc<Mutex<Book>>, request: Request<Incoming>) -> Result<Response<Body>> {
    let number = |name: &str| -> Option<u64> {
        let query = request.uri().query()?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    if number("upload").is_some() {
        return upload(request).await;
    }
    if let Some(bytes) = number("bytes") {
        let body = Pattern::new(bytes).boxed_unsync();
        return Ok(Response::builder().header("content-type", "application/json").body(body)?);
    }
    if let Some(status) = number("status") {
        let body =
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "stand-in"});
        let mut response = reply(StatusCode::from_u16(u16::try_from(status)?)?, &body)?;
        response.headers_mut().insert("retry-after", "7".parse()?);
        return Ok(response);
    }
    if number("hang").is_some() {
        let _counted = Hanging::new(book)?;
        return std::future::pending().await;
    }
    if request.method() != Method::POST {
        let version = json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
        return Ok(reply(StatusCode::OK, &version)?);
    }
    let attempt = number("attempt").context("an attempt without a number")?;
    let (hold, rude) = (number("hold").unwrap_or(0), number("rude") == Some(1));
    book.lock().map_err(|_| anyhow::anyhow!("the book is lost"))?.seen.insert(attempt);
    let body = request.into_body().collect().await?.to_bytes();
    let object: Value = serde_json::from_slice(&body)?;
    let name = object["metadata"]["name"].as_str().context("an object without a name")?.to_owned();
    *book.lock().map_err(|_| anyhow::anyhow!("the book is lost"))?.made.entry(name).or_default() += 1;
    tokio::time::sleep(Duration::from_millis(hold)).await;
    anyhow::ensure!(!rude, "cut after the object was made");
    Ok(reply(StatusCode::CREATED, &object)?)
}

/// Takes a body of known bytes and says how many there were, and whether they were right.
async fn upload(request: Request<Incoming>) -> Result<Response<Body>> {
    let mut body = request.into_body();
    let mut check = Check::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            check.take(&data);
        }
    }
    Ok(reply(StatusCode::OK, &json!({"bytes": check.bytes(), "right": check.right()}))?)
}

fn reply(status: StatusCode, body: &Value) -> Result<Response<Body>, http::Error> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())).boxed_unsync())
}
