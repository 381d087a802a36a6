//! Sessions, copies, logs, watches and lists that are cut in the middle: kubectl must not take a part for the whole.

#![allow(clippy::disallowed_methods, reason = "processes are waited for in real time")]

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::fleet::{EDGE_1, Fleet, Part, Running, figure, wait_until};
use crate::turn::fleet;

/// What kubectl must do when its request is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Must {
    /// Fail, and say which cluster and at which hop.
    FailAndName,
    /// Fail.
    Fail,
    /// Fail; a log says so itself, too, in its last line.
    FailAndShow,
    /// kubectl ends a watch with 0 whatever happens; it must show why it ended.
    Show,
}

/// One kubectl in the middle of something.
struct Session {
    name: String,
    must: Must,
    child: Running,
    files: (PathBuf, PathBuf),
    /// The answer that is read only after the cut.
    held: Option<ChildStdout>,
}

const PODS: &str = "demo";
const TICK: &str = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done";
/// Far more than is copied before the cut.
const LARGE: u64 = 2 << 30;

impl Session {
    fn start(fleet: &Fleet, run: &str, name: &str, must: Must, env: &[(&str, &str)], args: &[&str]) -> Result<Self> {
        let files = (fleet.file(&format!("{run}-{name}.out")), fleet.file(&format!("{run}-{name}.err")));
        let mut command = fleet.kubectl("edge-1", args);
        command.envs(env.iter().copied()).stderr(File::create(&files.1)?);
        if name.starts_with("list") {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(File::create(&files.0)?);
        }
        let mut child = Running::start(&mut command)?;
        let held = child.0.stdout.take();
        Ok(Self { name: name.to_owned(), must, child, files, held })
    }

    fn under_way(&mut self) -> Result<()> {
        if let Some(held) = &mut self.held {
            let mut first = [0];
            held.read_exact(&mut first).with_context(|| format!("{}: {}", self.name, self.stderr()))?;
            return Ok(());
        }
        if !self.name.starts_with("cp") {
            let out = self.files.0.clone();
            wait_until(&format!("{} shows something", self.name), Duration::from_secs(20), || {
                Ok(fs::metadata(&out)?.len() > 0)
            })
            .with_context(|| self.stderr())?;
        }
        Ok(())
    }

    fn stderr(&self) -> String {
        fs::read_to_string(&self.files.1).unwrap_or_default().trim().to_owned()
    }

    /// How it ended, or what is wrong with that.
    fn verdict(mut self, cut: Instant, within: Duration) -> Result<String, String> {
        // The pipe must be read, or kubectl waits for us.
        let reader = self.held.take().map(|mut held| {
            std::thread::spawn(move || std::io::copy(&mut held, &mut std::io::sink()).unwrap_or_default())
        });
        let status = self.child.ended(within.saturating_sub(cut.elapsed()));
        let took = cut.elapsed();
        let read = reader.and_then(|reader| reader.join().ok());
        let (out, err) = (fs::read_to_string(&self.files.0).unwrap_or_default(), self.stderr());
        let last = out.lines().next_back().unwrap_or_default();
        let line = format!("{:<10} {took:>8.2?} {status:?} read {read:?} | {last} | {err}", self.name);
        let Ok(status) = status else { return Err(line) };
        let named =
            |text: &str| text.contains("edge-1") && (text.contains("link between") || text.contains("API server"));
        let right = match self.must {
            Must::Fail => !status.success(),
            Must::FailAndShow => !status.success() && named(last),
            Must::FailAndName => !status.success() && named(&err),
            Must::Show => named(&out) || named(&err) || !status.success(),
        };
        if right { Ok(line) } else { Err(line) }
    }
}

/// Everything at once, in the middle.
fn sessions(fleet: &Fleet, run: &str) -> Result<Vec<Session>> {
    let source = fleet.file("large");
    File::create(&source)?.set_len(LARGE)?;
    let source = source.display().to_string();
    let mut all = Vec::new();
    for (way, websockets) in [("ws", "true"), ("spdy", "false")] {
        let env = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)];
        let name = |what: &str| format!("{what}-{way}");
        let back = fleet.file(&format!("{run}-back-{way}")).display().to_string();
        let there = format!("{PODS}/shell:there-{way}");
        let exec = ["exec", "-n", PODS, "shell", "--", "sh", "-c", TICK];
        let out = ["cp", "demo/shell:large", &back];
        let in_ = ["cp", &source, &there];
        for (what, args) in [("exec", &exec[..]), ("cp-out", &out[..]), ("cp-in", &in_[..])] {
            all.push(Session::start(fleet, run, &name(what), Must::FailAndName, &env, args)?);
        }
    }
    let logs = ["logs", "-n", PODS, "shell", "-c", "log", "-f"];
    let raw = ["get", "--raw", "/api/v1/namespaces/bulk/configmaps"];
    let watch = ["get", "configmaps", "-n", PODS, "-w", "--field-selector", &format!("metadata.name!=w{run}")];
    for (version, env) in [("h2", &[][..]), ("h1", &[("DISABLE_HTTP2", "1")][..])] {
        all.push(Session::start(fleet, run, &format!("logs-{version}"), Must::FailAndShow, env, &logs)?);
        // HTTP/1.1 has no place for words in an answer that was cut.
        let told = if version == "h2" { Must::FailAndName } else { Must::Fail };
        all.push(Session::start(fleet, run, &format!("list-{version}"), told, env, &raw)?);
        all.push(Session::start(fleet, run, &format!("watch-{version}"), Must::Show, env, &watch)?);
    }
    Ok(all)
}

