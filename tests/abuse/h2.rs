//! T034 and what of section B HTTP/2 can say: frames by hand, for no client library would send these.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{
    front_door::Front,
    origin::{Then, json},
    rows::{Outcome, Rows, expect},
    world::marker,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 § 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Header fields as literals without index or Huffman code (RFC 7541 § 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            match text.len() {
                short @ 0..127 => bytes.push(short as u8),
                long => {
                    let rest = long - 127;
                    bytes.extend([127, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]);
                }
            }
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// What came back on a connection.
#[derive(Default)]
struct Seen {
    /// Streams whose answer is `:status: 200`, which has an index of its own.
    ok: usize,
    /// Other answers, resets, and the end of the connection.
    refused: usize,
    goaway: bool,
    closed: bool,
}

struct Client {
    tls: TlsStream<TcpStream>,
}

impl Client {
    async fn connect(front: &Front, settings: &[u8]) -> Result<Self, String> {
        let mut tls = front.hub.door.connect("127.0.0.1", &[b"h2"]).await?;
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, settings));
        tls.write_all(&bytes).await.map_err(|e| e.to_string())?;
        Ok(Self { tls })
    }

    /// Writes everything, as far as the server lets it, and reads for as long as `patience` says after the last frame.
    async fn play(self, bytes: &[u8], patience: Duration) -> Seen {
        let (mut read, mut write) = tokio::io::split(self.tls);
        let sending = async {
            let _ = write.write_all(bytes).await;
            let _ = write.flush().await;
            std::future::pending::<()>().await
        };
        let mut seen = Seen::default();
        let reading = async {
            let mut buf = Vec::new();
            let mut piece = vec![0; 64 << 10];
            while seen.refused == 0 || patience > Duration::from_secs(1) {
                match timeout(patience, read.read(&mut piece)).await {
                    Ok(Ok(0) | Err(_)) => return seen.closed = true,
                    Ok(Ok(n)) => buf.extend_from_slice(&piece[..n]),
                    Err(_) => return,
                }
                seen.take(&mut buf);
            }
        };
        tokio::select! {
            () = sending => {}
            () = reading => {}
        }
        seen
    }
}

impl Seen {
    fn take(&mut self, buf: &mut Vec<u8>) {
        while buf.len() >= 9 {
            let length = usize::from(buf[0]) << 16 | usize::from(buf[1]) << 8 | usize::from(buf[2]);
            if buf.len() < 9 + length {
                return;
            }
            match buf[3] {
                HEADERS if buf.get(9) == Some(&0x88) => self.ok += 1,
                HEADERS | RST_STREAM => self.refused += 1,
                GOAWAY => self.goaway = true,
                _ => {}
            }
            buf.drain(..9 + length);
        }
    }
}

/// A request's fields, with others before, in place of, or after the usual ones.
fn request(front: &Front, marker: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let host = front.hub.door.address.to_string();
    let (path, bearer) =
        (format!("/clusters/edge-1/api/v1/namespaces/default/configmaps/{marker}"), format!("Bearer {}", front.alice));
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", &host), (":path", &path)];
    let replaced = |name: &str| more.iter().any(|(n, _)| *n == name);
    let mut all: Vec<(&str, &str)> = usual.into_iter().filter(|(n, _)| !replaced(n)).collect();
    all.extend(more.iter().filter(|(n, v)| n.starts_with(':') && *v != "-"));
    all.push(("authorization", &bearer));
    all.extend(more.iter().filter(|(n, _)| !n.starts_with(':')));
    fields(&all)
}

async fn refused(front: &Front, more: &[(&str, &str)]) -> Outcome {
    let marker = marker();
    let mut with_mark = more.to_vec();
    with_mark.push(("x-mark", &marker));
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &request(front, &marker, &with_mark));
    let seen = Client::connect(front, b"").await?.play(&bytes, Duration::from_millis(900)).await;
    expect(seen.ok == 0, "200")?;
    expect(seen.refused > 0 || seen.goaway || seen.closed, "no refusal")?;
    expect(front.origin.seen(&marker).is_empty(), "it arrived")
}

/// Sends a flood; the hub ends the connection or bears it, and in neither case grows or stops serving.
async fn borne(front: &Front, bytes: Vec<u8>, must_end: bool) -> Outcome {
    let before = front.hub.process.resident();
    let seen = Client::connect(front, b"").await?.play(&bytes, Duration::from_secs(2)).await;
    expect(!must_end || seen.goaway || seen.closed, "the connection goes on")?;
    let grown = front.hub.process.resident().saturating_sub(before) >> 20;
    expect(grown < 24, format!("the hub grew by {grown} MB"))?;
    front.serves().await
}

fn rapid_reset(front: &Front) -> Vec<u8> {
    let head = request(front, "reset", &[]);
    let one = |stream: u32| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        bytes
    };
    (0..20_000).flat_map(|i| one(2 * i + 1)).collect()
}

