//! Other tunnels, each described by a small file, so that none of them needs code here.
//!
//! A file that can be executed is a program that starts its tunnel, writes the description to `$ROADSTEAD_BENCH_TARGET` once it is ready, and
//! stays until it is killed. It finds in its environment where to lead: `ROADSTEAD_BENCH_API` and `ROADSTEAD_BENCH_ORIGIN` (`HOST:PORT`), the
//! CA of each (`…_CA`, a file), and `ROADSTEAD_BENCH_TOKEN` (a file, for the API server).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::time::Instant;

use super::process::Watched;
use super::setup::{Kind, READY_WITHIN, Target};
use super::way::Way;
use crate::cluster::Process;

/// A target as a file describes it; paths are relative to that file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Description {
    name: String,
    base_url: String,
    ca_file: PathBuf,
    token_file: PathBuf,
    /// Processes of the tunnel, the one near the client first.
    #[serde(default)]
    pids: Vec<Watched>,
    /// The same tunnel to the minimal origin, if it leads there, too.
    origin_url: Option<String>,
}

/// Reads a description, or starts the program that writes one.
pub(crate) fn target(
    file: &Path,
    number: usize,
    dir: &Path,
    variables: &BTreeMap<&str, OsString>,
) -> Result<(Target, Option<Process>)> {
    if fs::metadata(file)?.permissions().mode() & 0o111 == 0 {
        return Ok((read(file)?, None));
    }
    let home = dir.join(format!("target-{number}"));
    fs::create_dir_all(&home)?;
    let description = home.join("target.yaml");
    let mut command = Command::new(file.canonicalize()?);
    command.envs(variables).env("ROADSTEAD_BENCH_TARGET", &description).current_dir(&home);
    let mut process = Process::spawn(&format!("target-{number}"), command, dir)?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        process.check()?;
        // It may be half written.
        match read(&description) {
            Ok(target) => return Ok((target, Some(process))),
            Err(error) => ensure!(Instant::now() < deadline, "not ready: {error:#}: {}", process.log_tail()),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn read(file: &Path) -> Result<Target> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let Description { name, base_url, ca_file, token_file, pids, origin_url } = serde_saphyr::from_str(&text)?;
    let beside = |path: &Path| file.parent().unwrap_or(Path::new("")).join(path);
    let (roots, token) = (fs::read(beside(&ca_file))?, fs::read_to_string(beside(&token_file))?);
    let way = |url: &str| Way::new(url, &roots, &token, pids.clone());
    let origin = origin_url.as_deref().map(way).transpose()?;
    Ok(Target { api: way(&base_url)?, name, kind: Kind::Other, origin, watched: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_leads_its_tunnel_where_it_is_told_and_describes_it() {
        let dir = tempfile::tempdir().unwrap();
        let ca = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
        fs::write(dir.path().join("ca.pem"), ca).unwrap();
        fs::write(dir.path().join("token"), "secret\n").unwrap();
        let program = dir.path().join("tunnel");
        let script = "#!/bin/sh\ncat >\"$ROADSTEAD_BENCH_TARGET\" <<END\n{name: mine, baseUrl: \"https://$ROADSTEAD_BENCH_API/x\", \
                      caFile: ../ca.pem, tokenFile: ../token, pids: [{name: here, pid: $$}]}\nEND\nexec sleep 60\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let variables = BTreeMap::from([("ROADSTEAD_BENCH_API", OsString::from("127.0.0.1:4711"))]);
        let (target, process) = super::target(&program, 0, dir.path(), &variables).unwrap();
        assert_eq!((target.name.as_str(), target.kind, target.api.address.port()), ("mine", Kind::Other, 4711));
        assert_eq!(target.api.processes[0].pid, process.unwrap().pid());
        assert!(target.origin.is_none());
    }

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("target.yaml");
        fs::write(&file, "{name: x, baseUrl: 'https://127.0.0.1:1', caFile: a, tokenFile: b, pidz: []}").unwrap();
        assert!(read(&file).is_err_and(|error| format!("{error:#}").contains("pidz")));
    }
}
