//! Both CAs are replaced under requests and streams with one agent off: it is named, and nothing fails; there is a way back from each phase.
//! [`super::kills`] has what becomes of it when the hub is killed.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{Method, StatusCode};
use roadstead::hub::api_types::CaStatus;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::site::{LOOK, PATIENCE, Site, World};
use super::streams::{Ends, Streams};
use super::traffic::Traffic;
use super::{Arguments, Found, kills};

/// How long a rotation is asked to wait for an agent that is off.
const WAITS: &str = "3s";

pub(super) async fn run(world: &mut World, arguments: &Arguments) -> Result<Vec<Found>> {
    let mut site = world.site("rotation", usize::try_from(arguments.agents)?, &[]).await?;
    let mut there: Vec<String> = site.agents.iter().map(|agent| agent.name.clone()).collect();
    let away = there.pop().context("no agents")?;
    let traffic = Traffic::start(site.door()?, &there, arguments.rate);
    let streams = Streams::start(&site, &there, &Ends::default());
    streams.begun(there.len()).await?;
    let stay = Duration::from_secs(if arguments.quick { 1 } else { 10 });
    let mut found = forward(&mut site, &away, stay).await?;
    for steps in 0..3 {
        found.push(back(&mut site, &away, steps, stay).await?);
    }
    let (seen, tally) = (streams.stop().await?, traffic.stop().await?);
    let requests = format!("{} a second through the rotation and back from each phase: none fails", arguments.rate);
    found.push(Found::of("requests", requests, tally.failures() == 0 && tally.right > 0, tally.text()));
    let promise = "exec, logs -f and watch of each cluster go through it: none ends".to_owned();
    found.push(Found::of("streams", promise, seen.broken() + seen.ended() == 0, seen.text()));
    site.check()?;
    found.extend(kills::run(&mut site, arguments).await?);
    Ok(found)
}

/// A whole rotation: with one off as far as it goes, and to the end once it is back; it goes again in the middle, and the hub that it comes
/// back to shows another certificate.
async fn forward(site: &mut Site, away: &str, stay: Duration) -> Result<Vec<Found>> {
    let first = site.ca().await?;
    site.last()?.stop();
    let ran = site.run(&["ca", "rotate", "--wait", "--timeout", WAITS, "--output", "json"]).await?;
    let report: Value = serde_json::from_str(&ran.out).with_context(|| format!("ca rotate: {ran:?}"))?;
    let named = names(&report["laggards"]);
    let held = ran.code == 7 && report["status"]["phase"] == "init" && named == [away];
    let text = format!(
        "`ca rotate --wait --timeout {WAITS}` ends with {}, in {}; named: {named:?}",
        ran.code, report["status"]["phase"]
    );
    let laggard =
        Found::of("laggard", "a rotation with an agent that is off stops, and names it and no other", held, text);

    let early = returns(site).await?;
    let (mut from, mut steps, mut late) = (Instant::now(), Vec::new(), Duration::ZERO);
    for phase in ["update_agents", "update_hub", "standby"] {
        let status = goes_on(site).await?;
        ensure!(status.phase == phase, "{} instead of {phase}", status.phase);
        steps.push(format!("{phase} after {}", seconds(from.elapsed())));
        match phase {
            "update_agents" => site.last()?.kill(),
            "update_hub" => {
                sleep(stay).await;
                let behind: Vec<_> = site.ca().await?.laggards.into_iter().map(|laggard| laggard.name).collect();
                ensure!(behind == [away], "in update_hub {behind:?} are behind");
                late = returns(site).await?;
            }
            _ => {}
        }
        sleep(stay).await;
        from = Instant::now();
    }
    let text = format!("nobody is behind {} after its start in init, {} in update_hub", seconds(early), seconds(late));
    let recovers = Found::of("laggard returns", "it recovers by itself when it returns", true, text);
    let last = told(site).await?;
    steps.push(format!("everybody told {} later", seconds(from.elapsed())));
    let pins = |status: &CaStatus| status.authorities.iter().map(|one| one.pin.clone()).collect::<Vec<_>>();
    let replaced = pins(&last).iter().all(|pin| !pins(&first).contains(pin));
    let promise =
        format!("both CAs are replaced; each phase as soon as every agent is ready, and {} in it", seconds(stay));
    Ok(vec![laggard, recovers, Found::of("rotation", promise, replaced, steps.join(", "))])
}

