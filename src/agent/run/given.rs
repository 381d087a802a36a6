//! The life of an agent whose certificate another CA issues into files: it neither enrols nor renews. A new certificate is taken as a renewed
//! one is: a link with it first, then the old one may go. What the files hold and a hub does not take changes nothing.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Agent, RunError, moored::Moved};
use crate::{
    agent::{
        files::Watched,
        link::{ClusterSays, Event, Live},
        metrics::Renewal,
        redial::{Redial, jitter},
        settings::CertificateFiles,
    },
    defaults,
    identity::{HubTrust, HubVerifier, tls::given_client, verify::GivenIdentity},
    transport::LinkEnd,
    wire::ALPN_LINK,
};

/// What there is to do while a link serves.
enum Turn {
    Link(Event),
    New(GivenIdentity),
}

/// A certificate that a hub did not take, and when it is tried again.
type Refused = Option<(GivenIdentity, Instant)>;

impl Agent {
    /// Serves with what the files hold, until `stop`.
    pub(super) async fn live_given(&self, files: &CertificateFiles, stop: &CancellationToken) -> Result<(), RunError> {
        let (mut files, mut redial) = (Watched::new(files.clone()), Redial::default());
        let mut held = None;
        loop {
            let live = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                live = self.connect_given(&mut files, &mut held, &mut redial) => live?,
            };
            if !self.moored_given(live, &mut files, &mut held, &mut redial, stop).await? {
                return Ok(());
            }
        }
    }

    /// Dials until a link is live: with what the files hold, else with what a hub has taken before, as long as that is good.
    async fn connect_given(
        &self,
        files: &mut Watched,
        held: &mut Option<GivenIdentity>,
        redial: &mut Redial,
    ) -> Result<Live, RunError> {
        let says = self.says().await;
        loop {
            sleep(redial.wait(jitter())).await;
            let found = match files.look().await {
                Ok(given) => Some(given),
                Err(why) => {
                    self.health.waiting(&why);
                    None
                }
            };
            let now = OffsetDateTime::now_utc();
            let other = |held: &GivenIdentity| found.as_ref().is_none_or(|found| !same(found, held));
            let before = held.clone().filter(|held| held.not_after() > now && other(held));
            if found.is_none() && before.is_none() {
                *redial = Redial::default();
                sleep(defaults::CERTIFICATE_POLL).await;
                continue;
            }
            for given in found.into_iter().chain(before) {
                match self.attempt_given(&given, &says).await? {
                    Ok(live) => {
                        self.health.waiting("");
                        self.taken(held, given);
                        return Ok(live);
                    }
                    Err(end) => drop(self.refused(redial, end.as_ref())),
                }
            }
        }
    }

    /// Dials once; else how the hub ended it, if it was the hub.
    async fn attempt_given(
        &self,
        given: &GivenIdentity,
        says: &ClusterSays,
    ) -> Result<Result<Live, Option<LinkEnd>>, RunError> {
        let verifier = std::sync::Arc::new(HubVerifier::of_any_domain(HubTrust::Pins(self.trust.pins())));
        let tls = given_client(verifier.clone(), given, ALPN_LINK)?;
        self.attempt_with(tls.into(), &verifier, says).await
    }

    fn taken(&self, held: &mut Option<GivenIdentity>, given: GivenIdentity) {
        self.health.metrics.certificate(given.not_after());
        if held.as_ref().is_some_and(|held| !same(held, &given)) {
            self.health.metrics.renewal(Renewal::Done);
            tracing::info!(serial = %given.serial(), not_after = %given.not_after(), "a new certificate is in use");
        }
        *held = Some(given);
    }

    /// Serves one link and its successors, until one is lost (`true`) or the agent stops (`false`).
    async fn moored_given(
        &self,
        mut live: Live,
        files: &mut Watched,
        held: &mut Option<GivenIdentity>,
        redial: &mut Redial,
        stop: &CancellationToken,
    ) -> Result<bool, RunError> {
        let (mut up, mut refused): (_, Refused) = (Instant::now(), None);
        loop {
            self.health.connected(true);
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return self.finish(live).await,
                event = live.serve(&self.upstream, None, &self.trust) => Turn::Link(event),
                new = another(files, held.as_ref(), &refused) => Turn::New(new),
            };
            // As long as the old certificate: the link that goes may stay until it ends.
            let left = held.as_ref().map(|held| held.not_after() - live.hub_now());
            let grace_of_old = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(Duration::ZERO);
            let moved = match turn {
                Turn::Link(Event::Ended(end)) => return Ok(self.lost(redial, up, &end)),
                Turn::Link(Event::Drain { delay, grace }) => {
                    tracing::info!(grace_s = grace.as_secs(), "the hub drains");
                    let mut again = Redial::default();
                    let next = async {
                        sleep(delay).await;
                        self.connect_given(files, held, &mut again).await.map(Some)
                    };
                    self.move_on(&mut live, next, grace, stop).await?
                }
                Turn::Link(Event::Due | Event::Answered(_) | Event::RenewNow(_) | Event::Trust(_)) => continue,
                Turn::New(given) => {
                    tracing::info!(serial = %given.serial(), not_after = %given.not_after(), "the files hold another certificate");
                    let next = async {
                        let says = self.says().await;
                        self.attempt_given(&given, &says).await.map(Result::ok)
                    };
                    let moved = self.move_on(&mut live, next, grace_of_old, stop).await?;
                    match moved {
                        Moved::Yes => self.taken(held, given),
                        Moved::No => {
                            self.health.metrics.renewal(Renewal::Failed);
                            tracing::error!(
                                "the new certificate was not taken: the one before serves on, and it is tried again"
                            );
                            refused = Some((given, Instant::now() + defaults::GIVEN_RETRY));
                        }
                        Moved::Lost(_) | Moved::Stopped => {}
                    }
                    moved
                }
            };
            match moved {
                Moved::Yes => up = Instant::now(),
                Moved::No => {}
                Moved::Lost(end) => return Ok(self.lost(redial, up, &end)),
                Moved::Stopped => return self.finish(live).await,
            }
        }
    }
}

/// Waits until the files hold another certificate than the one in use, and not one that was refused lately.
///
/// # Cancel safety
/// Safe.
async fn another(files: &mut Watched, held: Option<&GivenIdentity>, refused: &Refused) -> GivenIdentity {
    loop {
        sleep(defaults::CERTIFICATE_POLL).await;
        let Ok(given) = files.look().await else { continue };
        let again = refused.as_ref().is_some_and(|(not, until)| same(not, &given) && Instant::now() < *until);
        if !again && held.is_none_or(|held| !same(held, &given)) {
            return given;
        }
    }
}

fn same(one: &GivenIdentity, other: &GivenIdentity) -> bool {
    one.certified().cert == other.certified().cert
}
