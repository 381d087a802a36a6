//! Certificate signing requests: any bytes are parsed or refused, and the same bytes always give the same key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead::identity::VerifiedCsr;

fuzz_target!(|der: &[u8]| {
    if let Ok(csr) = VerifiedCsr::parse(der) {
        let again = VerifiedCsr::parse(der).expect("it was accepted just now");
        assert_eq!(csr.spki_sha256(), again.spki_sha256());
    }
});
