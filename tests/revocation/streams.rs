//! An exec, a watch and a log that are under way, each on a connection of its own; and when and with what words they end.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{
    AT_ONCE,
    origin::{Origin, Then},
    raw::SOON,
    rows::{Outcome, expect},
    world::Hub,
};

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";

/// See the module.
pub(crate) struct Streams(Vec<(&'static str, Following)>);

/// One of them: all that came, once it said the words or ended.
struct Following {
    reading: JoinHandle<(Instant, Vec<u8>)>,
}

impl Streams {
    /// Starts all three and waits until each has its first bytes.
    pub(crate) async fn start(hub: &Hub, origin: &Origin, token: &str, cluster: &str) -> Result<Self, String> {
        let chunked =
            |kind: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
        origin.tell("fieldSelector=cut", chunked("application/json"), Then::Watch(1_000));
        origin.tell("/log?follow=true", chunked("text/plain"), Then::Watch(1_000));
        let pods = format!("/clusters/{cluster}/api/v1/namespaces/n/pods");
        let mut streams = Vec::new();
        for (what, path, upgrade) in [
            ("exec", format!("{pods}/p/exec?command=sh&stdout=true"), WEBSOCKET),
            ("watch", format!("{pods}?watch=true&fieldSelector=cut"), ""),
            ("log", format!("{pods}/p/log?follow=true"), ""),
        ] {
            let host = hub.door.address;
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{upgrade}\r\n");
            let mut tls = hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
            tls.write_all(head.as_bytes()).await.map_err(|e| e.to_string())?;
            // A head, and of those that have one the first event.
            let begun = if upgrade.is_empty() { "BOOKMARK" } else { "101 Switching" };
            streams.push((what, Following::start(tls, begun).await.map_err(|e| format!("{what}: {e}"))?));
        }
        Ok(Self(streams))
    }

    /// Each says `words`, within a second of `since`.
    pub(crate) async fn say(self, words: &str, since: Instant) -> Outcome {
        for (what, following) in self.0 {
            let (at, said) = timeout(AT_ONCE * 5, following.reading)
                .await
                .map_err(|_| format!("{what}: goes on"))?
                .map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(&said);
            expect(
                text.contains(words),
                format!("{what} did not say {words:?}: …{}", &text[text.len().saturating_sub(400)..]),
            )?;
            expect(at - since < AT_ONCE, format!("{what} ended after {:?}", at - since))?;
            crate::rows::print(&format!(
                "figure: {what} cut {:.1} ms after the request for it",
                (at - since).as_secs_f64() * 1e3
            ));
        }
        Ok(())
    }
}

impl Following {
    async fn start(mut tls: TlsStream<TcpStream>, begun: &'static str) -> Result<Self, String> {
        let started = Arc::new(Notify::new());
        let telling = started.clone();
        let reading = tokio::spawn(async move {
            let (mut got, mut piece) = (Vec::new(), [0; 8 << 10]);
            loop {
                let read = timeout(Duration::from_secs(20), tls.read(&mut piece)).await;
                let Ok(Ok(n @ 1..)) = read else { return (Instant::now(), got) };
                got.extend_from_slice(&piece[..n]);
                let text = String::from_utf8_lossy(&got);
                if text.contains(begun) {
                    telling.notify_one();
                }
                if text.contains("is locked") || text.contains("was revoked") {
                    return (Instant::now(), got);
                }
            }
        });
        timeout(SOON, started.notified()).await.map_err(|_| "nothing came".to_owned())?;
        Ok(Self { reading })
    }
}
