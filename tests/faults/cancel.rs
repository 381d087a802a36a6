//! Clients that go away: the API server learns of it, and nothing stays behind.

#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use crate::client::{HubClient, block_on};
use crate::cluster::signal;
use crate::fleet::{EDGE_2, Fleet, Noise, Part, Running, descriptors, figure, resident, unix_ms, wait_until};
use crate::turn::fleet;

/// Interrupts one kubectl and tells how long after it the API server saw the end.
fn interrupted(fleet: &mut Fleet, marker: &str, env: &[(&str, &str)], args: &[&str]) -> Result<Duration> {
    let mut command = fleet.kubectl("edge-1", args);
    command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Running::start(&mut command)?;
    let stage = |fleet: &mut Fleet, wanted: &str| -> Result<Option<i128>> {
        let events = fleet.audited(marker)?;
        Ok(events.into_iter().find(|(stage, _)| stage == wanted).map(|(_, at)| at))
    };
    wait_until(&format!("{marker} has begun"), Duration::from_secs(20), || {
        Ok(stage(fleet, "ResponseStarted")?.is_some())
    })?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(child.0.try_wait()?.is_none() && stage(fleet, "ResponseComplete")?.is_none(), "{marker} ended by itself");
    let at = unix_ms();
    signal(child.0.id(), "INT")?;
    wait_until(&format!("{marker} has ended at the API server"), Duration::from_secs(20), || {
        Ok(stage(fleet, "ResponseComplete")?.is_some())
    })?;
    child.ended(Duration::from_secs(5))?;
    let end = stage(fleet, "ResponseComplete")?.context("no end")?;
    Ok(Duration::from_millis(u64::try_from(end - at).unwrap_or(0)))
}

#[test]
fn an_interrupt_reaches_the_api_server_within_a_second() -> Result<()> {
    let mut fleet = fleet();
    let websocket = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true")];
    let spdy = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")];
    let h1 = [("DISABLE_HTTP2", "1")];
    let exec = |marker| vec!["exec", "-n", "demo", "shell", "--", "sleep", marker];
    let logs = |bytes| vec!["logs", "-n", "demo", "shell", "-c", "log", "-f", "--limit-bytes", bytes];
    let watch = |name| vec!["get", "configmaps", "-n", "demo", "-w", "--field-selector", name];
    let cases: [(&str, &str, &[_], Vec<&str>); 6] = [
        ("exec over websocket", "command=100001", &websocket, exec("100001")),
        ("exec over SPDY", "command=100002", &spdy, exec("100002")),
        ("logs -f over HTTP/2", "limitBytes=900000003", &[], logs("900000003")),
        ("logs -f over HTTP/1.1", "limitBytes=900000004", &h1, logs("900000004")),
        ("get -w over HTTP/2", "%3Dmark5", &[], watch("metadata.name!=mark5")),
        ("get -w over HTTP/1.1", "%3Dmark6", &h1, watch("metadata.name!=mark6")),
    ];
    for (what, marker, env, args) in cases {
        let took = interrupted(&mut fleet, marker, env, &args)?;
        figure(&format!("Ctrl-C on {what}: the API server sees the end {} ms later", took.as_millis()));
        ensure!(took <= Duration::from_secs(1), "{what}: {took:?}");
    }
    Ok(())
}

/// What may grow when something leaks.
#[derive(Clone, Copy, Debug)]
struct Held {
    hub: (usize, u64),
    agent: (usize, u64),
}

impl Held {
    fn now(fleet: &Fleet, agent: Part) -> Result<Self> {
        let of = |part| -> Result<(usize, u64)> {
            let pid = fleet.environment.pid(part);
            Ok((descriptors(pid)?, resident(pid)?))
        };
        Ok(Self { hub: of(Part::Hub)?, agent: of(agent)? })
    }
}

