//! The path changes under streams that are in their middle: a NAT forgets, the MTU shrinks. No stream may notice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::parts::client::{HubClient, block_on};
use super::parts::pattern::{Check, Pattern};
use super::rows::Outcome;
use super::world::World;
use crate::network::relay::Relay;
use crate::network::rules::Rules;

/// A path on which the downloads below take some seconds.
const ROUND_TRIP: Duration = Duration::from_millis(20);
const MEGABITS: u64 = 80;
/// Two of them share the path.
const DOWNLOAD: u64 = 25_000_000;
/// Pieces of an upload, and the time between them.
const PIECES: usize = 50;
const PIECE: usize = 10_000;
const BETWEEN: Duration = Duration::from_millis(100);
/// When the path changes, again and again.
const CHANGES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3)];

pub(super) fn rebind(world: &mut World) -> Result<Outcome> {
    changing(world, |relay, _| relay.rebind())
}

pub(super) fn mtu(world: &mut World) -> Result<Outcome> {
    changing(world, |relay, time| {
        // Once is enough: what was found before is too large from then on.
        let rules = Rules { mtu: Some(1_280), ..Rules::path(ROUND_TRIP, MEGABITS, 0.0) };
        if time == 0 { relay.set_both(rules) } else { Ok(()) }
    })
}

fn changing(world: &mut World, change: impl Fn(&Relay, usize) -> Result<()> + Sync) -> Result<Outcome> {
    let client = world.client()?;
    let stand_in = &world.stand_ins(1)?[0];
    stand_in.relay.set_both(Rules::path(ROUND_TRIP, MEGABITS, 0.0))?;
    // The path's MTU is found while nothing else is to be sent.
    std::thread::sleep(Duration::from_secs(1));
    let before = stand_in.relay.counts()?;
    let lost = |log: String| log.matches("link lost").count();
    let lost_before = lost(stand_in.log()?);
    let base = format!("/clusters/{}/api/v1/namespaces/default/configmaps", stand_in.name);
    let (streams, took) = std::thread::scope(|scope| -> Result<_> {
        let streams = scope.spawn(|| block_on(streams(&client, &base)));
        let started = Instant::now();
        for (time, at) in CHANGES.into_iter().enumerate() {
            std::thread::sleep(at.saturating_sub(started.elapsed()));
            change(&stand_in.relay, time)?;
        }
        let streams = streams.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        Ok((streams, started.elapsed()))
    })?;
    ensure!(took > CHANGES[2], "over in {took:?}, before the path had changed");
    let after = stand_in.relay.counts()?;
    let vanished = after.0.too_large - before.0.too_large + after.1.too_large - before.1.too_large;
    let lost_link = lost(stand_in.log()?) > lost_before;
    let text = format!(
        "2 downloads of {} MB and an upload of {} kB, every byte right, in {:.1} s ({} datagrams were too large){}",
        DOWNLOAD / 1_000_000,
        PIECES * PIECE / 1_000,
        took.as_secs_f32(),
        vanished,
        if lost_link { "; but a link was lost" } else { "" }
    );
    Ok(Outcome::of(streams && !lost_link, text))
}

/// Everything at once; `true` when every byte was right.
async fn streams(client: &HubClient, base: &str) -> Result<bool> {
    let download = || async {
        let mut sender = client.http2().await?;
        let request = client.request(Method::GET, &format!("{base}?bytes={DOWNLOAD}"), "");
        let response = sender.send_request(request).await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        let (mut body, mut check) = (response.into_body(), Check::default());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.context("a download was cut")?.into_data() {
                check.take(&data);
            }
        }
        Ok::<_, anyhow::Error>(check.right() && check.bytes() == DOWNLOAD)
    };
    let (one, two, up) = tokio::try_join!(download(), download(), upload(client, base, PIECES, PIECE, BETWEEN))?;
    Ok(one && two && up)
}

/// A body that comes in pieces, slowly, over HTTP/1.1; `true` when the API server got every byte as it was.
pub(super) async fn upload(
    client: &HubClient,
    base: &str,
    pieces: usize,
    piece: usize,
    between: Duration,
) -> Result<bool> {
    let mut io = client.connect("http/1.1").await?;
    let head = client.raw_head("POST", &format!("{base}?upload=1"));
    io.write_all(
        format!("{head}content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    )
    .await?;
    for number in 0..pieces {
        io.write_all(format!("{piece:x}\r\n").as_bytes()).await?;
        io.write_all(&Pattern::slice(number * piece, piece)).await?;
        io.write_all(b"\r\n").await?;
        io.flush().await?;
        tokio::time::sleep(between).await;
    }
    io.write_all(b"0\r\n\r\n").await?;
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.context("no answer to the upload")?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
    let body = answer.find('{').and_then(|at| answer[at..].rfind('}').map(|end| &answer[at..=at + end]));
    let said: Value = serde_json::from_str(body.context("an answer without a body")?)?;
    Ok(said["right"] == true && said["bytes"] == pieces * piece)
}
