//! Leaves that the agents' CA signed, taken apart and signed again: keys, serials, times, versions, signatures and bytes that are wrong.

use super::{Case, agent_params, names::raw_san};
use crate::identity::{
    KeyPair,
    testing::{
        Holder, World, der,
        forge::{Parts, field, issuing_key},
        sign_any,
    },
};

const BAD: &str = "InvalidCertificate(BadEncoding)";
const UNSUPPORTED: &str = "InvalidCertificate(Other(OtherError(UnsupportedCertVersion)))";
const UNKNOWN_SIGNATURE: &str = "InvalidCertificate(UnsupportedSignatureAlgorithmContext";

pub(super) fn cases(world: &World) -> Vec<Case> {
    let forge = Forge::new(world);
    [keys(&forge), serials(&forge), times(&forge), versions(&forge), signatures(&forge), bytes(&forge)]
        .into_iter()
        .flatten()
        .collect()
}

/// Makes leaves with one field replaced.
struct Forge<'a> {
    world: &'a World,
    issuing: KeyPair,
}

impl<'a> Forge<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, issuing: issuing_key(&world.agents) }
    }

    fn good(&self) -> Holder {
        sign_any(&self.world.agents, &agent_params(self.world))
    }

    fn with(&self, row: &'static str, name: &str, change: impl FnOnce(&mut Parts), expected: &str) -> Case {
        let mut agent = self.good();
        let mut parts = Parts::of(&agent.chain[0]);
        change(&mut parts);
        agent.chain[0] = parts.sign(&self.issuing).into();
        Case::new(row, name, agent, expected)
    }

    /// The finished leaf as other bytes.
    fn bytes(&self, name: &str, change: impl FnOnce(&[u8]) -> Vec<u8>, expected: &str) -> Case {
        let mut agent = self.good();
        agent.chain[0] = change(&agent.chain[0]).into();
        Case::new("T088", name, agent, expected)
    }
}

pub(super) fn signed_again(world: &World) -> Holder {
    Forge::new(world).with("", "", |_| (), "").agent
}

pub(super) fn name_by_hand(world: &World) -> Holder {
    let mut params = agent_params(world);
    params.subject_alt_names.clear();
    params.custom_extensions = vec![raw_san(der(0x30, &der(0x86, super::super::good_uri().as_bytes())))];
    sign_any(&world.agents, &params)
}

/// A `SubjectPublicKeyInfo`.
pub(super) fn spki(algorithm: &[u8], parameters: &[u8], bits: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[der(6, algorithm), parameters.to_vec()].concat());
    der(0x30, &[algorithm, der(3, bits)].concat())
}

/// T080: keys that get no certificate from us show none either.
fn keys(forge: &Forge<'_>) -> Vec<Case> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P224: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x21];
    const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
    const K256: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const ED448: &[u8] = &[0x2b, 0x65, 0x71];
    const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
    let real = forge.good().key.spki_der();
    let point = real[real.len() - 64..].to_vec();
    let compressed = [&[0, 2 | (point[63] & 1)], &point[..32]].concat();
    let hybrid = [&[0, 6 | (point[63] & 1)], point.as_slice()].concat();
    let uncompressed = [&[0, 4], point.as_slice()].concat();
    let bits = |length: usize| [vec![0, 4], vec![0x11; length - 1]].concat();
    let plain = |length: usize| [vec![0], vec![0x11; length]].concat();
    let rsa = |bits: usize| {
        let modulus = [vec![0, 0x80], vec![0x5b; bits / 8 - 2], vec![0x01]].concat();
        [vec![0], der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat())].concat()
    };
    let curve = |oid: &[u8]| der(6, oid);
    let null = [5, 0];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("RSA-1024", spki(RSA, &null, &rsa(1024)), "Key(RsaSize(1024))"),
        ("RSA-2048", spki(RSA, &null, &rsa(2048)), "Key(RsaSize(2048))"),
        ("RSA-16384", spki(RSA, &null, &rsa(16384)), "Key(RsaSize(16384))"),
        ("RSA of nonsense", spki(RSA, &null, &[0, 0x30, 0]), "Key(Encoding)"),
        ("P-224", spki(EC, &curve(P224), &bits(57)), "Key(Kind)"),
        ("P-521", spki(EC, &curve(P521), &bits(133)), "Key(Kind)"),
        ("secp256k1", spki(EC, &curve(K256), &bits(65)), "Key(Kind)"),
        ("a curve without a name", spki(EC, &[], &uncompressed), "Key(Kind)"),
        ("a curve by its parameters", spki(EC, &der(0x30, &[2, 1, 1]), &uncompressed), "Key(Kind)"),
        ("DSA", spki(DSA, &null, &plain(128)), "Key(Kind)"),
        ("Ed448", spki(ED448, &[], &plain(57)), "Key(Kind)"),
        ("X25519", spki(X25519, &[], &plain(32)), "Key(Kind)"),
        ("Ed25519 with a byte too few", spki(ED25519, &[], &plain(31)), "Key(Encoding)"),
        ("a compressed point", spki(EC, &curve(P256), &compressed), "Key(Encoding)"),
        ("a hybrid point", spki(EC, &curve(P256), &hybrid), "Key(Encoding)"),
        ("the point at infinity", spki(EC, &curve(P256), &[0, 0]), "Key(Encoding)"),
        ("a point with a byte more", spki(EC, &curve(P256), &bits(66)), "Key(Encoding)"),
        ("no key", spki(EC, &curve(P256), &[0]), "Key(Encoding)"),
        ("bits left over", spki(EC, &curve(P256), &[&[4, 4], &point[..63], &[0xf0]].concat()), "Key(Encoding)"),
    ];
    let broken = |(name, spki, expected): (&str, Vec<u8>, &str)| {
        forge.with("T080", &format!("key: {name}"), |parts| parts.fields[field::KEY] = spki, expected)
    };
    cases.into_iter().map(broken).collect()
}

