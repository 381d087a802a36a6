//! A hub with the settings of a manifest or a unit: only its places and ports are others, as several tests share one machine.
#![allow(clippy::disallowed_methods, reason = "no runtime here: the process is waited for in real time")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::Process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_roadstead");

/// A hub that listens; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Hub {
    _process: Process,
    endpoints: Value,
    dir: tempfile::TempDir,
}

impl Hub {
    /// Starts `roadstead hub` with these arguments and variables, in which a fresh directory takes the place of the data directory and
    /// of the folder of `grants`, and free ports that of the others; waits until it listens.
    pub(crate) fn start_with(args: &[&str], variables: &[(&str, &str)], grants: Option<&str>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("roadstead-deploy-").tempdir()?;
        let data = dir.path().join("data");
        let grants_file = dir.path().join("grants.yaml");
        if let Some(grants) = grants {
            fs::write(&grants_file, grants)?;
        }
        let (data_text, grants_text) = (data.display().to_string(), grants_file.display().to_string());
        let here = |value: &str| {
            let data = value.replace("/var/lib/roadstead/data", &data_text).replace("%S/roadstead", &data_text);
            let grants = data.replace("/etc/roadstead/grants/grants.yaml", &grants_text);
            let grants = grants.replace("%E/roadstead/grants.yaml", &grants_text);
            grants.replace("0.0.0.0:8443", "127.0.0.1:0").replace("0.0.0.0:8444", "127.0.0.1:0")
        };
        let mut command = clean();
        command.arg("hub").args(args.iter().map(|arg| here(arg)));
        command.envs(variables.iter().map(|(name, value)| (*name, here(value))));
        // What neither says has its default, which is a fixed place or port.
        let said = |flag: &str| args.iter().any(|arg| arg.starts_with(flag));
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--admin-listen", "127.0.0.1:0")] {
            if !said(flag) {
                command.args([flag, value]);
            }
        }
        if !said("--data") && !variables.iter().any(|(name, _)| *name == "ROADSTEAD_DATA") {
            command.arg("--data").arg(&data);
        }
        let mut process = Process::spawn("hub", command, dir.path())?;
        let deadline = Instant::now() + Duration::from_secs(20);
        let endpoints = loop {
            if let Ok(text) = fs::read_to_string(data.join("endpoints.json")) {
                break serde_json::from_str(&text)?;
            }
            process.check()?;
            ensure!(Instant::now() < deadline, "the hub does not listen: {}", process.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        };
        Ok(Self { _process: process, endpoints, dir })
    }

    /// Its public URL.
    pub(crate) fn url(&self) -> &str {
        self.endpoints["url"].as_str().unwrap_or_default()
    }

    /// Where it listens, as a URL.
    pub(crate) fn address(&self) -> Result<String> {
        Ok(format!("https://{}", self.endpoints["listen"].as_str().context("no listen")?))
    }

    /// The CA of its HTTPS certificate.
    pub(crate) fn ca(&self) -> std::path::PathBuf {
        self.dir.path().join("data/hub-ca.pem")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> Result<String> {
        fs::read_to_string(self.dir.path().join("logs/hub.log")).context("reading the hub's log")
    }

    /// Runs one of the commands as administrator and gives its stdout.
    pub(crate) fn roadstead(&self, args: &[&str]) -> Result<String> {
        let mut command = clean();
        command.args(args).arg("--hub").arg(self.address()?);
        let output = command.env("ROADSTEAD_CONFIG", self.dir.path().join("data/admin.yaml")).output()?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The program, which sees no setting of ours.
fn clean() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ROADSTEAD_")) {
        command.env_remove(name);
    }
    command
}
