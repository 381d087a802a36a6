//! SPDY sessions byte by byte: what the tracker knows of them, and the failure it injects.

use flate2::{Compress, Compression, FlushCompress};

use super::*;
use crate::k8s::upgrade::spdy::test_dictionary;

/// One peer's half of a SPDY/3.1 connection, as moby/spdystream writes it.
struct Peer(Compress);

impl Peer {
    fn new() -> Self {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&test_dictionary()).unwrap();
        Self(compress)
    }

    fn block(&mut self, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = u32::try_from(pairs.len()).unwrap().to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            plain.extend(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 1024);
        self.0.compress_vec(&plain, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    fn open(&mut self, id: u32, kind: &str) -> Vec<u8> {
        let block = self.block(&[("streamtype", kind)]);
        control(1, 0, &[&id.to_be_bytes()[..], &[0; 6], &block].concat())
    }

    fn accept(&mut self, id: u32) -> Vec<u8> {
        let block = self.block(&[]);
        control(2, 0, &[&id.to_be_bytes()[..], &block].concat())
    }
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | u32::from(flags) << 24;
    [&[0x80, 3], &kind.to_be_bytes()[..], &length.to_be_bytes(), payload].concat()
}

fn data(id: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | u32::from(flags) << 24;
    [&id.to_be_bytes()[..], &length.to_be_bytes(), payload].concat()
}

fn reset(id: u32, status: u32) -> Vec<u8> {
    control(3, 0, &[id.to_be_bytes(), status.to_be_bytes()].concat())
}

const PING: [u8; 12] = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
const GOAWAY: [u8; 16] = [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];

/// `kubectl exec -i` without a terminal: error 1, stdin 3, stdout 5, stderr 7, all opened and the first `accepted` of
/// them accepted.
fn session(protocol: &'static str, accepted: usize) -> Tracker {
    let mut tracker = exec(&Upgrade::Spdy, "x-stream-protocol-version", protocol);
    let (mut client, mut server) = (Peer::new(), Peer::new());
    for (i, (id, kind)) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")].into_iter().enumerate() {
        tracker.feed_from_client(&client.open(id, kind));
        if i < accepted {
            tracker.feed_to_client(&server.accept(id));
        }
    }
    tracker
}

fn v4() -> Tracker {
    session("v4.channel.k8s.io", 4)
}

fn fin_of_others() -> Vec<u8> {
    [data(3, 1, &[]), data(5, 1, &[]), data(7, 1, &[])].concat()
}

/// The error stream carries the Status; the end of stdout and stderr is what kubectl waits for before it looks.
#[test]
fn a_lost_session_gets_its_status_and_the_end_of_every_stream() {
    let mut tracker = v4();
    tracker.feed_to_client(&data(5, 0, b"output"));
    tracker.feed_to_client(&PING);
    assert_eq!(tracker.outcome(), Outcome::Unfinished);
    let expected = [data(1, 1, &lost().to_json()), fin_of_others()].concat();
    assert_eq!(bytes(tracker.failure(&lost())), expected);
    tracker.feed_to_client(&data(7, 1, &[]));
    tracker.feed_to_client(&reset(5, 5));
    let expected = [data(1, 1, &lost().to_json()), data(3, 1, &[])].concat();
    assert_eq!(bytes(tracker.failure(&lost())), expected);
}

#[test]
fn a_session_with_its_result_is_only_ended() {
    let mut tracker = v4();
    tracker.feed_to_client(&data(1, 0, b"{\"status\":\"Success\"}"));
    assert_eq!(tracker.outcome(), Outcome::Complete);
    assert_eq!(bytes(tracker.failure(&lost())), [data(1, 1, &[]), fin_of_others()].concat());
    tracker.feed_to_client(&GOAWAY);
    assert_eq!(bytes(tracker.failure(&lost())), b"");
}

#[test]
fn before_v4_the_error_stream_is_text_and_its_end_is_success() {
    for protocol in ["v3.channel.k8s.io", "v2.channel.k8s.io", ""] {
        let mut tracker = session(protocol, 4);
        let expected = [data(1, 1, lost().message().as_bytes()), fin_of_others()].concat();
        assert_eq!(bytes(tracker.failure(&lost())), expected);
        tracker.feed_to_client(&data(1, 1, &[]));
        assert_eq!((tracker.outcome(), bytes(tracker.failure(&lost()))), (Outcome::Complete, fin_of_others()));
    }
}

#[test]
fn a_stream_that_was_not_accepted_is_reset() {
    let expected = [data(1, 1, &lost().to_json()), reset(3, 6), reset(5, 6), reset(7, 6)].concat();
    assert_eq!(bytes(session("v4.channel.k8s.io", 1).failure(&lost())), expected);
    let expected = [reset(1, 6), reset(3, 6), reset(5, 6), reset(7, 6)].concat();
    assert_eq!(bytes(session("v4.channel.k8s.io", 0).failure(&lost())), expected);
}

