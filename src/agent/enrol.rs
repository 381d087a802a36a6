//! The first certificate: a join token and a CSR, over HTTPS to the pinned hub. The token is sent to nobody else.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{settings::Settings, state::Enrolled};
use crate::{
    defaults,
    identity::{
        HttpsVerifier, HubTrust, KeyPair, Secret, SpkiSha256,
        tls::{ALPN_ENROL, https_client},
    },
};

/// The largest answer, bytes.
const MAX_ANSWER: usize = 64 << 10;

/// No certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The hub was not reached, or is not the pinned one.
    #[error("cannot reach the hub at https://{hub}: {reason}")]
    Unreachable {
        /// Host and port.
        hub: String,
        /// Why not.
        reason: String,
    },
    /// The hub says no.
    #[error("the hub refuses: {0}")]
    Refused(String),
    /// The cluster is locked: an operator unlocks it, and the token is good then.
    #[error("the hub does not let this cluster join now: {0}")]
    Locked(String),
    /// The hub's answer makes no sense.
    #[error("the hub's answer cannot be used: {0}")]
    Answer(String),
}

impl EnrolError {
    /// Whether trying again with the same token can help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// What is used of it: everything else stands in the certificate.
#[derive(Deserialize)]
struct Answer {
    name: String,
    chain: Vec<String>,
}

/// Gets a certificate for `key`.
pub(super) async fn enrol(
    settings: &Settings,
    pins: Vec<SpkiSha256>,
    token: &Secret,
    key: &KeyPair,
) -> Result<Enrolled, EnrolError> {
    let hub = settings.hub.authority();
    let unreachable = |reason: String| EnrolError::Unreachable { hub: hub.clone(), reason };
    let asked = timeout(defaults::ENROL, ask(settings, pins, token, key)).await;
    let (status, body) = asked.map_err(|_| unreachable("no answer in time".to_owned()))?.map_err(unreachable)?;
    if status != StatusCode::OK {
        let said = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
        let message = said["message"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        if said["details"]["causes"][0]["reason"] == "ClusterLocked" {
            return Err(EnrolError::Locked(message));
        }
        // An overloaded or failing hub may well say yes later.
        let refused = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        return Err(if refused { EnrolError::Refused(message) } else { unreachable(message) });
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| EnrolError::Answer(error.to_string()))?;
    let der = |text: &String| BASE64_STANDARD.decode(text).map(CertificateDer::from);
    let chain: Vec<_> =
        answer.chain.iter().map(der).collect::<Result<_, _>>().map_err(|e| EnrolError::Answer(e.to_string()))?;
    Enrolled::new(answer.name, chain, key, OffsetDateTime::now_utc()).map_err(|error| EnrolError::Answer(text(error)))
}

async fn ask(
    settings: &Settings,
    pins: Vec<SpkiSha256>,
    token: &Secret,
    key: &KeyPair,
) -> Result<(StatusCode, Bytes), String> {
    let verifier = Arc::new(HttpsVerifier::new(HubTrust::Pins(pins)));
    let tls = https_client(verifier, &[ALPN_ENROL, b"http/1.1"]).map_err(text)?;
    let name = ServerName::try_from(settings.hub.host().to_owned()).map_err(text)?;
    let tcp = TcpStream::connect((settings.hub.host(), settings.hub.port())).await.map_err(text)?;
    let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(text)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(text)?;
    let body = serde_json::json!({ "token": token.expose(), "csr": BASE64_STANDARD.encode(key.csr()) });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/enrol/v1")
        .header(header::HOST, settings.hub.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(text)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answered = &mut exchange => answered,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(text(error)),
        },
    }
}

fn text(error: impl std::error::Error + 'static) -> String {
    super::exchange::chain(&error)
}
