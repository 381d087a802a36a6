//! `roadstead ca external …`, `cluster map`, `cluster unmap` and `cluster names`: agents whose certificates another CA issues.

use time::OffsetDateTime;

use super::Context;
use super::args::{ExternalCaAddArgs, NameMapArgs, NamedArgs, PlainArgs};
use super::client::block_on;
use super::client_config;
use super::cluster::cluster_path;
use super::failure::{Code, Failure};
use super::output::{self, Format};
use super::units::{rough, timestamp};
use crate::hub::api_types::{
    ClusterActed, ExternalCaAdd, ExternalCaList, ExternalCaView, MappedNameList, MappedNameView, NameMap,
};
use crate::identity::verify::ExternalRoot;
use crate::identity::{SanName, SpkiSha256};

const PATH: &str = "/api/v1/ca/external";

pub(super) fn add(args: &ExternalCaAddArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let file = args.file.display();
    let read = std::fs::read_to_string(&args.file).map_err(|error| format!("FILE: cannot read {file}: {error}"));
    let certificate = read.map_err(|fault| Failure::usage(&[fault]))?;
    // The hub judges it; what is plainly no CA is told at once.
    if let Err(error) = ExternalRoot::stored(&certificate) {
        return Err(Failure::usage(&[format!("FILE: {file}: {error}")]));
    }
    let settings = client_config::settings(&args.plain.client, context)?;
    let view: ExternalCaView =
        block_on(&settings, async |client| client.post(PATH, &ExternalCaAdd { certificate }).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &view);
    }
    output::line(context, &view.ca)?;
    let subject = output::shown(&view.subject);
    output::hint(context, &format!("# {subject} is trusted for agents until {}", timestamp(view.not_after)));
    output::hint(context, "# it lets nobody in yet: roadstead cluster map NAME --ca PIN --uri URI");
    Ok(())
}

pub(super) fn list(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let list: ExternalCaList = block_on(&settings, async |client| client.get(PATH).await)?;
    if args.output.output == Format::Json {
        return output::json(context, &list);
    }
    if list.items.is_empty() {
        output::hint(context, "no external CA is trusted; an admin adds one with `roadstead ca external add FILE`");
        return Ok(());
    }
    let now = OffsetDateTime::now_utc();
    let row = |ca: &ExternalCaView| {
        let ends = if ca.not_after > now { format!("in {}", rough(ca.not_after - now)) } else { "ended".to_owned() };
        [ca.ca.clone(), ca.subject.clone(), ca.names.to_string(), ends, ca.by.clone()]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    output::table(context, ["PIN", "SUBJECT", "NAMES", "ENDS", "BY"], &rows)
}

pub(super) fn remove(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let pin: SpkiSha256 = args.name.parse().map_err(|error| {
        Failure::because(Code::NotFound, error, "no such external CA; see `roadstead ca external list`")
    })?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let path = format!("{PATH}/{pin}");
    let view: ExternalCaView = block_on(&settings, async |client| client.delete_for(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &view);
    }
    let (subject, names, links) = (output::shown(&view.subject), view.names, view.links_closed);
    output::hint(
        context,
        &format!("{subject} is trusted no more; {names} of its names are forgotten, {links} live links are closed"),
    );
    Ok(())
}

pub(super) fn map(args: &NameMapArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    change(args, "map", "now stands for", context)
}

pub(super) fn unmap(args: &NameMapArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    change(args, "unmap", "no longer stands for", context)
}

fn change(args: &NameMapArgs, what: &str, words: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = format!("{}/{what}", cluster_path(&args.name)?);
    let (request, name) = meant(args)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let acted: ClusterActed = block_on(&settings, async |client| client.post(&path, &request).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &acted);
    }
    let links =
        if acted.links_closed == 0 { String::new() } else { format!("; {} live links are closed", acted.links_closed) };
    output::hint(context, &format!("{name} {words} cluster {}{links}", acted.cluster.name));
    Ok(())
}

/// The request as meant; every fault of the command line at once.
fn meant(args: &NameMapArgs) -> Result<(NameMap, SanName), Failure> {
    let mut faults = Vec::new();
    if let Err(error) = args.ca.parse::<SpkiSha256>() {
        faults.push(format!("--ca: {error}"));
    }
    let name = match (&args.uri, &args.dns) {
        (Some(uri), _) => SanName::uri(uri).map_err(|error| format!("--uri: {error}")),
        (None, Some(dns)) => SanName::dns(dns).map_err(|error| format!("--dns: {error}")),
        (None, None) => Err("--uri or --dns: one of them is needed".to_owned()),
    };
    match name {
        Ok(name) if faults.is_empty() => {
            let (ca, uri, dns) = (args.ca.clone(), args.uri.clone(), args.dns.clone());
            Ok((NameMap { ca, uri, dns }, name))
        }
        name => {
            faults.extend(name.err());
            Err(Failure::usage(&faults))
        }
    }
}

pub(super) fn names(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let list: MappedNameList = block_on(&settings, async |client| client.get("/api/v1/names").await)?;
    if args.output.output == Format::Json {
        return output::json(context, &list);
    }
    if list.items.is_empty() {
        output::hint(context, "no name stands for a cluster; an admin maps one with `roadstead cluster map`");
        return Ok(());
    }
    let row = |mapped: &MappedNameView| {
        [mapped.cluster.clone().unwrap_or_default(), text(mapped), mapped.ca.clone(), mapped.by.clone()]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    output::table(context, ["CLUSTER", "NAME", "CA", "BY"], &rows)
}

/// A mapped name for people.
pub(super) fn text(mapped: &MappedNameView) -> String {
    match (&mapped.uri, &mapped.dns) {
        (Some(uri), _) => format!("URI {uri}"),
        (None, dns) => format!("DNS {}", dns.as_deref().unwrap_or_default()),
    }
}
