//! What could keep an agent from its work, one thing at a time: found, and what to do about it. Changes nothing: it neither joins, nor
//! says hello, nor writes an identity.

mod cluster;
mod files;
mod hub;

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    run::api_server,
    settings::{JoinToken, Settings},
    state::{Identity, State},
};
use crate::identity::HubTrust;

pub use self::{
    cluster::Needed,
    hub::{Answer, Caller, examine_hub},
};

/// How long one check may take: longer than three SYN retransmissions, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(8);

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What, in a word or two; stable, for scripts.
    pub check: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// In order.
    Ok,
    /// Not in order.
    Failed,
    /// It could not be looked at, because of something else that failed.
    Skipped,
}

impl Finding {
    /// In order.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    /// Not in order, and what to do.
    pub fn failed(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Not looked at, because of `why`.
    pub fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Skipped, found: why.into(), remedy: None }
    }
}

/// Looks at everything that an agent with these settings needs.
pub async fn examine(settings: &Settings, needed: &Needed) -> Vec<Finding> {
    let mut findings = Vec::new();
    let client = match api_server(&settings.api_server).await {
        Ok(config) => kube::Client::try_from(config).map_err(|error| text(&error)),
        Err(error) => Err(text(&error)),
    };
    let mut identity = None;
    match &client {
        Ok(client) => {
            let state = State::at(&settings.state, client);
            if settings.certificate.is_none() {
                identity = examine_identity(&state, settings, &mut findings).await;
            }
            cluster::examine(client, &settings.state, needed, &mut findings).await;
        }
        Err(error) => {
            let how = "name a kubeconfig that works (--kubeconfig), or run this in a pod with a ServiceAccount's token";
            findings.push(Finding::failed("api server", error, how));
            let checks = ["identity", "state", "rights"];
            for check in checks.into_iter().filter(|check| *check != "identity" || settings.certificate.is_none()) {
                findings.push(Finding::skipped(check, "no client for the API server"));
            }
        }
    }
    let trust = HubTrust::Pins(settings.hub_ca_pins.clone());
    let mut caller = identity.as_ref().and_then(Caller::of).unwrap_or(Caller::Nobody);
    if let Some(paths) = &settings.certificate
        && let Some(given) = files::examine(paths, OffsetDateTime::now_utc(), &mut findings).await
    {
        caller = Caller::Given(given);
    }
    let mut all = examine_hub(&settings.hub, &trust, &caller).await.findings;
    all.append(&mut findings);
    all
}

/// The stored identity, if there is one that can be used.
async fn examine_identity(state: &State, settings: &Settings, findings: &mut Vec<Finding>) -> Option<Identity> {
    const CHECK: &str = "identity";
    match state.load().await {
        Err(error) => {
            findings.push(Finding::failed(
                CHECK,
                text(&error),
                "mend that, or remove it and join again with a new token",
            ));
            None
        }
        Ok(identity) => {
            let joins = settings.join_token.as_ref().is_some_and(|token| match token {
                JoinToken::Text(_) => true,
                JoinToken::File(path) => path.exists(),
            });
            findings.push(judge(identity.as_ref(), joins, OffsetDateTime::now_utc()));
            identity
        }
    }
}

/// What a stored identity is worth at `now`; `joins` says whether a join token is at hand.
fn judge(identity: Option<&Identity>, joins: bool, now: OffsetDateTime) -> Finding {
    const CHECK: &str = "identity";
    const JOIN: &str = "make a join token (`roadstead cluster add NAME` for a new cluster) and give it to the agent";
    let Some(enrolled) = identity.and_then(|identity| identity.enrolled.as_ref()) else {
        return match joins {
            true => Finding::ok(CHECK, "none yet; a join token is at hand"),
            false => Finding::failed(CHECK, "none yet, and no join token", JOIN),
        };
    };
    let ends = enrolled.not_after();
    let who = format!("{} ({})", enrolled.cluster, enrolled.own.cluster);
    if ends <= now {
        return Finding::failed(
            CHECK,
            format!("the certificate of {who} ended at {ends}"),
            format!("{JOIN}; or mend the clock"),
        );
    }
    // Renewal is due after two thirds of the life and tried again and again from then on.
    let life = ends - enrolled.since;
    if enrolled.since <= now && ends - now < life / 10 {
        let found = format!("the certificate of {who} ends at {ends} and was to be renewed before");
        return Finding::failed(
            CHECK,
            found,
            "see why the link to the hub is down, or what the agent logs of its renewal",
        );
    }
    Finding::ok(CHECK, format!("{who}, certificate until {ends}"))
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    super::exchange::chain(error)
}

#[cfg(test)]
mod tests;
