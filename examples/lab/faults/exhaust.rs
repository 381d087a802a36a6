//! What runs out: room on the hub's disk, file descriptors in hub and agent. What runs goes on; what cannot be done is refused.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::parts::client::{HubClient, answers, block_on};
use super::parts::cluster::Process;
use super::parts::fleet::{EDGE_1, Part, descriptors, wait_until};
use super::rows::Outcome;
use super::world::World;

/// Room on the small disk beside what the hub has already, in bytes.
const SPARE: u64 = 1 << 20;
/// Changes until one must have been refused.
const CHANGES: usize = 400;

/// A file system of a few megabytes that only the processes of one mount namespace see; it goes with the last of them.
struct SmallDisk {
    holder: Process,
    dir: PathBuf,
}

impl SmallDisk {
    /// With what `from` holds, and a little room.
    fn with_copy_of(from: &Path, world: &World) -> Result<Self> {
        let used: u64 =
            fs::read_dir(from)?.filter_map(|entry| entry.ok()?.metadata().ok()).map(|data| data.len()).sum();
        let dir = world.fleet.file("small");
        fs::create_dir_all(&dir)?;
        let size = format!("size={},mode=0700", used + SPARE);
        let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && cp -a \"$3\"/. \"$2\"/ && touch \"$2\"/copied && exec sleep infinity";
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", &size]).arg(&dir).arg(from);
        let mut this = Self { holder: Process::spawn("small-disk", holder, &world.fleet.file(""))?, dir };
        let copied = this.file("copied");
        wait_until("the small disk is there", Duration::from_secs(5), || {
            this.holder.check()?;
            Ok(copied.exists())
        })?;
        Ok(this)
    }

    /// A file on it, as we can reach it.
    fn file(&self, name: &str) -> PathBuf {
        let inside = self.dir.strip_prefix("/").unwrap_or(&self.dir);
        Path::new("/proc").join(self.holder.pid().to_string()).join("root").join(inside).join(name)
    }

    /// Takes all room that is left.
    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.file("fill"))?;
        for size in [64 << 10, 4 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }
}

pub(super) fn disk(world: &mut World) -> Result<Outcome> {
    let outcome = full_disk(world);
    // The hub's own data again: what was changed on the small disk is gone with it.
    world.fleet.environment.start_again(Part::Hub)?;
    world.fleet.environment.wait_listening()?;
    outcome
}

fn full_disk(world: &mut World) -> Result<Outcome> {
    world.fleet.environment.ask_to_end(Part::Hub, Duration::from_secs(30));
    let small = match SmallDisk::with_copy_of(&world.fleet.file("hub"), world) {
        Ok(small) => small,
        Err(error) => return Ok(Outcome::skipped(format!("no small file system can be mounted here: {error:#}"))),
    };
    let wrap = ["nsenter", &format!("--mount=/proc/{}/ns/mnt", small.holder.pid()), "--"];
    let start = |world: &mut World| -> Result<()> {
        world.fleet.environment.other_hub(&small.dir, &wrap)?;
        world.fleet.environment.wait_listening()?;
        world.answers("edge-1", Duration::from_secs(20)).map(drop)
    };
    start(world)?;
    let mut acknowledged = vec![token(world, 0)?.map_err(|text| anyhow!("refused on a disk with room: {text}"))?];
    small.fill()?;
    let mut refusal = None;
    for number in 1..CHANGES {
        match token(world, number)? {
            Ok(token) => acknowledged.push(token),
            Err(text) => {
                refusal = Some(text);
                break;
            }
        }
    }
    let refusal = refusal.with_context(|| format!("{CHANGES} changes on a full disk, and none refused"))?;
    // Requests need no disk.
    let client = world.client()?;
    let reads = block_on(client.get("/clusters/edge-1/api/v1/namespaces/default"))?.status;
    let log = world.fleet.environment.log_tail(Part::Hub);
    fs::remove_file(small.file("fill"))?;
    let mended = token(world, CHANGES)?;
    if let Ok(token) = &mended {
        acknowledged.push(token.clone());
    }
    world.fleet.environment.signal(Part::Hub, "KILL")?;
    start(world)?;
    let lost = acknowledged.iter().filter(|token| !valid(&client, token)).count();
    let text = format!(
        "full: change refused with \"{refusal}\", reads answered {reads}; with room again, without a restart: {}; killed and started: {lost} of {} acknowledged lost",
        match &mended {
            Ok(_) => "changes work".to_owned(),
            Err(text) => format!("refused: {text}"),
        },
        acknowledged.len()
    );
    let clear = refusal.contains("space") || refusal.contains("disk");
    ensure!(!log.contains("panicked"), "the hub panicked: {log}");
    Ok(Outcome::of(clear && reads == 200 && mended.is_ok() && lost == 0, text))
}

