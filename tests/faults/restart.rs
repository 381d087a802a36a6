//! Hub and agents that end and come back, and peers that vanish; and what both take at rest.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::{HubClient, answers};
use crate::fleet::{EDGE_1, EDGE_2, Fleet, Part, figure, wait_until};
use crate::turn::{fleet, optimised};

#[test]
fn a_restarted_agent_is_connected_within_two_seconds() -> Result<()> {
    let mut fleet = fleet();
    let client = HubClient::new(&fleet)?;
    for _ in 0..3 {
        fleet.environment.signal(EDGE_2, "KILL")?;
        let started = Instant::now();
        fleet.environment.start_again(EDGE_2)?;
        let took = started.elapsed() + answers(&client, "edge-2", Duration::from_secs(10))?;
        figure(&format!("agent killed and started: answers {took:.2?} after the start"));
        ensure!(took < Duration::from_secs(2), "{took:?}");
    }
    Ok(())
}

/// Both agents, from the moment that the hub listens.
fn back(fleet: &mut Fleet, how: &str) -> Result<()> {
    fleet.environment.wait_listening()?;
    let client = HubClient::new(fleet)?;
    let listening = Instant::now();
    figure(&format!("hub {how}: listens at {}", time::OffsetDateTime::now_utc()));
    for cluster in ["edge-1", "edge-2"] {
        answers(&client, cluster, Duration::from_secs(20))?;
        let took = listening.elapsed();
        figure(&format!("hub {how}: {cluster} answers {took:.2?} after the hub listens"));
        let log = |part| fleet.environment.log_tail(part);
        ensure!(took < Duration::from_secs(5), "{took:?}: {} {}", log(EDGE_1), log(EDGE_2));
    }
    Ok(())
}

#[test]
fn agents_are_back_within_five_seconds_of_a_restarted_hub() -> Result<()> {
    let mut fleet = fleet();
    fleet.environment.start_again(Part::Hub)?;
    back(&mut fleet, "killed and started")?;
    let started = Instant::now();
    fleet.environment.ask_to_end(Part::Hub, Duration::from_secs(30));
    figure(&format!("hub told to stop, nothing under way: ended after {:.2?}", started.elapsed()));
    fleet.environment.start_again(Part::Hub)?;
    back(&mut fleet, "stopped and started at once")?;
    fleet.environment.signal(Part::Hub, "KILL")?;
    // Long enough that agents have noticed and wait longer and longer.
    std::thread::sleep(Duration::from_secs(12));
    fleet.environment.start_again(Part::Hub)?;
    back(&mut fleet, "away for 12 s")
}

#[test]
fn a_vanished_peer_is_noticed_within_thirty_seconds() -> Result<()> {
    let fleet = fleet();
    const WITHIN: Duration = Duration::from_secs(30);
    fleet.environment.signal(EDGE_2, "STOP")?;
    let hub = wait_until("the hub notices", WITHIN, || Ok(!fleet.says_connected("edge-2")?))?;
    figure(&format!("agent stopped in its tracks (SIGSTOP): the hub says so after {hub:.1?}"));
    fleet.environment.signal(EDGE_2, "CONT")?;
    let lost = || fleet.environment.log_tail(EDGE_1).matches("link lost").count();
    let before = lost();
    fleet.environment.signal(Part::Hub, "STOP")?;
    let agent = wait_until("the agent notices", WITHIN, || Ok(lost() > before))?;
    figure(&format!("hub stopped in its tracks (SIGSTOP): the agent says so after {agent:.1?}"));
    fleet.environment.signal(Part::Hub, "CONT")?;
    answers(&HubClient::new(&fleet)?, "edge-1", Duration::from_secs(10)).map(drop)
}

#[test]
fn hub_and_agents_are_small_at_rest() -> Result<()> {
    let fleet = fleet();
    let [hub, one, two] = fleet.at_rest.map(|kilobytes| kilobytes as f64 / 1024.0);
    figure(&format!("at rest: hub {hub:.1} MB, agents {one:.1} and {two:.1} MB resident"));
    let debug = cfg!(debug_assertions) && optimised().is_none();
    ensure!(debug || hub < 40.0 && one.max(two) < 25.0, "hub {hub:.1} MB, agents {one:.1} and {two:.1} MB");
    Ok(())
}
