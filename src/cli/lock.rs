//! `roadstead cluster lock|unlock|revoke`: shuts a cluster out, lets it in again, kills its certificates.

use super::Context;
use super::args::{BecauseArgs, NamedArgs, PlainArgs};
use super::client::block_on;
use super::client_config;
use super::cluster::cluster_path;
use super::failure::Failure;
use super::output::{self, Format};
use crate::hub::api_types::{Because, ClusterActed};

pub(super) fn lock(args: BecauseArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let name = args.name.clone();
    let acted = act(&args.name, "lock", args.reason, &args.plain, context)?;
    let undo = format!("`roadstead cluster unlock {name}` serves it again");
    tell(&args.plain, &acted, &format!("cluster {name} is locked; {}; {undo}", links(&acted)), context)
}

pub(super) fn unlock(args: NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let acted = act(&args.name, "unlock", None, &args.plain, context)?;
    let back = "its agent is back within two minutes";
    tell(&args.plain, &acted, &format!("cluster {} is not locked; {back}", args.name), context)
}

pub(super) fn revoke(args: BecauseArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let name = args.name.clone();
    let acted = act(&args.name, "revoke", args.reason, &args.plain, context)?;
    let text = format!("every certificate of cluster {name} so far is revoked, and its join tokens; {}", links(&acted));
    tell(&args.plain, &acted, &text, context)
}

fn act(
    name: &str,
    verb: &str,
    reason: Option<String>,
    plain: &PlainArgs,
    context: &mut Context<'_>,
) -> Result<ClusterActed, Failure> {
    let path = format!("{}/{verb}", cluster_path(name)?);
    let settings = client_config::settings(&plain.client, context)?;
    block_on(&settings, async |client| client.post(&path, &Because { reason }).await)
}

fn tell(plain: &PlainArgs, acted: &ClusterActed, text: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    if plain.output.output == Format::Json {
        return output::json(context, acted);
    }
    output::hint(context, text);
    Ok(())
}

fn links(acted: &ClusterActed) -> String {
    match acted.links_closed {
        0 => "it had no live link".to_owned(),
        1 => "its link is closed".to_owned(),
        many => format!("its {many} links are closed"),
    }
}
