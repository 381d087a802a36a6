//! The two ways to a cluster, and a row's run on one of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cluster::bound_to_us;
use crate::setting::Setting;
use crate::table::Row;

/// Longest that a row may take, seconds; `timeout` ends it with 124.
const ROW_WITHIN: &str = "45";

/// How a run reaches the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// kubectl → API server.
    Straight,
    /// kubectl → hub → agent → API server.
    Through,
}

/// One way in one setting: a kubeconfig, a namespace, a directory and a discovery cache of its own.
#[derive(Debug)]
pub(crate) struct Way {
    dir: PathBuf,
    namespace: String,
    variables: BTreeMap<&'static str, OsString>,
}

/// What a run of a row gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
    /// As a shell counts it.
    pub(crate) code: i32,
    /// From start to end.
    pub(crate) took: Duration,
}

impl Way {
    /// Prepares the files of a way below `root`; `variables` are the environment's.
    pub(crate) fn new(
        kind: Kind,
        number: usize,
        setting: &Setting,
        root: &Path,
        variables: &BTreeMap<&'static str, OsString>,
    ) -> Result<Self> {
        let (letter, source) = match kind {
            Kind::Straight => ('s', "ROADSTEAD_DIRECT_KUBECONFIG"),
            Kind::Through => ('t', "KUBECONFIG"),
        };
        let namespace = format!("parity-{number}{letter}");
        let dir = root.join(&namespace);
        fs::create_dir_all(dir.join("bin"))?;
        fs::create_dir_all(dir.join("work"))?;
        let programs = variables.get("PATH").context("the environment has no PATH")?;
        let bin = std::env::split_paths(programs).next().context("an empty PATH")?;
        symlink(fs::canonicalize(bin.join(setting.kubectl))?, dir.join("bin/kubectl"))?;
        let path = std::env::join_paths([dir.join("bin")].into_iter().chain(std::env::split_paths(programs)))?;
        let source = variables.get(source).with_context(|| format!("the environment has no {source}"))?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_of(&bin, source, &namespace)?)?;
        let mut own = BTreeMap::from([
            ("PATH", path),
            ("KUBECONFIG", kubeconfig.into_os_string()),
            ("KUBECACHEDIR", dir.join("cache").into_os_string()),
            ("HOME", dir.clone().into_os_string()),
            ("NS", OsString::from(&namespace)),
            ("EXPECT_HTTP", setting.http.into()),
            ("EXPECT_UPGRADE", setting.upgrade.into()),
        ]);
        own.extend(setting.variables.iter().map(|(name, value)| (*name, OsString::from(value))));
        Ok(Self { dir, namespace, variables: own })
    }

    /// Its namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs a row to its end.
    pub(crate) fn run(&self, row: &Row) -> Result<Outcome> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after", "5", ROW_WITHIN, "sh", "-c"]);
        command.arg(format!("{}\n{}", include_str!("prelude.sh"), row.script)).arg(row.name);
        command.current_dir(self.dir.join("work"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.envs(&self.variables);
        let start = Instant::now();
        let output =
            bound_to_us(&command).stdin(Stdio::null()).output().with_context(|| format!("running {}", row.name))?;
        let code = output.status.code().context("a row was killed by a signal")?;
        Ok(Outcome { stdout: output.stdout, stderr: output.stderr, code, took: start.elapsed() })
    }
}

/// Settings of whoever started us that would change what kubectl does.
fn foreign(name: &str) -> bool {
    name.starts_with("KUBE")
        || name.starts_with("ROADSTEAD_")
        || name == "DISABLE_HTTP2"
        || name.to_lowercase().ends_with("_proxy")
}

/// A kubeconfig with one context, whose namespace is ours.
fn kubeconfig_of(bin: &Path, source: &OsString, namespace: &str) -> Result<Vec<u8>> {
    let mut view = Command::new(bin.join("kubectl"));
    view.args(["config", "view", "--raw", "--flatten", "--minify", "--context", "edge-1", "--output", "json"]);
    let output = view.env("KUBECONFIG", source).output()?;
    ensure!(output.status.success(), "kubectl config view: {}", String::from_utf8_lossy(&output.stderr));
    let mut config: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    config["contexts"][0]["context"]["namespace"] = namespace.into();
    Ok(config.to_string().into_bytes())
}
