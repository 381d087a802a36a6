//! A fake API server: it holds nothing, and answers a few GETs as kube-apiserver would, each with the name of the cluster that was asked.
//!
//! One listener stands for as many clusters as you like: the first segment of the path is the cluster, as for an API server that lives
//! below a path. No authentication, no RBAC, no store. It is there so that thousands of real agents have somebody to talk to.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// ConfigMaps in a list.
const LISTED: usize = 100;

/// A listener that is bound and not yet served.
pub(crate) struct ApiServer {
    listener: std::net::TcpListener,
    tls: TlsAcceptor,
    certificate: String,
}

impl ApiServer {
    /// Binds a port of loopback, with a certificate of its own.
    pub(crate) fn bind() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, tls: TlsAcceptor::from(Arc::new(tls)), certificate: made.cert.pem() })
    }

    /// The kubeconfig of one cluster's agent.
    pub(crate) fn kubeconfig(&self, cluster: &str) -> Result<Value> {
        let address = self.listener.local_addr()?;
        let ca = BASE64_STANDARD.encode(&self.certificate);
        let server = format!("https://{address}/{cluster}");
        Ok(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority-data": ca}}],
            "users": [{"name": "it", "user": {"token": "simulated"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }))
    }

    /// Serves for ever, on a thread of its own.
    pub(crate) fn start(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("api-servers".to_owned()).spawn(move || runtime.block_on(self.serve()))?;
        Ok(())
    }

    async fn serve(self) -> Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let tasks = TaskTracker::new();
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => drop(tasks.spawn(connection(self.tls.clone(), tcp))),
                Err(error) => {
                    eprintln!("fake API server: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn connection(tls: TlsAcceptor, tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let Ok(stream) = tls.accept(tcp).await else { return };
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
    // An agent that goes away is nobody's concern here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>) -> Response<Answer> {
    let path = request.uri().path().trim_start_matches('/');
    let (cluster, rest) = path.split_once('/').unwrap_or((path, ""));
    let query = request.uri().query().unwrap_or_default();
    let watched = query.split('&').any(|pair| pair == "watch=1");
    let (status, body) = match rest {
        "version" => (StatusCode::OK, Answer::Whole(version(cluster))),
        "api/v1/namespaces/default" => (StatusCode::OK, Answer::Whole(object(cluster, "Namespace", "default"))),
        "api/v1/configmaps" if watched => (StatusCode::OK, Answer::Watch(Watch::new(cluster, rate(query)))),
        "api/v1/configmaps" => (StatusCode::OK, Answer::Whole(list(cluster))),
        _ => (StatusCode::NOT_FOUND, Answer::Whole(json!({"kind": "Status", "status": "Failure", "code": 404}))),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // The agent's own probe: an idle connection per agent would take two file descriptors of this process each.
    if !request.headers().contains_key("audit-id") {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Events a second that a watch asks for, as `limit=`: the one number that a hub lets through.
fn rate(query: &str) -> u64 {
    query.split('&').find_map(|pair| pair.strip_prefix("limit=")?.parse().ok()).unwrap_or(1).max(1)
}

fn version(cluster: &str) -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": format!("v1.36.3+simulated.{cluster}"), "gitCommit": "none",
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "none", "platform": "none"})
}

fn object(cluster: &str, kind: &str, name: &str) -> Value {
    let padding = "0123456789abcdef".repeat(64);
    let annotations = json!({"simulated.example/cluster": cluster, "simulated.example/padding": padding});
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "resourceVersion": "1", "annotations": annotations}})
}

fn list(cluster: &str) -> Value {
    let items: Vec<Value> = (0..LISTED).map(|number| object(cluster, "ConfigMap", &format!("it-{number}"))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// Microseconds since 1970.
pub(crate) fn unix_micros() -> i64 {
    i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap_or(0)
}

/// The body of an answer.
enum Answer {
    Whole(Value),
    Done,
    Watch(Watch),
}

/// Events without an end, each with its number and the time at which it was made.
struct Watch {
    cluster: String,
    number: u64,
    ticks: Pin<Box<Interval>>,
}

impl Watch {
    fn new(cluster: &str, rate: u64) -> Self {
        let ticks = Box::pin(interval(Duration::from_micros(1_000_000 / rate)));
        Self { cluster: cluster.to_owned(), number: 0, ticks }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        ready!(self.ticks.poll_tick(cx));
        self.number += 1;
        let annotations =
            json!({"simulated.example/cluster": self.cluster, "simulated.example/at": unix_micros().to_string()});
        let metadata = json!({"name": "it", "resourceVersion": self.number.to_string(), "annotations": annotations});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        Poll::Ready(Bytes::from(format!("{}\n", json!({"type": "MODIFIED", "object": object}))))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match std::mem::replace(&mut *self, Self::Done) {
            Self::Whole(value) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(value.to_string()))))),
            Self::Done => Poll::Ready(None),
            Self::Watch(mut watch) => {
                let polled = watch.poll(cx);
                *self = Self::Watch(watch);
                polled.map(|bytes| Some(Ok(Frame::data(bytes))))
            }
        }
    }
}
