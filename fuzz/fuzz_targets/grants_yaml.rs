//! The grants file: any text is read or refused, in bounded time and memory, and a refusal says at least one fault.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead::access::Grants;

fuzz_target!(|text: &str| {
    match text.parse::<Grants>() {
        Ok(grants) => assert!(grants.iter().count() <= text.len()),
        Err(error) => assert!(!error.faults.is_empty()),
    }
});
