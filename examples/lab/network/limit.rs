//! How much the relay itself carries, so that nobody takes its limit for the product's.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::relay::Relay;
use super::rules::Rules;

/// A full datagram of a link.
const BYTES: usize = 1_452;
const FOR: Duration = Duration::from_secs(3);

/// What came through, in megabits a second, and the share that did not.
pub(crate) struct Carried {
    pub(crate) megabits: f64,
    pub(crate) missing: f64,
}

/// Offers `megabits` a second of full datagrams for some seconds, paced, one way.
pub(crate) fn carried(megabits: u64, rules: Rules) -> Result<Carried> {
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let _ = socket2::SockRef::from(&sink).set_recv_buffer_size(8 << 20);
    sink.set_read_timeout(Some(Duration::from_millis(200)))?;
    let relay = Relay::start("127.0.0.1:0".parse()?, sink.local_addr()?, 1)?;
    relay.set_both(rules)?;
    let source = UdpSocket::bind("127.0.0.1:0")?;
    source.connect(relay.address())?;
    let (received, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, until) = (received.clone(), done.clone());
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while !until.load(Ordering::Relaxed) {
            if sink.recv(&mut buffer).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let started = Instant::now();
    let mut sent = 0_u64;
    while started.elapsed() < FOR {
        let due = (started.elapsed().as_secs_f64() * megabits as f64 * 1e6 / 8.0 / BYTES as f64) as u64;
        while sent < due {
            source.send(&[0; BYTES])?;
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let took = started.elapsed();
    std::thread::sleep(rules.delay + Duration::from_millis(200));
    done.store(true, Ordering::Relaxed);
    // It only counts.
    let _ = reader.join();
    let received = received.load(Ordering::Relaxed);
    let megabits = received as f64 * BYTES as f64 * 8.0 / 1e6 / took.as_secs_f64();
    Ok(Carried { megabits, missing: 1.0 - received as f64 / sent.max(1) as f64 })
}

/// Prints it for several rates.
pub(super) fn print() -> Result<()> {
    println!(
        "datagrams of {BYTES} bytes, one way, {} s each; sender, relay and receiver share this machine",
        FOR.as_secs()
    );
    for (name, rules) in [
        ("nothing done", Rules::default()),
        ("delay 20 ms", Rules { delay: Duration::from_millis(20), ..Rules::default() }),
    ] {
        for offered in [100, 200, 400, 800, 1_600] {
            let Carried { megabits, missing } = carried(offered, rules)?;
            println!(
                "{name:<13} offered {offered:>5} Mbit/s, carried {megabits:>7.1}, missing {:.2} %",
                missing * 100.0
            );
        }
    }
    Ok(())
}
