//! T103, T106–T109, T112: what an evil agent does to the link itself.

use std::time::Duration;

use roadstead::wire::{
    ALPN_LINK, FrameKind,
    generated::{Control, Proxy, open::Kind},
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Fleet;
use crate::{
    quic::{Moored, SOON, dial, frame, hello, moor, opening},
    rows::{Outcome, Rows, expect},
};

pub(super) async fn run(rows: &Rows, fleet: &Fleet) {
    rows.run("T109", "1,000 streams towards the hub: 8 are granted", many_streams(fleet)).await;
    for (what, bytes) in [
        ("the first stream is no Open", vec![0xff; 64]),
        ("the first stream is a proxy stream", opening(Kind::Proxy(Proxy {}))),
        ("an Open of 100 KB", vec![0xff, 0xff, 0x06]),
        ("hello is no message", [opening(Kind::Control(Control {})), frame(FrameKind::Data, b"x")].concat()),
        ("hello is garbage", [opening(Kind::Control(Control {})), frame(FrameKind::Message, b"\xff\xff")].concat()),
    ] {
        rows.run("T103", what, bad_hello(fleet, &bytes)).await;
    }
    rows.run("T103", "garbage on the control stream after hello", garbage_control(fleet)).await;
    rows.run("T107", "never says hello: closed within its deadline", never_hello(fleet)).await;
    rows.run("T112", "hello with line breaks, colours and 1 MB of name", loud_hello(fleet)).await;
    rows.run("T107", "64 requests, none answered, none read: others are served", never_answers(fleet)).await;
    rows.run("T107", "floods beyond the window: memory is bounded", floods(fleet)).await;
    rows.run("T099a", "its cluster is removed: cut at once, and refused from then on", removed(fleet)).await;
}

async fn moored(fleet: &Fleet) -> Result<Moored, String> {
    let connection = dial(fleet.hub.door.address, fleet.evil.tls(ALPN_LINK)).await?;
    moor(connection, hello("1.0.0")).await
}

async fn many_streams(fleet: &Fleet) -> Outcome {
    let moored = moored(fleet).await?;
    let mut held = Vec::new();
    let opening = async {
        for _ in 0..1_000 {
            let Ok((mut send, recv)) = moored.connection.open_bi().await else { return };
            // Not even an Open: the hub waits for it, but not for more of them.
            let _ = send.write_all(&[0x80]).await;
            held.push((send, recv));
        }
    };
    let _ = timeout(Duration::from_secs(1), opening).await;
    expect(held.len() < 16, format!("{} streams were granted", held.len()))?;
    fleet.honest_is_served().await
}

async fn bad_hello(fleet: &Fleet, bytes: &[u8]) -> Outcome {
    let connection = dial(fleet.hub.door.address, fleet.evil.tls(ALPN_LINK)).await?;
    let (mut send, _recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
    send.write_all(bytes).await.map_err(|e| e.to_string())?;
    let end = timeout(SOON, connection.closed()).await.map_err(|_| "not closed")?;
    expect(end.to_string().contains("protocol error"), end)
}

async fn garbage_control(fleet: &Fleet) -> Outcome {
    let mut moored = moored(fleet).await?;
    moored.control.0.write_all(&frame(FrameKind::Message, b"\xff\xff\xff")).await.map_err(|e| e.to_string())?;
    let end = timeout(SOON, moored.connection.closed()).await.map_err(|_| "not closed")?;
    expect(end.to_string().contains("protocol error"), end)
}

async fn never_hello(fleet: &Fleet) -> Outcome {
    let connection = dial(fleet.hub.door.address, fleet.evil.tls(ALPN_LINK)).await?;
    let end = timeout(Duration::from_secs(14), connection.closed()).await.map_err(|_| "not closed")?;
    expect(end.to_string().contains("protocol error"), end)
}

async fn loud_hello(fleet: &Fleet) -> Outcome {
    let connection = dial(fleet.hub.door.address, fleet.evil.tls(ALPN_LINK)).await?;
    let loud = format!("1.0\r\n2026-01-01 ERROR forged by hello\n\u{1b}[31mred\u{202e}{}", "x".repeat(50_000));
    let _moored = moor(connection, hello(&loud)).await?;
    fleet.hub.connected("bad-1").await;
    let (_, cluster) = fleet.hub.api("GET", "/api/v1/clusters/bad-1", &Value::Null).await;
    let shown = cluster["agentVersion"].as_str().unwrap_or_default();
    expect(shown.len() <= 512 && !shown.chars().any(|c| c.is_control() || c == '\u{202e}'), format!("{shown:?}"))?;
    let said = fleet.hub.process.said();
    expect(!said.lines().any(|line| line.starts_with("2026-01-01 ERROR")), "a forged line in the log")
}

async fn never_answers(fleet: &Fleet) -> Outcome {
    let _moored = moored(fleet).await?;
    fleet.hub.connected("bad-1").await;
    let ask = |_| fleet.ask("bad-1", "/api/v1/namespaces/default/pods/none", "", false);
    let mut asked: Vec<_> = (0..64).map(ask).map(Box::pin).collect();
    let waiting = async {
        for ask in &mut asked {
            let _ = timeout(Duration::from_millis(10), ask.as_mut()).await;
        }
    };
    waiting.await;
    fleet.honest_is_served().await
}

/// 256 MB for a person who does not read.
async fn floods(fleet: &Fleet) -> Outcome {
    let moored = moored(fleet).await?;
    fleet.hub.connected("bad-1").await;
    sleep(Duration::from_millis(100)).await;
    let before = fleet.hub.process.resident();
    let connection = moored.connection.clone();
    tokio::spawn(async move {
        let Ok((mut send, _recv)) = connection.accept_bi().await else { return };
        let head = roadstead::wire::generated::ResponseHead { status: 200, headers: Vec::new() };
        let _ = send.write_all(&frame(FrameKind::Head, &prost::Message::encode_to_vec(&head))).await;
        let piece = frame(FrameKind::Data, &vec![b'x'; 64 << 10]);
        for _ in 0..4_096 {
            if send.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    let host = fleet.hub.door.address;
    let request = format!(
        "GET /clusters/bad-1/api/v1/namespaces/default/pods/flood HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n",
        fleet.alice
    );
    let mut tls = fleet.hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
    tokio::io::AsyncWriteExt::write_all(&mut tls, request.as_bytes()).await.map_err(|e| e.to_string())?;
    sleep(Duration::from_secs(2)).await;
    let grown = fleet.hub.process.resident().saturating_sub(before) >> 20;
    expect(grown < 24, format!("the hub grew by {grown} MB"))?;
    fleet.honest_is_served().await
}

async fn removed(fleet: &Fleet) -> Outcome {
    let moored = moored(fleet).await?;
    fleet.hub.connected("bad-1").await;
    let (status, _) = fleet.hub.api("DELETE", "/api/v1/clusters/bad-1", &Value::Null).await;
    expect(status == 200, format!("status {status}"))?;
    let end = timeout(Duration::from_secs(1), moored.connection.closed()).await.map_err(|_| "the live link stays")?;
    expect(end.to_string().contains("revoked"), end)?;
    let again = dial(fleet.hub.door.address, fleet.evil.tls(ALPN_LINK)).await?;
    let end = timeout(SOON, again.closed()).await.map_err(|_| "a removed cluster may come back")?;
    expect(end.to_string().contains("revoked"), end)
}
