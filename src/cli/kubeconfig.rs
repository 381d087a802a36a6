//! `roadstead kubeconfig`: one context per cluster, all through the hub, with `roadstead credential` in place of a stored token.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::args::KubeconfigArgs;
use super::client::block_on;
use super::client_config::{self, ClientSettings};
use super::failure::{Code, Failure};
use super::files::{self, Lock};
use super::{Context, output, yaml};
use crate::access::{check_name, is_dns_label};
use crate::hub::api_types::ClusterList;

mod merge;

use merge::{Ours, merge};

pub(super) fn run(args: &KubeconfigArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    if !args.context_prefix.is_empty() {
        check_name(&args.context_prefix).map_err(|error| Failure::because(Code::Usage, error, "--context-prefix"))?;
    }
    let settings = client_config::settings(&args.client, context)?;
    let list: ClusterList = block_on(&settings, async |client| client.get("/api/v1/clusters").await)?;
    let names = chosen(&list, &args.clusters)?;
    if names.is_empty() {
        output::hint(context, "no cluster is yours to see, so there is no context; a grant makes one appear");
    }
    let ours = ours(&settings, &names, &args.context_prefix, context)?;
    match &args.file {
        Some(path) => merge_into(path, &ours, args, context),
        None => {
            let merged = merge(Value::Null, &ours, args.use_context.as_deref(), false)?;
            output::bytes(context, yaml::write(&merged).as_bytes())
        }
    }
}

/// The clusters to write, in the order of their names.
fn chosen(list: &ClusterList, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let mut names: Vec<_> = list.items.iter().map(|cluster| cluster.name.clone()).filter(|n| is_dns_label(n)).collect();
    let missing: Vec<_> = wanted.iter().filter(|name| !names.contains(name)).map(String::as_str).collect();
    if !missing.is_empty() {
        let text = format!("not among your clusters: {}; see `roadstead cluster list`", missing.join(", "));
        return Err(Failure::new(Code::NotFound, output::shown(&text)));
    }
    if !wanted.is_empty() {
        names.retain(|name| wanted.contains(name));
    }
    names.sort_unstable();
    Ok(names)
}

fn ours(settings: &ClientSettings, names: &[String], prefix: &str, context: &Context<'_>) -> Result<Ours, Failure> {
    let hub = settings.hub.to_string();
    let user = format!("roadstead@{}", settings.hub.authority());
    let ca = STANDARD.encode(settings.ca.pem.as_bytes());
    let server = |name: &str| format!("{hub}/clusters/{name}");
    let cluster = |name: &String| {
        let mut value = json!({"server": server(name)});
        // kubectl knows this system's CAs itself, and as they will be tomorrow.
        if !settings.ca.system {
            value["certificate-authority-data"] = json!(ca);
        }
        (format!("{prefix}{name}"), value)
    };
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": command(context),
        "args": ["credential"],
        "env": exec_env(settings)?,
        "interactiveMode": "Never",
        "provideClusterInfo": false,
        "installHint": "roadstead must be on the PATH to reach clusters through the hub",
    });
    let clusters = names.iter().map(cluster).collect();
    Ok(Ours { hub, user: (user, json!({"exec": exec})), clusters })
}

/// kubectl finds the same configuration as this command did, wherever it runs. Without one the variables alone must do.
fn exec_env(settings: &ClientSettings) -> Result<Value, Failure> {
    let Some(path) = &settings.path else { return Ok(Value::Null) };
    let path = std::path::absolute(path)
        .map_err(|error| Failure::because(Code::Failed, error, "cannot name the client configuration"))?;
    Ok(json!([{"name": "ROADSTEAD_CONFIG", "value": path.to_string_lossy()}]))
}

/// `roadstead` when that finds this very program, else its path: a kubeconfig should work as it is, and survive an upgrade.
fn command(context: &Context<'_>) -> String {
    let Ok(this) = std::env::current_exe().and_then(std::fs::canonicalize) else { return "roadstead".to_owned() };
    let path = (context.env)("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder: PathBuf| folder.join("roadstead"));
    let first = found.find(|candidate| candidate.is_file());
    if first.and_then(|first| std::fs::canonicalize(first).ok()).as_ref() == Some(&this) {
        return "roadstead".to_owned();
    }
    this.to_string_lossy().into_owned()
}

fn merge_into(path: &Path, ours: &Ours, args: &KubeconfigArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let shown = path.display().to_string();
    let failed = |error, act: &str| Failure::because(Code::Failed, error, format!("cannot {act} {shown}"));
    files::make_folder_of(path).map_err(|error| failed(error, "make the directory of"))?;
    let lock = Lock::take(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let lock = Lock::path_for(path);
            return Failure::new(
                Code::Conflict,
                format!("another program writes {shown}; if none does, remove {lock}"),
            );
        }
        failed(error, "lock")
    })?;
    let text = files::read_if_there(path).map_err(|error| failed(error, "read"))?;
    let old = match &text {
        Some(text) => yaml::read(text, &shown)?,
        None => Value::Null,
    };
    let merged = merge(old.clone(), ours, args.use_context.as_deref(), args.overwrite)
        .map_err(|failure| Failure::new(failure.code(), format!("{shown}: {failure}")))?;
    if merged != old {
        files::write_private(path, yaml::write(&merged).as_bytes()).map_err(|error| failed(error, "write"))?;
    }
    drop(lock);
    let count = ours.clusters.len();
    output::hint(context, &format!("{count} context(s) of {} are in {shown}", ours.hub));
    Ok(())
}

#[cfg(test)]
mod tests;
