use super::*;

const STDOUT: &[u8] = &[0x82, 3, 1, b'h', b'i'];
const RESULT: &[u8] = &[0x82, 3, 3, b'{', b'}'];
const EMPTY_ERROR: &[u8] = &[0x82, 1, 3];
const PING: &[u8] = &[0x89, 2, b'a', b'b'];
const CLOSE: &[u8] = &[0x88, 2, 3, 0xe8];

fn tracker() -> Tracker {
    exec(&Upgrade::WebSocket(WebSocketOffer::default()), "sec-websocket-protocol", "v5.channel.k8s.io")
}

fn fed(chunks: &[&[u8]]) -> Tracker {
    let mut tracker = tracker();
    chunks.iter().for_each(|c| tracker.feed_to_client(c));
    tracker
}

/// § 2.12: a Status on channel 3, then Close 1000; never the Close alone.
#[test]
fn a_lost_session_gets_its_status_and_then_a_close() {
    let json = lost().to_json();
    let mut expected = vec![0x82, 126];
    expected.extend(u16::try_from(json.len() + 1).unwrap().to_be_bytes());
    expected.push(3);
    expected.extend(&json);
    expected.extend(CLOSE);
    for chunks in [&[][..], &[STDOUT], &[STDOUT, PING], &[EMPTY_ERROR], &[PING, STDOUT, STDOUT]] {
        let tracker = fed(chunks);
        assert_eq!(tracker.outcome(), Outcome::Unfinished);
        assert_eq!(bytes(tracker.failure(&lost())), expected);
    }
}

#[test]
fn a_session_with_its_result_is_only_closed() {
    let tracker = fed(&[STDOUT, RESULT]);
    assert_eq!((tracker.outcome(), bytes(tracker.failure(&lost()))), (Outcome::Complete, CLOSE.to_vec()));
    let tracker = fed(&[STDOUT, RESULT, CLOSE]);
    assert_eq!((tracker.outcome(), bytes(tracker.failure(&lost()))), (Outcome::Complete, Vec::new()));
}

#[test]
fn nothing_is_injected_where_it_would_be_misread() {
    let long = [&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0, 1], &[0_u8; 100][..]].concat();
    for chunks in [
        &[&STDOUT[..1]][..],
        &[&STDOUT[..2]],
        &[&STDOUT[..4]],
        &[&RESULT[..4]],
        &[&[0x02, 1, 1]],
        &[&[0x02, 1, 1], PING],
        &[&[0x82, 126, 1]],
        &[&long],
        &[CLOSE],
    ] {
        let tracker = fed(chunks);
        assert_eq!(
            (tracker.outcome(), tracker.failure(&lost())),
            (Outcome::Unfinished, Injection::Abort),
            "{chunks:?}"
        );
    }
}

#[test]
fn malformed_frames_switch_the_tracker_off() {
    for frame in [
        &[0x82, 0x81, 0, 0, 0, 0, 1][..],
        &[0xc2, 1, 1],
        &[0x80, 1, 1],
        &[0x83, 1, 1],
        &[0x8b, 0],
        &[0x09, 0],
        &[0x89, 126, 0, 126],
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let tracker = fed(&[STDOUT, frame, STDOUT]);
        assert_eq!(tracker.failure(&lost()), Injection::Abort, "{frame:?}");
    }
    assert_eq!(fed(&[RESULT, CLOSE, STDOUT]).outcome(), Outcome::Unfinished);
}

#[test]
fn fragments_are_one_message() {
    let tracker = fed(&[&[0x02, 0], PING, &[0x00, 1, 3], &[0x80, 2, b'{', b'}']]);
    assert_eq!(tracker.outcome(), Outcome::Complete);
    let tracker = fed(&[&[0x02, 1, 1], &[0x80, 2, 3, 3]]);
    assert_eq!(tracker.outcome(), Outcome::Unfinished);
    assert!(matches!(tracker.failure(&lost()), Injection::Bytes(_)));
}

#[test]
fn how_bytes_are_cut_makes_no_difference() {
    let long = [&[0x82, 126, 0x01, 0x00, 1], &[7_u8; 255][..]].concat();
    let all = [STDOUT, &long, PING, RESULT].concat();
    for size in 1..all.len() {
        let tracker = fed(&all.chunks(size).collect::<Vec<_>>());
        assert_eq!(tracker.outcome(), Outcome::Complete, "chunks of {size}");
        assert_eq!(bytes(tracker.failure(&lost())), CLOSE, "chunks of {size}");
    }
}

#[test]
fn a_message_that_is_not_whole_is_held_back() {
    for (bytes, whole) in [
        (&b""[..], 0),
        (STDOUT, 5),
        (&STDOUT[..4], 0),
        (&[STDOUT, &STDOUT[..1]].concat(), 5),
        (&[STDOUT, PING, &RESULT[..3]].concat(), 9),
        (&[&[0x02, 1, 1][..], PING].concat(), 0),
        (&[&[0x02, 1, 1][..], PING, &[0x80, 1, 9], &[0x82]].concat(), 10),
        (&[STDOUT, &[0xc2, 1, 1], STDOUT].concat(), 13),
    ] {
        let tracker = tracker();
        assert_eq!(tracker.whole_to_client(bytes), whole, "{bytes:?}");
        let sent = fed(&[&bytes[..whole]]);
        assert!(whole == bytes.len() || matches!(sent.failure(&lost()), Injection::Bytes(_)), "{bytes:?}");
    }
    // In the middle of a message, what is left of it may go.
    assert_eq!(fed(&[&STDOUT[..3]]).whole_to_client(&[&STDOUT[3..], &STDOUT[..2]].concat()), 2);
}
