//! The adversarial corpus of requests: made anew by a program for every run, each with the reason for which it gets no certificate; and those
//! that ask for too much, which get a plain one.

use std::collections::HashSet;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Ku, SanType,
};

use super::super::*;
use crate::identity::{
    AgentRequest, ClusterUid, KeyPair, Serial,
    testing::{
        HOUR, World, der,
        forge::{Parts, children, field},
    },
};

/// The least that the corpus of requests holds.
const LEAST: usize = 50;

const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P224: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x21];
const K256: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];
const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04];
const PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];

type Case = (&'static str, Vec<u8>, &'static str);

/// T009: every request that gets no certificate, with its own error.
fn corpus() -> Vec<Case> {
    [encodings(), parts(), keys(), algorithms(), signatures()].into_iter().flatten().collect()
}

/// Bytes that are not one request.
fn encodings() -> Vec<Case> {
    let good = KeyPair::generate().csr();
    let world = World::new();
    let leaf = world.agent(&ClusterUid::generate(world.now)).chain[0].to_vec();
    let key = KeyPair::generate();
    let pem = crate::identity::keys::pem_block("CERTIFICATE REQUEST", "AAAA").into_bytes();
    let spare = match good[1] {
        0x81 => [&[0x30, 0x82, 0][..], &good[2..]].concat(),
        0x82 => [&[0x30, 0x83, 0][..], &good[2..]].concat(),
        other => unreachable!("a request of {other} bytes"),
    };
    let (header, _) = crate::identity::testing::forge::header(&good);
    vec![
        ("empty", vec![], "Encoding"),
        ("one byte", vec![0x30], "Encoding"),
        ("an empty sequence", vec![0x30, 0], "Encoding"),
        ("its last byte missing", good[..good.len() - 1].to_vec(), "Encoding"),
        ("its second half missing", good[..good.len() / 2].to_vec(), "Encoding"),
        ("a byte after it", [good.as_slice(), &[0]].concat(), "Encoding"),
        ("itself after it", [good.as_slice(), &good].concat(), "Encoding"),
        ("1 MB", vec![0x30; 1 << 20], "TooLong(1048576)"),
        ("a byte more than is read", vec![0x30; MAX_CSR + 1], "TooLong(8193)"),
        ("8 KB of nothing", vec![0; MAX_CSR], "Encoding"),
        ("8 KB of depth", [0x30, 0x80].repeat(MAX_CSR / 2), "Encoding"),
        ("indefinite length (BER)", [&[0x30, 0x80], &good[header..], &[0, 0]].concat(), "Encoding"),
        ("a length with a spare byte (BER)", spare, "Encoding"),
        ("a set", [&[0x31], &good[1..]].concat(), "Encoding"),
        ("PEM", pem, "Encoding"),
        ("a certificate", leaf, "Encoding"),
        ("a public key", key.spki_der(), "Encoding"),
        ("a request in a sequence", der(0x30, &good), "Encoding"),
    ]
}

/// A good request of which one part is changed before its own key signs it.
fn with(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let key = KeyPair::generate();
    let mut parts = Parts::of(&key.csr());
    change(&mut parts);
    parts.sign(&key)
}

/// Where a request's attributes stand.
const ATTRIBUTES: usize = 3;

fn parts() -> Vec<Case> {
    let version = |bytes: &[u8]| {
        let version = der(2, bytes);
        with(|parts| parts.fields[field::VERSION] = version)
    };
    vec![
        ("version 2", version(&[1]), "Encoding"),
        ("version 256", version(&[1, 0]), "Encoding"),
        ("version -1", version(&[0xff]), "Encoding"),
        ("version 0 with a spare byte (BER)", version(&[0, 0]), "Encoding"),
        ("no version", with(|parts| drop(parts.fields.remove(field::VERSION))), "Encoding"),
        ("no subject", with(|parts| drop(parts.fields.remove(1))), "Encoding"),
        ("no key", with(|parts| drop(parts.fields.remove(2))), "Encoding"),
        ("attributes of no kind", with(|parts| parts.fields[ATTRIBUTES] = der(4, &[])), "Encoding"),
        ("a part after the attributes", with(|parts| parts.fields.push(der(0xa1, &[]))), "Encoding"),
        ("no signature", der(0x30, &children(&KeyPair::generate().csr())[..2].concat()), "Encoding"),
    ]
}

/// A request with this key (algorithm, parameters, bits with their count of unused ones) and a signature that cannot be right.
fn forged(key: (&[u8], Vec<u8>, &[u8]), signature: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[der(6, key.0), key.1].concat());
    let spki = der(0x30, &[algorithm, der(3, key.2)].concat());
    let info = der(0x30, &[der(2, &[0]), der(0x30, &[]), spki, der(0xa0, &[])].concat());
    let signature_algorithm = der(0x30, &der(6, signature));
    der(0x30, &[info, signature_algorithm, der(3, &[0, 0x30, 6, 2, 1, 1, 2, 1, 1])].concat())
}

