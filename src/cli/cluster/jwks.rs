//! `roadstead cluster jwks …`: the keys by which a cluster proves itself.

use std::path::Path;

use super::cluster_path;
use crate::cli::Context;
use crate::cli::args::{JwksSetArgs, NamedArgs};
use crate::cli::client::block_on;
use crate::cli::client_config;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::units::timestamp;
use crate::hub::api_types::{JwksSet, JwksShown, JwksView};
use crate::identity::service_account::{KeySet, ServiceAccountName};

pub(in crate::cli) fn show(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = format!("{}/jwks", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let view: JwksView = block_on(&settings, async |client| client.get(&path).await)?;
    print(&view, args.plain.output.output, context)
}

pub(in crate::cli) fn set(args: &JwksSetArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let jwks = key_set(&args.file, "FILE", &mut faults);
    let service_account = args.service_account.clone().filter(|name| is_account(name, &mut faults));
    if !faults.is_empty() {
        return Err(Failure::usage(&faults));
    }
    let path = format!("{}/jwks", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let request = JwksSet { jwks, service_account };
    let view: JwksView = block_on(&settings, async |client| client.post(&path, &request).await)?;
    print(&view, args.plain.output.output, context)
}

pub(in crate::cli) fn accept(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = format!("{}/jwks/accept", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let view: JwksView = block_on(&settings, async |client| client.post(&path, &serde_json::json!({})).await)?;
    print(&view, args.plain.output.output, context)
}

/// The text of a file, if it is a key set.
pub(super) fn key_set(file: &Path, place: &str, faults: &mut Vec<String>) -> Option<String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            faults.push(format!("{place}: cannot read {}: {error}", file.display()));
            return None;
        }
    };
    match KeySet::parse(text.as_bytes()) {
        Ok(_) => Some(text),
        Err(error) => {
            faults.push(format!("{place}: {}: {error}", file.display()));
            None
        }
    }
}

pub(super) fn is_account(name: &str, faults: &mut Vec<String>) -> bool {
    let read = name.parse::<ServiceAccountName>();
    read.map_err(|error| faults.push(format!("--service-account: {error}"))).is_ok()
}

fn print(view: &JwksView, format: Format, context: &mut Context<'_>) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(context, view);
    }
    let row = |state: &str, shown: &JwksShown| {
        let (at, by, state) = (timestamp(shown.at), shown.by.clone(), state.to_owned());
        let row = move |key: &crate::hub::api_types::JwksKey| {
            [state.clone(), key.kid.clone(), key.alg.clone(), at.clone(), by.clone(), key.thumbprint.clone()]
        };
        shown.keys.iter().map(row).collect::<Vec<_>>()
    };
    let pinned = view.pinned.iter().flat_map(|shown| row("pinned", shown));
    let rows: Vec<_> = pinned.chain(view.pending.iter().flat_map(|shown| row("waits", shown))).collect();
    if rows.is_empty() {
        let name = &view.cluster;
        output::hint(
            context,
            &format!(
                "no keys are pinned for {name}: only a join token proves it; `roadstead cluster jwks set {name} FILE` pins some"
            ),
        );
        return Ok(());
    }
    output::table(context, ["STATE", "KEY", "ALG", "SINCE", "BY", "THUMBPRINT"], &rows)?;
    output::hint(context, &format!("# agent's ServiceAccount: {}", view.service_account));
    if view.pending.is_some() {
        output::hint(context, &format!("# to trust those that wait: roadstead cluster jwks accept {}", view.cluster));
    }
    Ok(())
}
