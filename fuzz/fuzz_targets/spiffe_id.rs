//! SPIFFE ids of certificates: one spelling each, printed as they came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead::identity::{ClusterUid, HubName, SpiffeId, TrustDomain};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.to_string(), text);
    }
    let _ = (text.parse::<TrustDomain>(), text.parse::<ClusterUid>(), text.parse::<HubName>());
});
