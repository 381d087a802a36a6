//! A hub's HTTPS side in this process: real TLS by a CA of its own, one canned answer, and a record of what was asked.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::identity::tls::{CertSlot, certified_key, https_server};
use crate::identity::{Authority, AuthorityKind, HttpsRequest, KeyPair};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Asked {
    pub(in crate::cli) line: String,
    pub(in crate::cli) authorization: String,
    pub(in crate::cli) body: Vec<u8>,
}

/// Ends with its runtime when it is dropped.
pub(in crate::cli) struct FakeHub {
    pub(in crate::cli) address: SocketAddr,
    pub(in crate::cli) ca: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl FakeHub {
    pub(in crate::cli) fn start(status: u16, answer: Vec<u8>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (acceptor, ca) = tls();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(serve(listener, acceptor, status, answer.into(), asked.clone()));
        Self { address, ca, asked, runtime: Some(runtime) }
    }

    pub(in crate::cli) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Writes a client configuration for this hub, and gives its path.
    pub(in crate::cli) fn client_config(&self, folder: &Path) -> String {
        let path = folder.join("client.yaml");
        let ca: String = self.ca.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!("hub: https://{}\ncaData: |\n{ca}token: jwt.of.admin\n", self.address);
        super::super::files::write_private(&path, text.as_bytes()).unwrap();
        path.to_string_lossy().into_owned()
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn tls() -> (TlsAcceptor, String) {
    let now = OffsetDateTime::now_utc();
    let authority = Authority::create(AuthorityKind::Hub, "test.example".parse().unwrap(), now).unwrap();
    let key = KeyPair::generate();
    let ips = [Ipv4Addr::LOCALHOST.into()];
    let request = HttpsRequest { key: &key, dns: &[], ips: &ips, now, ttl: Duration::from_secs(3600) };
    let issued = authority.issue_hub_https(&request).unwrap();
    let slot = CertSlot::new(certified_key(issued.chain, &key).unwrap());
    (TlsAcceptor::from(Arc::new(https_server(slot).unwrap())), authority.root_pem())
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    status: u16,
    answer: Bytes,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(tls) = acceptor.accept(tcp).await else { continue };
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let (head, body) = request.into_parts();
            let authorization = head.headers[http::header::AUTHORIZATION].to_str().unwrap().to_owned();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            let line = format!("{} {}", head.method, head.uri);
            asked.lock().unwrap().push(Asked { line, authorization, body });
            let response = http::Response::builder().status(status).body(Full::new(answer.clone()));
            Ok::<_, Infallible>(response.unwrap())
        });
        // A client that goes away early is part of the tests.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
    }
}