/// An RSA key that nobody has.
fn rsa_key(bits: usize, exponent: &[u8]) -> Vec<u8> {
    let modulus = [vec![0, 0x80], vec![0x5b; bits / 8 - 2], vec![0x01]].concat();
    [vec![0], der(0x30, &[der(2, &modulus), der(2, exponent)].concat())].concat()
}

/// A request by a key of rcgen's.
fn by(kind: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

/// Keys that are too weak, too large, of no use, or spelled in a second way.
fn keys() -> Vec<Case> {
    let key = KeyPair::generate();
    let spki = key.spki_der();
    let point = spki[spki.len() - 64..].to_vec();
    let compressed = [&[0, 2 | (point[63] & 1)], &point[..32]].concat();
    let hybrid = [&[0, 6 | (point[63] & 1)], point.as_slice()].concat();
    let no_point = [&[0, 4][..], &[0x11; 64]].concat();
    let bits = |length: usize| [vec![0, 4], vec![0x11; length - 1]].concat();
    let ec = |curve: Vec<u8>, bits: &[u8]| forged((EC, curve, bits), SHA256_ECDSA);
    let p256 = || der(6, P256);
    let rsa = |bits: &[u8]| forged((RSA, der(5, &[]), bits), SHA256_RSA);
    // Signed by the very key that it spells compressed: only the spelling is wrong.
    let other_spelling = {
        let mut parts = Parts::of(&key.csr());
        let algorithm = der(0x30, &[der(6, EC), p256()].concat());
        parts.fields[2] = der(0x30, &[algorithm, der(3, &compressed)].concat());
        parts.sign(&key)
    };
    vec![
        ("RSA-512", rsa(&rsa_key(512, &[1, 0, 1])), "Key(RsaSize(512))"),
        ("RSA-1024", rsa(&rsa_key(1024, &[1, 0, 1])), "Key(RsaSize(1024))"),
        ("RSA-2048", by(&rcgen::PKCS_RSA_SHA256), "Key(RsaSize(2048))"),
        ("RSA-16384", rsa(&rsa_key(16384, &[1, 0, 1])), "Key(RsaSize(16384))"),
        ("RSA with the exponent 1", rsa(&rsa_key(3072, &[1])), "Key(Encoding)"),
        ("RSA with an even exponent", rsa(&rsa_key(3072, &[4])), "Key(Encoding)"),
        ("RSA of nonsense", rsa(&[0, 0x30, 0]), "Key(Encoding)"),
        ("P-521", by(&rcgen::PKCS_ECDSA_P521_SHA512), "Key(Kind)"),
        ("P-224", ec(der(6, P224), &bits(57)), "Key(Kind)"),
        ("secp256k1", ec(der(6, K256), &bits(65)), "Key(Kind)"),
        ("a curve without a name", ec(vec![], &no_point), "Key(Kind)"),
        ("a curve by its parameters", ec(der(0x30, &der(2, &[1])), &no_point), "Key(Kind)"),
        ("DSA", forged((DSA, der(5, &[]), &bits(128)), SHA256_ECDSA), "Key(Kind)"),
        ("Ed448", forged((ED448, vec![], &bits(57)), ED448), "Key(Kind)"),
        ("X25519, which signs nothing", forged((X25519, vec![], &bits(32)), SHA256_ECDSA), "Key(Kind)"),
        ("a compressed point", other_spelling, "Key(Encoding)"),
        ("a hybrid point", ec(p256(), &hybrid), "Key(Encoding)"),
        ("the point at infinity", ec(p256(), &[0, 0]), "Key(Encoding)"),
        ("a point of 65 bytes for P-384", ec(der(6, &[0x2b, 0x81, 0x04, 0x00, 0x22]), &no_point), "Key(Encoding)"),
        ("bits of the key left over", ec(p256(), &[&[4, 4], &point[..63], &[0xf0]].concat()), "Key(Encoding)"),
        ("not on the curve", ec(p256(), &no_point), "Signature"),
    ]
}

/// Signatures of a kind that does not fit the key, or that is broken.
fn algorithms() -> Vec<Case> {
    let spki = KeyPair::generate().spki_der();
    let point = [&[0], &spki[spki.len() - 65..]].concat();
    let ec = |signature| forged((EC, der(6, P256), &point), signature);
    let rsa = |signature| forged((RSA, der(5, &[]), &rsa_key(3072, &[1, 0, 1])), signature);
    vec![
        ("SHA-1 by RSA", rsa(SHA1_RSA), "Algorithm"),
        ("MD5 by RSA", rsa(MD5_RSA), "Algorithm"),
        ("PSS by RSA", rsa(PSS), "Algorithm"),
        ("an ECDSA signature by RSA", rsa(SHA256_ECDSA), "Algorithm"),
        ("SHA-1 by P-256", ec(SHA1_ECDSA), "Algorithm"),
        ("SHA-512 by P-256", ec(SHA512_ECDSA), "Algorithm"),
        ("an RSA signature by P-256", ec(SHA256_RSA), "Algorithm"),
        ("a signature of an unknown kind", ec(&[0x2a, 3]), "Algorithm"),
    ]
}

/// Signatures of the right kind that prove nothing.
fn signatures() -> Vec<Case> {
    let (key, other) = (KeyPair::generate(), KeyPair::generate());
    let (good, others) = (Parts::of(&key.csr()), other.csr());
    let graft = children(&others).pop().unwrap();
    let mut flipped = key.csr();
    *flipped.last_mut().unwrap() ^= 1;
    let zero = [&[0][..], &der(0x30, &[2, 1, 0, 2, 1, 0])].concat();
    let more = with(|parts| parts.fields[1] = der(0x30, &[]));
    let changed = {
        let mut parts = Parts::of(&more);
        let signature = children(&more).pop().unwrap();
        parts.fields[ATTRIBUTES] = der(0xa0, &der(0x30, &[der(6, &[0x2a, 3]), der(0x31, &[5, 0])].concat()));
        der(0x30, &[parts.to_be_signed(), parts.algorithm.clone(), signature].concat())
    };
    vec![
        ("signed by another key", good.sign(&other), "Signature"),
        (
            "the signature of another request",
            der(0x30, &[good.to_be_signed(), good.algorithm.clone(), graft].concat()),
            "Signature",
        ),
        ("a bit of the signature flipped", flipped, "Signature"),
        ("a signature of zeroes", good.with_signature(&zero), "Signature"),
        ("a signature of no bytes", good.with_signature(&[0]), "Signature"),
        ("bits of the signature left over", good.with_signature(&[1, 0x30, 6, 2, 1, 2, 2, 1, 2]), "Encoding"),
        ("attributes added after it was signed", changed, "Signature"),
    ]
}

#[test]
fn every_request_of_the_corpus_is_refused_with_its_reason() {
    let mut wrong = Vec::new();
    for (name, bytes, expected) in corpus() {
        let got = VerifiedCsr::parse(&bytes).map_or_else(|error| format!("{error:?}"), |_| "accepted".to_owned());
        if got != expected {
            wrong.push(format!("{name}: {got}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_as_large_as_it_says_and_no_case_is_in_it_twice() {
    let cases = corpus();
    let names: HashSet<_> = cases.iter().map(|(name, ..)| name).collect();
    assert!(cases.len() >= LEAST && names.len() == cases.len(), "{} cases, {} names", cases.len(), names.len());
    assert!(VerifiedCsr::parse(&with(|_| ())).is_ok(), "what they start from is a good request");
}

type Ask = fn(&mut CertificateParams);

/// T007, T008: whatever a request asks for, its certificate has the same fields; only the key is taken.
#[test]
fn what_a_request_asks_for_is_not_in_its_certificate() {
    let asks: Vec<(&str, Ask)> = vec![
        ("nothing", |_| ()),
        ("to be a CA", |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("to sign certificates", |p| p.key_usages = vec![Ku::KeyCertSign, Ku::CrlSign]),
        ("to be a server", |p| p.extended_key_usages = vec![Eku::ServerAuth, Eku::Any]),
        ("a DNS name", |p| p.subject_alt_names = vec![SanType::DnsName("hub.example".try_into().unwrap())]),
        ("another cluster's id", |p| {
            let id = "spiffe://fleet.example/cluster/01jdq3v5c0e8m2k4n6p8r0s2t5";
            p.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        }),
        ("a hub's id", |p| {
            p.subject_alt_names = vec![SanType::URI("spiffe://fleet.example/hub/hub-0".try_into().unwrap())]
        }),
        ("another common name", |p| p.distinguished_name.push(rcgen::DnType::CommonName, "admin")),
    ];
    let world = World::new();
    let (key, cluster, serial) = (KeyPair::generate(), ClusterUid::generate(world.now), Serial::random());
    let issue = |ask: Ask| {
        let mut params = CertificateParams::default();
        ask(&mut params);
        let csr = VerifiedCsr::parse(params.serialize_request(&key).unwrap().der()).unwrap();
        let request = AgentRequest { csr: &csr, cluster: &cluster, now: world.now, ttl: HOUR, serial };
        Parts::of(&world.agents.issue_agent(&request).unwrap().chain[0]).fields
    };
    let plain = issue(|_| ());
    for (name, ask) in asks {
        assert_eq!(issue(ask), plain, "{name}");
    }
}
