//! A request gives its public key after its signature was checked, and nothing else.

use proptest::prelude::*;
use rcgen::{CertificateParams, PublicKeyData};

use super::*;
use crate::identity::KeyPair;

mod corpus;

#[test]
fn strong_keys_of_every_accepted_kind_pass() {
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072).unwrap();
    let others = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
    let keys = others.map(|kind| rcgen::KeyPair::generate_for(kind).unwrap());
    for key in keys.into_iter().chain([rsa]) {
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let verified = VerifiedCsr::parse(csr.der()).unwrap();
        assert_eq!(verified.spki_sha256(), SpkiSha256::of(&key.subject_public_key_info()));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(VerifiedCsr::parse(&bytes).is_err());
    }

    #[test]
    fn changed_bytes_never_panic_and_never_change_the_key(at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>()) {
        let key = KeyPair::generate();
        let mut bytes = key.csr();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(csr) = VerifiedCsr::parse(&bytes) {
            prop_assert_eq!(csr.spki_sha256(), key.spki_sha256());
        }
    }
}