/// A new token of the hub, or why there is none.
fn token(world: &World, number: usize) -> Result<Result<String, String>> {
    let mut create = world.fleet.environment.operator();
    create.args(["token", "create", &format!("disk-{number}"), "--group", "quickstart", "--output", "json"]);
    let output = create.output()?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let created: Value = serde_json::from_slice(&output.stdout)?;
    Ok(Ok(created["token"].as_str().context("no token was printed")?.to_owned()))
}

fn valid(client: &HubClient, token: &str) -> bool {
    block_on(client.with_token(token).get("/clusters/edge-1/version")).is_ok_and(|answer| answer.status == 200)
}

fn limit(pid: u32, descriptors: usize) -> Result<()> {
    let arguments = [format!("--pid={pid}"), format!("--nofile={descriptors}:")];
    let status = Command::new("prlimit").args(arguments).status().context("running prlimit (util-linux)")?;
    ensure!(status.success(), "prlimit failed: {status}");
    Ok(())
}

/// What it may open normally; the hard limit is not touched.
fn unlimited(pid: u32) -> Result<usize> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}

pub(super) fn hub_descriptors(world: &mut World) -> Result<Outcome> {
    let pid = world.fleet.environment.pid(Part::Hub);
    let (client, normal) = (world.client()?, unlimited(pid)?);
    let outcome = block_on(async {
        let mut sender = client.http2().await?;
        let ask = |sender: &mut hyper::client::conn::http2::SendRequest<_>| {
            sender.send_request(client.request(Method::GET, "/clusters/edge-1/api/v1/namespaces/default", ""))
        };
        ensure!(ask(&mut sender).await?.status() == 200, "not before anything was broken");
        let at_rest = descriptors(pid)?;
        limit(pid, at_rest + 5)?;
        let hoard: Vec<TcpStream> = (0..60).filter_map(|_| TcpStream::connect(client.address).ok()).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let full = descriptors(pid)?;
        let during = ask(&mut sender).await?.status();
        drop(hoard);
        let started = Instant::now();
        let fresh = tokio::time::timeout(Duration::from_secs(10), client.get("/clusters/edge-1/version")).await;
        let fresh = fresh.context("no new connection within 10 s")??.status;
        let took = started.elapsed();
        limit(pid, normal)?;
        let text = format!(
            "{full} of {} descriptors open, 60 connections came: a client that was there got {during}; 60 left: a new one got {fresh} after {took:.1?}",
            at_rest + 5
        );
        Ok(Outcome::of(during == 200 && fresh == 200, text))
    });
    limit(pid, normal)?;
    outcome
}

pub(super) fn agent_descriptors(world: &mut World) -> Result<Outcome> {
    /// More than the agent may have connections.
    const WATCHES: usize = 120;
    let pid = world.fleet.environment.pid(EDGE_1);
    let (client, normal) = (world.client()?, unlimited(pid)?);
    limit(pid, descriptors(pid)? + 8)?;
    let outcome = block_on(async {
        let mut sender = client.http2().await?;
        let (mut open, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..WATCHES {
            sender.ready().await?;
            let path = "/clusters/edge-1/api/v1/namespaces?watch=1";
            let response = sender.send_request(client.request(Method::GET, path, "")).await?;
            let status = response.status();
            if status == 200 {
                open.push(response);
            } else {
                let body = response.into_body().collect().await?.to_bytes();
                let body: Value = serde_json::from_slice(&body)?;
                refused.push(format!("{status}: {}", body["message"].as_str().unwrap_or_default()));
            }
        }
        let mut first = open.remove(0).into_body();
        let served = first.frame().await.is_some_and(|frame| frame.is_ok());
        let watches = open.len() + 1;
        drop((open, first));
        Ok((watches, refused, served))
    });
    let recovered = answers(&client, "edge-1", Duration::from_secs(10));
    limit(pid, normal)?;
    let ((watches, refused, served), recovered) = (outcome?, recovered?);
    let example = refused.first().map_or("none", String::as_str);
    let clear = refused.iter().all(|text| text.contains("edge-1") && text.contains("Too many open files"));
    let text = format!(
        "{watches} watches served, {} refused ({example}); after they left: answers in {recovered:.1?}",
        refused.len()
    );
    Ok(Outcome::of(!refused.is_empty() && clear && served, text))
}
