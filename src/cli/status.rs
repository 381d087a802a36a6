//! `roadstead status` and `roadstead version`.

use time::OffsetDateTime;

use super::Context;
use super::args::{OutputArgs, PlainArgs};
use super::client::block_on;
use super::client_config;
use super::failure::Failure;
use super::output::{self, Format};
use super::units::rough;
use crate::hub::api_types::HubStatus;

pub(super) fn status(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let status: HubStatus = block_on(&settings, async |client| client.get("/api/v1/status").await)?;
    if args.output.output == Format::Json {
        return output::json(context, &status);
    }
    let up = rough(OffsetDateTime::now_utc() - status.started);
    let pairs = [
        ("hub", status.hub),
        ("version", format!("{}, up for {up}", status.version)),
        ("clusters", format!("{} connected of {}", status.clusters.connected, status.clusters.total)),
    ];
    output::pairs(context, &pairs)?;
    if let Some(restored) = status.restored {
        let (made, ago) = (restored.backup_made, rough(OffsetDateTime::now_utc() - restored.restored_at));
        let text = format!(
            "warning: this hub was restored {ago} ago from a backup of {made}: what was removed or revoked after it is valid again; when \
             that is done again: roadstead hub restore-acknowledge"
        );
        output::hint(context, &text);
    }
    Ok(())
}

pub(super) fn version(args: &OutputArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output {
        Format::Json => output::json(context, &serde_json::json!({"version": version})),
        Format::Text => output::line(context, &format!("roadstead {version}")),
    }
}
