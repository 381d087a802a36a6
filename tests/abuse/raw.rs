//! A client that sends exactly the bytes it is given, over TLS, and reads answers as strictly as it can. No HTTP library: the requests
//! of these rows are what no library would send.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use roadstead::identity::{HttpsVerifier, HubTrust, tls};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long an answer may take that nothing should delay.
pub(crate) const SOON: Duration = Duration::from_secs(8);

/// Where to connect, whom to trust and which name to ask for.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    /// From where, on this machine.
    pub(crate) from: Ipv4Addr,
}

/// One answer, taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// From the status line to the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to the end that its head announced.
    pub(crate) whole: bool,
}

/// Everything that came back on a connection.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) answers: Vec<Answer>,
    /// The server ended the connection.
    pub(crate) closed: bool,
}

impl Reply {
    /// The status of the first answer; 0 when there was none.
    pub(crate) fn status(&self) -> u16 {
        self.answers.first().map_or(0, |a| a.status)
    }

    pub(crate) fn first(&self) -> Answer {
        self.answers.first().cloned().unwrap_or_default()
    }
}

impl Answer {
    /// The values of a header, in order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Door {
    /// The same door, come to from an address of 127.0.0.0/8 that nobody else comes from.
    pub(crate) fn elsewhere(&self) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0x7f01_0001);
        Self { from: NEXT.fetch_add(1, Ordering::Relaxed).into(), ..self.clone() }
    }

    /// A connection that speaks `alpn`, with `name` as SNI (an address sends none).
    pub(crate) async fn connect(&self, name: &str, alpn: &[&[u8]]) -> Result<TlsStream<TcpStream>, String> {
        let trust = HubTrust::from_pem(&self.ca).map_err(|e| e.to_string())?;
        let config = tls::https_client(Arc::new(HttpsVerifier::new(trust)), alpn).map_err(|e| e.to_string())?;
        self.connect_with(name, config).await
    }

    pub(crate) async fn connect_with(&self, name: &str, config: ClientConfig) -> Result<TlsStream<TcpStream>, String> {
        let socket = TcpSocket::new_v4().map_err(|e| e.to_string())?;
        socket.bind((self.from, 0).into()).map_err(|e| e.to_string())?;
        let tcp = socket.connect(self.address).await.map_err(|e| e.to_string())?;
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(name.to_owned()).map_err(|e| e.to_string())?;
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|e| e.to_string())
    }

    /// Sends `bytes` on a connection of their own. With `until_closed` it waits for the server to end the connection, else for the
    /// first whole answer and a moment more.
    pub(crate) async fn send(&self, bytes: &[u8], until_closed: bool) -> Reply {
        self.send_as("127.0.0.1", bytes, until_closed).await
    }

    /// Asks for a certificate.
    pub(crate) async fn enrol(&self, body: &str) -> Reply {
        let head =
            format!("POST /enrol/v1 HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.address, body.len());
        self.send(format!("{head}{body}").as_bytes(), false).await
    }

    pub(crate) async fn send_as(&self, name: &str, bytes: &[u8], until_closed: bool) -> Reply {
        match self.connect(name, &[b"http/1.1"]).await {
            Ok(tls) => exchange(tls, bytes, if until_closed { Until::Closed } else { Until::Answered }).await,
            Err(_) => Reply::default(),
        }
    }
}

/// When to stop reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    Answered,
    Closed,
}

/// Sends and reads at once, for a refusal may come before everything is sent.
pub(crate) async fn exchange(tls: TlsStream<TcpStream>, bytes: &[u8], until: Until) -> Reply {
    let (mut read, mut write) = tokio::io::split(tls);
    let mut got = Vec::new();
    let mut closed = false;
    let sending = async {
        let _ = write.write_all(bytes).await;
        let _ = write.flush().await;
        std::future::pending::<()>().await
    };
    let reading = async {
        let mut buf = vec![0; 64 << 10];
        loop {
            let answered = until == Until::Answered && answers(&got).first().is_some_and(|a| a.whole);
            let patience = if answered { Duration::from_millis(40) } else { SOON };
            match timeout(patience, read.read(&mut buf)).await {
                Ok(Ok(0) | Err(_)) => return closed = true,
                Ok(Ok(n)) => got.extend_from_slice(&buf[..n]),
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = reading => {}
    }
    Reply { answers: answers(&got), closed }
}

/// The answers in what was received; interim ones (1xx but 101) are left out.
pub(crate) fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        bytes = &bytes[end + 4..];
        let mut answer = Answer { status, head, ..Answer::default() };
        if status == 100 {
            continue;
        }
        let used = read_body(&mut answer, bytes);
        bytes = &bytes[used..];
        let last = !answer.whole || status == 101;
        found.push(answer);
        if last {
            break;
        }
    }
    found
}

fn read_body(answer: &mut Answer, bytes: &[u8]) -> usize {
    if answer.status == 101 {
        (answer.body, answer.whole) = (bytes.to_vec(), true);
        return bytes.len();
    }
    if answer.header("transfer-encoding").iter().any(|v| v.eq_ignore_ascii_case("chunked")) {
        return read_chunks(answer, bytes);
    }
    let length = answer.header("content-length").first().and_then(|v| v.parse::<usize>().ok());
    let n = length.unwrap_or(if matches!(answer.status, 204 | 304) { 0 } else { usize::MAX }).min(bytes.len());
    answer.body = bytes[..n].to_vec();
    answer.whole = length.is_none_or(|length| length == n) && (length.is_some() || matches!(answer.status, 204 | 304));
    n
}

fn read_chunks(answer: &mut Answer, bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(line) = bytes[at..].windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&bytes[at..at + line]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        let Some(size) = size else { break };
        at += line + 2;
        if bytes.len() < at + size + 2 {
            answer.body.extend_from_slice(&bytes[at..]);
            return bytes.len();
        }
        answer.body.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
        if size == 0 {
            answer.whole = true;
            return at;
        }
    }
    at
}
