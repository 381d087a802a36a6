//! Upgraded sessions: the trackers read any bytes of either side, in any pieces, and always know what to inject.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use roadstead::k8s::{Outcome, Status, Streaming, Tracker, Upgrade, WebSocketOffer};

fn tracker(spdy: bool) -> Tracker {
    let (upgrade, name, value) = if spdy {
        (Upgrade::Spdy, "x-stream-protocol-version", "v4.channel.k8s.io")
    } else {
        (Upgrade::WebSocket(WebSocketOffer::default()), "sec-websocket-protocol", "v5.channel.k8s.io")
    };
    let mut response = HeaderMap::new();
    response.insert(name, HeaderValue::from_static(value));
    Tracker::for_upgrade(&upgrade, Some(Streaming::Exec), &response)
}

fn run(spdy: bool, chunks: &[(bool, &[u8])], piece: usize) -> Outcome {
    let mut tracker = tracker(spdy);
    for (from_client, chunk) in chunks {
        for bytes in chunk.chunks(piece) {
            if *from_client { tracker.feed_from_client(bytes) } else { tracker.feed_to_client(bytes) }
        }
    }
    let _ = tracker.failure(&Status::no_such_path());
    tracker.outcome()
}

fuzz_target!(|data: (bool, Vec<(bool, &[u8])>)| {
    let (spdy, chunks) = data;
    assert_eq!(run(spdy, &chunks, usize::MAX), run(spdy, &chunks, 1));
});
