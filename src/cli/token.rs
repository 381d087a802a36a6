//! `roadstead token …`: creates, lists and revokes hub tokens. A token is shown once, on stdout, and never logged.

use time::OffsetDateTime;

use super::Context;
use super::args::{NamedArgs, PlainArgs, TokenCreateArgs};
use super::client::block_on;
use super::client_config;
use super::failure::{Code, Failure};
use super::output::{self, Format};
use super::units::{duration, rough, timestamp};
use crate::access::{Subject, TOKEN_ISSUER, check_name};
use crate::hub::api_types::{TokenCreate, TokenCreated, TokenList, TokenView};
use crate::identity::TokenId;

pub(super) fn create(args: TokenCreateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let request = meant(&args)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let created: TokenCreated = block_on(&settings, async |client| client.post("/api/v1/tokens", &request).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &created);
    }
    output::line(context, created.token.expose())?;
    let TokenView { id, user, expires, .. } = &created.view;
    let until = timestamp(*expires);
    output::hint(
        context,
        &format!("# token {id} of {TOKEN_ISSUER}:{user}, valid until {until}; it is not shown again"),
    );
    Ok(())
}

fn meant(args: &TokenCreateArgs) -> Result<TokenCreate, Failure> {
    let mut faults = Vec::new();
    if let Err(error) = check_name(&args.user) {
        faults.push(format!("USER: {error}"));
    }
    for group in &args.groups {
        if let Err(error) = check_name(group) {
            faults.push(format!("--group: {error}"));
        }
    }
    if let (true, Err(error)) = (faults.is_empty(), Subject::new(TOKEN_ISSUER, &args.user, &args.groups)) {
        faults.push(format!("--group: {error}"));
    }
    let ttl = duration(&args.ttl).map_err(|error| faults.push(format!("--ttl: {error}"))).ok();
    if !faults.is_empty() {
        return Err(Failure::usage(&faults));
    }
    Ok(TokenCreate {
        user: args.user.clone(),
        groups: args.groups.clone(),
        admin: args.admin,
        ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
    })
}

pub(super) fn list(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let list: TokenList = block_on(&settings, async |client| client.get("/api/v1/tokens").await)?;
    if args.output.output == Format::Json {
        return output::json(context, &list);
    }
    let now = OffsetDateTime::now_utc();
    let row = |t: &TokenView| {
        let groups = if t.groups.is_empty() { "-".to_owned() } else { t.groups.join(",") };
        let admin = if t.admin { "yes" } else { "no" };
        let left = if t.expires > now { format!("in {}", rough(t.expires - now)) } else { "expired".to_owned() };
        [t.id.clone(), t.user.clone(), groups, admin.to_owned(), left, rough(now - t.created)]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    output::table(context, ["ID", "USER", "GROUPS", "ADMIN", "ENDS", "AGE"], &rows)
}

pub(super) fn revoke(args: &NamedArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let id: TokenId = args.name.parse().map_err(|_| {
        // The whole token is the likeliest mistake, and must not be repeated.
        Failure::new(Code::NotFound, "that is no token id; `roadstead token list` shows the ids")
    })?;
    let settings = client_config::settings(&args.plain.client, context)?;
    block_on(&settings, async |client| client.delete(&format!("/api/v1/tokens/{id}")).await)?;
    if args.plain.output.output == Format::Json {
        return output::json(context, &serde_json::json!({"id": id, "revoked": true}));
    }
    output::hint(context, &format!("token {id} is revoked"));
    Ok(())
}
