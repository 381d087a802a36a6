//! One request to the hub's API over HTTPS: the given CA alone is trusted, every wait has an end, every answer a bound.
//! Does not know what the requests are about.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client_config::ClientSettings;
use super::defaults::{ANSWER, CONNECT, MAX_ANSWER};
use super::failure::{Code, Failure};
use crate::hub::api_types::{CA_NOT_READY, ErrorStatus};
use crate::identity::tls::https_client;
use crate::identity::{HttpsVerifier, HubTrust, HubUrl, Secret};

/// How long to wait, and how much to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
    pub(super) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: CONNECT, answer: ANSWER, bytes: MAX_ANSWER }
    }
}

/// A hub to ask. Each request has a connection of its own: a command asks once.
pub(super) struct Client {
    hub: HubUrl,
    token: Secret,
    tls: Arc<rustls::ClientConfig>,
    limits: Limits,
}

impl Client {
    pub(super) fn new(settings: &ClientSettings, limits: Limits) -> Result<Self, Failure> {
        let trust = HubTrust::from_pem(&settings.ca.pem)
            .map_err(|error| Failure::because(Code::Usage, error, "the hub's CA cannot be used"))?;
        let tls = https_client(Arc::new(HttpsVerifier::new(trust)), &[b"http/1.1"])
            .map_err(|error| Failure::because(Code::Failed, error, "cannot prepare TLS"))?;
        Ok(Self { hub: settings.hub.clone(), token: settings.token.clone(), tls: Arc::new(tls), limits })
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parse(&self.exchange(Method::GET, path, Bytes::new()).await?)
    }

    /// Sends `body`, and reads the answer as JSON.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::because(Code::Failed, error, "request cannot be written"))?;
        parse(&self.exchange(Method::POST, path, body.into()).await?)
    }

    /// Asks for bytes that are no JSON.
    pub(super) async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        self.exchange(Method::POST, path, Bytes::new()).await
    }

    /// Deletes; whatever the answer says beyond success is not needed.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.exchange(Method::DELETE, path, Bytes::new()).await.map(drop)
    }

    /// Deletes, and reads what the answer says of it.
    pub(super) async fn delete_for<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parse(&self.exchange(Method::DELETE, path, Bytes::new()).await?)
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let stream = match tokio::time::timeout(self.limits.connect, self.connect()).await {
            Ok(connected) => connected?,
            Err(_) => return Err(self.unreachable(&Slow("connection", self.limits.connect))),
        };
        let request = self.request(method, path, body)?;
        let answer = tokio::time::timeout(self.limits.answer, self.ask(stream, request)).await;
        let (status, body) = answer.map_err(|_| self.unreachable(&Slow("answer", self.limits.answer)))??;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let address = (self.hub.host(), self.hub.port());
        let tcp = TcpStream::connect(address).await.map_err(|error| self.unreachable(&error))?;
        // A small request must not wait for an acknowledgement; if it cannot be set, it is only slower.
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(self.hub.host().to_owned()).map_err(|error| self.unreachable(&error))?;
        let tls = TlsConnector::from(self.tls.clone());
        tls.connect(name, tcp).await.map_err(|error| {
            let text = format!("cannot trust the hub {}: {error}; check the hub's URL and CA", self.hub);
            Failure::new(Code::Unreachable, text)
        })
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let bearer = format!("Bearer {}", self.token.expose());
        let mut bearer = header::HeaderValue::try_from(bearer)
            .map_err(|error| Failure::because(Code::Usage, error, "the token does not fit into a header"))?;
        bearer.set_sensitive(true);
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.hub.authority())
            .header(header::AUTHORIZATION, bearer)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("roadstead/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Failure::because(Code::Failed, error, "request cannot be made"))
    }

    async fn ask(
        &self,
        stream: TlsStream<TcpStream>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(&error))?;
        // The set ends the connection when this request is over, however it ends. Errors of the connection reach the request.
        let mut tasks = JoinSet::new();
        tasks.spawn(async { drop(connection.await) });
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        Ok((status, self.body(response).await?))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let collected = Limited::new(response.into_body(), self.limits.bytes).collect().await;
        collected.map(|body| body.to_bytes()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                let text = format!("the hub's answer is longer than {} bytes", self.limits.bytes);
                return Failure::new(Code::Failed, text);
            }
            self.unreachable(&error)
        })
    }

    fn unreachable(&self, cause: &dyn fmt::Display) -> Failure {
        let text = format!("cannot reach the hub {}: {cause}; check that it runs and that its URL is right", self.hub);
        Failure::new(Code::Unreachable, text)
    }
}

/// Something took longer than it may.
struct Slow(&'static str, Duration);

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} within {:?}", self.0, self.1)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let text = "the hub's answer cannot be read; compare `roadstead version` with the hub's in `roadstead status`";
        Failure::because(Code::Failed, error, text)
    })
}

/// What a refusal means to the caller: the exit code, and the hub's own sentence.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let told: ErrorStatus = serde_json::from_slice(body).unwrap_or_default();
    let code = match status {
        StatusCode::CONFLICT if told.details.causes.iter().any(|cause| cause.reason == CA_NOT_READY) => Code::NotReady,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Denied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::Conflict,
        _ => Code::Failed,
    };
    let message = super::output::shown(&told.message);
    match (message.is_empty(), status) {
        (false, StatusCode::UNAUTHORIZED) => {
            Failure::new(code, format!("{message} (an admin makes a new token with `roadstead token create`)"))
        }
        (false, _) => Failure::new(code, message),
        (true, _) => Failure::new(code, format!("the hub answered {status} and gave no reason")),
    }
}

/// Runs one request of a command to its end.
pub(super) fn block_on<T>(
    settings: &ClientSettings,
    ask: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    block_on_within(settings, Limits::default(), ask)
}

/// The same with limits of its own.
pub(super) fn block_on_within<T>(
    settings: &ClientSettings,
    limits: Limits,
    ask: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let client = Client::new(settings, limits)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(Code::Failed, error, "cannot start the runtime"))?;
    runtime.block_on(ask(&client))
}

#[cfg(test)]
mod tests;
