//! The commands as scripts meet them: arguments in; text, JSON and exit codes out; a hub in this process that answers as told.

use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::{Value, json};

use super::*;

mod commands;
mod external;
pub(super) mod fake_hub;
mod join;
mod jwks;
mod revocation;

use fake_hub::FakeHub;

/// Calls `f` with these variables and no others.
pub(super) fn with_env<T>(env: &[(&str, &str)], f: impl FnOnce(&mut Context<'_>) -> T) -> T {
    captured(env, f).0
}

/// Like [`with_env`], with what was written to stdout and stderr.
pub(super) fn captured<T>(env: &[(&str, &str)], f: impl FnOnce(&mut Context<'_>) -> T) -> (T, String, String) {
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let result = f(&mut Context { env: &lookup, out: &mut out, err: &mut err });
    (result, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// What a command did: its exit code, stdout, and stderr with the failure.
pub(super) struct Ran {
    pub(super) code: u8,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs a command line, split at blanks, with these variables.
pub(super) fn roadstead(line: &str, env: &[(&str, &str)]) -> Ran {
    let words = std::iter::once("roadstead").chain(line.split_whitespace());
    match Cli::try_parse_from(words) {
        Err(error) => Ran { code: error.exit_code() as u8, out: String::new(), err: error.to_string() },
        Ok(cli) => {
            let (result, out, err) = captured(env, |context| run(cli, context));
            match result {
                Ok(()) => Ran { code: 0, out, err },
                Err(failure) => Ran { code: failure.code() as u8, out, err: format!("{err}{failure}") },
            }
        }
    }
}

/// Runs a command against a hub that gives one answer.
pub(super) fn against(line: &str, status: u16, answer: Value) -> (Ran, Vec<fake_hub::Asked>) {
    let hub = FakeHub::start(status, answer.to_string().into_bytes());
    let folder = tempfile::tempdir().unwrap();
    let config = hub.client_config(folder.path());
    let ran = roadstead(line, &[("ROADSTEAD_CONFIG", &config)]);
    (ran, hub.asked())
}

#[test]
fn the_command_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_token_has_no_place_on_a_command_line() {
    fn flags(command: &clap::Command, found: &mut Vec<String>) {
        let takes = command.get_arguments().filter(|arg| arg.get_action().takes_values());
        found.extend(takes.filter_map(|arg| arg.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|inner| flags(inner, found));
    }
    let mut found = Vec::new();
    flags(&Cli::command(), &mut found);
    let secret: Vec<_> = found.iter().filter(|flag| flag.contains("token") && !flag.ends_with("-file")).collect();
    assert!(secret.is_empty(), "{secret:?}");
}
