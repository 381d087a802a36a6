//! `roadstead ca …`: shows the authorities and takes the steps of a rotation. What a step needs is the hub's to say.

pub(super) mod root;
mod rotate;

use time::OffsetDateTime;

pub(super) use self::rotate::rotate;
use super::Context;
use super::args::{AcceptArgs, CaActivateArgs, ClientArgs, PlainArgs};
use super::client::block_on;
use super::client_config;
use super::failure::Failure;
use super::output::{self, Format};
use super::units::{rough, timestamp};
use crate::hub::api_types::{CaAuthority, CaLaggard, CaStatus, CaStep};

const PATH: &str = "/api/v1/ca";
/// How long before an offline root's key is needed `ca status` says so.
const ROOT_WARNING: time::Duration = time::Duration::days(14);

pub(super) fn status(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let status: CaStatus = block_on(&settings, async |client| client.get(PATH).await)?;
    show(&status, args.output.output, context)
}

/// The roots as a file for others: nothing but PEM on stdout.
pub(super) fn bundle(args: &ClientArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(args, context)?;
    let status: CaStatus = block_on(&settings, async |client| client.get(PATH).await)?;
    output::bytes(context, status.hub_ca.as_bytes())
}

/// A step without conditions: `prepare`, `rollback`, `taint`.
pub(super) fn plain(name: &str, args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    step(name, &AcceptArgs::default(), args, context)
}

/// A step that may give clusters up: `activate`, `revoke`.
pub(super) fn accepting(name: &str, args: &CaActivateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    step(name, &args.accept, &args.plain, context)
}

fn step(name: &str, accept: &AcceptArgs, args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let (before, status) = block_on(&settings, async |client| {
        // What was looked at is what the step is taken from: of two who take the same one, one is told.
        let before: CaStatus = client.get(PATH).await?;
        let after: CaStatus = client.post(&format!("{PATH}/{name}"), &wish(&before, accept)).await?;
        Ok((before, after))
    })?;
    show(&status, args.output.output, context)?;
    if let Some(hint) = hint(&before.phase, &status.phase) {
        output::hint(context, hint);
    }
    Ok(())
}

fn wish(seen: &CaStatus, accept: &AcceptArgs) -> CaStep {
    CaStep {
        revision: Some(seen.revision),
        accept_lost: accept.accept_lost.clone(),
        accept_lost_count: accept.accept_lost_count,
    }
}

/// What a person should do besides, after a step.
fn hint(before: &str, after: &str) -> Option<&'static str> {
    match (before, after) {
        (before, "init") if before != "init" => Some(
            "# clients: give people and scripts the new roots before `update_hub` (`roadstead ca bundle` prints old and new; caData:, \
             --hub-ca, and `roadstead kubeconfig` again), or they cannot verify the hub's HTTPS from then on",
        ),
        ("update_hub", "standby") => {
            Some("# the old generation is distrusted; clients may drop its root (`roadstead ca bundle`)")
        }
        _ => None,
    }
}

fn show(status: &CaStatus, format: Format, context: &mut Context<'_>) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(context, status);
    }
    let now = OffsetDateTime::now_utc();
    let counts = status.counts;
    let mut phase = status.phase.clone();
    for (holds, word) in [(status.tainted, "tainted"), (status.revoked, "revoked")] {
        if holds {
            phase.push_str(&format!(", current {word}"));
        }
    }
    if let Some(since) = status.since {
        phase.push_str(&format!(", since {} ({})", timestamp(since), rough(now - since)));
    }
    let clusters = format!(
        "{} enrolled, {} connected, {} know the roots, {} on current, {} on next",
        counts.enrolled, counts.connected, counts.acknowledged, counts.on_current, counts.on_next
    );
    let none_or = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let pairs = [
        ("phase", phase),
        ("clusters", clusters),
        ("accepted lost", none_or(&status.accepted_lost)),
        ("not joined", none_or(&status.pending)),
    ];
    output::pairs(context, &pairs)?;
    output::line(context, "")?;
    let row = |a: &CaAuthority| {
        let used = if a.in_use {
            "in use"
        } else if a.trusted {
            "trusted"
        } else {
            "not trusted"
        };
        let ends = |at: OffsetDateTime| rough(at - now);
        [
            a.authority.clone(),
            a.generation.clone(),
            used.to_owned(),
            ends(a.root_not_after),
            ends(a.issuing_not_after),
            if a.root_key_offline { "offline" } else { "here" }.to_owned(),
            a.pin.clone(),
        ]
    };
    let rows: Vec<_> = status.authorities.iter().map(row).collect();
    let head = ["AUTHORITY", "GENERATION", "STATE", "ROOT ENDS", "ISSUING ENDS", "ROOT KEY", "PIN"];
    output::table(context, head, &rows)?;
    // A person is told in time, a script by `issuingDue`.
    let due = |a: &&CaAuthority| a.root_key_offline && a.issuing_due.is_some_and(|due| due - ROOT_WARNING <= now);
    for authority in status.authorities.iter().filter(due) {
        output::hint(context, &root::needed(authority));
    }
    if status.laggards.is_empty() {
        return Ok(());
    }
    output::line(context, "")?;
    let row = |l: &CaLaggard| [l.name.clone(), if l.connected { "yes" } else { "no" }.to_owned(), l.reason.clone()];
    let rows: Vec<_> = status.laggards.iter().map(row).collect();
    output::table(context, ["LAGGARD", "CONNECTED", "WHAT IS MISSING"], &rows)
}

#[cfg(test)]
mod tests;