fn continuation_flood(front: &Front) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_STREAM, 1, &request(front, "continued", &[]));
    let more = fields(&[("x-more", &"y".repeat(8 << 10))]);
    (0..4_000).for_each(|_| bytes.extend(frame(CONTINUATION, 0, 1, &more)));
    bytes
}

fn empty_data(front: &Front) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &request(front, "empty", &[(":method", "POST")]));
    (0..200_000).for_each(|_| bytes.extend(frame(DATA, 0, 1, b"")));
    bytes
}

/// Takes 64 answers of 1 MB and opens no window for them.
async fn zero_window(front: &Front) -> Outcome {
    let marker = marker();
    front.origin.tell(&marker, json("200 OK", "", &"x".repeat(1 << 20)), Then::Stay);
    let before = front.hub.process.resident();
    let head = request(front, &marker, &[]);
    let bytes: Vec<u8> = (0..64).flat_map(|i| frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, &head)).collect();
    let client = Client::connect(front, &[0, 4, 0, 0, 0, 0]).await?;
    let held = tokio::spawn(client.play_owned(bytes));
    sleep(Duration::from_secs(2)).await;
    let grown = front.hub.process.resident().saturating_sub(before) >> 20;
    expect(grown < 128, format!("the hub grew by {grown} MB"))?;
    front.serves().await?;
    held.abort();
    Ok(())
}

impl Client {
    async fn play_owned(self, bytes: Vec<u8>) {
        self.play(&bytes, Duration::from_secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_has_the_same_gate_and_bears_floods() {
    let mut front = Front::open().await;
    let rows = Rows::default();
    rows.run("T034", "(control) a plain request passes", passes(&front)).await;
    for (id, what, more) in REFUSED {
        rows.run(id, what, refused(&front, more)).await;
    }
    rows.run("T034", "rapid reset: 20,000 requests taken back", borne(&front, rapid_reset(&front), true)).await;
    rows.run("T034", "CONTINUATION flood: 32 MB of one head", borne(&front, continuation_flood(&front), true)).await;
    rows.run("T034", "200,000 empty DATA frames", borne(&front, empty_data(&front), false)).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(200_000);
    rows.run("T034", "200,000 PINGs", borne(&front, pings, false)).await;
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100_000);
    rows.run("T034", "100,000 SETTINGS", borne(&front, settings, false)).await;
    rows.run("T034", "64 answers of 1 MB that nobody takes", zero_window(&front)).await;
    front.hub.check_unharmed();
    rows.end().await;
}

async fn passes(front: &Front) -> Outcome {
    let marker = marker();
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &request(front, &marker, &[]));
    let seen = Client::connect(front, b"").await?.play(&bytes, Duration::from_millis(900)).await;
    expect(seen.ok == 1 && front.origin.seen(&marker).len() == 1, format!("{} answers 200", seen.ok))
}

type Fields = &'static [(&'static str, &'static str)];

const REFUSED: &[(&str, &str, Fields)] = &[
    ("T025", "h2: no authority", &[(":authority", "-")]),
    ("T025", "h2: Host differs from authority", &[("host", "evil.example")]),
    ("T026", "h2: a path without a slash", &[(":path", "http://evil/x")]),
    ("T026", "h2: path *", &[(":path", "*"), (":method", "OPTIONS")]),
    ("T027", "h2: CONNECT", &[(":method", "CONNECT"), (":path", "-"), (":scheme", "-")]),
    ("T027", "h2: TRACE", &[(":method", "TRACE")]),
    ("T027", "h2: extended CONNECT", &[(":method", "CONNECT"), (":protocol", "websocket")]),
    ("T022", "h2: Transfer-Encoding", &[("transfer-encoding", "chunked")]),
    ("T023", "h2: Content-Length without a body", &[("content-length", "5")]),
    ("T029", "h2: CR LF in a value", &[("x-a", "b\r\nimpersonate-user: root")]),
    ("T029", "h2: a name with a space", &[("x a", "b")]),
    ("T029", "h2: a name in upper case", &[("Impersonate-User", "root")]),
    ("T029", "h2: a pseudo-header that is none", &[(":evil", "x")]),
    (
        "T030",
        "h2: a header of 12 KB, six times",
        &[("x-a", LARGE), ("x-b", LARGE), ("x-c", LARGE), ("x-d", LARGE), ("x-e", LARGE), ("x-f", LARGE)],
    ),
    ("T035", "h2: dot segments", &[(":path", "/clusters/edge-1/api/v1/namespaces/a/../b")]),
    ("T041", "h2: Impersonate-User without a grant", &[("impersonate-user", "root")]),
    ("T041", "h2: Impersonate-Group alone", &[("impersonate-group", "system:masters")]),
    ("T042", "h2: Connection names identity headers", &[("connection", "impersonate-user")]),
    ("T043", "h2: two Authorization headers", &[("authorization", "Bearer other")]),
    ("T048", "h2: Upgrade", &[("upgrade", "websocket")]),
];

/// 12 KB fit one frame's default limit.
const LARGE: &str = match std::str::from_utf8(&[b'x'; 12 << 10]) {
    Ok(text) => text,
    Err(_) => "",
};
