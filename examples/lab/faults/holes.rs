//! Links that fall silent: black holes in either direction and both, and UDP that is blocked. All four wait at the same time, each on a
//! link of its own, because each takes as long as a link may be silent.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use super::parts::client::{HubClient, answers, block_on};
use super::parts::fleet::Fleet;
use super::rows::Outcome;
use super::world::{StandIn, World};
use crate::network::relay::Relay;
use crate::network::rules::{Direction, Rules};

/// A link that carries nothing must be noticed by then.
const NOTICED: Duration = Duration::from_secs(30);
/// An agent must be back so long after its link can work again.
const BACK: Duration = Duration::from_secs(10);
/// Enough that no answer is whole before the fault.
const ENDLESS: u64 = 1 << 40;

/// What each way of silence led to: up, down, both, UDP blocked.
pub(super) type Holes = [Result<Outcome, String>; 4];

type Silence = fn(&Relay, bool) -> Result<()>;

const WAYS: [Silence; 4] = [
    |relay, on| relay.set(Direction::Up, Rules { hole: on, ..Rules::default() }),
    |relay, on| relay.set(Direction::Down, Rules { hole: on, ..Rules::default() }),
    |relay, on| relay.set_both(Rules { hole: on, ..Rules::default() }),
    |relay, on| relay.block_udp(on),
];

pub(super) fn up(world: &mut World) -> Result<Outcome> {
    found(world, 0)
}

pub(super) fn down(world: &mut World) -> Result<Outcome> {
    found(world, 1)
}

pub(super) fn both(world: &mut World) -> Result<Outcome> {
    found(world, 2)
}

pub(super) fn udp(world: &mut World) -> Result<Outcome> {
    found(world, 3)
}

fn found(world: &mut World, way: usize) -> Result<Outcome> {
    if world.holes.is_none() {
        world.holes = Some(all(world)?);
    }
    let holes = world.holes.as_ref().context("the holes were just tried")?;
    holes[way].clone().map_err(anyhow::Error::msg)
}

fn all(world: &mut World) -> Result<Holes> {
    let client = world.client()?;
    world.stand_ins(WAYS.len())?;
    let (fleet, stand_ins) = world.fleet_and_stand_ins();
    let mut results = std::thread::scope(|scope| {
        let one = |(way, stand_in)| {
            let client = client.clone();
            scope.spawn(move || silent(fleet, stand_in, &client, way).map_err(|error| format!("{error:#}")))
        };
        let running: Vec<_> = WAYS.into_iter().zip(stand_ins).map(one).collect();
        running.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("panicked".to_owned()))).collect::<Vec<_>>()
    });
    let mut next = || results.remove(0);
    Ok([next(), next(), next(), next()])
}

/// What a client saw of a request that was under way.
#[derive(Debug)]
struct Seen {
    after: Duration,
    what: String,
    right: bool,
}

fn silent(fleet: &Fleet, stand_in: &StandIn, client: &HubClient, way: Silence) -> Result<Outcome> {
    let name = &stand_in.name;
    let (hub, requests, noticed_by_agent) = std::thread::scope(|scope| -> Result<_> {
        let (tell, told) = mpsc::sync_channel(1);
        let fault = move || {
            way(&stand_in.relay, true)?;
            Ok(tell.send(Instant::now())?)
        };
        let requests = scope.spawn(move || block_on(async move { under_way(client, name, fault).await }));
        let Ok(began) = told.recv() else {
            let failed = requests.join().map_err(|_| anyhow!("the client panicked"))?;
            return Err(failed.err().unwrap_or_else(|| anyhow!("the fault never came")));
        };
        let agent = scope.spawn(move || until(began, || Ok(stand_in.process.log_tail().contains("link lost"))));
        let hub = until(began, || Ok(!fleet.says_connected(name)?))?;
        let requests = requests.join().map_err(|_| anyhow!("the client panicked"))??;
        let agent = agent.join().map_err(|_| anyhow!("the watch of the log panicked"))??;
        Ok((hub, requests, agent))
    })?;
    // UDP blocked: the agent must say so in words that help.
    let words = until(Instant::now(), || Ok(stand_in.process.log_tail().contains("is UDP allowed on the way")))?;
    way(&stand_in.relay, false)?;
    let back = answers(client, name, NOTICED)?;
    let text = format!(
        "hub noticed after {:.1} s, agent after {:.1} s, which says \"no answer from udp …: is UDP allowed on the way?\" {:.1} s later; \
         under way: {}; back {:.1} s after",
        hub.as_secs_f32(),
        noticed_by_agent.as_secs_f32(),
        words.as_secs_f32(),
        requests
            .iter()
            .map(|seen| format!("{} after {:.1} s", seen.what, seen.after.as_secs_f32()))
            .collect::<Vec<_>>()
            .join(", "),
        back.as_secs_f32(),
    );
    let right = requests.iter().all(|seen| seen.right && seen.after <= NOTICED) && back <= BACK;
    Ok(Outcome::of(right && hub <= NOTICED && noticed_by_agent <= NOTICED, text))
}

