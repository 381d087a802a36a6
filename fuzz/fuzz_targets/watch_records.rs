//! Watch streams: where a record ends does not depend on how the bytes were cut.
#![no_main]

use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use roadstead::k8s::{ApiTarget, RecordTracker, RequestInfo};

fn tracker() -> RecordTracker {
    let target = ApiTarget::parse("/api/v1/pods?watch=true").expect("it is valid");
    let info = RequestInfo::new(&Method::GET, &target).expect("it is valid");
    let mut response = HeaderMap::new();
    response.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    RecordTracker::for_response(&info, &response).expect("it is a watch in JSON")
}

fuzz_target!(|data: &[u8]| {
    let (mut whole, mut bytewise) = (tracker(), tracker());
    whole.feed(data);
    data.chunks(1).for_each(|byte| bytewise.feed(byte));
    assert_eq!(whole.at_boundary(), bytewise.at_boundary());
});
