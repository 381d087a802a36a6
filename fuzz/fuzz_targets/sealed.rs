//! Sealed bytes: any bytes are opened or refused, and what is sealed opens as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead::identity::seal::{DataKey, KeyWrapper, WrapError, open, seal};

/// Wraps nothing, so that a fuzzer gets past it.
#[derive(Debug)]
struct Open;

impl KeyWrapper for Open {
    fn key_id(&self) -> &str {
        "k"
    }

    fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, WrapError> {
        Ok(key.expose().to_vec())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<DataKey, WrapError> {
        Ok(DataKey::new(wrapped.try_into().map_err(|_| WrapError::Malformed)?))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = open(&Open, "fuzz", bytes);
    let sealed = seal(&Open, "fuzz", bytes).expect("it is small");
    assert_eq!(open(&Open, "fuzz", &sealed).expect("it was sealed just now")[..], *bytes);
});
