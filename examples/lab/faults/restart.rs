//! Hubs that come back, with what they kept and without it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::parts::cluster::{Process, bound_to_us};
use super::parts::fleet::{EDGE_1, Part, wait_until};
use super::rows::Outcome;
use super::world::{World, answers};

/// How long a stranger stands at the hub's address.
const STRANGER: Duration = Duration::from_secs(6);

pub(super) fn hub(world: &mut World) -> Result<Outcome> {
    let client = world.client()?;
    world.fleet.environment.ask_to_end(Part::Hub, Duration::from_secs(30));
    world.fleet.environment.start_again(Part::Hub)?;
    world.fleet.environment.wait_listening()?;
    let back = answers(&client, "edge-1", Duration::from_secs(40))?;
    let text = format!("stopped and started: edge-1 answers {:.1} s after the hub listens", back.as_secs_f32());
    Ok(Outcome::of(back < Duration::from_secs(5), text))
}

/// A hub without the old one's data is a stranger to its agents, and to one that is still to join.
pub(super) fn stranger(world: &mut World) -> Result<Outcome> {
    let client = world.client()?;
    let (_relay, newcomer) = world.announce("newcomer", &world.origin)?;
    let dir = world.fleet.file("stranger");
    world.fleet.environment.other_hub(&dir, &[])?;
    wait_until("the stranger listens", Duration::from_secs(20), || Ok(dir.join("admin.yaml").exists()))?;
    let began = Instant::now();
    let command = bound_to_us(&newcomer);
    let mut newcomer_runs = Process::spawn("agent-newcomer", command, &world.fleet.file(""))?;
    std::thread::sleep(STRANGER);
    let admitted = world.fleet.metric_of(&dir, "roadstead_links")?;
    let (old, new) = (world.fleet.environment.log_tail(EDGE_1), newcomer_runs.log_tail());
    newcomer_runs.check().context("the newcomer gave up")?;
    let last = |log: &str| log.lines().rfind(|line| line.contains("certificate")).map(plain);
    let (old_says, new_says) = (last(&old), last(&new));
    drop(newcomer_runs);
    world.fleet.environment.start_again(Part::Hub)?;
    world.fleet.environment.wait_listening()?;
    let back = answers(&client, "edge-1", Duration::from_secs(90))?;
    let text = format!(
        "{:.0} s beside a stranger: {admitted} links; edge-1's agent says: {}; one that is to join says: {}; edge-1 answers {:.1} s after its own hub is back",
        began.elapsed().as_secs_f32() - back.as_secs_f32(),
        old_says.as_deref().unwrap_or("nothing about a certificate"),
        new_says.as_deref().unwrap_or("nothing about a certificate"),
        back.as_secs_f32()
    );
    let held = admitted == 0.0 && old_says.is_some() && new_says.is_some() && back < Duration::from_secs(5);
    Ok(Outcome::of(held, text))
}

/// A log line from its message on, without colours.
pub(super) fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            text.push(c);
        }
    }
    text.split_once("WARN")
        .or_else(|| text.split_once("ERROR"))
        .map_or(text.clone(), |(_, rest)| rest.trim().to_owned())
}
