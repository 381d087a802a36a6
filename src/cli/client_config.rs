//! Which hub the commands talk to, whom they trust there, and with which token: from flags, variables and the client
//! configuration file. Opens no connection.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::Context;
use super::args::ClientArgs;
use super::failure::{Code, Failure};
use super::layers::{Given, Layers, Places, parse_file};
use super::{files, output, roots};
use crate::hub::api_types::ClientFile;
use crate::identity::{HubUrl, Secret, Token, TokenKind};

/// The file, found and read.
pub(super) struct Found {
    /// Where it is or would be; `None` without a home directory.
    pub(super) path: Option<PathBuf>,
    /// Whether it is there.
    pub(super) exists: bool,
    file: ClientFile,
}

/// Everything that a request to the hub needs.
#[derive(Debug)]
pub(super) struct ClientSettings {
    pub(super) hub: HubUrl,
    pub(super) ca: Ca,
    pub(super) token: Secret,
    /// The configuration file, when there is one.
    pub(super) path: Option<PathBuf>,
}

/// Who is trusted to certify the hub.
#[derive(Debug)]
pub(super) struct Ca {
    /// Certificates in PEM.
    pub(super) pem: String,
    /// They are those that every program of this system trusts.
    pub(super) system: bool,
}

/// What stands in place of a CA for those of this system.
const SYSTEM: &str = "system";

/// A token and, when it is known, its end.
pub(super) struct Credential {
    pub(super) token: Secret,
    pub(super) expires: Option<OffsetDateTime>,
}

