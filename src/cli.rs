//! Commands, configuration files and exit codes. Does the talking with people and scripts; decides nothing about clusters.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

mod agent;
mod args;
mod backup;
mod ca;
mod cert;
mod client;
mod client_config;
mod cluster;
mod credential;
mod defaults;
mod doctor;
mod external;
mod failure;
mod files;
mod hub;
mod kubeconfig;
mod layers;
mod lock;
mod logging;
mod manifest;
mod output;
mod roots;
mod service;
mod status;
mod token;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

pub use args::Cli;
pub use failure::{Code, Failure};
pub use logging::LogFormat;

use args::{
    CaCommand, CertCommand, ClusterCommand, Command, ExternalCaCommand, HubCommand, JoinTokenCommand, JwksCommand,
    RootCommand, TokenCommand,
};

/// Runs the command line of this process. Usage errors exit 2, everything else as [`Code`] says; a failure is printed here, once.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut context = Context { env: &env, out: &mut std::io::stdout(), err: &mut std::io::stderr() };
    match run(cli, &mut context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(context.err, "roadstead: {failure}");
            failure.code().into()
        }
    }
}

/// What a command may touch of its process, so that tests can stand in for it. An empty variable counts as unset.
pub(crate) struct Context<'a> {
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
}

fn run(cli: Cli, context: &mut Context<'_>) -> Result<(), Failure> {
    match cli.command {
        Command::Hub(call) => match call.command {
            None => hub::run(call.run, context),
            Some(HubCommand::Backup(args)) => backup::backup(&args, context),
            Some(HubCommand::Restore(args)) => backup::restore(args, context),
            Some(HubCommand::RestoreAcknowledge(args)) => backup::acknowledge(&args, context),
        },
        Command::Agent(args) => agent::run(args, context),
        Command::Cluster(ClusterCommand::Add(args)) => cluster::add(&args, context),
        Command::Cluster(ClusterCommand::List(args)) => cluster::list(&args, context),
        Command::Cluster(ClusterCommand::Show(args)) => cluster::show(&args, context),
        Command::Cluster(ClusterCommand::Remove(args)) => cluster::remove(&args, context),
        Command::Cluster(ClusterCommand::Jwks(JwksCommand::Show(args))) => cluster::jwks::show(&args, context),
        Command::Cluster(ClusterCommand::Jwks(JwksCommand::Set(args))) => cluster::jwks::set(&args, context),
        Command::Cluster(ClusterCommand::Jwks(JwksCommand::Accept(args))) => cluster::jwks::accept(&args, context),
        Command::Cluster(ClusterCommand::Rekey(args)) => cluster::join::rekey(&args, context),
        Command::Cluster(ClusterCommand::Token(JoinTokenCommand::Create(args))) => {
            cluster::join::create(&args, context)
        }
        Command::Cluster(ClusterCommand::Token(JoinTokenCommand::List(args))) => cluster::join::list(&args, context),
        Command::Cluster(ClusterCommand::Token(JoinTokenCommand::Revoke(args))) => {
            cluster::join::revoke(&args, context)
        }
        Command::Cluster(ClusterCommand::Map(args)) => external::map(&args, context),
        Command::Cluster(ClusterCommand::Unmap(args)) => external::unmap(&args, context),
        Command::Cluster(ClusterCommand::Names(args)) => external::names(&args, context),
        Command::Cluster(ClusterCommand::Lock(args)) => lock::lock(args, context),
        Command::Cluster(ClusterCommand::Unlock(args)) => lock::unlock(args, context),
        Command::Cluster(ClusterCommand::Revoke(args)) => lock::revoke(args, context),
        Command::Cert(CertCommand::List(args)) => cert::list(&args, context),
        Command::Cert(CertCommand::Show(args)) => cert::show(&args, context),
        Command::Cert(CertCommand::Revoke(args)) => cert::revoke(args, context),
        Command::Token(TokenCommand::Create(args)) => token::create(args, context),
        Command::Token(TokenCommand::List(args)) => token::list(&args, context),
        Command::Token(TokenCommand::Revoke(args)) => token::revoke(&args, context),
        Command::Ca(CaCommand::Status(args)) => ca::status(&args, context),
        Command::Ca(CaCommand::Bundle(args)) => ca::bundle(&args, context),
        Command::Ca(CaCommand::Prepare(args)) => ca::plain("prepare", &args, context),
        Command::Ca(CaCommand::Activate(args)) => ca::accepting("activate", &args, context),
        Command::Ca(CaCommand::Rollback(args)) => ca::plain("rollback", &args, context),
        Command::Ca(CaCommand::Taint(args)) => ca::plain("taint", &args, context),
        Command::Ca(CaCommand::Revoke(args)) => ca::accepting("revoke", &args, context),
        Command::Ca(CaCommand::Root(RootCommand::Export(args))) => ca::root::export(&args, context),
        Command::Ca(CaCommand::Root(RootCommand::Remove(args))) => ca::root::remove(&args, context),
        Command::Ca(CaCommand::Root(RootCommand::Import(args))) => ca::root::import(&args, context),
        Command::Ca(CaCommand::Rotate(args)) => ca::rotate(&args, context),
        Command::Ca(CaCommand::External(ExternalCaCommand::Add(args))) => external::add(&args, context),
        Command::Ca(CaCommand::External(ExternalCaCommand::List(args))) => external::list(&args, context),
        Command::Ca(CaCommand::External(ExternalCaCommand::Remove(args))) => external::remove(&args, context),
        Command::Kubeconfig(args) => kubeconfig::run(&args, context),
        Command::Credential(args) => credential::run(&args, context),
        Command::Status(args) => status::status(&args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Version(args) => status::version(&args, context),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "roadstead", &mut script);
            output::bytes(context, &script)
        }
    }
}
