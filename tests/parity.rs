//! Straight = through: a table of kubectl commands gives the same output, errors and exit codes at the API server and through
//! hub, link and agent. Several kubectl versions, HTTP versions and streaming protocols; a real control plane with real pods.
//!
//! Each row runs straight and through at once, in namespaces of their own (one after the other where they share more than that); a line
//! is printed for each. A failure prints a diff.
//! `ROADSTEAD_PARITY_ONLY=text` runs only rows whose name has one of the comma-separated texts (and those that every run needs).

#![allow(clippy::disallowed_methods, reason = "no runtime here: processes are waited for in real time")]

#[path = "cluster/mod.rs"]
mod cluster;
#[path = "parity/compare.rs"]
mod compare;
#[path = "../examples/quickstart/environment.rs"]
#[allow(dead_code, reason = "the quickstart also greets people")]
mod environment;
#[path = "../examples/quickstart/janitor.rs"]
mod janitor;
#[path = "../examples/quickstart/member.rs"]
mod member;
#[path = "parity/setting.rs"]
mod setting;
#[path = "parity/table.rs"]
mod table;
#[path = "parity/way.rs"]
mod way;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use cluster::{Binaries, Set};
use compare::{Verdict, compare};
use environment::Environment;
use setting::{SETTINGS, Setting};
use table::{Row, Tag};
use way::{Kind, Way};

/// What the environment asks of its caller.
struct Arguments {
    clusters: u16,
    pods: bool,
    kubeconfig: Option<PathBuf>,
    roadstead: PathBuf,
}

/// Lets the agent act as the person of the rows with `--as`, as an operator would who wants that.
const MORE_RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: parity-impersonation}
rules:
- {apiGroups: [""], resources: [users], resourceNames: [bob], verbs: [impersonate]}
- {apiGroups: [""], resources: [groups], resourceNames: [devs, "system:serviceaccounts"], verbs: [impersonate]}
- {apiGroups: [""], resources: [serviceaccounts], verbs: [impersonate]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: parity-impersonation}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: parity-impersonation}
subjects: [{kind: ServiceAccount, namespace: roadstead, name: roadstead-agent}]
"#;

#[test]
fn every_command_gives_the_same_straight_and_through() -> Result<()> {
    let begun = Instant::now();
    Binaries::find(Set::All)?;
    let root = tempfile::Builder::new().prefix("roadstead-parity-").tempdir()?;
    // A copy: kubectl runs it for each command, and a build beside us must not take it away.
    let roadstead = root.path().join("roadstead");
    std::fs::copy(env!("CARGO_BIN_EXE_roadstead"), &roadstead).context("copying roadstead")?;
    let environment = Environment::start(&Arguments { clusters: 1, pods: true, kubeconfig: None, roadstead })?;
    let variables = environment.variables()?;
    grant_more(&variables)?;
    let rows = table::rows()?;
    let only = std::env::var("ROADSTEAD_PARITY_ONLY").unwrap_or_default();
    let wanted: Vec<&Row> = rows
        .iter()
        .filter(|row| row.tag == Some(Tag::All) || only.split(',').any(|part| row.name.contains(part)))
        .collect();
    let mut tally = Tally::default();
    for (number, setting) in (1..).zip(&SETTINGS) {
        tally.run_setting(number, setting, &wanted, root.path(), &variables)?;
    }
    let seconds = begun.elapsed().as_secs();
    say(&format!(
        "{} rows compared in {seconds} s; {} of them identical before normalising",
        tally.runs, tally.identical
    ));
    ensure!(tally.failed.is_empty(), "straight and through differ in {} rows: {:#?}", tally.failed.len(), tally.failed);
    Ok(())
}

/// What came out so far.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    identical: usize,
    failed: Vec<String>,
}

impl Tally {
    fn run_setting(
        &mut self,
        number: usize,
        setting: &Setting,
        rows: &[&Row],
        root: &Path,
        variables: &BTreeMap<&'static str, OsString>,
    ) -> Result<()> {
        let path = variables.get("PATH").context("the environment has no PATH")?;
        if !std::env::split_paths(path).any(|dir| dir.join(setting.kubectl).exists()) {
            say(&format!("== {}: LEFT OUT, there is no {}", setting.name, setting.kubectl));
            return Ok(());
        }
        say(&format!("== {}", setting.name));
        let way = |kind| Way::new(kind, number, setting, root, variables);
        let (straight, through) = (way(Kind::Straight)?, way(Kind::Through)?);
        for row in rows.iter().filter(|row| setting.has(row)) {
            self.run_row(setting, row, &straight, &through, root)?;
        }
        for way in [straight, through] {
            admin(variables, &["delete", "namespace", "--wait=false", "--ignore-not-found", way.namespace()])?;
        }
        Ok(())
    }

    fn run_row(&mut self, setting: &Setting, row: &Row, straight: &Way, through: &Way, root: &Path) -> Result<()> {
        let (one, other) = if row.apart {
            (straight.run(row), through.run(row))
        } else {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| through.run(row));
                (straight.run(row), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        };
        let (one, other) = (one?, other?);
        let verdict = compare(row, &one, &other, root)?;
        self.runs += 1;
        let mark = match &verdict {
            Verdict::Identical => "same, every byte",
            Verdict::Same => "same",
            Verdict::Differ(_) => "DIFFERENT",
        };
        let (a, b) = (one.took.as_secs_f32(), other.took.as_secs_f32());
        say(&format!("{a:6.2} s {b:6.2} s  {mark:<16}  {}", row.name));
        match verdict {
            Verdict::Identical => self.identical += 1,
            Verdict::Same => {}
            Verdict::Differ(how) => {
                say(&how);
                self.failed.push(format!("{}: {}", setting.name, row.name));
            }
        }
        Ok(())
    }
}

/// A line for whoever waits: past the test harness, which would keep it until the end.
fn say(line: &str) {
    // Nobody listening is no failure of what is tested.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn grant_more(variables: &BTreeMap<&'static str, OsString>) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), MORE_RIGHTS)?;
    admin(variables, &["apply", "--server-side", "--filename", &file.path().display().to_string()])
}

/// Runs kubectl straight, as the same person.
fn admin(variables: &BTreeMap<&'static str, OsString>, args: &[&str]) -> Result<()> {
    let direct = variables.get("ROADSTEAD_DIRECT_KUBECONFIG").context("the environment has no straight way")?;
    let path = variables.get("PATH").context("the environment has no PATH")?;
    let mut command = Command::new("kubectl");
    command.args(args).env("PATH", path).env("KUBECONFIG", direct);
    let output = command.output().context("running kubectl")?;
    ensure!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
