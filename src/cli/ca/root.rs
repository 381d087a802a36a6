//! `roadstead ca root …`: a root's private key goes into a file, out of the hub, and back.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use time::OffsetDateTime;

use super::{PATH, show};
use crate::cli::{
    Context,
    args::{AuthorityArg, RootExportArgs, RootImportArgs, RootKeyArgs},
    client::block_on,
    client_config,
    failure::{Code, Failure},
    files,
    output::{self, Format},
    units::timestamp,
};
use crate::hub::{
    self, ImportRootError,
    api_types::{CaAuthority, CaStatus, ROOT_KEY, RootExport, RootExported, RootGiven, SecretText},
};
use crate::identity::{
    KeyPair, Secret, SpkiSha256,
    seal::{self, PassphraseKey, SealError},
};

pub(in crate::cli) fn export(args: &RootExportArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let Some(seal_key) = args.seal_key.clone().or_else(|| (context.env)("ROADSTEAD_SEAL_KEY").map(Into::into)) else {
        let how = "the key comes sealed with the hub's own passphrase: --seal-key FILE (or ROADSTEAD_SEAL_KEY)";
        return Err(Failure::new(Code::Usage, how));
    };
    let (theirs, ours) = (passphrase(&seal_key)?, passphrase(&args.passphrase)?);
    let settings = client_config::settings(&args.plain.client, context)?;
    let authority = match args.authority {
        AuthorityArg::Agents => "agents",
        AuthorityArg::Hub => "hub",
    };
    let wish = RootExport { authority: authority.to_owned() };
    let answer: RootExported =
        block_on(&settings, async |client| client.post(&format!("{PATH}/root/export"), &wish).await)?;
    let sealed = STANDARD
        .decode(&answer.sealed)
        .map_err(|error| Failure::because(Code::Failed, error, "the hub's answer cannot be read"))?;
    let (key, pin) = opened(&theirs, &sealed).map_err(|error| unopened(error, "the hub's answer", &seal_key))?;
    let sealed = seal::seal(&ours, ROOT_KEY, key.expose().as_bytes())
        .map_err(|error| Failure::because(Code::Failed, error, "the key was not sealed"))?;
    let shown = args.to.display().to_string();
    files::create_private(&args.to, &sealed)
        .map_err(|error| Failure::because(Code::Failed, error, format!("cannot write {shown}")))?;
    // What was written is worth something only if it can be read: from the file, with the passphrase from its file.
    let (_, again) = read(&args.to, &args.passphrase)?;
    if again != pin || pin.to_string() != answer.pin {
        return Err(Failure::new(Code::Failed, format!("{shown} holds another key than that of {}", answer.pin)));
    }
    if args.plain.output.output == Format::Json {
        return output::json(context, &json!({"file": shown, "authority": authority, "pin": answer.pin}));
    }
    let text = format!(
        "{shown}: the key of {pin}, read back. It is still at the hub too, and in every backup until now; when this file is where \
         it shall stay: roadstead ca root remove {shown} --passphrase FILE"
    );
    output::hint(context, &text);
    Ok(())
}

pub(in crate::cli) fn remove(args: &RootKeyArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    give(args, "remove", context)
}

pub(in crate::cli) fn import(args: &RootImportArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let Some(data) = &args.data else {
        return give(&args.key, if args.once { "use" } else { "import" }, context);
    };
    let (key, pin) = read(&args.key.file, &args.key.passphrase)?;
    let seal_key = args.seal_key.clone().or_else(|| (context.env)("ROADSTEAD_SEAL_KEY").map(Into::into));
    let failed = |error| Failure::because(Code::Failed, error, "cannot start the runtime");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let done = runtime.block_on(hub::import_root(data, seal_key.as_ref(), &key, OffsetDateTime::now_utc()));
    done.map_err(|error| {
        let code = if matches!(error, ImportRootError::Root(_)) { Code::Conflict } else { Code::Failed };
        Failure::because(code, error, "the key was not imported")
    })?;
    output::hint(context, &format!("the key of {pin} is in {}; start the hub", data.display()));
    Ok(())
}

/// Shows the hub a key, and the person what became of it.
fn give(args: &RootKeyArgs, action: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let (key, pin) = read(&args.file, &args.passphrase)?;
    let settings = client_config::settings(&args.plain.client, context)?;
    let given = RootGiven { key: SecretText::from(key.expose().to_owned()) };
    let status: CaStatus =
        block_on(&settings, async |client| client.post(&format!("{PATH}/root/{action}"), &given).await)?;
    show(&status, args.plain.output.output, context)?;
    let pin = pin.to_string();
    if let Some(authority) = status.authorities.iter().find(|a| a.pin == pin && a.root_key_offline) {
        output::hint(context, &needed(authority));
    }
    Ok(())
}

/// When an offline key is to be brought back, and how.
pub(super) fn needed(authority: &CaAuthority) -> String {
    let due = authority.issuing_due.map_or_else(|| "from today".to_owned(), |due| format!("from {}", timestamp(due)));
    format!(
        "# {} ({}): the root's key is offline. The next issuing certificate needs it, {due} on and before {}: \
         roadstead ca root import FILE --passphrase FILE --once. A rotation makes new roots and does not need it",
        authority.authority,
        authority.generation,
        timestamp(authority.issuing_not_after)
    )
}

/// The key in an exported file.
fn read(file: &Path, passphrase_file: &Path) -> Result<(Secret, SpkiSha256), Failure> {
    let shown = file.display().to_string();
    let sealed = files::read_bytes(file)
        .map_err(|error| Failure::because(Code::Failed, error, format!("cannot read {shown}")))?;
    opened(&passphrase(passphrase_file)?, &sealed).map_err(|error| unopened(error, &shown, passphrase_file))
}

fn passphrase(path: &Path) -> Result<PassphraseKey, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Code::Usage, format!("cannot use the passphrase in {}: {error}", path.display()))
    };
    let text = Secret::new(files::read(path).map_err(|error| failed(&error))?);
    PassphraseKey::new(&text).map_err(|error| failed(&error))
}

fn opened(keys: &PassphraseKey, sealed: &[u8]) -> Result<(Secret, SpkiSha256), SealError> {
    let plain = seal::open(keys, ROOT_KEY, sealed)?;
    let key = Secret::new(std::str::from_utf8(&plain).map_err(|_| SealError::Damaged)?);
    let pin = KeyPair::from_pem(&key).map_err(|_| SealError::Damaged)?.spki_sha256();
    Ok((key, pin))
}

fn unopened(error: SealError, what: &str, passphrase_file: &Path) -> Failure {
    match error {
        SealError::Wrap(_) | SealError::OtherKey { .. } => {
            let text = format!("the passphrase in {} does not open {what}", passphrase_file.display());
            Failure::new(Code::Denied, text)
        }
        other => Failure::because(Code::Failed, other, format!("{what} is no exported root's key")),
    }
}