/// Finds and reads the client configuration. One that was named must be there; the default one need not.
pub(super) fn find(flag: Option<&Path>, context: &mut Context<'_>) -> Result<Found, Failure> {
    let named = flag.map(Path::to_owned).or_else(|| (context.env)("ROADSTEAD_CONFIG").map(PathBuf::from));
    let home = || {
        let config = (context.env)("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| (context.env)("HOME").map(|home| Path::new(&home).join(".config")));
        config.map(|config| config.join("roadstead/client.yaml"))
    };
    let must_exist = named.is_some();
    let Some(path) = named.or_else(home) else {
        return Ok(Found { path: None, exists: false, file: ClientFile::default() });
    };
    let failed = |error| {
        Failure::because(Code::Failed, error, format!("cannot read the client configuration {}", path.display()))
    };
    let text = if must_exist { files::read(&path).map(Some) } else { files::read_if_there(&path) }.map_err(failed)?;
    let Some(text) = text else { return Ok(Found { path: Some(path), exists: false, file: ClientFile::default() }) };
    let file: ClientFile = parse_file(&path, &text)?;
    if file.token.is_some() && files::is_open_to_others(&path) {
        let shown = path.display();
        output::hint(
            context,
            &format!("warning: {shown} holds a token and others can read it; run: chmod 600 {shown}"),
        );
    }
    Ok(Found { path: Some(path), exists: true, file })
}

/// What the commands need, or everything that is missing.
pub(super) fn settings(args: &ClientArgs, context: &mut Context<'_>) -> Result<ClientSettings, Failure> {
    let found = find(args.client_config.as_deref(), context)?;
    let shown = found.path.as_ref().map_or_else(|| "the client configuration".to_owned(), |p| p.display().to_string());
    let mut layers = Layers::new(context, found.path.clone());
    let hub = Places { flag: ("--hub", args.hub.clone()), env: "ROADSTEAD_HUB", file: ("hub", found.file.hub.clone()) };
    let hub = layers.given(hub);
    let hub = layers.required(hub, &format!("no hub is set: use --hub, ROADSTEAD_HUB or `hub:` in {shown}"));
    let ca = layers.noted(ca(args, context, &found, &shown));
    let credential = layers.noted(credential(&found, context));
    let path = found.exists.then_some(found.path).flatten();
    let settings = hub.zip(ca).zip(credential);
    layers.finish(settings.map(|((hub, ca), credential)| ClientSettings { hub, ca, token: credential.token, path }))
}

fn ca(args: &ClientArgs, context: &Context<'_>, found: &Found, shown: &str) -> Result<Ca, Failure> {
    let system = || Ok(Ca { pem: roots::system(context)?, system: true });
    let given = |pem| Ca { pem, system: false };
    let from_env = || (context.env)("ROADSTEAD_HUB_CA").map(PathBuf::from);
    if let Some(path) = args.hub_ca.clone().or_else(from_env) {
        if path.as_os_str() == SYSTEM {
            return system();
        }
        return files::read(&path).map(given).map_err(|error| {
            Failure::because(Code::Failed, error, format!("cannot read the hub's CA {}", path.display()))
        });
    }
    match &found.file.ca_data {
        Some(text) if text.trim() == SYSTEM => system(),
        Some(text) => Ok(given(text.clone())),
        None => {
            let how = "the hub's CA is not set: use --hub-ca, ROADSTEAD_HUB_CA or `caData:` in";
            Err(Failure::new(Code::Usage, format!("{how} {shown}; `system` there means this system's CAs")))
        }
    }
}

/// The token: variable, then variable of a file, then configuration. Its end is known only from the configuration that holds it.
pub(super) fn credential(found: &Found, context: &Context<'_>) -> Result<Credential, Failure> {
    let of = |text: String, place: &str, expires| check(Given { text, place: place.to_owned() }, expires);
    if let Some(text) = (context.env)("ROADSTEAD_TOKEN") {
        return of(text, "ROADSTEAD_TOKEN", None);
    }
    if let Some(path) = (context.env)("ROADSTEAD_TOKEN_FILE") {
        return of(read_token(Path::new(&path))?, &path, None);
    }
    let file = &found.file;
    let shown = found.path.as_ref().map_or_else(|| "the client configuration".to_owned(), |p| p.display().to_string());
    match (&file.token, &file.token_file) {
        (Some(_), Some(_)) => {
            Err(Failure::new(Code::Usage, format!("{shown}: token and tokenFile are both set; keep one")))
        }
        (Some(text), None) => of(text.expose().to_owned(), &format!("{shown}: token"), file.token_expires),
        (None, Some(path)) => {
            let beside = found.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
            of(read_token(&beside.join(path))?, &path.display().to_string(), file.token_expires)
        }
        (None, None) => {
            let how = "no token is set: use ROADSTEAD_TOKEN, ROADSTEAD_TOKEN_FILE or `token:` in";
            Err(Failure::new(Code::Usage, format!("{how} {shown}; an admin makes one with `roadstead token create`")))
        }
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    files::read(path)
        .map_err(|error| Failure::because(Code::Failed, error, format!("cannot read the token {}", path.display())))
}

/// Catches what was not copied whole before the hub would refuse it without saying why. What is no Roadstead token (one of
/// another issuer) only has to fit into a header.
fn check(given: Given, expires: Option<OffsetDateTime>) -> Result<Credential, Failure> {
    let token = Secret::new(given.text.trim());
    let text = token.expose();
    let fault = if text.starts_with("rst_") || text.starts_with("rsj_") {
        Token::parse(TokenKind::Hub, text).err().map(|error| error.to_string())
    } else if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        Some("is not a token".to_owned())
    } else {
        None
    };
    match fault {
        Some(fault) => Err(Failure::new(Code::Usage, format!("{}: {fault}", given.place))),
        None => Ok(Credential { token, expires }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_env;
    use super::*;

    fn read(file: &str, env: &[(&str, &str)], args: &ClientArgs) -> Result<ClientSettings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.yaml");
        files::write_private(&path, file.as_bytes()).unwrap();
        let args = ClientArgs { client_config: Some(path), ..args.clone() };
        with_env(env, |context| settings(&args, context))
    }

    #[test]
    fn the_file_suffices_and_variables_and_flags_win_over_it() {
        let token = Token::generate(TokenKind::Hub).reveal();
        let file = format!("hub: https://a:1\ncaData: |\n  PEM\ntoken: {}\n", token.expose());
        let none = ClientArgs::default();
        let found = read(&file, &[], &none).unwrap();
        assert_eq!(
            (found.hub.authority(), found.ca.pem.as_str(), found.token.expose()),
            ("a:1".into(), "PEM\n", token.expose())
        );
        let found = read(&file, &[("ROADSTEAD_HUB", "https://b:1"), ("ROADSTEAD_TOKEN", " jwt.a.b\n")], &none).unwrap();
        assert_eq!((found.hub.authority(), found.token.expose()), ("b:1".into(), "jwt.a.b"));
        let flag = ClientArgs { hub: Some("https://c:1".into()), ..none };
        let found = read(&file, &[("ROADSTEAD_HUB", "https://b:1")], &flag).unwrap();
        assert_eq!(found.hub.authority(), "c:1");
    }

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let failure = read("", &[], &ClientArgs::default()).unwrap_err();
        let text = failure.to_string();
        for expected in ["no hub is set", "the hub's CA is not set", "no token is set", "client.yaml"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(failure.code(), Code::Usage);
    }

    #[test]
    fn a_token_that_cannot_work_is_refused_without_showing_it() {
        let join = Token::generate(TokenKind::Join).reveal();
        let cut = &Token::generate(TokenKind::Hub).reveal().expose()[..40].to_owned();
        for (token, expected) in [(join.expose(), "wrong kind"), (cut, "characters"), ("a b", "not a token")] {
            let file = "hub: https://a:1\ncaData: x\n";
            let failure = read(file, &[("ROADSTEAD_TOKEN", token)], &ClientArgs::default()).unwrap_err();
            assert!(failure.to_string().contains(expected), "{failure}");
            assert!(!failure.to_string().contains(token), "{failure}");
        }
    }

    #[test]
    fn unknown_fields_two_tokens_and_missing_files_are_told() {
        let base = "hub: https://a:1\ncaData: x\n";
        let rows = [
            ("tokn: x\n", "tokn"),
            ("token: a\ntokenFile: b\n", "keep one"),
            ("tokenFile: /no/such/file\n", "cannot read the token /no/such/file"),
        ];
        for (more, expected) in rows {
            let failure = read(&format!("{base}{more}"), &[], &ClientArgs::default()).unwrap_err();
            assert!(failure.to_string().contains(expected), "{failure}");
        }
    }
}
