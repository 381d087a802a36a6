//! Request targets: what passes the gate is forwarded byte for byte, and has one meaning.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use roadstead::k8s::{ProxyTarget, RequestInfo};

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

fuzz_target!(|data: (u8, &str)| {
    let (method, raw) = data;
    let Ok(target) = ProxyTarget::parse(raw) else { return };
    let Some(api) = target.api() else { return };
    let forwarded = api.path_and_query();
    assert_eq!(format!("/clusters/{}{forwarded}", target.cluster()), raw);
    let method = &METHODS[usize::from(method) % METHODS.len()];
    let Ok(info) = RequestInfo::new(method, &api) else { return };
    assert_eq!(info.path(), api.path());
    for upgrade in [false, true] {
        let _ = (info.effective_verb(upgrade), info.capability(upgrade), info.also_requires());
    }
});
