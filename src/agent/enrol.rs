//! A certificate by a proof, over HTTPS to the pinned hub: a join token, or a token of the agent's own ServiceAccount. Either is sent to
//! nobody else.

use std::sync::Arc;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    account::{self, AccountError},
    settings::Settings,
    state::Enrolled,
};
use crate::{
    defaults,
    identity::{
        ClusterUid, HttpsVerifier, HubTrust, KeyPair, Secret, SpkiSha256, TrustDomain,
        service_account::audience,
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
    /// The agent's API server gives it nothing to prove itself with.
    #[error("no proof by ServiceAccount")]
    Account(#[from] AccountError),
}

impl EnrolError {
    /// Whether trying again with the same proof can help.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NonceAnswer {
    nonce: String,
    trust_domain: TrustDomain,
}

/// Gets a certificate for `key` by a join token. The API server's keys go with it, if it shows them: so the hub knows the cluster by its
/// ServiceAccount from then on.
pub(super) async fn by_token(
    settings: &Settings,
    pins: Vec<SpkiSha256>,
    client: &kube::Client,
    token: &Secret,
    key: &KeyPair,
) -> Result<Enrolled, EnrolError> {
    let mut body = json!({ "token": token.expose(), "csr": BASE64_STANDARD.encode(key.csr()) });
    if let Some(keys) = account::keys(client).await {
        body["jwks"] = Value::String(keys);
    }
    let exchange = async {
        let mut hub = Hub::connect(settings, pins.clone()).await?;
        let (status, answer) = hub.ask(Method::POST, "/enrol/v1", Some(&body)).await?;
        // An older hub knows no such field.
        if status == StatusCode::BAD_REQUEST
            && body.as_object_mut().is_some_and(|fields| fields.remove("jwks").is_some())
        {
            return Hub::connect(settings, pins).await?.ask(Method::POST, "/enrol/v1", Some(&body)).await;
        }
        Ok((status, answer))
    };
    let (status, answer) = in_time(settings, exchange).await?;
    enrolled(settings, status, &answer, key)
}

/// Gets a certificate for `key` by a token of the agent's own ServiceAccount that is good for this key, this hub and this once.
pub(super) async fn by_account(
    settings: &Settings,
    pins: Vec<SpkiSha256>,
    client: &kube::Client,
    cluster: &ClusterUid,
    key: &KeyPair,
) -> Result<Enrolled, EnrolError> {
    // One connection, so that a network with several ways out has the nonce and the proof come from one address.
    let nonce = async {
        let mut hub = Hub::connect(settings, pins).await?;
        let answer = hub.ask(Method::GET, "/enrol/v1/nonce", None).await?;
        Ok((hub, answer))
    };
    let (mut hub, (status, answer)) = in_time(settings, nonce).await?;
    let given: NonceAnswer = read(&granted(settings, status, &answer)?)?;
    let nonce = BASE64_URL_SAFE_NO_PAD.decode(&given.nonce).map_err(|error| EnrolError::Answer(error.to_string()))?;
    let audience = audience(&given.trust_domain, &key.spki_der(), &nonce);
    let jwt = account::token(client, &audience).await?;
    let mut body = json!({
        "cluster": cluster, "nonce": given.nonce, "jwt": jwt.expose(), "csr": BASE64_STANDARD.encode(key.csr()),
    });
    if let Some(keys) = account::keys(client).await {
        body["jwks"] = Value::String(keys);
    }
    let (status, answer) = in_time(settings, hub.ask(Method::POST, "/enrol/v1", Some(&body))).await?;
    let enrolled = enrolled(settings, status, &answer, key)?;
    if enrolled.own.cluster == *cluster {
        Ok(enrolled)
    } else {
        Err(EnrolError::Answer("a certificate of another cluster".to_owned()))
    }
}

async fn in_time<T>(settings: &Settings, exchange: impl Future<Output = Result<T, String>>) -> Result<T, EnrolError> {
    let asked = timeout(defaults::ENROL, exchange).await;
    asked.unwrap_or_else(|_| Err("no answer in time".to_owned())).map_err(|reason| unreachable(settings, reason))
}

fn unreachable(settings: &Settings, reason: String) -> EnrolError {
    EnrolError::Unreachable { hub: settings.hub.authority(), reason }
}

/// The body of an answer that says yes.
fn granted(settings: &Settings, status: StatusCode, body: &Bytes) -> Result<Bytes, EnrolError> {
    if status == StatusCode::OK {
        return Ok(body.clone());
    }
    let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let message = said["message"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    if said["details"]["causes"][0]["reason"] == "ClusterLocked" {
        return Err(EnrolError::Locked(message));
    }
    // An overloaded or failing hub may well say yes later.
    let refused = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    Err(if refused { EnrolError::Refused(message) } else { unreachable(settings, message) })
}

fn read<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<T, EnrolError> {
    serde_json::from_slice(body).map_err(|error| EnrolError::Answer(error.to_string()))
}

fn enrolled(settings: &Settings, status: StatusCode, body: &Bytes, key: &KeyPair) -> Result<Enrolled, EnrolError> {
    let answer: Answer = read(&granted(settings, status, body)?)?;
    let der = |text: &String| BASE64_STANDARD.decode(text).map(CertificateDer::from);
    let chain: Vec<_> =
        answer.chain.iter().map(der).collect::<Result<_, _>>().map_err(|e| EnrolError::Answer(e.to_string()))?;
    Enrolled::new(answer.name, chain, key, OffsetDateTime::now_utc()).map_err(|error| EnrolError::Answer(text(error)))
}

/// One connection to the hub, whose certificate is of a pinned CA.
struct Hub {
    sender: http1::SendRequest<Full<Bytes>>,
    authority: String,
    /// Drives the connection, and ends it when this is dropped. Errors of the connection reach the request.
    _driver: JoinSet<()>,
}

impl Hub {
    async fn connect(settings: &Settings, pins: Vec<SpkiSha256>) -> Result<Self, String> {
        let verifier = Arc::new(HttpsVerifier::new(HubTrust::Pins(pins)));
        let tls = https_client(verifier, &[ALPN_ENROL, b"http/1.1"]).map_err(text)?;
        let name = ServerName::try_from(settings.hub.host().to_owned()).map_err(text)?;
        let tcp = TcpStream::connect((settings.hub.host(), settings.hub.port())).await.map_err(text)?;
        let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(text)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(text)?;
        let mut driver = JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Ok(Self { sender, authority: settings.hub.authority(), _driver: driver })
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), String> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(text)?;
        self.sender.ready().await.map_err(text)?;
        let response = self.sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

fn text(error: impl std::error::Error + 'static) -> String {
    super::exchange::chain(&error)
}
