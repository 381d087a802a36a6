//! Clocks that are wrong: an agent whose clock is a month ahead or behind must say so in words, never crash, never come in.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::parts::cluster::{Process, bound_to_us};
use super::parts::fleet::wait_until;
use super::restart::plain;
use super::rows::Outcome;
use super::world::World;

/// Where Debian and others keep it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
const SAID_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn agent(world: &mut World) -> Result<Outcome> {
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        return Ok(Outcome::skipped("libfaketime is not installed (Debian package: faketime)"));
    };
    let mut text = Vec::new();
    let mut held = true;
    for (name, offset, words) in [("ahead", "+40d", "expired"), ("behind", "-40d", "not valid yet")] {
        let cluster = format!("clock-{name}");
        let (_relay, mut command) = world.announce(&cluster, &world.origin)?;
        // Only what the wall shows: timers go by another clock.
        command.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let mut agent = Process::spawn(&format!("agent-{cluster}"), bound_to_us(&command), &world.fleet.file(""))?;
        let said = |log: &str| log.lines().rfind(|line| line.contains("ertificate")).map(plain);
        wait_until("it says something about a certificate", SAID_WITHIN, || Ok(said(&agent.log_tail()).is_some()))
            .with_context(|| agent.log_tail())?;
        let line = said(&agent.log_tail()).unwrap_or_default();
        let (alive, admitted) = (agent.check().is_ok(), world.fleet.says_connected(&cluster)?);
        held &= alive && !admitted && line.contains(words);
        text.push(format!("{offset}: {line}{}", if alive { "" } else { " (and ended)" }));
    }
    Ok(Outcome::of(held, text.join("; ")))
}
