//! `roadstead hub backup`, `restore` and `restore-acknowledge`.

use std::path::PathBuf;

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Context;
use super::args::{BackupArgs, PlainArgs, RestoreArgs};
use super::client::{Limits, block_on, block_on_within};
use super::client_config;
use super::defaults::{BACKUP_ANSWER, MAX_BACKUP};
use super::failure::{Code, Failure};
use super::files;
use super::output::{self, Format};
use crate::hub::{self, Locking, RestoreError, RestoreSettings, api_types::RestoredView};

pub(super) fn backup(args: &BackupArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.plain.client, context)?;
    let limits = Limits { answer: BACKUP_ANSWER, bytes: MAX_BACKUP, ..Limits::default() };
    let sealed = block_on_within(&settings, limits, async |client| client.bytes("/api/v1/backup").await)?;
    let shown = args.to.display().to_string();
    files::write_private(&args.to, &sealed)
        .map_err(|error| Failure::because(Code::Failed, error, format!("cannot write {shown}")))?;
    match args.plain.output.output {
        Format::Json => output::json(context, &json!({"file": shown, "bytes": sealed.len()})),
        Format::Text => {
            output::hint(context, &format!("{shown}: {} bytes, for the hub's passphrase as it is now", sealed.len()));
            Ok(())
        }
    }
}

pub(super) fn restore(args: RestoreArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let from_env = |name: &str| (context.env)(name).map(PathBuf::from);
    let data = args.data.or_else(|| from_env("ROADSTEAD_DATA"));
    let seal_key = args.seal_key.or_else(|| from_env("ROADSTEAD_SEAL_KEY"));
    let (Some(data), Some(seal_key)) = (data, seal_key) else {
        let how = "a restore needs --data DIR (or ROADSTEAD_DATA) and --seal-key FILE (or ROADSTEAD_SEAL_KEY)";
        return Err(Failure::new(Code::Usage, how));
    };
    let lock = match args.lock_all {
        true => Locking::All,
        false if args.lock.is_empty() => Locking::Known,
        false => Locking::Named(args.lock),
    };
    let settings =
        RestoreSettings { data, from: args.from, seal_key, force: args.force, lock, drop_tokens: args.drop_tokens };
    let failed = |error| Failure::because(Code::Failed, error, "cannot start the runtime");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let restored = runtime.block_on(hub::restore(&settings, OffsetDateTime::now_utc()));
    let report = restored.map_err(|error| {
        let code = match error {
            RestoreError::NotEmpty(_) | RestoreError::Running(_) => Code::Conflict,
            RestoreError::WrongKey(_) => Code::Denied,
            RestoreError::UnknownClusters(_) => Code::NotFound,
            _ => Code::Failed,
        };
        Failure::because(code, error, "nothing was restored")
    })?;
    let made = report.made.format(&Rfc3339).unwrap_or_default();
    if args.output.output == Format::Json {
        let value = json!({"data": settings.data, "backupMade": made, "records": report.records, "grants": report.grants,
            "locked": report.locked, "droppedTokens": report.dropped_tokens, "movedAside": report.moved_aside});
        return output::json(context, &value);
    }
    for path in &report.moved_aside {
        output::hint(context, &format!("moved aside: {}; remove it when it is not needed", path.display()));
    }
    let what = if report.grants { "records and the grants" } else { "records (grants were not in it)" };
    let text = format!("{} {what} of {made} are in {}", report.records, settings.data.display());
    output::hint(context, &text);
    if !report.locked.is_empty() {
        let text = format!("locked, until `roadstead cluster unlock NAME`: {}", report.locked.join(", "));
        output::hint(context, &output::shown(&text));
    }
    output::hint(
        context,
        "What was done after the backup is lost: remove and revoke again what was removed and revoked since, and make new join tokens \
         (none is restored). Then: roadstead hub restore-acknowledge",
    );
    Ok(())
}

pub(super) fn acknowledge(args: &PlainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let settings = client_config::settings(&args.client, context)?;
    let nothing = serde_json::Value::Null;
    let view: RestoredView =
        block_on(&settings, async |client| client.post("/api/v1/restore/acknowledge", &nothing).await)?;
    match args.output.output {
        Format::Json => output::json(context, &view),
        Format::Text => {
            output::hint(context, "acknowledged: the hub no longer warns of its restore");
            Ok(())
        }
    }
}
