//! An API server in this process (a fake: a real one cannot be told to close a connection at the wrong moment).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    server::conn::{http1 as server1, http2 as server2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet, time::sleep};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::identity::{HttpsRequest, KeyPair, testing::World, tls};

#[derive(Default)]
struct Origin {
    h1: AtomicUsize,
    h2: AtomicUsize,
    connections: AtomicUsize,
    /// Reads a request, then closes without an answer.
    rude: AtomicBool,
    /// Closes each HTTP/1.1 connection after one answer, without saying so.
    forgetful: AtomicBool,
    /// Refuses each HTTP/2 stream before it does anything with it (RFC 9113 § 8.7).
    busy: AtomicBool,
}

async fn start(origin: Arc<Origin>) -> (Upstream, JoinSet<()>) {
    let world = World::new();
    let key = KeyPair::generate();
    let ips = ["127.0.0.1".parse().unwrap()];
    let https = world.hub.issue_hub_https(&HttpsRequest {
        key: &key,
        dns: &[],
        ips: &ips,
        now: world.now,
        ttl: Duration::from_secs(3600),
    });
    let slot = tls::CertSlot::new(tls::certified_key(https.unwrap().chain, &key).unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(tls::https_server(slot).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            origin.connections.fetch_add(1, SeqCst);
            connections.spawn(connection(origin.clone(), acceptor.clone(), tcp));
        }
    });
    let mut config = kube::Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = Some(vec![world.hub.root().to_vec()]);
    (Upstream::new(&config, TaskTracker::new()).unwrap(), tasks)
}

async fn connection(origin: Arc<Origin>, acceptor: TlsAcceptor, tcp: tokio::net::TcpStream) {
    let mut tls = acceptor.accept(tcp).await.unwrap();
    let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    if origin.rude.load(SeqCst) {
        let _ = tls.read(&mut [0; 1024]).await;
        return;
    }
    if h2 && origin.busy.load(SeqCst) {
        let mut streams = ::h2::server::handshake(tls).await.unwrap();
        while let Some(Ok((_, mut respond))) = streams.accept().await {
            origin.h2.fetch_add(1, SeqCst);
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        return;
    }
    let count = origin.clone();
    let answer = service_fn(move |request: Request<Incoming>| {
        let h2 = request.version() == Version::HTTP_2;
        if h2 { &count.h2 } else { &count.h1 }.fetch_add(1, SeqCst);
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
        }
    });
    if h2 {
        let _ = server2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), answer).await;
    } else {
        let serve = server1::Builder::new().serve_connection(TokioIo::new(tls), answer);
        if origin.forgetful.load(SeqCst) {
            let _ = tokio::time::timeout(Duration::from_millis(120), serve).await;
        } else {
            let _ = serve.await;
        }
    }
}

fn request(method: Method) -> Box<Request<RequestBody>> {
    Box::new(Request::builder().method(method).uri("/version").body(RequestBody::Empty).unwrap())
}

async fn ask(upstream: &Upstream, class: TrafficClass, method: Method) -> Result<(), SendFailure> {
    let _counted = upstream.count(class);
    let repeatable = method == Method::GET;
    let lease = upstream.lease(class).await?;
    let (response, lease) =
        upstream.send(lease, request(method.clone()), repeatable.then_some(|| Some(request(method.clone())))).await?;
    response.into_body().collect().await.map_err(SendFailure::Lost)?;
    upstream.give_back(lease);
    Ok(())
}

#[tokio::test]
async fn few_requests_use_http1_and_its_connections_again() {
    let origin = Arc::new(Origin::default());
    let (upstream, _tasks) = start(origin.clone()).await;
    for _ in 0..5 {
        ask(&upstream, TrafficClass::Short, Method::GET).await.unwrap();
    }
    let seen = (origin.h1.load(SeqCst), origin.h2.load(SeqCst), origin.connections.load(SeqCst));
    assert_eq!(seen, (5, 0, 1));
}

#[tokio::test]
async fn many_small_requests_share_http2_and_lists_never_do() {
    for (class, shared) in [(TrafficClass::Short, true), (TrafficClass::Bulk, false)] {
        let origin = Arc::new(Origin::default());
        let (upstream, _tasks) = start(origin.clone()).await;
        let count = 2 * defaults::UPSTREAM_SHORT_H1;
        let all = (0..count).map(|_| ask(&upstream, class, Method::GET));
        for answered in futures_join(all).await {
            answered.unwrap();
        }
        assert_eq!(origin.h2.load(SeqCst) > 0, shared, "{class:?}");
        assert_eq!(origin.h1.load(SeqCst) + origin.h2.load(SeqCst), count);
        assert!(!shared || origin.connections.load(SeqCst) <= defaults::UPSTREAM_SHORT_H1 + 1, "{class:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_harms_no_request() {
    let origin = Arc::new(Origin::default());
    origin.forgetful.store(true, SeqCst);
    let (upstream, _tasks) = start(origin.clone()).await;
    for method in [Method::GET, Method::POST, Method::GET, Method::POST] {
        ask(&upstream, TrafficClass::Short, method).await.unwrap();
        sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(origin.h1.load(SeqCst), 4);
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_twice_unless_it_only_reads() {
    let origin = Arc::new(Origin::default());
    origin.rude.store(true, SeqCst);
    let (upstream, _tasks) = start(origin.clone()).await;
    let lost = ask(&upstream, TrafficClass::Short, Method::POST).await;
    assert!(matches!(lost, Err(SendFailure::Lost(_))), "{lost:?}");
    assert_eq!(origin.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_change_that_the_api_server_refused_unseen_is_not_called_sent() {
    let origin = Arc::new(Origin::default());
    origin.busy.store(true, SeqCst);
    let (upstream, _tasks) = start(origin.clone()).await;
    let _others: Vec<_> = (0..=defaults::UPSTREAM_SHORT_H1).map(|_| upstream.count(TrafficClass::Short)).collect();
    let refused = ask(&upstream, TrafficClass::Short, Method::POST).await;
    assert!(matches!(refused, Err(SendFailure::Unsent(_))), "{refused:?}");
    let fault = crate::agent::exchange::Fault::from(refused.unwrap_err());
    let told = crate::wire::generated::Failure::decode(fault.encode().as_slice()).unwrap();
    assert!(!told.dispatched, "{told:?}");
    // One that only reads goes out again, on a connection of its own.
    ask(&upstream, TrafficClass::Short, Method::GET).await.unwrap();
    assert_eq!((origin.h2.load(SeqCst), origin.h1.load(SeqCst)), (2, 1));
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_told_apart() {
    let origin = Arc::new(Origin::default());
    let (upstream, mut tasks) = start(origin).await;
    tasks.shutdown().await;
    let failed = ask(&upstream, TrafficClass::Short, Method::GET).await;
    assert!(matches!(failed, Err(SendFailure::Connect(ConnectError::Tcp { .. }))), "{failed:?}");
}

/// All of them at once, on this task.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut running {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}
