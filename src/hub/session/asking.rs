//! What an agent asks for on its control stream: the next certificate; and its word that it has the roots of a rotation.

use bytes::Bytes;
use prost::Message;
use time::OffsetDateTime;

use crate::{
    hub::{
        Hub,
        directory::{CertificateRecord, Cluster, Denied, RenewError},
        links::ClusterLink,
        revocation,
        rotation::{self, Telling},
    },
    identity::{AgentRequest, Serial, VerifiedCsr},
    wire::generated::{ControlMessage, RenewRequest, RenewResponse, control_message::Body},
};

/// An agent on its control stream, and what was agreed with it.
pub(super) struct Asking<'a> {
    pub(super) hub: &'a Hub,
    pub(super) cluster: &'a Cluster,
    pub(super) link: &'a ClusterLink,
    /// Whether it may ask for certificates.
    pub(super) renews: bool,
    /// Whether it counts the generations of its key.
    pub(super) counts: bool,
}

impl Asking<'_> {
    /// The answer to its message, if there is one.
    ///
    /// # Errors
    ///
    /// What is no message.
    pub(super) async fn reply(&self, bytes: Bytes, telling: &mut Telling) -> Result<Option<Body>, prost::DecodeError> {
        Ok(match ControlMessage::decode(bytes)?.body {
            Some(Body::RenewRequest(request)) if self.renews => {
                let renewed = self.renew(&request).await;
                self.hub.metrics.renewal(renewed.is_ok());
                Some(Body::RenewResponse(
                    renewed.unwrap_or_else(|refusal| RenewResponse { refusal, ..Default::default() }),
                ))
            }
            Some(Body::TrustAck(ack)) => {
                if let Err(error) = telling.acknowledged(self.hub, self.cluster, &ack).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        cluster = &*self.cluster.name,
                        error,
                        "an acknowledgement of the roots was not stored"
                    );
                }
                None
            }
            // Messages of newer versions, of capabilities that were not agreed, and that make no sense from an agent, are ignored.
            _ => None,
        })
    }

    async fn renew(&self, request: &RenewRequest) -> Result<RenewResponse, String> {
        let Self { hub, cluster, link, .. } = *self;
        let csr = VerifiedCsr::parse(&request.csr).map_err(|error| error.to_string())?;
        let now = OffsetDateTime::now_utc();
        let generation = self.counts.then_some(request.generation);
        let renewing = hub.directory.renewing(&link.peer, generation, csr.spki_sha256(), now);
        let position = match renewing {
            Ok(position) => position,
            Err(error) => {
                tracing::warn!(cluster = &*cluster.name, %error, "certificate not renewed");
                if let RenewError::Denied(Denied::Copied(_)) = error {
                    revocation::copied(hub, cluster, &link.peer, "asked for a renewal").await;
                }
                return Err(error.to_string());
            }
        };
        let serial = Serial::random();
        let ttl = hub.certificate_life.into();
        let asked = AgentRequest { csr: &csr, cluster: &cluster.uid, now, ttl, serial };
        let authority = hub.pki.agents();
        let issued = authority.issue_agent(&asked).map_err(|error| error.to_string())?;
        let mut record = CertificateRecord::of(&issued, &cluster.uid, now);
        record.instance = Some(link.agent.instance.clone()).filter(|instance| !instance.is_empty());
        record.position = position;
        let recorded = match rotation::certified(hub, cluster, authority.pin(), false).await {
            Ok(()) => hub.directory.record_certificate(&record).await,
            failed => failed,
        };
        if let Err(error) = recorded {
            tracing::error!(error = &error as &dyn std::error::Error, "certificate not recorded, so not issued");
            return Err("the hub cannot record the certificate now".to_owned());
        }
        tracing::info!(cluster = &*cluster.name, %serial, not_after = %issued.not_after, "certificate renewed");
        Ok(RenewResponse {
            chain: issued.chain.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
            refusal: String::new(),
            generation: position.generation,
        })
    }
}
