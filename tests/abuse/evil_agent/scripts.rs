//! T103–T107, T111, T112: what the evil agent answers on a stream of its own, and what the person who asked gets.

use prost::Message;
use roadstead::wire::{
    FrameKind,
    generated::{Failure, Header, ResponseHead},
};

use super::Fleet;
use crate::{
    quic::frame,
    rows::{Outcome, expect},
};

/// What the evil agent does once it has said its piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Then {
    Finish,
    Reset,
    Hang,
}

/// One answer, and what must come of it.
pub(super) struct Script {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) send: Vec<Vec<u8>>,
    pub(super) then: Then,
    /// The statuses that the person may get.
    status: &'static [u16],
    /// The answer must not look complete.
    cut: bool,
    /// Text that must not be in the answer's head.
    never: &'static str,
}

impl Script {
    pub(super) async fn check(&self, fleet: &Fleet) -> Outcome {
        let path = format!("/api/v1/namespaces/default/configmaps/{}", self.name);
        let reply = fleet.ask("bad-1", &path, "", self.cut).await;
        let first = reply.first();
        expect(self.status.contains(&reply.status()), format!("status {} {}", reply.status(), first.text()))?;
        expect(!self.cut || !first.whole || REFUSED.contains(&first.status), "a cut answer looks complete")?;
        expect(first.status != 0 || reply.closed, "no answer and no end")?;
        expect(reply.answers.len() <= 1, format!("{} answers", reply.answers.len()))?;
        let head = first.head.to_ascii_lowercase();
        expect(self.never.is_empty() || !head.contains(self.never), format!("{:?}", first.head))?;
        expect(head.matches("content-length:").count() <= 1, &first.head)
    }
}

const REFUSED: &[u16] = &[502, 503];

/// 0: the connection ends before the head of the answer was written out.
const CUT: &[u16] = &[0, 200, 502, 503];

fn head(status: u32, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let header =
        |(name, value): &(&str, &[u8])| Header { name: name.as_bytes().to_vec().into(), value: value.to_vec().into() };
    ResponseHead { status, headers: headers.iter().map(header).collect() }.encode_to_vec()
}

fn answer(status: u32, headers: &[(&str, &[u8])]) -> Vec<u8> {
    frame(FrameKind::Head, &head(status, headers))
}

fn data(text: &[u8]) -> Vec<u8> {
    frame(FrameKind::Data, text)
}

fn end() -> Vec<u8> {
    frame(FrameKind::End, b"")
}

pub(super) fn all() -> Vec<Script> {
    let mut all = Vec::new();
    let mut add = |id, what, send: Vec<Vec<u8>>, then, status, cut, never| {
        let name = format!("evil-{}", all.len());
        all.push(Script { id, what, name, send, then, status, cut, never });
    };
    for (what, bytes) in bogus() {
        add("T103", what, vec![bytes], Then::Hang, REFUSED, false, "");
    }
    for (what, send, then) in cut() {
        add("T103", what, send, then, CUT, true, "");
    }
    for (what, head) in bad_heads() {
        add(
            "T104",
            what,
            vec![frame(FrameKind::Head, &head), data(b"{}"), end()],
            Then::Finish,
            REFUSED,
            false,
            "evil",
        );
    }
    let hop: &[(&str, &[u8])] = &[
        ("connection", b"keep-alive, x-evil"),
        ("x-evil", b"evil"),
        ("transfer-encoding", b"chunked"),
        ("upgrade", b"evil"),
        ("set-cookie", b"evil=1"),
        ("proxy-authenticate", b"evil"),
        ("content-length", b"2"),
    ];
    let polite = vec![answer(200, hop), data(b"{}"), end()];
    add("T104", "hop-by-hop and cookie headers are dropped", polite, Then::Finish, &[200], false, "evil");
    let long = vec![answer(200, &[("content-length", b"2")]), data(b"{}HTTP/1.1 200 OK\r\nevil: 1\r\n\r\n"), end()];
    add("T104", "more body than Content-Length says", long, Then::Finish, &[200], false, "evil");
    let bomb = vec![answer(200, &[("content-encoding", b"gzip"), ("content-length", b"10")]), data(&GZIP), end()];
    add("T111", "compressed bytes pass as they are", bomb, Then::Finish, &[200], false, "");
    let failure = Failure { code: 0, message: INJECTION.to_owned(), dispatched: false }.encode_to_vec();
    add(
        "T112",
        "an error text with line breaks",
        vec![frame(FrameKind::Error, &failure)],
        Then::Finish,
        REFUSED,
        false,
        "\nevil",
    );
    all
}

/// The start of a gzip member.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Breaks out of a line, a header and a terminal.
const INJECTION: &str = "x\r\nevil: 1\r\n\r\n2026-01-01 ERROR forged line\n\u{1b}[31mred\u{1b}[0m\u{202e}";

