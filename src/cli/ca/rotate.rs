//! `roadstead ca rotate`: each step as soon as its gate is open. Asks again and again; the hub decides, so this may be stopped at any time
//! and started again, and goes on from wherever the rotation stands.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{PATH, wish};
use crate::cli::{
    Context,
    args::CaRotateArgs,
    client::{Client, Limits},
    client_config::{self, ClientSettings},
    defaults::ROTATE_POLL,
    failure::{Code, Failure},
    output::{self, Format},
    units::duration,
};
use crate::hub::api_types::{CaLaggard, CaStatus};

/// What `ca rotate --output json` prints, also when it did not come to the end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The rotation has ended: agents and hub are on the next generation.
    rotated: bool,
    /// Each phase that was come to, and after how many seconds.
    steps: Vec<Reached>,
    /// Who was waited for last.
    laggards: Vec<CaLaggard>,
    /// What the hub said last.
    status: CaStatus,
}

#[derive(Debug, Serialize)]
struct Reached {
    phase: String,
    seconds: f64,
}

pub(in crate::cli) fn rotate(args: &CaRotateArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let timeout = duration(&args.timeout).map_err(|error| Failure::new(Code::Usage, format!("--timeout: {error}")))?;
    let settings = client_config::settings(&args.client, context)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(Code::Failed, error, "cannot start the runtime"))?;
    let patience = args.wait.then_some(timeout);
    let (report, ended) = runtime.block_on(Rotation::new(settings, args).run(patience, context))?;
    if args.output.output == Format::Json {
        output::json(context, &report)?;
    }
    ended
}

/// One run of the command.
struct Rotation<'a> {
    settings: ClientSettings,
    /// The CA of the settings: that of a certificate that the operator gave the hub, perhaps, which no rotation changes.
    given: String,
    args: &'a CaRotateArgs,
    started: Instant,
    report: Vec<Reached>,
}

/// What one look and one step came to.
enum Went {
    On(CaStatus),
    Waits(CaStatus, Failure),
}

impl<'a> Rotation<'a> {
    fn new(settings: ClientSettings, args: &'a CaRotateArgs) -> Self {
        let given = settings.ca.pem.clone();
        Self { settings, given, args, started: Instant::now(), report: Vec::new() }
    }

    /// To the end, or for as long as there is patience; `Err` only when there is nothing to report.
    async fn run(
        mut self,
        patience: Option<Duration>,
        context: &mut Context<'_>,
    ) -> Result<(Report, Result<(), Failure>), Failure> {
        let mut status: CaStatus = self.client()?.get(PATH).await?;
        self.trust(&status.hub_ca);
        if status.phase == "rollback" {
            let text = "a rollback is under way: end it with `roadstead ca activate`, then rotate again";
            return Err(Failure::new(Code::Conflict, text));
        }
        let mut laggards = Vec::new();
        loop {
            let failure = match self.go_on(status.clone()).await {
                Ok(Went::On(after)) => {
                    self.reached(&after, context);
                    // The hub presents another certificate soon: both roots are trusted from here on, and in the end the new one.
                    self.trust(&after.hub_ca);
                    (status, laggards) = (after, Vec::new());
                    if status.phase == "standby" {
                        return Ok((self.ended(status, laggards), Ok(())));
                    }
                    continue;
                }
                Ok(Went::Waits(seen, failure)) => {
                    self.trust(&seen.hub_ca);
                    if seen.laggards != laggards {
                        self.say_laggards(&seen, context);
                    }
                    (status, laggards) = (seen.clone(), seen.laggards);
                    failure
                }
                // A hub that restarts, or another operator: what is there is looked at again.
                Err(failure) => failure,
            };
            let may_pass = matches!(failure.code(), Code::NotReady | Code::Unreachable | Code::Conflict);
            if !may_pass || patience.is_none_or(|patience| self.started.elapsed() >= patience) {
                return Ok((self.ended(status, laggards), Err(failure)));
            }
            sleep(ROTATE_POLL).await;
        }
    }

    /// Looks, and takes the step that follows.
    async fn go_on(&self, known: CaStatus) -> Result<Went, Failure> {
        let client = self.client()?;
        let status: CaStatus = client.get(PATH).await?;
        // Somebody else ended it, or took it back.
        if !self.report.is_empty() && matches!(status.phase.as_str(), "standby" | "rollback") {
            let text = format!("somebody else brought the rotation from {} to {}", known.phase, status.phase);
            return Err(Failure::new(Code::Failed, text));
        }
        let step = if status.phase == "standby" { "prepare" } else { "activate" };
        let mut wish = wish(&status, &self.args.accept);
        if step == "prepare" {
            (wish.accept_lost, wish.accept_lost_count) = (Vec::new(), None);
        }
        match client.post(&format!("{PATH}/{step}"), &wish).await {
            Ok(after) => Ok(Went::On(after)),
            Err(failure) if failure.code() == Code::NotReady => Ok(Went::Waits(status, failure)),
            Err(failure) => Err(failure),
        }
    }

    /// With the roots that are known by now: each request has a connection of its own anyway.
    fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.settings, Limits::default())
    }

    /// Trusts these roots of the hub, too, which it named over a connection that was trusted.
    fn trust(&mut self, hub_ca: &str) {
        self.settings.ca.pem = format!("{}\n{hub_ca}", self.given);
    }

    fn reached(&mut self, status: &CaStatus, context: &mut Context<'_>) {
        let seconds = self.started.elapsed().as_secs_f64();
        output::hint(context, &format!("{seconds:.1} s: {}", status.phase));
        self.report.push(Reached { phase: status.phase.clone(), seconds });
    }

    fn say_laggards(&self, status: &CaStatus, context: &mut Context<'_>) {
        let seconds = self.started.elapsed().as_secs_f64();
        output::hint(
            context,
            &format!("{seconds:.1} s: {} waits for {} clusters", status.phase, status.laggards.len()),
        );
        for CaLaggard { name, connected, reason } in status.laggards.iter().take(20) {
            let state = if *connected { "connected" } else { "not connected" };
            output::hint(context, &output::shown(&format!("  {name} ({state}) {reason}")));
        }
    }

    fn ended(self, status: CaStatus, laggards: Vec<CaLaggard>) -> Report {
        let rotated = self.report.last().is_some_and(|last| last.phase == "standby");
        Report { rotated, steps: self.report, laggards, status }
    }
}
