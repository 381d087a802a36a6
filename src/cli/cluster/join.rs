//! `roadstead cluster token …` and `cluster rekey`: join tokens of clusters that were announced.

use time::OffsetDateTime;

use super::{Printed, cluster_path, print_manifest};
use crate::access::Cidr;
use crate::cli::Context;
use crate::cli::args::{ClusterRekeyArgs, JoinArgs, JoinTokenCreateArgs, JoinTokenRevokeArgs, ManifestArgs, NamedArgs};
use crate::cli::client::block_on;
use crate::cli::client_config;
use crate::cli::failure::{Code, Failure};
use crate::cli::output::{self, Format};
use crate::cli::units::{duration, rough, timestamp};
use crate::hub::api_types::{ClusterCreated, JoinTokenCreate, JoinTokenList, JoinTokenView};
use crate::identity::TokenId;

pub(in crate::cli) fn create(args: &JoinTokenCreateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let request = meant(&args.join, &mut faults);
    if !faults.is_empty() {
        return Err(Failure::usage(&faults));
    }
    let path = format!("{}/tokens", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let created: ClusterCreated = block_on(&settings, async |client| client.post(&path, &request).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &created);
    }
    output::line(context, created.token.expose())?;
    let (id, name) = (&created.token_id, &created.name);
    let (uses, until) = (uses(created.token_max_uses), timestamp(created.token_expires));
    output::hint(
        context,
        &format!("# join token {id} of cluster {name}, valid {uses}, until {until}; it is not shown again"),
    );
    Ok(())
}

pub(in crate::cli) fn list(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let path = format!("{}/tokens", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let list: JoinTokenList = block_on(&settings, async |client| client.get(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &list);
    }
    let now = OffsetDateTime::now_utc();
    let row = |t: &JoinTokenView| {
        let used = format!("{} of {}", t.uses.len(), t.max_uses);
        let last = t.uses.last().map_or_else(
            || "-".to_owned(),
            |u| {
                let from = u.from.map_or_else(String::new, |from| format!(" from {from}"));
                format!("{} ago{from}", rough(now - u.at))
            },
        );
        let ends = if t.expires > now { format!("in {}", rough(t.expires - now)) } else { "expired".to_owned() };
        let sources = if t.sources.is_empty() { "any".to_owned() } else { join(&t.sources) };
        [t.id.clone(), used, last, ends, sources, t.by.clone().unwrap_or_else(|| "-".to_owned())]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    output::table(context, ["ID", "USED", "LAST", "ENDS", "SOURCES", "BY"], &rows)
}

pub(in crate::cli) fn revoke(args: &JoinTokenRevokeArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let id: TokenId = args.id.parse().map_err(|_| {
        // The whole token is the likeliest mistake, and must not be repeated.
        Failure::new(Code::NotFound, "that is no token id; `roadstead cluster token list NAME` shows the ids")
    })?;
    let path = format!("{}/tokens/{id}", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    block_on(&settings, async |client| client.delete(&path).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &serde_json::json!({"id": id, "cluster": args.name, "revoked": true}));
    }
    output::hint(context, &format!("join token {id} of cluster {} is revoked", args.name));
    Ok(())
}

/// A new join token for a cluster that was announced before, in the manifest that makes its agent use it.
pub(in crate::cli) fn rekey(args: &ClusterRekeyArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let request = meant(&args.join, &mut faults);
    super::check_manifest(&args.manifest, &mut faults);
    if !faults.is_empty() {
        return Err(Failure::usage(&faults));
    }
    let path = format!("{}/tokens", cluster_path(&args.name)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let created: ClusterCreated = block_on(&settings, async |client| client.post(&path, &request).await)?;
    let ManifestArgs { allow_users, allow_groups, allow_extras, .. } = &args.manifest;
    // The hub does not keep the --allow-* flags of `cluster add`, for they are a ceiling that it must not raise. The cluster does.
    let rights = args.rights || [allow_users, allow_groups, allow_extras].iter().any(|names| !names.is_empty());
    let printed = Printed { created: &created, args: &args.manifest, rights };
    if print_manifest(&printed, args.plain.output.output, context)? == Format::Json {
        return Ok(());
    }
    let (name, until) = (&created.name, timestamp(created.token_expires));
    let uses = uses(created.token_max_uses);
    output::hint(
        context,
        &format!("# cluster {name} gets a new key by this; its join token is valid {uses}, until {until}"),
    );
    output::hint(context, "# apply the manifest in that cluster with: kubectl apply -f -");
    output::hint(
        context,
        if rights {
            "# whom the agent may impersonate is what this command line says, whatever `cluster add` said"
        } else {
            "# whom the agent may impersonate stays as it is in the cluster; in one that is set up anew: --rights, and the --allow-* flags"
        },
    );
    output::hint(context, "# certificates that it has stay valid until they end");
    Ok(())
}

/// What is said of a join token, as the hub is asked for it.
pub(super) fn meant(args: &JoinArgs, faults: &mut Vec<String>) -> JoinTokenCreate {
    let ttl = duration(&args.ttl).map_err(|error| faults.push(format!("--ttl: {error}"))).ok();
    if args.max_uses == 0 {
        faults.push("--max-uses: a token that nobody may use is none".to_owned());
    }
    let mut sources: Vec<Cidr> = Vec::new();
    for text in &args.sources {
        match text.parse() {
            Ok(range) => sources.push(range),
            Err(error) => faults.push(format!("--source: {error}")),
        }
    }
    JoinTokenCreate {
        ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
        // What an older hub does anyway need not be said to it.
        max_uses: (args.max_uses != 1).then_some(args.max_uses),
        sources,
    }
}

/// How often a token may be used, in words.
pub(super) fn uses(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("for {count} keys") }
}

fn join(ranges: &[Cidr]) -> String {
    ranges.iter().map(Cidr::to_string).collect::<Vec<_>>().join(",")
}
