//! A relay that makes a server slow: it passes TLS bytes as they are, and holds those of the client back for a while. For proving that a
//! slow hub does not pass; the product has no switch for it. Threads that block, because tokio's timer counts in milliseconds.

#![allow(clippy::disallowed_methods, reason = "threads without a runtime keep real time")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Pieces that are held back at once, at most.
const HELD: usize = 64;

/// A piece of what a client says, and when it may go on; an empty one is its end.
type Piece = (Instant, Vec<u8>);

/// Starts it; its threads end with their connections, and with the program. Gives its address.
pub(crate) fn start(server: SocketAddr, delay: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // An end that breaks the connection is seen by both sides.
            thread::spawn(move || drop(carry(client, server, delay)));
        }
    });
    Ok(address)
}

fn carry(client: TcpStream, server: SocketAddr, delay: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (held, due) = sync_channel(HELD);
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || drop(take(from_client, &held, delay)));
    thread::spawn(move || drop(give(&due, to_server)));
    let (mut from_server, mut to_client) = (server, client);
    std::io::copy(&mut from_server, &mut to_client)?;
    to_client.shutdown(Shutdown::Both)
}

fn take(mut from: TcpStream, held: &SyncSender<Piece>, delay: Duration) -> std::io::Result<()> {
    let mut piece = vec![0; 16 << 10];
    loop {
        let size = from.read(&mut piece)?;
        if held.send((Instant::now() + delay, piece[..size].to_vec())).is_err() || size == 0 {
            return Ok(());
        }
    }
}

fn give(due: &Receiver<Piece>, mut to: TcpStream) -> std::io::Result<()> {
    for (at, piece) in due.iter().take_while(|(_, piece)| !piece.is_empty()) {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        to.write_all(&piece)?;
    }
    to.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_back_what_a_client_says_and_changes_nothing() {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = echo.local_addr().unwrap();
        thread::spawn(move || {
            let (mut from, _) = echo.accept().unwrap();
            let mut to = from.try_clone().unwrap();
            std::io::copy(&mut from, &mut to).unwrap();
            to.shutdown(Shutdown::Write).unwrap();
        });
        let delay = Duration::from_millis(20);
        let mut client = TcpStream::connect(start(server, delay).unwrap()).unwrap();
        let started = Instant::now();
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert!(started.elapsed() >= delay && &answer == b"hello");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut answer).unwrap(), 0);
    }
}
