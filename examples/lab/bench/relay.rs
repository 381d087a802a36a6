//! A relay that makes a server slow: it passes TLS bytes as they are, and holds those of the client back for a while. For proving that a
//! slow hub does not pass; the product has no switch for it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

/// Starts it on a thread of its own, which ends with the program; gives its address.
pub(crate) fn start(server: SocketAddr, delay: Duration) -> Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let tasks = TaskTracker::new();
            while let Ok((client, _)) = listener.accept().await {
                // An end that breaks the connection is seen by both sides.
                tasks.spawn(async move { drop(carry(client, server, delay).await) });
            }
        });
    });
    Ok(address)
}

async fn carry(client: TcpStream, server: SocketAddr, delay: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let (late, mut due) = mpsc::channel::<(Instant, Bytes)>(64);
    let reader = async {
        let mut piece = vec![0; 16 << 10];
        loop {
            let size = from_client.read(&mut piece).await?;
            let sent = late.send((Instant::now() + delay, Bytes::copy_from_slice(&piece[..size]))).await;
            if size == 0 || sent.is_err() {
                return Ok::<_, std::io::Error>(());
            }
        }
    };
    let writer = async {
        while let Some((at, piece)) = due.recv().await.filter(|(_, piece)| !piece.is_empty()) {
            sleep_until(at).await;
            to_server.write_all(&piece).await?;
        }
        to_server.shutdown().await
    };
    let back = async {
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(reader, writer, back).map(drop)
}
