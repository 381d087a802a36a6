//! Headers of clients: nothing that could be an identity or is for one hop only passes, whatever came.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;
use roadstead::k8s::{ApiTarget, RequestInfo, sanitise_request};

const TARGETS: [&str; 3] =
    ["/api/v1/pods", "/api/v1/namespaces/n/pods/p/exec?command=sh", "/api/v1/namespaces/n/pods/p/portforward"];
const NEVER: [&str; 8] = [
    "authorization",
    "connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-authorization",
    "forwarded",
];

/// Lines of `name: value`; a few short names stand for the ones that matter, so that the fuzzer finds them soon.
fn headers(text: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(200) {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let name = match name {
            b"c" => b"connection".as_slice(),
            b"i" => b"impersonate-user",
            b"g" => b"impersonate-group",
            b"u" => b"upgrade",
            b"h" => b"host",
            b"w" => b"sec-websocket-protocol",
            other => other,
        };
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            map.append(name, value);
        }
    }
    map
}

fuzz_target!(|data: (u8, &[u8])| {
    let (choice, text) = data;
    let target = ApiTarget::parse(TARGETS[usize::from(choice) % TARGETS.len()]).expect("these are valid");
    let method = if choice & 0x80 == 0 { Method::GET } else { Method::POST };
    let info = RequestInfo::new(&method, &target).expect("these are valid");
    let version = if choice & 0x40 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
    let Ok(clean) = sanitise_request(&headers(text), &info, version) else { return };
    for name in clean.headers.keys().map(HeaderName::as_str) {
        let identity = name.starts_with("impersonate-") || name.starts_with("x-remote-");
        assert!(!identity && !NEVER.contains(&name), "{name} passed");
    }
});
