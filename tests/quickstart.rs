//! `scripts/quickstart` keeps its word: COMMAND's code is its own, and nothing stays behind, whatever ends it.

#![allow(clippy::disallowed_methods, reason = "no runtime here: processes are waited for in real time")]

#[path = "cluster/mod.rs"]
mod cluster;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A quickstart with a temporary directory of its own, in which it must leave nothing.
struct Quickstart {
    child: Child,
    output: BufReader<ChildStdout>,
    temporary: tempfile::TempDir,
}

impl Quickstart {
    fn run(command: &str) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/quickstart");
        let mut quickstart = Command::new(script);
        quickstart.args(["--debug", "--clusters", "1", "--", "sh", "-c", command]).env("TMPDIR", temporary.path());
        let mut child = quickstart.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, output, temporary })
    }

    /// Until COMMAND says `ready`; before it, it lists `name pid` lines.
    fn pids(&mut self) -> Result<Vec<(String, u32)>> {
        let mut pids = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "the quickstart ended early");
            match line.trim().split_once(' ') {
                Some((name, pid)) => pids.push((name.to_owned(), pid.parse()?)),
                None => return Ok(pids),
            }
        }
    }

    /// Waits until no process of it lives and no file of it exists.
    fn leaves_nothing(&self, pids: &[(String, u32)]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let alive: Vec<_> = pids.iter().filter(|(_, pid)| is_alive(*pid)).collect();
            let files: Vec<_> =
                fs::read_dir(self.temporary.path())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
            if alive.is_empty() && files.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "left behind: {alive:?} {files:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A zombie is not: only its parent's attention is missing.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn the_commands_exit_code_is_its_own_and_both_ways_are_the_same_person() -> Result<()> {
    let mut quickstart = Quickstart::run(
        "cat $ROADSTEAD_PIDS; echo; kubectl auth whoami; kubectl --kubeconfig $ROADSTEAD_DIRECT_KUBECONFIG auth whoami; exit 42",
    )?;
    let pids = quickstart.pids()?;
    let names: Vec<&str> = pids.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["hub", "agent-edge-1", "apiserver-edge-1", "etcd-edge-1"]);
    let mut people = String::new();
    quickstart.output.read_to_string(&mut people)?;
    assert_eq!(quickstart.child.wait()?.code(), Some(42));
    let (through, straight) = people.split_at(people.len() / 2);
    assert!(through.contains("roadstead:user") && through == straight, "{people}");
    quickstart.leaves_nothing(&pids)
}

#[test]
fn a_killed_quickstart_leaves_nothing_behind() -> Result<()> {
    let mut quickstart = Quickstart::run("cat $ROADSTEAD_PIDS; echo; exec sleep 1000")?;
    let pids = quickstart.pids()?;
    quickstart.child.kill()?;
    quickstart.child.wait()?;
    quickstart.leaves_nothing(&pids)
}

#[test]
fn a_terminated_quickstart_says_so_by_its_code_and_leaves_nothing_behind() -> Result<()> {
    let mut quickstart = Quickstart::run("cat $ROADSTEAD_PIDS; echo; exec sleep 1000")?;
    let pids = quickstart.pids()?;
    cluster::signal(quickstart.child.id(), "TERM")?;
    assert_eq!(quickstart.child.wait()?.code(), Some(128 + 15));
    quickstart.leaves_nothing(&pids)
}