fn serials(forge: &Forge<'_>) -> Vec<Case> {
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("zero", der(2, &[0]), "Serial"),
        ("negative", der(2, &[0x80]), "Serial"),
        ("of 21 bytes", der(2, &[1; 21]), "Serial"),
        ("of 100 bytes", der(2, &[1; 100]), "Serial"),
        ("padded", der(2, &[0, 0, 1]), "Encoding"),
        ("empty", der(2, &[]), "Encoding"),
        ("no number", der(4, &[1]), BAD),
    ];
    let broken = |(name, serial, expected): (&str, Vec<u8>, &str)| {
        forge.with("T080", &format!("serial: {name}"), |parts| parts.fields[field::SERIAL] = serial, expected)
    };
    cases.into_iter().map(broken).collect()
}

/// T075: times that RFC 5280 § 4.1.2.5 does not know.
fn times(forge: &Forge<'_>) -> Vec<Case> {
    let utc = |text: &str| der(0x17, text.as_bytes());
    let general = |text: &str| der(0x18, text.as_bytes());
    let year = forge.world.now.year();
    let from = utc(&format!("{:02}0101000000Z", (year - 1) % 100));
    let begin = time::Date::from_calendar_date(year - 1, time::Month::January, 1).unwrap().midnight().assume_utc();
    let forever = time::macros::datetime!(9999-12-31 23:59:59 UTC) - begin;
    let forever = format!("Life({}s)", forever.whole_seconds());
    let cases: Vec<(&str, Vec<u8>, Vec<u8>, &str)> = vec![
        ("GeneralizedTime before 2050", from.clone(), general(&format!("{}0101000000Z", year + 1)), "Encoding"),
        (
            "GeneralizedTime for its beginning",
            general(&format!("{}0101000000Z", year - 1)),
            utc("491231235959Z"),
            "Encoding",
        ),
        ("UTCTime without seconds", from.clone(), utc("4912312359Z"), BAD),
        ("UTCTime with an offset", from.clone(), utc("491231235959+0000"), BAD),
        ("UTCTime without a zone", from.clone(), utc("491231235959"), BAD),
        ("GeneralizedTime with a fraction", from.clone(), general("20500101000000.5Z"), BAD),
        ("the 13th month", from.clone(), utc("491331235959Z"), BAD),
        ("the 30th of February", from.clone(), utc("490230235959Z"), BAD),
        ("the 25th hour", from.clone(), utc("491231255959Z"), BAD),
        ("letters", from.clone(), utc("4912312359xxZ"), BAD),
        ("no end", from.clone(), vec![], BAD),
        ("99991231235959Z", from, general("99991231235959Z"), &forever),
    ];
    let broken = |(name, from, to, expected): (&str, Vec<u8>, Vec<u8>, &str)| {
        let change = |parts: &mut Parts| parts.fields[field::VALIDITY] = der(0x30, &[from, to].concat());
        forge.with("T075", &format!("time: {name}"), change, expected)
    };
    cases.into_iter().map(broken).collect()
}

fn versions(forge: &Forge<'_>) -> Vec<Case> {
    let version = |number: u8| der(0xa0, &der(2, &[number]));
    let set = move |number: u8| move |parts: &mut Parts| parts.fields[field::VERSION] = version(number);
    let no_extensions = |parts: &mut Parts| {
        parts.fields.remove(field::EXTENSIONS);
        parts.fields.remove(field::VERSION);
    };
    vec![
        forge.with("T088", "version 1, as it was: no extensions", no_extensions, UNSUPPORTED),
        forge.with("T088", "version 1 with extensions", |parts| drop(parts.fields.remove(field::VERSION)), UNSUPPORTED),
        forge.with("T088", "version 1 written out", set(0), UNSUPPORTED),
        forge.with("T088", "version 2", set(1), UNSUPPORTED),
        forge.with("T088", "version 4", set(3), UNSUPPORTED),
        forge.with(
            "T088",
            "an issuer's unique id",
            |parts| parts.fields.insert(field::EXTENSIONS, der(0x81, &[0, 1])),
            BAD,
        ),
        forge.with("T088", "a field after the extensions", |parts| parts.fields.push(der(0xa4, &[5, 0])), BAD),
    ]
}

