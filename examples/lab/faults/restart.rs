//! Hubs that come back, with what they kept and without it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::parts::client::answers;
use super::parts::cluster::{Process, bound_to_us};
use super::parts::fleet::{EDGE_1, Part, wait_until};
use super::rows::Outcome;
use super::world::World;

/// The old link falls silent first: a stranger cannot say that it does not know it.
const REFUSED_WITHIN: Duration = Duration::from_secs(25);
/// The word for it in an agent's log.
const REFUSAL: &str = "NotPinned";

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
    let mut newcomer_runs = Process::spawn("agent-newcomer", bound_to_us(&newcomer), &world.fleet.file(""))?;
    let said = |log: &str| log.lines().rfind(|line| line.contains(REFUSAL)).map(plain);
    let refused = wait_until("both agents say that it is a stranger", REFUSED_WITHIN, || {
        let (old, new) = (world.fleet.environment.log_tail(EDGE_1), newcomer_runs.log_tail());
        Ok(said(&old).is_some() && said(&new).is_some())
    })?;
    let admitted = world.fleet.metric_of(&dir, "roadstead_links")?;
    newcomer_runs.check().context("the newcomer gave up")?;
    let old_says = said(&world.fleet.environment.log_tail(EDGE_1)).unwrap_or_default();
    let new_says = said(&newcomer_runs.log_tail()).unwrap_or_default();
    drop(newcomer_runs);
    world.fleet.environment.start_again(Part::Hub)?;
    world.fleet.environment.wait_listening()?;
    let back = answers(&client, "edge-1", Duration::from_secs(90))?;
    let text = format!(
        "the stranger has {admitted} links; after {:.1} s edge-1's agent says: {old_says}; one that is to join says: {new_says}; edge-1 answers {:.1} s after its own hub is back",
        refused.as_secs_f32(),
        back.as_secs_f32()
    );
    let held = admitted == 0.0 && back < Duration::from_secs(5);
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