/// A cut without a result is success to kubectl, so the frame is filled up first, with what the client ignores.
#[test]
fn a_cut_frame_is_completed_before_the_status() {
    let stdout = data(5, 0, &[7; 300]);
    let unknown = [0x7f_u8; 4];
    for (sent, filler) in [
        (&stdout[..8], vec![0; 300]),
        (&stdout[..100], vec![0; 208]),
        (&stdout[..307], vec![0]),
        (&stdout[..1], [&unknown[1..], &[0; 4]].concat()),
        (&stdout[..3], [&unknown[3..], &[0; 4]].concat()),
        (&stdout[..5], vec![0; 3]),
        (&stdout[..7], [&[0][..], &[0; 256]].concat()),
        (&PING[..1], vec![3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]),
        (&PING[..7], vec![4, 0, 0, 0, 2]),
        (&PING[..9], vec![2; 3]),
        (&reset(9, 5)[..11], vec![0x7f; 5]),
    ] {
        let mut tracker = v4();
        tracker.feed_to_client(sent);
        let expected = [filler, data(1, 1, &lost().to_json()), fin_of_others()].concat();
        assert_eq!(bytes(tracker.failure(&lost())), expected, "{sent:?}");
    }
}

#[test]
fn nothing_is_injected_when_the_client_could_not_read_it() {
    let accept = Peer::new().accept(9);
    let huge = [&5_u32.to_be_bytes()[..], &[0, 0xff, 0xff, 0xff]].concat();
    for sent in [
        &accept[..9],
        &[0x80, 3, 0],
        &[0x80, 3, 0, 2],
        &[0x80, 2],
        &GOAWAY,
        &GOAWAY[..10],
        &[0x80, 2, 0, 6, 0, 0, 0, 4],
        &data(1, 1, &[]),
        &reset(1, 5),
        &huge,
    ] {
        let mut tracker = v4();
        tracker.feed_to_client(sent);
        let known_ping = sent == [0x80, 3, 0];
        assert_eq!(tracker.outcome(), Outcome::Unfinished);
        assert_eq!(tracker.failure(&lost()) == Injection::Abort, !known_ping, "{sent:?}");
    }
}

#[test]
fn a_client_that_breaks_the_rules_is_not_followed() {
    let mut client = Peer::new();
    let first = client.open(1, "error");
    let again = client.open(1, "error");
    let big = "x".repeat(20_000);
    let fat = Peer::new().open(1, &big);
    let garbage = control(1, 0, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
    let short = control(1, 0, &[0, 0, 0]);
    for sent in [&[first.clone(), again].concat(), &fat, &garbage, &short, &vec![0x80, 2, 0, 1, 0, 0, 0, 0]] {
        let mut tracker = exec(&Upgrade::Spdy, "x-stream-protocol-version", "v4.channel.k8s.io");
        tracker.feed_from_client(sent);
        tracker.feed_to_client(&Peer::new().accept(1));
        assert_eq!(tracker.failure(&lost()), Injection::Abort);
    }
    let mut many = Peer::new();
    let mut tracker = v4();
    (0..9).for_each(|i| tracker.feed_from_client(&many.open(2 * i + 101, "stdout")));
    assert_eq!(tracker.failure(&lost()), Injection::Abort);
}

#[test]
fn how_bytes_are_cut_makes_no_difference() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let opened: Vec<u8> = [(1, "error"), (3, "stdout")].iter().flat_map(|(id, kind)| client.open(*id, kind)).collect();
    let from_client = [&opened[..], &PING, &data(3, 0, &[0x80; 50])].concat();
    let to_client = [server.accept(1), server.accept(3), data(3, 0, b"abc"), reset(9, 1), data(1, 0, b"{}")].concat();
    for size in 1..to_client.len() {
        let mut tracker = exec(&Upgrade::Spdy, "x-stream-protocol-version", "v4.channel.k8s.io");
        from_client.chunks(size).for_each(|c| tracker.feed_from_client(c));
        to_client.chunks(size).for_each(|c| tracker.feed_to_client(c));
        assert_eq!(tracker.outcome(), Outcome::Complete, "chunks of {size}");
        assert_eq!(bytes(tracker.failure(&lost())), [data(1, 1, &[]), data(3, 1, &[])].concat());
    }
}

#[test]
fn only_whole_frames_are_ready() {
    let all = [data(5, 0, b"abc"), PING.to_vec(), data(1, 1, &[])].concat();
    for (pending, ready) in [(0, 0), (7, 0), (8, 0), (11, 11), (22, 11), (23, 23), (30, 23), (31, 31)] {
        assert_eq!(v4().ready(&all[..pending]), ready, "{pending}");
    }
    assert_eq!(v4().ready(&[0x80, 2, 0, 1, 0, 0, 0, 0, 1]), 9);
}

/// kubectl opens one stream after the other; the next may be on its way when the session is lost.
#[test]
fn a_stream_opened_after_the_failure_is_reset() {
    let mut tracker = exec(&Upgrade::Spdy, "x-stream-protocol-version", "v4.channel.k8s.io");
    let (mut client, mut server) = (Peer::new(), Peer::new());
    tracker.feed_from_client(&client.open(1, "error"));
    tracker.feed_to_client(&server.accept(1));
    let injected = bytes(tracker.failure(&lost()));
    tracker.feed_to_client(&injected);
    assert_eq!(bytes(tracker.failure(&lost())), b"");
    tracker.feed_from_client(&client.open(3, "stdout"));
    assert_eq!(bytes(tracker.failure(&lost())), reset(3, 6));
}
