//! The hub is killed (SIGKILL) around each step of a rotation: while the step is on its way, as soon as it was answered, and while agents follow
//! it. It must come back with the step taken or not taken, never between, and go on to the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::rotation::{seconds, step, told};
use super::site::Site;
use super::traffic::Traffic;
use super::{Arguments, Found};

/// Every way through the machine: to the end, and back from each phase.
const WAYS: [&[&str]; 4] = [
    &["prepare", "activate", "activate", "activate"],
    &["prepare", "rollback", "activate"],
    &["prepare", "activate", "rollback", "activate"],
    &["prepare", "activate", "activate", "rollback", "activate"],
];

/// When the hub is killed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    /// So long after the step was sent, whether it was answered or not.
    During(Duration),
    /// As soon as it was answered.
    Answered,
    /// So long after it was answered.
    Followed(Duration),
}

/// What became of the kills around steps of one name.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    /// Of those in the middle of a step: it had not been taken.
    before: u32,
    slowest: Duration,
    /// Each, and what it came to.
    points: Vec<String>,
    wrong: Vec<String>,
}

/// Everything; and at the end requests, of which none may fail.
pub(super) async fn run(site: &mut Site, arguments: &Arguments) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let names: Vec<String> = site.agents.iter().map(|agent| agent.name.clone()).collect();
    let traffic = Traffic::start(site.door()?, &names, arguments.rate);
    let mut number = 0;
    for way in WAYS {
        let mut tally = Tally::default();
        let started = Instant::now();
        for _ in 0..if arguments.quick { 1 } else { 3 } {
            for name in way {
                number += 1;
                around(site, name, when(number), &mut tally).await.with_context(|| format!("{name} of {way:?}"))?;
            }
            // The next way begins with another moment for its first step.
            number += 1;
            let status = told(site).await?;
            ensure!(status.phase == "standby", "{way:?} ends in {}", status.phase);
        }
        let Tally { kills, before, slowest, points, wrong } = tally;
        let text = format!(
            "{kills} kills, {before} of them before the step was taken; all agents answer {} after the hub listens, at most; {} in all ({}){}",
            seconds(slowest),
            seconds(started.elapsed()),
            points.join(", "),
            if wrong.is_empty() { String::new() } else { format!("; WRONG: {}", wrong.join("; ")) }
        );
        let promise = format!("hub killed around each step of {}: it goes on from before or after it", way.join(", "));
        found.push(Found::of("kill -9", promise, wrong.is_empty(), text));
    }
    let meanwhile = traffic.stop().await?;
    let lies = meanwhile.failed.keys().filter(|reason| reason.contains("wrong answer")).count();
    let traffic = Traffic::start(site.door()?, &names, arguments.rate);
    sleep(Duration::from_secs(5)).await;
    let after = traffic.stop().await?;
    let text = format!(
        "afterwards: {}; while it was killed: {} right, {} failed",
        after.text(),
        meanwhile.right,
        meanwhile.failures()
    );
    let promise = "nothing fails once the hub is left alone, and no answer was wrong meanwhile";
    found.push(Found::of("after the kills", promise, lies == 0 && after.failures() == 0 && after.right > 0, text));
    site.check()?;
    Ok(found)
}

/// Another moment for each kill; those in the middle are milliseconds apart, as a step takes a few.
fn when(number: u32) -> When {
    match number % 3 {
        0 => When::Answered,
        1 => When::During(Duration::from_micros(u64::from(number * 1_700 % 12_000))),
        _ => When::Followed(Duration::from_millis(u64::from(number * 90 % 700))),
    }
}

/// One step and one kill; then the step again, where it was not taken.
async fn around(site: &mut Site, name: &str, when: When, tally: &mut Tally) -> Result<()> {
    // A gate that is shut would only show that it is.
    ready(site, name).await?;
    let before = site.ca().await?;
    match when {
        When::During(after) => {
            let path = format!("/api/v1/ca/{name}");
            let body = json!({});
            let asked = site.api(Method::POST, &path, &body);
            // Dropped in the middle, answered or broken: what the hub came to, it says itself.
            let _ = tokio::time::timeout(after, asked).await;
        }
        When::Answered => drop(step(site, name).await?),
        When::Followed(after) => {
            step(site, name).await?;
            sleep(after).await;
        }
    }
    let restart = site.hub.restart(None).await?;
    let status = site.ca().await?;
    tally.kills += 1;
    let now = &status.phase;
    tally.points.push(match when {
        When::During(after) => format!("{name} sent {:.1} ms before: {now}", after.as_secs_f64() * 1e3),
        When::Answered => format!("{name} answered: {now}"),
        When::Followed(after) => format!("{name} answered {} ms before: {now}", after.as_millis()),
    });
    let taken = status.revision == before.revision + 1;
    let untouched = status.revision == before.revision && status.phase == before.phase;
    let whole = taken || (untouched && matches!(when, When::During(_)));
    if !whole {
        tally.wrong.push(format!(
            "{name}, {when:?}: from {} {} to {} {}",
            before.phase, before.revision, status.phase, status.revision
        ));
    }
    for number in 0..site.agents.len() {
        let agent = site.agents[number].name.clone();
        site.answers(&agent).await?;
    }
    tally.slowest = tally.slowest.max(restart.listening.elapsed());
    if !taken {
        tally.before += 1;
        ready(site, name).await?;
        step(site, name).await?;
    }
    Ok(())
}

/// Waits until the gate of a step is open: agents follow what was in force before the kill.
async fn ready(site: &Site, name: &str) -> Result<()> {
    if name == "activate" || name == "prepare" {
        told(site).await?;
    }
    Ok(())
}