/// When it is so, at most a little more than twice the promise: a broken one is measured, too.
fn until(began: Instant, mut so: impl FnMut() -> Result<bool>) -> Result<Duration> {
    while !so()? {
        ensure!(began.elapsed() < NOTICED * 2 + Duration::from_secs(10), "not noticed in {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(began.elapsed())
}

/// A read and a change that wait for their answers, and a body that comes; then the fault; then how each ended.
async fn under_way(client: &HubClient, name: &str, fault: impl FnOnce() -> Result<()>) -> Result<[Seen; 3]> {
    let path = format!("/clusters/{name}/api/v1/namespaces/default/configmaps");
    let (mut sender, other) = (client.http2().await?, client.http2().await?);
    let mut streaming = other;
    let body = streaming.send_request(client.request(Method::GET, &format!("{path}?bytes={ENDLESS}"), "")).await?;
    ensure!(body.status() == StatusCode::OK, "{}", body.status());
    let mut body = body.into_body();
    body.frame().await.context("no first piece")??;
    let read = sender.send_request(client.request(Method::GET, &format!("{path}?hang=1"), ""));
    let change = sender.send_request(client.request(Method::POST, &format!("{path}?hang=1"), "{}"));
    tokio::pin!(read, change);
    let head_start = tokio::time::sleep(Duration::from_millis(500));
    tokio::select! {
        _ = &mut read => bail!("the read did not wait"),
        _ = &mut change => bail!("the change did not wait"),
        () = drain(&mut body) => bail!("the body ended by itself"),
        () = head_start => {}
    }
    fault()?;
    let began = Instant::now();
    let body = async {
        drain(&mut body).await;
        // `drain` ends on an error only; a clean end of an endless body would be the worst of all.
        Seen { after: began.elapsed(), what: "a body was cut".to_owned(), right: true }
    };
    let (read, change, body) = tokio::join!(answer(read, began, true), answer(change, began, false), body);
    Ok([read?, change?, body])
}

/// Reads until the body is cut; waits for ever when it ends cleanly.
async fn drain(body: &mut hyper::body::Incoming) {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return;
        }
    }
    std::future::pending().await
}

type Response = hyper::Result<http::Response<hyper::body::Incoming>>;

async fn answer(response: impl Future<Output = Response>, began: Instant, reads: bool) -> Result<Seen> {
    let response = tokio::time::timeout(NOTICED * 3, response).await.context("no answer at all")??;
    let (status, retry) = (response.status(), response.headers().contains_key("retry-after"));
    let body: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    let message = body["message"].as_str().unwrap_or_default();
    let right = message.contains("link between hub and agent") && retry == reads && status.is_server_error();
    let what = format!(
        "a {} got {}{}{}",
        if reads { "read" } else { "change" },
        status.as_u16(),
        if retry { " with Retry-After" } else { "" },
        if right { String::new() } else { format!(" ({message})") }
    );
    Ok(Seen { after: began.elapsed(), what, right })
}
