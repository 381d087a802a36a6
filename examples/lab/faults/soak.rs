//! Faults by chance, for a long time, under load with changes; and afterwards nothing may be left of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::load::Load;
use super::parts::cluster::signal;
use super::parts::fleet::{EDGE_1, Part, descriptors, resident};
use super::parts::noise::Noise;
use super::rows::Outcome;
use super::world::World;
use crate::network::rules::{Direction, Rules};

const RATE: u64 = 200;
const PARTS: [Part; 2] = [Part::Hub, EDGE_1];
/// From one fault to the next, at least; at most twice that.
const BETWEEN: Duration = Duration::from_secs(4);
/// Before what is left is counted: a silent link's end, and idle connections to the API server.
const QUIET: Duration = Duration::from_secs(20);
/// More than these, from the middle of the soak to its end, is a leak.
const DESCRIPTORS: usize = 80;
const KILOBYTES: u64 = 64 << 10;

pub(super) fn soak(world: &mut World) -> Result<Outcome> {
    let length = Duration::from_secs(if world.quick { 30 } else { 30 * 60 });
    let mut noise = Noise(world.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut before = None;
    let load = Load::start(world, RATE)?;
    let (started, mut faults) = (Instant::now(), Vec::new());
    while started.elapsed() < length {
        let name = fault(world, &mut noise)?;
        eprintln!("faults: soak: [{:>4.0} s] {name}", started.elapsed().as_secs_f32());
        faults.push(name);
        std::thread::sleep(BETWEEN + Duration::from_millis(noise.below(4_000)));
        world.relay.set_both(Rules::default())?;
        if before.is_none() && started.elapsed() > length / 2 {
            before = Some(PARTS.map(|part| taken(world.fleet.environment.pid(part))));
        }
    }
    let before = before.context("the soak has no middle")?;
    world.mend()?;
    load.wait_right(RATE, Duration::from_secs(60)).context("after the last fault")?;
    let judged = load.judge(world)?;
    std::thread::sleep(QUIET);
    let streams = world.fleet.metric("roadstead_streams")?;
    let mut leaks = Vec::new();
    for (part, before) in PARTS.into_iter().zip(before) {
        let ((files, memory), (files_before, memory_before)) = (taken(world.fleet.environment.pid(part))?, before?);
        leaks.push(format!(
            "{part:?}: {files_before} → {files} descriptors, {} → {} MB",
            memory_before >> 10,
            memory >> 10
        ));
        if files > files_before + DESCRIPTORS || memory > memory_before + KILOBYTES {
            leaks.push("which is a LEAK".to_owned());
        }
    }
    let clean = streams == 0.0 && !leaks.iter().any(|text| text.ends_with("LEAK"));
    let text = format!(
        "{} faults in {:.0} s (seed {}): {}; {streams} streams left, {}; {}",
        faults.len(),
        started.elapsed().as_secs_f32(),
        world.seed,
        counted(faults),
        leaks.join(", "),
        judged.text()
    );
    Ok(Outcome::of(judged.safe() && clean, text))
}

/// Descriptors and resident kilobytes.
fn taken(pid: u32) -> Result<(usize, u64)> {
    Ok((descriptors(pid)?, resident(pid)?))
}

/// One fault by chance; what it does to the network ends with the next.
fn fault(world: &mut World, noise: &mut Noise) -> Result<&'static str> {
    let way = if noise.below(2) == 0 { Direction::Up } else { Direction::Down };
    let (relay, environment) = (&world.relay, &mut world.fleet.environment);
    Ok(match noise.below(10) {
        0 => relay.rebind().map(|()| "rebind")?,
        1 => relay.set_both(Rules { hole: true, ..Rules::default() }).map(|()| "hole")?,
        2 => relay.set(way, Rules { hole: true, ..Rules::default() }).map(|()| "hole one way")?,
        3 => {
            relay.set_both(Rules { loss: 0.05, reorder: 0.02, duplicate: 0.02, ..Rules::default() }).map(|()| "loss")?
        }
        // Not slower than the load, which would only measure the load.
        4 => relay.set_both("delay=60ms jitter=30ms rate=100mbit".parse()?).map(|()| "slow path")?,
        5 => relay.set_both(Rules { mtu: Some(1_280), ..Rules::default() }).map(|()| "mtu")?,
        6 => {
            environment.start_again(EDGE_1)?;
            "agent killed"
        }
        7 => {
            environment.start_again(Part::Hub)?;
            environment.wait_listening()?;
            "hub killed"
        }
        8 => {
            environment.plane(0)?.restart_apiserver()?;
            "API server killed"
        }
        _ => {
            let part = if noise.below(2) == 0 { Part::Hub } else { EDGE_1 };
            signal(environment.pid(part), "STOP")?;
            std::thread::sleep(Duration::from_millis(500 + noise.below(4_000)));
            signal(environment.pid(part), "CONT")?;
            "stood still"
        }
    })
}

fn counted(mut faults: Vec<&str>) -> String {
    faults.sort_unstable();
    let groups = faults.chunk_by(|one, other| one == other);
    groups.map(|group| format!("{}× {}", group.len(), group[0])).collect::<Vec<_>>().join(", ")
}
