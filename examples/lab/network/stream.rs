//! TCP through the relay: bytes arrive later and slower, and not at all while a black hole is there; none is lost.

#![allow(clippy::disallowed_methods, reason = "real time passes on a thread of its own")]

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::relay::Shared;
use super::rules::Direction;

/// Chunks of one direction on their way: with 16 KiB each, 4 MiB, which is 200 Mbit/s at 160 ms.
const ON_THE_WAY: usize = 256;
const CHUNK: usize = 16 << 10;

/// The TCP connections of a relay.
#[derive(Debug)]
pub(super) struct Streams {
    shared: Arc<Shared>,
    listener: TcpListener,
    open: JoinSet<()>,
}

impl Streams {
    pub(super) fn new(shared: Arc<Shared>, listener: TcpListener) -> Self {
        Self { shared, listener, open: JoinSet::new() }
    }

    /// Takes the next connection, or notices the end of one.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn accept(&mut self) {
        tokio::select! {
            accepted = self.listener.accept() => {
                if let Ok((tcp, _)) = accepted {
                    let shared = self.shared.clone();
                    self.open.spawn(async move { connection(&shared, tcp).await });
                }
            }
            Some(_) = self.open.join_next() => {}
        }
    }

    /// Cuts them all.
    pub(super) fn cut(&mut self) {
        self.open.abort_all();
    }
}

async fn connection(shared: &Shared, agent: TcpStream) {
    let Ok(hub) = TcpStream::connect(shared.towards).await else { return };
    let _ = (agent.set_nodelay(true), hub.set_nodelay(true));
    let ((from_agent, to_agent), (from_hub, to_hub)) = (agent.into_split(), hub.into_split());
    // Either end may end one direction first; an error in one is the end of both.
    let _ = tokio::try_join!(
        one_way(shared, Direction::Up, from_agent, to_hub),
        one_way(shared, Direction::Down, from_hub, to_agent)
    );
}

async fn one_way(shared: &Shared, way: Direction, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let (sender, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let take = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Ok::<_, io::Error>(());
            }
            chunk.truncate(length);
            let at = shared.lock().map_err(io::Error::other)?.pipe(way).arrival_of_stream(Instant::now(), length);
            if sender.send((at, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let give = async move {
        while let Some((at, chunk)) = arriving.recv().await {
            tokio::time::sleep_until(at.into()).await;
            passable(shared, way).await?;
            to.write_all(&chunk).await?;
        }
        passable(shared, way).await?;
        to.shutdown().await
    };
    tokio::try_join!(take, give).map(drop)
}

/// Waits while a black hole is there.
async fn passable(shared: &Shared, way: Direction) -> io::Result<()> {
    loop {
        let changed = shared.changed.notified();
        if !shared.lock().map_err(io::Error::other)?.pipe(way).rules.hole {
            return Ok(());
        }
        changed.await;
    }
}
