//! `roadstead cert …`: lists, shows and revokes certificates of agents.

use time::OffsetDateTime;

use super::Context;
use super::args::{BecauseArgs, CertListArgs, NamedArgs};
use super::client::block_on;
use super::client_config;
use super::failure::{Code, Failure};
use super::output::{self, Format};
use super::units::{rough, timestamp};
use crate::access::is_dns_label;
use crate::hub::api_types::{Because, CertificateActed, CertificateList, CertificateView};
use crate::identity::{Serial, SpkiSha256};

pub(super) fn list(args: &CertListArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = match &args.cluster {
        None => "/api/v1/certificates".to_owned(),
        Some(name) if is_dns_label(name) => format!("/api/v1/certificates?cluster={name}"),
        Some(name) => return Err(Failure::new(Code::NotFound, format!("no cluster can be named {name:?}"))),
    };
    let settings = client_config::settings(&args.plain.client, context)?;
    let list: CertificateList = block_on(&settings, async |client| client.get(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &list);
    }
    let now = OffsetDateTime::now_utc();
    let row = |c: &CertificateView| {
        let ends = if c.not_after > now { format!("in {}", rough(c.not_after - now)) } else { "ended".to_owned() };
        let why = c.revoked_reason.clone().unwrap_or_default();
        [named(c), cluster(c), c.state.as_str().to_owned(), place(c), ends, why]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    output::table(context, ["SERIAL", "CLUSTER", "STATE", "GENERATION", "ENDS", "REVOKED FOR"], &rows)
}

pub(super) fn show(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = path(&args.name)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let view: CertificateView = block_on(&settings, async |client| client.get(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &view);
    }
    let at = |at: Option<OffsetDateTime>| at.map_or_else(|| "-".to_owned(), timestamp);
    let why = view.revoked_reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
    let revoked = match (&view.revoked, &view.revoked_by) {
        (Some(at), Some(by)) => format!("{} by {by}{why}", timestamp(*at)),
        _ => "-".to_owned(),
    };
    let pairs = [
        ("serial", view.serial.clone()),
        ("issuer", view.external_ca.as_ref().map_or_else(|| "the hub".to_owned(), |ca| format!("external CA {ca}"))),
        ("names", if view.names.is_empty() { "-".to_owned() } else { view.names.join(", ") }),
        ("cluster", cluster(&view)),
        ("cluster uid", view.cluster_uid.clone()),
        ("key", view.key.clone()),
        ("state", view.state.as_str().to_owned()),
        ("generation", place(&view)),
        ("asked for by", view.instance.clone().unwrap_or_else(|| "-".to_owned())),
        ("issued", at(view.issued)),
        ("until", timestamp(view.not_after)),
        ("revoked", revoked),
    ];
    output::pairs(context, &pairs)
}

pub(super) fn revoke(args: BecauseArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = path(&args.name)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let because = Because { reason: args.reason };
    let acted: CertificateActed =
        block_on(&settings, async |client| client.post(&format!("{path}/revoke"), &because).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &acted);
    }
    let links = if acted.links_closed == 0 { "no live link had it" } else { "its link is closed" };
    output::hint(context, &format!("certificate {} and its key are revoked; {links}", named(&acted.certificate)));
    Ok(())
}

/// The path of a certificate. What can be no serial is "not found" without asking: it could change the path otherwise.
fn path(serial: &str) -> Result<String, Failure> {
    if let Ok(key) = serial.parse::<SpkiSha256>() {
        return Ok(format!("/api/v1/certificates/{key}"));
    }
    match serial.parse::<Serial>() {
        Ok(serial) => Ok(format!("/api/v1/certificates/{serial}")),
        Err(error) => Err(Failure::because(Code::NotFound, error, "no such certificate; see `roadstead cert list`")),
    }
}

fn cluster(certificate: &CertificateView) -> String {
    certificate.cluster.clone().unwrap_or_else(|| "(removed)".to_owned())
}

/// What `cert show` and `cert revoke` take: a serial is unique among those of one issuer only.
fn named(certificate: &CertificateView) -> String {
    if certificate.external_ca.is_some() { certificate.key.clone() } else { certificate.serial.clone() }
}

/// Which enrolment, and which certificate of it; of an external CA's nobody knows.
fn place(certificate: &CertificateView) -> String {
    if certificate.external_ca.is_some() {
        return "external".to_owned();
    }
    format!("{}.{}", certificate.enrolment, certificate.generation)
}