fn cut_by(run: &str, within: Duration, fault: impl FnOnce(&mut Fleet) -> Result<()>) -> Result<()> {
    let mut fleet = fleet();
    fleet.with_bulk()?;
    let plane = fleet.environment.plane(0)?;
    let anew = format!("rm -f there-*; truncate -s {LARGE} large");
    plane.kubectl_ok(&["exec", "-n", PODS, "shell", "--", "sh", "-c", &anew])?;
    let before = (bytes(&fleet, "to_client")?, bytes(&fleet, "to_cluster")?);
    let mut all = sessions(&fleet, run)?;
    all.iter_mut().try_for_each(Session::under_way)?;
    wait_until("bytes flow both ways", Duration::from_secs(20), || {
        Ok(bytes(&fleet, "to_client")? > before.0 + 40e6 && bytes(&fleet, "to_cluster")? > before.1 + 10e6)
    })?;
    wait_until("each copy is under way", Duration::from_secs(20), || copies_have_begun(&mut fleet, run))?;
    wait_until("watches are under way", Duration::from_secs(10), || {
        let marker = format!("%3Dw{run}");
        let started = fleet.audited(&marker)?;
        Ok(started.iter().filter(|(stage, _)| stage == "ResponseStarted").count() >= 2)
    })?;
    for one in &mut all {
        ensure!(one.child.0.try_wait()?.is_none(), "{} ended before the cut: {}", one.name, one.stderr());
    }
    let cut = Instant::now();
    fault(&mut fleet)?;
    let verdicts: Vec<_> = all.into_iter().map(|one| one.verdict(cut, within)).collect();
    for verdict in &verdicts {
        match verdict {
            Ok(line) => figure(&format!("{run}: {line}")),
            Err(line) => figure(&format!("{run}: WRONG {line}")),
        }
    }
    for way in ["ws", "spdy"] {
        let _ = fs::remove_file(fleet.file(&format!("{run}-back-{way}")));
    }
    let wrong: Vec<_> = verdicts.into_iter().filter_map(Result::err).collect();
    ensure!(wrong.is_empty(), "{} of them: {wrong:#?}", wrong.len());
    Ok(())
}

/// Whether each of them has copied something. Until then kubectl may still be opening the streams of its session, and of one
/// that is cut there it shows no more than "Stream reset" over SPDY: what spdystream says when a stream is reset before its reply.
fn copies_have_begun(fleet: &mut Fleet, run: &str) -> Result<bool> {
    let here = |way: &str| {
        let back = fleet.file(&format!("{run}-back-{way}"));
        fs::metadata(back).is_ok_and(|file| file.len() > 0)
    };
    let there = ["exec", "-n", PODS, "shell", "--", "sh", "-c", "test -s there-ws && test -s there-spdy"];
    Ok(here("ws") && here("spdy") && fleet.environment.plane(0)?.kubectl(&there)?.status.success())
}

fn bytes(fleet: &Fleet, direction: &str) -> Result<f64> {
    fleet.metric(&format!("roadstead_proxied_bytes_total{{direction=\"{direction}\"}}"))
}

#[test]
fn a_killed_agent_never_looks_like_success() -> Result<()> {
    // The link is silent: only its idle timeout tells, and it runs from the last packet on.
    cut_by("kill-agent", Duration::from_secs(25), |fleet| fleet.environment.signal(EDGE_1, "KILL"))
}

#[test]
fn a_closed_link_never_looks_like_success() -> Result<()> {
    // Told to stop, the agent drains for 5 s and then closes its link.
    cut_by("close-link", Duration::from_secs(9), |fleet| fleet.environment.signal(EDGE_1, "TERM"))
}

#[test]
fn a_killed_api_server_never_looks_like_success() -> Result<()> {
    cut_by("kill-api-server", Duration::from_secs(5), |fleet| {
        fleet.environment.plane(0)?.kill_apiserver();
        Ok(())
    })
}

#[test]
fn a_hub_that_is_told_to_stop_never_makes_a_session_look_like_success() -> Result<()> {
    let mut fleet = fleet();
    let mut all = Vec::new();
    for (way, websockets) in [("ws", "true"), ("spdy", "false")] {
        let env = [("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)];
        let args = ["exec", "-n", PODS, "shell", "--", "sh", "-c", TICK];
        all.push(Session::start(&fleet, "stop-hub", &format!("exec-{way}"), Must::FailAndName, &env, &args)?);
    }
    all.iter_mut().try_for_each(Session::under_way)?;
    let cut = Instant::now();
    fleet.environment.ask_to_end(Part::Hub, Duration::from_secs(28));
    let drained = cut.elapsed();
    let verdicts: Vec<_> = all.into_iter().map(|one| one.verdict(cut, Duration::from_secs(28))).collect();
    figure(&format!("stop-hub: sessions that do not end hold the hub for {drained:.1?}; {verdicts:?}"));
    ensure!(verdicts.iter().all(Result::is_ok), "{verdicts:#?}");
    Ok(())
}
