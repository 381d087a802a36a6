//! Where the API server is and how its TLS is verified; one new connection to it.

use std::{io, sync::Arc};

use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use kube::client::ConfigExt;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{io::BufReader, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::defaults;

/// The configuration does not lead to an API server.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not an https URL with a host.
    #[error("API server address {0:?} is not an https URL with a host")]
    Address(String),
    /// A proxy between agent and API server.
    #[error("proxy-url is not supported: the agent dials its API server itself")]
    Proxy,
    /// CA, client certificate or token.
    #[error("cannot use the API server's TLS or credential settings")]
    Credential(#[source] kube::Error),
}

/// No connection to the API server: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name resolution or TCP.
    #[error("tcp {address}: {source}")]
    Tcp {
        /// Host and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// TLS.
    #[error("tls {address}: {source}")]
    Tls {
        /// Host and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Too slow.
    #[error("{address}: no connection within {} s", defaults::UPSTREAM_CONNECT.as_secs())]
    Timeout {
        /// Host and port.
        address: String,
    },
    /// HTTP could not start.
    #[error("http handshake: {0}")]
    Http(#[source] hyper::Error),
    /// The agent's own token could not be had.
    #[error("cannot read the agent's own credential: {0}")]
    Credential(String),
}

/// A connection. TLS alone would ask the kernel for at most 4 KiB at a time.
pub(super) type Connection = TlsStream<BufReader<TcpStream>>;

/// What a connection is to speak.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Http1,
    /// If the API server does; else HTTP/1.1.
    Http2,
}

pub(super) struct Endpoint {
    address: String,
    name: ServerName<'static>,
    authority: Authority,
    http1: TlsConnector,
    http2: TlsConnector,
    pub(super) host: HeaderValue,
    pub(super) base_path: String,
}

impl Endpoint {
    pub(super) fn new(config: &kube::Config) -> Result<Self, SetupError> {
        let url = &config.cluster_url;
        let bad = || SetupError::Address(url.to_string());
        if config.proxy_url.is_some() {
            return Err(SetupError::Proxy);
        }
        if url.scheme() != Some(&Scheme::HTTPS) {
            return Err(bad());
        }
        let authority = url.authority().ok_or_else(bad)?;
        let host = authority.host();
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let mut tls = config.rustls_client_config().map_err(SetupError::Credential)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut tls2 = tls.clone();
        tls2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            address: format!("{host}:{}", authority.port_u16().unwrap_or(443)),
            name: ServerName::try_from(name).map_err(|_| bad())?,
            authority: authority.clone(),
            http1: TlsConnector::from(Arc::new(tls)),
            http2: TlsConnector::from(Arc::new(tls2)),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?,
            base_path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// `target` as HTTP/2 wants it, with scheme and authority.
    pub(super) fn absolute(&self, target: &Uri) -> Option<Uri> {
        let target = target.path_and_query()?.clone();
        Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone()).path_and_query(target).build().ok()
    }

    pub(super) async fn connect(&self, protocol: Protocol) -> Result<Connection, ConnectError> {
        timeout(defaults::UPSTREAM_CONNECT, self.tcp_and_tls(protocol))
            .await
            .unwrap_or_else(|_| Err(ConnectError::Timeout { address: self.address.clone() }))
    }

    async fn tcp_and_tls(&self, protocol: Protocol) -> Result<Connection, ConnectError> {
        let tcp_error = |source| ConnectError::Tcp { address: self.address.clone(), source };
        let tcp = TcpStream::connect(&self.address).await.map_err(tcp_error)?;
        tcp.set_nodelay(true).map_err(tcp_error)?;
        let keep_alive = TcpKeepalive::new()
            .with_time(defaults::UPSTREAM_KEEP_ALIVE)
            .with_interval(defaults::UPSTREAM_KEEP_ALIVE)
            .with_retries(3);
        SockRef::from(&tcp).set_tcp_keepalive(&keep_alive).map_err(tcp_error)?;
        let connector = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        let tls = connector.connect(self.name.clone(), BufReader::with_capacity(defaults::UPSTREAM_READ, tcp)).await;
        tls.map_err(|source| ConnectError::Tls { address: self.address.clone(), source })
    }
}