/// Requests that are begun and cancelled at some moment, so many on each of several connections. How many were answered whole
/// before that, and how many had their answer begun.
async fn cancelled(client: &HubClient, connections: u64, each: u64) -> Result<(u64, u64)> {
    let mut workers = JoinSet::new();
    for number in 0..connections {
        let client = client.clone();
        workers.spawn(async move {
            let mut noise = Noise(0x9E37_79B9_7F4A_7C15 ^ (number + 1));
            let (mut answered, mut begun) = (0, 0);
            let h2 = number % 2 == 0;
            let mut shared = None;
            for turn in 0..each {
                let path = match noise.below(4) {
                    0 => "/clusters/edge-2/api/v1/namespaces/default/events?watch=1",
                    1 => "/clusters/edge-2/api/v1/namespaces?watch=1",
                    2 => "/clusters/edge-2/api/v1/namespaces/bulk/configmaps?limit=2",
                    _ => "/clusters/edge-2/api/v1/namespaces",
                };
                let patience = Duration::from_micros(noise.below(60_000));
                let ask = async {
                    let response = if h2 {
                        if shared.is_none() || turn % 500 == 0 {
                            shared = Some(client.http2().await?);
                        }
                        let sender = shared.as_mut().context("just made")?;
                        sender.ready().await?;
                        sender.send_request(client.request(Method::GET, path, "")).await?
                    } else {
                        client.http1().await?.send_request(client.request_h1(Method::GET, path, "")).await?
                    };
                    ensure!(response.status() == 200, "{}", response.status());
                    begun += 1;
                    response.into_body().collect().await.map(drop).map_err(Into::into)
                };
                match tokio::time::timeout(patience, ask).await {
                    Ok(Ok(())) => answered += 1,
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {}
                }
            }
            Ok((answered, begun))
        });
    }
    let mut sum = (0, 0);
    while let Some(worker) = workers.join_next().await {
        let (answered, begun) = worker??;
        sum = (sum.0 + answered, sum.1 + begun);
    }
    Ok(sum)
}

#[test]
fn ten_thousand_cancelled_requests_leave_nothing_behind() -> Result<()> {
    let mut fleet = fleet();
    fleet.with_bulk()?;
    let client = HubClient::new(&fleet)?;
    // Warm: pools are filled and memory that is kept for reuse is there.
    block_on(cancelled(&client, 12, 80))?;
    let settle = |fleet: &Fleet| {
        wait_until("no stream is left", Duration::from_secs(10), || Ok(fleet.metric("roadstead_streams")? == 0.0))
    };
    settle(&fleet)?;
    std::thread::sleep(Duration::from_secs(1));
    let before = Held::now(&fleet, EDGE_2)?;
    let started = Instant::now();
    let mut halves = Vec::new();
    let (mut answered, mut begun) = (0, 0);
    for _ in 0..2 {
        let sum = block_on(cancelled(&client, 10, 500))?;
        (answered, begun) = (answered + sum.0, begun + sum.1);
        settle(&fleet)?;
        halves.push(Held::now(&fleet, EDGE_2)?);
    }
    let took = started.elapsed();
    let pool = 64;
    wait_until("descriptors are back", Duration::from_secs(10), || {
        let now = Held::now(&fleet, EDGE_2)?;
        Ok(now.hub.0 <= before.hub.0 && now.agent.0 <= before.agent.0 + pool)
    })
    .with_context(|| format!("{before:?}, then {:?}", Held::now(&fleet, EDGE_2)))?;
    let after = Held::now(&fleet, EDGE_2)?;
    figure(&format!(
        "10,000 cancelled requests in {took:.1?} ({begun} when their answer had begun, {answered} too late): before {before:?}, \
         after half {:?}, after all {after:?} (descriptors, kB)",
        halves[0]
    ));
    // What grows in the first half is kept for reuse; what leaks grows in both.
    let grown = |before: u64, after: u64| after.saturating_sub(before);
    ensure!(grown(halves[0].hub.1, after.hub.1) < 8 << 10 && grown(halves[0].agent.1, after.agent.1) < 8 << 10);
    ensure!(grown(before.hub.1, after.hub.1) < 30 << 10 && grown(before.agent.1, after.agent.1) < 30 << 10);
    Ok(())
}
