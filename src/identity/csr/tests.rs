//! A request gives its public key after its signature was checked, and nothing else.

use proptest::prelude::*;
use rcgen::{CertificateParams, PublicKeyData};

use super::*;
use crate::identity::{KeyPair, testing::der};

const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const RSA_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];
const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// A request with this key (algorithm, parameters, bits) and a signature that cannot be right.
fn forged(key: (&[u8], Vec<u8>, &[u8]), signature: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[der(6, key.0), key.1].concat());
    let spki = der(0x30, &[algorithm, der(3, &[&[0], key.2].concat())].concat());
    let info = der(0x30, &[der(2, &[0]), der(0x30, &[]), spki, der(0xa0, &[])].concat());
    let signature_algorithm = der(0x30, &der(6, signature));
    der(0x30, &[info, signature_algorithm, der(3, &[0, 0x30, 6, 2, 1, 1, 2, 1, 1])].concat())
}

/// An RSA key of `bits` bits that nobody has.
fn rsa_key(bits: usize) -> Vec<u8> {
    let modulus = [vec![0, 0x80], vec![0x5b; bits / 8 - 2], vec![0x01]].concat();
    der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat())
}

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

/// T009: bad signatures, trailing bytes, size, weak and odd keys, each with its own error.
#[test]
fn bad_requests_have_typed_errors() {
    let good = KeyPair::generate().csr();
    let rsa2048 = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let rsa2048 = CertificateParams::default().serialize_request(&rsa2048).unwrap().der().to_vec();
    let p521 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let p521 = CertificateParams::default().serialize_request(&p521).unwrap().der().to_vec();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let no_point = [&[4][..], &[0x11; 64]].concat();
    let infinity = [0u8];
    let null = der(5, &[]);
    let cases: [(&str, Vec<u8>, &str); 14] = [
        ("empty", vec![], "Encoding"),
        ("cut", good[..good.len() - 1].to_vec(), "Encoding"),
        ("trailing byte", [good.as_slice(), &[0]].concat(), "Encoding"),
        ("1 MB", vec![0x30; 1 << 20], "TooLong(1048576)"),
        ("flipped signature", flipped, "Signature"),
        ("not on the curve", forged((EC_KEY, der(6, P256), &no_point), SHA256_ECDSA), "Signature"),
        ("point at infinity", forged((EC_KEY, der(6, P256), &infinity), SHA256_ECDSA), "Signature"),
        ("curve not named", forged((EC_KEY, vec![], &no_point), SHA256_ECDSA), "KeyKind"),
        ("RSA signature by an EC key", forged((EC_KEY, der(6, P256), &no_point), SHA256_RSA), "Algorithm"),
        ("RSA-1024", forged((RSA_KEY, null.clone(), &rsa_key(1024)), SHA256_RSA), "RsaSize(1024)"),
        ("RSA-2048", rsa2048, "RsaSize(2048)"),
        ("SHA-1", forged((RSA_KEY, null.clone(), &rsa_key(3072)), SHA1_RSA), "Algorithm"),
        ("RSA key of nonsense", forged((RSA_KEY, null, &[0x30, 0]), SHA256_RSA), "Signature"),
        ("P-521", p521, "KeyKind"),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(format!("{:?}", VerifiedCsr::parse(&bytes).unwrap_err()), expected, "{name}");
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