/// T074: the signature is not that of the agents' CA over these bytes.
fn signatures(forge: &Forge<'_>) -> Vec<Case> {
    const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];
    const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04];
    let algorithm = |oid: &[u8]| {
        let algorithm = der(0x30, &der(6, oid));
        move |parts: &mut Parts| {
            parts.fields[field::ALGORITHM] = algorithm.clone();
            parts.algorithm = algorithm;
        }
    };
    let with_bits = |name: &str, bits: &[u8], expected: &str| {
        forge.bytes(name, |leaf| Parts::of(leaf).with_signature(bits), expected)
    };
    let by = |name: &str, key: &KeyPair| {
        forge.bytes(name, |leaf| Parts::of(leaf).sign(key), "InvalidCertificate(BadSignature)")
    };
    vec![
        forge.with("T074", "SHA-1", algorithm(SHA1_ECDSA), UNKNOWN_SIGNATURE),
        forge.with("T074", "MD5", algorithm(MD5_RSA), UNKNOWN_SIGNATURE),
        forge.with("T074", "SHA-512 said, SHA-256 done", algorithm(SHA512_ECDSA), "InvalidCertificate(BadSignature)"),
        forge.with(
            "T074",
            "two algorithms named",
            |parts| parts.algorithm = der(0x30, &der(6, SHA512_ECDSA)),
            "InvalidCertificate(Other(OtherError(SignatureAlgorithmMismatch)))",
        ),
        with_bits("no signature", &[0], "InvalidCertificate(BadSignature)"),
        with_bits(
            "a signature of zeroes",
            &[&[0][..], &der(0x30, &[2, 1, 0, 2, 1, 0])].concat(),
            "InvalidCertificate(BadSignature)",
        ),
        with_bits("a signature with bits left over", &[1, 0x30, 6, 2, 1, 2, 2, 1, 2], BAD),
        by("signed by its own key", &forge.good().key),
        by("signed by the hub's CA over the agents' name", &issuing_key(&forge.world.hub)),
        forge.bytes(
            "a bit of the signature flipped",
            |leaf| [&leaf[..leaf.len() - 1], &[leaf[leaf.len() - 1] ^ 1]].concat(),
            "InvalidCertificate(BadSignature)",
        ),
        forge.bytes(
            "another leaf's signature",
            |leaf| graft(leaf, &forge.good().chain[0]),
            "InvalidCertificate(BadSignature)",
        ),
    ]
}

/// The fields of one with the signature of the other.
fn graft(leaf: &[u8], other: &[u8]) -> Vec<u8> {
    let signature = crate::identity::testing::forge::children(other).pop().unwrap();
    let (header, _) = crate::identity::testing::forge::header(&signature);
    Parts::of(leaf).with_signature(&signature[header..])
}

/// T088: the leaf is other bytes than one certificate.
fn bytes(forge: &Forge<'_>) -> Vec<Case> {
    let content = |leaf: &[u8]| leaf[4..].to_vec();
    let pem = |leaf: &[u8]| crate::identity::ca::to_pem(&leaf.to_vec().into()).into_bytes();
    vec![
        forge.bytes("nothing", |_| vec![], BAD),
        forge.bytes("a byte after it", |leaf| [leaf, &[0]].concat(), BAD),
        forge.bytes("itself after it", |leaf| [leaf, leaf].concat(), BAD),
        forge.bytes("its last byte missing", |leaf| leaf[..leaf.len() - 1].to_vec(), BAD),
        forge.bytes("indefinite length (BER)", |leaf| [vec![0x30, 0x80], content(leaf), vec![0, 0]].concat(), BAD),
        forge.bytes("a length with a spare byte (BER)", |leaf| [&[0x30, 0x83, 0], &leaf[2..]].concat(), BAD),
        forge.bytes("a set", |leaf| [&[0x31], &leaf[1..]].concat(), BAD),
        forge.bytes("PEM", pem, BAD),
        forge.bytes("a request", |_| KeyPair::generate().csr(), UNSUPPORTED),
        forge.bytes("a public key", |_| KeyPair::generate().spki_der(), BAD),
        forge.with("T088", "true written as 1 (BER)", true_as_one, BAD),
        forge.with("T088", "a critical flag of false written out", false_written, "Encoding"),
    ]
}

/// The first `critical: true` of the extensions as BER would have it.
fn true_as_one(parts: &mut Parts) {
    let extensions = &mut parts.fields[field::EXTENSIONS];
    let at = extensions.windows(3).position(|bytes| bytes == [1, 1, 0xff]).unwrap();
    extensions[at + 2] = 1;
}

fn false_written(parts: &mut Parts) {
    let extensions = &mut parts.fields[field::EXTENSIONS];
    let at = extensions.windows(3).position(|bytes| bytes == [1, 1, 0xff]).unwrap();
    extensions[at + 2] = 0;
}
