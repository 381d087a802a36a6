//! The lab's bad network does what it says: what a row of `scripts/faults` measures through it is worth no more than this.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

#[path = "faults/noise.rs"]
mod noise;
#[path = "../examples/lab/network/pipe.rs"]
mod pipe;
#[allow(dead_code, reason = "the lab uses more of it")]
#[path = "../examples/lab/network/relay.rs"]
mod relay;
#[allow(dead_code, reason = "the lab uses more of it")]
#[path = "../examples/lab/network/rules.rs"]
mod rules;
#[path = "../examples/lab/network/stream.rs"]
mod stream;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use pipe::Pipe;
use relay::Relay;
use rules::{Direction, Rules};

/// Arrivals of so many datagrams of 1,250 bytes (10,000 bits), one each 100 µs: 100 Mbit/s.
fn arrivals(rules: &str, count: u32) -> (Vec<(Instant, Option<Instant>)>, Instant, pipe::Counts) {
    let start = Instant::now();
    let mut pipe = Pipe::new(7, start);
    pipe.rules = rules.parse().unwrap();
    let all = (0..count).filter_map(|number| pipe.arrivals(start + Duration::from_micros(100) * number, 1_250));
    (all.collect(), start, pipe.counts)
}

#[test]
fn one_in_a_hundred_is_lost_and_the_same_ones_with_the_same_seed() {
    let (all, _, counts) = arrivals("loss=1%", 100_000);
    assert!((900..1_100).contains(&counts.lost), "{counts:?}");
    assert_eq!(all.len() as u64 + counts.lost, 100_000);
    assert_eq!(counts, arrivals("loss=1%", 100_000).2);
}

#[test]
fn delay_and_jitter_keep_the_order() {
    let (all, start, _) = arrivals("delay=20ms jitter=5ms", 1_000);
    assert!(all.is_sorted());
    let first = all[0].0 - start;
    assert!((20..26).contains(&first.as_millis()), "{first:?}");
}

#[test]
fn reordering_and_duplicates_come_as_often_as_was_said() {
    let (all, _, _) = arrivals("delay=20ms reorder=2% duplicate=3%", 10_000);
    let overtaken = all.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
    let twice = all.iter().filter(|(_, twice)| twice.is_some()).count();
    assert!((150..250).contains(&overtaken) && (230..370).contains(&twice), "{overtaken} {twice}");
}

#[test]
fn the_rate_holds_and_a_full_queue_drops_its_tail() {
    let (all, start, counts) = arrivals("rate=50mbit queue=50ms", 10_000);
    // Twice the rate comes for a second: half of it leaves, and 50 ms are left in the queue.
    let (last, _) = all.last().unwrap();
    assert!((5_200..5_300).contains(&all.len()) && counts.queue_full > 4_700, "{} {counts:?}", all.len());
    assert!((*last - start).as_millis().abs_diff(1_050) < 5, "{:?}", *last - start);
}

#[test]
fn what_is_too_large_or_falls_into_the_hole_vanishes() {
    assert!(arrivals("mtu=1249", 10).0.is_empty());
    assert_eq!(arrivals("mtu=1250", 10).0.len(), 10);
    assert!(arrivals("hole=on", 10).0.is_empty());
    assert!("loss=101%".parse::<Rules>().is_err() && "lost=1%".parse::<Rules>().is_err());
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A hub's socket, a relay to it, and an agent's socket that talks to the relay.
fn datagrams() -> Result<(UdpSocket, Relay, UdpSocket)> {
    let (hub, agent) = (UdpSocket::bind(any())?, UdpSocket::bind(any())?);
    let relay = Relay::start(any(), hub.local_addr()?, 1)?;
    for socket in [&hub, &agent] {
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    }
    agent.connect(relay.address())?;
    Ok((hub, relay, agent))
}

#[test]
fn datagrams_go_both_ways_later_and_a_rebinding_changes_the_port_and_nothing_else() -> Result<()> {
    let (hub, relay, agent) = datagrams()?;
    relay.set_both("delay=30ms".parse()?)?;
    let (mut buffer, mut ports) = ([0; 16], Vec::new());
    for _ in 0..2 {
        let sent = Instant::now();
        agent.send(b"there")?;
        let (length, from) = hub.recv_from(&mut buffer)?;
        ensure!(&buffer[..length] == b"there" && sent.elapsed() >= Duration::from_millis(29), "{:?}", sent.elapsed());
        hub.send_to(b"back", from)?;
        ensure!(agent.recv(&mut buffer)? == 4 && sent.elapsed() >= Duration::from_millis(58), "{:?}", sent.elapsed());
        ports.push(from.port());
        relay.rebind()?;
    }
    ensure!(ports[0] != ports[1], "{ports:?}");
    Ok(())
}

#[test]
fn blocked_udp_passes_tcp_and_a_hole_stops_both() -> Result<()> {
    let (hub, relay, agent) = datagrams()?;
    let listener = TcpListener::bind(hub.local_addr()?)?;
    relay.block_udp(true)?;
    agent.send(b"lost")?;
    let mut client = TcpStream::connect(relay.address())?;
    client.write_all(b"tcp")?;
    let (mut server, _) = listener.accept()?;
    let mut buffer = [0; 3];
    server.read_exact(&mut buffer)?;
    ensure!(&buffer == b"tcp");
    let (up, _) = relay.counts()?;
    ensure!(up.swallowed == 1 && up.left == 0, "{up:?}");
    relay.block_udp(false)?;
    relay.set(Direction::Up, "hole=on".parse()?)?;
    client.write_all(b"two")?;
    server.set_read_timeout(Some(Duration::from_millis(200)))?;
    ensure!(server.read(&mut buffer).is_err(), "bytes came through the hole");
    relay.set(Direction::Up, Rules::default())?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    server.read_exact(&mut buffer).context("the bytes did not wait")?;
    ensure!(&buffer == b"two");
    Ok(())
}
