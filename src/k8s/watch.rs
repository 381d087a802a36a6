//! Watch streams as JSON records: where one ends, and the ERROR event that tells a client why no more will come.
//!
//! Follows the nesting of JSON only, in constant memory; a newline is no boundary by itself, since a server may indent.
//! Refuses to know what the events say.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::{RequestInfo, Status, Verb};

/// Follows a sequence of JSON objects.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecordTracker {
    depth: u32,
    text: Text,
    /// Something that is no sequence of objects went by; nothing may be added to it.
    off: bool,
}

/// Where in a string the last byte was.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// Just behind a backslash.
    Escaped,
}

impl RecordTracker {
    /// A tracker for the response to a watch; `None` if it is no watch, not JSON, or compressed.
    pub fn for_response(info: &RequestInfo, response: &HeaderMap) -> Option<Self> {
        let kind = response.get(CONTENT_TYPE)?.to_str().ok()?;
        let json = kind.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
        let plain = !response.contains_key(CONTENT_ENCODING);
        (json && plain && info.verb() == Verb::Watch).then(Self::default)
    }

    /// Bytes of the body that were written to the client, in order.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (self.text, byte) {
                (Text::Escaped, _) => self.text = Text::Inside,
                (Text::Inside, b'\\') => self.text = Text::Escaped,
                (Text::Inside, b'"') => self.text = Text::Outside,
                (Text::Inside, _) => {}
                (Text::Outside, b'{') => self.deeper(),
                (Text::Outside, b'[') if self.depth > 0 => self.deeper(),
                (Text::Outside, b'"') if self.depth > 0 => self.text = Text::Inside,
                (Text::Outside, b'}' | b']') if self.depth > 0 => self.depth -= 1,
                (Text::Outside, b' ' | b'\t' | b'\r' | b'\n') => {}
                (Text::Outside, _) => self.off |= self.depth == 0,
            }
        }
    }

    /// Whether the client has only whole records, so that another may follow.
    pub fn at_boundary(&self) -> bool {
        self.depth == 0 && self.text == Text::Outside && !self.off
    }

    fn deeper(&mut self) {
        match self.depth.checked_add(1) {
            Some(depth) => self.depth = depth,
            None => self.off = true,
        }
    }
}

/// The last record of a watch that failed: `{"type":"ERROR","object":<Status>}` and a line end. Only at a boundary.
pub fn error_event(status: &Status) -> Bytes {
    let object = status.to_json();
    let mut line = BytesMut::with_capacity(object.len() + 32);
    line.put_slice(br#"{"type":"ERROR","object":"#);
    line.put_slice(&object);
    line.put_slice(b"}\n");
    line.freeze()
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::k8s::ApiTarget;

    fn after(text: &str) -> RecordTracker {
        let mut tracker = RecordTracker::default();
        tracker.feed(text.as_bytes());
        tracker
    }

    #[test]
    fn a_boundary_is_between_whole_records_only() {
        for (text, boundary) in [
            ("", true),
            ("{}\n", true),
            ("{}", true),
            ("{\"type\":\"ADDED\",\"object\":{\"a\":[1,{}]}}\n", true),
            ("{}\n{\"type\":", false),
            ("{\"a\":\"}\"", false),
            ("{\"a\":\"\\\"}\"", false),
            ("{\"a\":\"\\\\\"}\n", true),
            ("{\n  \"a\": {}\n", false),
            ("{\n  \"a\": {}\n}\n", true),
            ("{\"a\":[}\n", false),
            ("k8s\0", false),
            ("{}]", false),
            ("[{}]", false),
            ("null", false),
        ] {
            assert_eq!(after(text).at_boundary(), boundary, "{text:?}");
        }
    }

    #[test]
    fn an_error_event_is_one_record_that_client_go_decodes() {
        let line = error_event(&Status::new(
            crate::k8s::Reason::BadGateway,
            "cluster edge-1: link between hub and agent lost; its output is incomplete",
        ));
        let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&"ERROR".into(), &"Status".into()));
        assert_eq!(event["object"]["code"], 502);
        assert!(line.ends_with(b"\n") && after(std::str::from_utf8(&line).unwrap()).at_boundary());
    }

    #[test]
    fn only_plain_json_watches_are_followed() {
        for (raw, kind, coding, followed) in [
            ("/api/v1/pods?watch=1", "application/json", None, true),
            ("/api/v1/watch/pods", "application/json;stream=watch", None, true),
            ("/api/v1/pods", "application/json", None, false),
            ("/api/v1/pods?watch=1", "application/vnd.kubernetes.protobuf;stream=watch", None, false),
            ("/api/v1/pods?watch=1", "application/json-seq", None, false),
            ("/api/v1/pods?watch=1", "application/json", Some("gzip"), false),
        ] {
            let info = RequestInfo::new(&Method::GET, &ApiTarget::parse(raw).unwrap()).unwrap();
            let mut response = HeaderMap::new();
            response.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            coding.map(|c| response.insert(CONTENT_ENCODING, HeaderValue::from_static(c)));
            assert_eq!(RecordTracker::for_response(&info, &response).is_some(), followed, "{raw} {kind}");
        }
    }

    proptest! {
        #[test]
        fn any_cut_of_any_bytes_gives_the_same_answer(bytes in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), any::<u8>()], 0..60), cut in 0_usize..60) {
            let mut whole = RecordTracker::default();
            whole.feed(&bytes);
            let mut parts = RecordTracker::default();
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            parts.feed(a);
            parts.feed(b);
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn every_json_value_in_an_object_ends_at_a_boundary(text in any::<String>(), n in any::<i64>()) {
            let record = serde_json::json!({ "a": text, "b": [n, { "c": text }] });
            for line in [record.to_string(), serde_json::to_string_pretty(&record).unwrap()] {
                prop_assert!(after(&line).at_boundary());
                let head: String = line.chars().take(line.chars().count() - 1).collect();
                prop_assert!(!after(&head).at_boundary());
            }
        }
    }
}
