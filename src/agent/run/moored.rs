//! A link and its successors: served, renewed, replaced before it goes. Knows neither how links are dialled nor how an identity is got.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Agent, RunError,
    renewal::{self, Outcome},
};
use crate::{
    agent::{
        link::{Event, Live},
        metrics,
        redial::{Redial, Shut},
        state::Identity,
    },
    defaults,
    transport::LinkEnd,
    wire::CloseCode,
};

/// What became of a wish for another link.
pub(super) enum Moved {
    Yes,
    No,
    Lost(LinkEnd),
    Stopped,
}

impl Agent {
    /// Serves one link and its successors, until one is lost (`true`) or the agent stops (`false`).
    pub(super) async fn moored(
        &self,
        mut live: Live,
        identity: &mut Identity,
        redial: &mut Redial,
        stop: &CancellationToken,
    ) -> Result<bool, RunError> {
        let mut renew_at = self.renew_at(&live, identity);
        let mut up = Instant::now();
        loop {
            self.health.connected(true);
            self.health.metrics.clock(live.ahead());
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return self.finish(live).await,
                event = live.serve(&self.upstream, renew_at, &self.trust) => event,
            };
            // The link that goes after a renewal may stay as long as its own certificate.
            let grace_of_old = renewal::left(identity, live.hub_now());
            let asked = match event {
                Event::Due => {
                    renew_at = Some(renewal::retry_at(identity, live.hub_now()));
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return self.finish(live).await,
                        asked = self.ask(&mut live, identity) => asked,
                    }
                }
                event => Some(event),
            };
            let (renewed, delay, grace) = match asked {
                Some(Event::Ended(end)) => return Ok(self.lost(redial, up, &end)),
                Some(Event::Drain { delay, grace }) => {
                    tracing::info!(grace_s = grace.as_secs(), "the hub drains");
                    (None, delay, grace)
                }
                Some(Event::Answered(response)) => match renewal::answered(response, identity, live.hub_now()) {
                    Some(next) => (Some(next), Duration::ZERO, grace_of_old),
                    None => continue,
                },
                Some(Event::RenewNow(wait)) => {
                    renew_at = renew_at.map(|at| at.min(live.hub_now() + wait));
                    continue;
                }
                // Heard by the link itself.
                Some(Event::Trust(_)) => continue,
                // Another agent was faster.
                Some(Event::Due) => (None, Duration::ZERO, grace_of_old),
                None => continue,
            };
            let next = self.next_link(identity, renewed, delay);
            match self.move_on(&mut live, next, grace, stop).await? {
                Moved::Yes => (renew_at, up) = (self.renew_at(&live, identity), Instant::now()),
                Moved::No => renew_at = Some(renewal::retry_at(identity, live.hub_now())),
                Moved::Lost(end) => return Ok(self.lost(redial, up, &end)),
                Moved::Stopped => return self.finish(live).await,
            }
        }
    }

    /// Keeps the key of the next certificate while the link serves, and asks with it then, not before. What else there is to do:
    /// [`Event::Due`] when another agent's certificate took the place of this one's.
    async fn ask(&self, live: &mut Live, identity: &mut Identity) -> Option<Event> {
        let outcome = tokio::select! {
            biased;
            event = live.serve_on(&self.upstream, &self.trust) => return Some(event),
            outcome = renewal::prepare(&self.state, identity) => outcome,
        };
        match (outcome, &identity.next) {
            (Outcome::Overtaken, _) => Some(Event::Due),
            (_, Some(key)) => live.ask(key).await.err().map(Event::Ended),
            (_, None) => None,
        }
    }

    /// Make before break: the old link serves while `next` comes up, and until its requests have ended, for `grace` at most.
    pub(super) async fn move_on(
        &self,
        live: &mut Live,
        next: impl Future<Output = Result<Option<Live>, RunError>>,
        mut grace: Duration,
        stop: &CancellationToken,
    ) -> Result<Moved, RunError> {
        tokio::pin!(next);
        let next = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Moved::Stopped),
                event = live.serve_on(&self.upstream, &self.trust) => match event {
                    Event::Ended(end) => return Ok(Moved::Lost(end)),
                    Event::Drain { grace: shorter, .. } => grace = grace.min(shorter),
                    // Nothing was asked for.
                    Event::Due | Event::Answered(_) | Event::RenewNow(_) | Event::Trust(_) => {}
                },
                next = &mut next => break next?,
            }
        };
        let Some(next) = next else { return Ok(Moved::No) };
        let old = std::mem::replace(live, next);
        self.retiring.spawn(old.retire(self.upstream.clone(), grace));
        Ok(Moved::Yes)
    }

    /// A new link, with the new identity if there is one; `None` when that cannot be kept, for then the old one must do.
    async fn next_link(
        &self,
        identity: &mut Identity,
        renewed: Option<Identity>,
        delay: Duration,
    ) -> Result<Option<Live>, RunError> {
        sleep(delay).await;
        if let Some(next) = renewed {
            if let Outcome::Failed = renewal::keep(&self.state, identity, next).await {
                self.health.metrics.renewal(metrics::Renewal::Failed);
                return Ok(None);
            }
            self.health.metrics.renewal(metrics::Renewal::Done);
            let not_after = identity.enrolled.as_ref().map(|e| e.not_after());
            tracing::info!(not_after = ?not_after, "certificate renewed");
        }
        self.connect(identity, &mut Redial::default()).await
    }

    pub(super) fn lost(&self, redial: &mut Redial, up: Instant, end: &LinkEnd) -> bool {
        self.health.connected(false);
        tracing::warn!(%end, "link lost");
        redial.lost(up.elapsed(), end);
        self.health.shut(Shut::of(end));
        true
    }

    /// When to ask for the next certificate; `None` when the hub does not renew any.
    fn renew_at(&self, live: &Live, identity: &Identity) -> Option<OffsetDateTime> {
        let enrolled = identity.enrolled.as_ref()?;
        if live.renews() {
            return Some(renewal::due(enrolled));
        }
        self.unrenewed.call_once(|| {
            let not_after = enrolled.not_after();
            tracing::warn!(%not_after, "the hub does not renew certificates: this agent keeps its own until it ends, then it must join again");
        });
        None
    }

    /// Stops in order: requests under way may end, then the hub is told. `false`, for nothing follows.
    pub(super) async fn finish(&self, mut live: Live) -> Result<bool, RunError> {
        tracing::info!(streams = live.streams(), "agent stops");
        let deadline = Instant::now() + defaults::AGENT_DRAIN;
        while (live.streams() > 0 || !self.retiring.is_empty()) && Instant::now() < deadline {
            if let Ok(Event::Ended(_)) = timeout(defaults::DRAIN_POLL, live.serve_on(&self.upstream, &self.trust)).await
            {
                return Ok(false);
            }
        }
        live.link.close(CloseCode::Normal);
        // The close must leave before the process does.
        sleep(defaults::DRAIN_POLL).await;
        Ok(false)
    }
}