/// The agent that was off is started; how long until nobody is behind.
async fn returns(site: &mut Site) -> Result<Duration> {
    site.last()?.start()?;
    let started = Instant::now();
    told(site).await?;
    Ok(started.elapsed())
}

/// From the phase that so many steps after the first lead to, with an agent killed on the way.
async fn back(site: &mut Site, away: &str, steps: usize, stay: Duration) -> Result<Found> {
    let first = site.ca().await?;
    step(site, "prepare").await?;
    for _ in 0..steps {
        goes_on(site).await?;
    }
    let phase = site.ca().await?.phase;
    sleep(stay).await;
    site.last()?.kill();
    let rolled = step(site, "rollback").await?;
    let mut text = format!("phase {}", rolled.phase);
    let behind: Vec<_> = rolled.laggards.iter().map(|laggard| laggard.name.clone()).collect();
    let mut held = rolled.phase == "rollback";
    if behind.iter().any(|name| name == away) {
        let (status, refused) = site.api(Method::POST, "/api/v1/ca/activate", &json!({})).await?;
        held &= status == StatusCode::CONFLICT && refused.to_string().contains(away);
        text += ", the agent that was killed is named";
    }
    site.last()?.start()?;
    let started = Instant::now();
    let ended = goes_on(site).await?;
    told(site).await?;
    site.answers(away).await?;
    held &= ended.phase == "standby" && ended.hub_ca == first.hub_ca;
    text += &format!("; ended, and all are told, {} after it came back", seconds(started.elapsed()));
    Ok(Found::of("rollback", format!("from {phase}, with an agent killed in it: the old CAs are back"), held, text))
}

fn names(laggards: &Value) -> Vec<&str> {
    laggards.as_array().into_iter().flatten().filter_map(|laggard| laggard["name"].as_str()).collect()
}

/// Takes a step that nothing may hold up.
pub(super) async fn step(site: &Site, step: &str) -> Result<CaStatus> {
    let (status, body) = site.api(Method::POST, &format!("/api/v1/ca/{step}"), &json!({})).await?;
    ensure!(status == StatusCode::OK, "{step}: {status} {body}");
    Ok(serde_json::from_value(body)?)
}

/// Into the next phase, as soon as the gate opens.
pub(super) async fn goes_on(site: &Site) -> Result<CaStatus> {
    let started = Instant::now();
    loop {
        let (status, body) = site.api(Method::POST, "/api/v1/ca/activate", &json!({})).await?;
        match status {
            StatusCode::OK => return Ok(serde_json::from_value(body)?),
            StatusCode::CONFLICT if started.elapsed() < PATIENCE => sleep(LOOK).await,
            _ => bail!("activate, after {:?}: {status} {body}", started.elapsed()),
        }
    }
}

/// The status once nobody is behind.
pub(super) async fn told(site: &Site) -> Result<CaStatus> {
    let started = Instant::now();
    loop {
        let status = site.ca().await?;
        if status.laggards.is_empty() {
            return Ok(status);
        }
        ensure!(started.elapsed() < PATIENCE, "these stay behind: {:?}", status.laggards);
        sleep(LOOK).await;
    }
}

impl Site {
    /// The agent that is switched off and on.
    fn last(&mut self) -> Result<&mut super::site::Agent> {
        self.agents.last_mut().context("no agents")
    }
}

/// How long something took, for tables.
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f32())
}
