//! What the trackers of upgraded sessions have in common.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::k8s::WebSocketOffer;

mod spdy;
mod websocket;

/// A tracker for `exec` that was answered with this header.
fn exec(upgrade: &Upgrade, name: &'static str, value: &'static str) -> Tracker {
    let mut response = HeaderMap::new();
    response.insert(name, HeaderValue::from_static(value));
    Tracker::for_upgrade(upgrade, Some(Streaming::Exec), &response)
}

fn lost() -> Status {
    Status::new(
        crate::k8s::Reason::BadGateway,
        "cluster edge-1: link between hub and agent lost; its output is incomplete",
    )
}

fn bytes(injection: Injection) -> Vec<u8> {
    match injection {
        Injection::Bytes(bytes) => bytes,
        Injection::Abort => panic!("aborted"),
    }
}

#[test]
fn streams_without_an_error_channel_are_cut() {
    let websocket = Upgrade::WebSocket(WebSocketOffer::default());
    let mut v5 = HeaderMap::new();
    v5.insert("sec-websocket-protocol", HeaderValue::from_static("v5.channel.k8s.io"));
    let mut compressed = v5.clone();
    compressed.insert("sec-websocket-extensions", HeaderValue::from_static("permessage-deflate"));
    let mut base64 = HeaderMap::new();
    base64.insert("sec-websocket-protocol", HeaderValue::from_static("v4.base64.channel.k8s.io"));
    for (upgrade, streaming, response) in [
        (&websocket, Some(Streaming::PortForward), &v5),
        (&websocket, Some(Streaming::Proxy), &v5),
        (&websocket, None, &v5),
        (&websocket, Some(Streaming::Exec), &compressed),
        (&websocket, Some(Streaming::Attach), &base64),
        (&Upgrade::Spdy, Some(Streaming::PortForward), &HeaderMap::new()),
    ] {
        let mut tracker = Tracker::for_upgrade(upgrade, streaming, response);
        tracker.feed_to_client(&[0x82, 2, 3, b'{']);
        assert_eq!((tracker.outcome(), tracker.failure(&lost())), (Outcome::Unfinished, Injection::Abort));
    }
}

proptest! {
    #[test]
    fn any_bytes_in_both_directions_never_panic(
        spdy in any::<bool>(),
        chunks in prop::collection::vec((any::<bool>(), prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            Just(vec![0x80, 3, 0, 1, 0, 0, 0, 20, 0, 0, 0, 1]),
            Just(vec![0x80, 3, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1]),
            Just(vec![0, 0, 0, 1, 0, 0, 0, 2, b'{', b'}']),
            Just(vec![0x82, 0x7e]),
            Just(vec![0x82, 0x02, 0x03]),
        ]), 0..12),
    ) {
        let mut tracker = match spdy {
            true => exec(&Upgrade::Spdy, "x-stream-protocol-version", "v4.channel.k8s.io"),
            false => exec(&Upgrade::WebSocket(WebSocketOffer::default()), "sec-websocket-protocol", "v5.channel.k8s.io"),
        };
        for (from_client, chunk) in chunks {
            if from_client { tracker.feed_from_client(&chunk) } else { tracker.feed_to_client(&chunk) }
            let _ = (tracker.outcome(), tracker.failure(&lost()));
        }
    }
}
