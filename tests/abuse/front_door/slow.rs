//! T033: clients that are slow on purpose. All rows wait for real deadlines, so they run at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval, sleep, timeout},
};

use super::Front;
use crate::{
    raw::{Until, exchange},
    rows::{Outcome, Rows, expect},
    world::marker,
};

/// The hub's deadlines are 10 s; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(14);

pub(super) fn start(rows: &mut Rows, front: &Arc<Front>) {
    let f = || front.clone();
    rows.start("T033", "a head at 1 byte/s: 400 and closed", drip_head(f()));
    rows.start("T033", "a TLS handshake at 1 byte/s: closed", drip_handshake(f()));
    rows.start("T033", "a connection that never says a word: closed", silent(f()));
    rows.start("T033", "an enrolment body at 1 byte/s: refused", drip_enrolment(f()));
    rows.start("T033", "200 slow heads do not keep others waiting", many_slow_heads(f()));
}

async fn drip_head(front: Arc<Front>) -> Outcome {
    let request = front.fill("GET {M} HTTP/1.1\r\n{H}\r\n", &marker());
    let tls = front.hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
    let (mut read, mut write) = tokio::io::split(tls);
    let start = Instant::now();
    let drip = async {
        let mut tick = interval(Duration::from_secs(1));
        for byte in &request {
            tick.tick().await;
            if write.write_all(&[*byte]).await.is_err() || write.flush().await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await
    };
    let mut got = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = timeout(LONGEST, read.read_to_end(&mut got)) => {}
    }
    let status = crate::raw::answers(&got).first().map_or(0, |a| a.status);
    expect(status == 400, format!("status {status}"))?;
    expect(start.elapsed() < LONGEST, "not closed in time")
}

async fn drip_handshake(front: Arc<Front>) -> Outcome {
    let mut tcp = TcpStream::connect(front.hub.door.address).await.map_err(|e| e.to_string())?;
    let start = Instant::now();
    // The start of a ClientHello of 512 bytes, and then nothing in a hurry.
    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain(std::iter::repeat_n(7, 20)) {
        let mut answer = [0; 16];
        if tcp.write_all(&[byte]).await.is_err() {
            break;
        }
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_secs(1), tcp.read(&mut answer)).await {
            break;
        }
    }
    expect(start.elapsed() < LONGEST, "not closed in time")
}

async fn silent(front: Arc<Front>) -> Outcome {
    let tls = front.hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
    let (mut read, _write) = tokio::io::split(tls);
    let ended = timeout(LONGEST, read.read_to_end(&mut Vec::new())).await;
    expect(ended.is_ok(), "not closed in time")
}

async fn drip_enrolment(front: Arc<Front>) -> Outcome {
    let tls = front.hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
    let (mut read, mut write) = tokio::io::split(tls);
    let head = format!("POST /enrol/v1 HTTP/1.1\r\nHost: {}\r\nContent-Length: 500\r\n\r\n", front.hub.door.address);
    write.write_all(head.as_bytes()).await.map_err(|e| e.to_string())?;
    let drip = async {
        while write.write_all(b" ").await.is_ok() && write.flush().await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        std::future::pending::<()>().await
    };
    let mut got = vec![0; 4096];
    let n = tokio::select! {
        () = drip => 0,
        read = timeout(LONGEST, read.read(&mut got)) => read.map_or(0, |n| n.unwrap_or(0)),
    };
    let status = crate::raw::answers(&got[..n]).first().map_or(0, |a| a.status);
    expect(status == 400, format!("status {status}"))
}

async fn many_slow_heads(front: Arc<Front>) -> Outcome {
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut tls = front.hub.door.connect("127.0.0.1", &[b"http/1.1"]).await?;
        tls.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.map_err(|e| e.to_string())?;
        slow.push(tls);
    }
    let start = Instant::now();
    front.serves().await?;
    expect(start.elapsed() < Duration::from_secs(2), format!("others waited {:?}", start.elapsed()))?;
    let last = slow.pop().ok_or("none")?;
    let reply = exchange(last, b"", Until::Closed).await;
    // `exchange` waits for at most its own deadline, which is below the hub's: one more look.
    expect(!reply.closed || reply.status() == 400, format!("status {}", reply.status()))
}