/// No answer at all: bytes that are no frame, or frames that must not come now.
fn bogus() -> Vec<(&'static str, Vec<u8>)> {
    let huge_head = [vec![1u8], vec![0x80, 0xad, 0xe2, 0x04], vec![b'a'; 256 << 10]].concat();
    vec![
        ("unknown frame type", vec![0x2a, 1, 0]),
        ("frame type 0", vec![0, 0]),
        ("a length of 2^32", vec![1, 0x80, 0x80, 0x80, 0x80, 0x10, 0]),
        ("a length that is not minimal", vec![1, 0x81, 0x00, 0]),
        ("a head of 10 MB", huge_head),
        ("data before the head", [data(b"{}"), answer(200, &[])].concat()),
        ("end before the head", end()),
        ("trailers before the head", frame(FrameKind::Trailers, b"")),
        ("a control message on a proxy stream", frame(FrameKind::Message, b"x")),
        ("DISPATCHED twice", frame(FrameKind::Dispatched, b"").repeat(2)),
        ("DISPATCHED with a payload", vec![2, 1, 0]),
        (
            "an Open as an answer",
            crate::quic::opening(roadstead::wire::generated::open::Kind::Proxy(Default::default())),
        ),
        ("HTTP instead of frames", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec()),
    ]
}

/// An answer that begins well.
fn cut() -> Vec<(&'static str, Vec<Vec<u8>>, Then)> {
    let good = || answer(200, &[("content-type", b"application/json")]);
    vec![
        ("closes in the middle of the body", vec![good(), data(b"{\"a\":")], Then::Reset),
        ("finishes without END", vec![good(), data(b"{\"a\":")], Then::Finish),
        ("finishes in the middle of a frame", vec![good(), data(b"{\"a\":")[..4].to_vec()], Then::Finish),
        ("head twice", vec![good(), data(b"{"), good()], Then::Hang),
        ("head after data", vec![good(), data(b"{}"), good(), end()], Then::Finish),
        ("unknown frame in the body", vec![good(), data(b"{"), vec![0x2a, 1, 0]], Then::Hang),
        ("DISPATCHED in the body", vec![good(), data(b"{"), frame(FrameKind::Dispatched, b"")], Then::Hang),
        ("an empty DATA frame", vec![good(), data(b"{"), vec![3, 0]], Then::Hang),
        ("ERROR in the body", vec![good(), data(b"{"), frame(FrameKind::Error, b"")], Then::Finish),
        (
            "less body than Content-Length says",
            vec![answer(200, &[("content-length", b"50")]), data(b"{\"a\":"), end()],
            Then::Finish,
        ),
    ]
}

/// Heads that are protobuf, or nearly, and must not reach anybody.
fn bad_heads() -> Vec<(&'static str, Vec<u8>)> {
    let many: Vec<(String, Vec<u8>)> = (0..7_000).map(|i| (format!("{i:x}"), vec![])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    vec![
        ("status 99", head(99, &[])),
        ("status 100", head(100, &[])),
        ("status 103", head(103, &[("link", b"evil")])),
        ("status 101 that nobody asked for", head(101, &[])),
        ("status 600", head(600, &[])),
        ("status 1000", head(1000, &[])),
        ("status 2^32 - 1", head(u32::MAX, &[])),
        ("CR LF in a value", head(200, &[("x-a", b"b\r\nevil: 1")])),
        ("LF in a value", head(200, &[("x-a", b"b\nevil: 1")])),
        ("NUL in a value", head(200, &[("x-a", b"evil\0")])),
        ("CR LF in a name", head(200, &[("x-a: b\r\nevil", b"1")])),
        ("an empty name", head(200, &[("", b"evil")])),
        ("a name with a colon", head(200, &[(":status", b"evil")])),
        ("two lengths", head(200, &[("content-length", b"2"), ("content-length", b"20")])),
        ("a length that is no number", head(200, &[("content-length", b"+2")])),
        ("a list of lengths", head(200, &[("content-length", b"2, 2")])),
        ("7,000 headers", head(200, &many)),
        ("32,000 empty headers", [vec![8, 200, 1], [0x12, 0].repeat(32_000)].concat()),
        ("no protobuf", b"evil evil evil".to_vec()),
        ("protobuf that is cut", vec![0x12, 0x7f, 1, 2]),
    ]
}

/// The words of the failure are in the hub's log and in its answer: as one line, and without control characters.
pub(super) async fn log_injection(fleet: &Fleet) -> Outcome {
    let said = fleet.hub.process.said();
    expect(!said.lines().any(|line| line.starts_with("2026-01-01 ERROR")), "a forged line in the log")?;
    expect(!said.contains("\u{1b}[31m") && !said.contains('\u{202e}'), "an escape sequence in the log")?;
    let name = all().pop().ok_or("no script")?.name;
    let reply = fleet.ask("bad-1", &format!("/api/v1/namespaces/default/configmaps/{name}"), "", false).await;
    let text = reply.first().text();
    let status: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
    let message = status["message"].as_str().unwrap_or_default();
    let odd = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    expect(message.contains("forged line") && !message.chars().any(odd), format!("{message:?}"))
}
