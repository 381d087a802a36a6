//! Which tokens prove a cluster: one that is right in everything, by each algorithm; and every way to be wrong, by name (T011–T013,
//! T062–T069). Keys are made here: none is in the tree.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);
const AUDIENCE: &str = "roadstead:td:hash";

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// An API server's signing key.
struct Signer {
    kid: &'static str,
    alg: &'static str,
    key: Key,
}

impl Signer {
    fn new(kid: &'static str, alg: &'static str) -> Self {
        let key = match alg {
            "RS256" => Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            "ES256" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ES384" => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            _ => Key::Ec(EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap()),
        };
        Self { kid, alg, key }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.key {
            Key::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"use": "sig", "kty": "RSA", "kid": self.kid, "alg": self.alg, "n": text(&public.n), "e": text(&public.e)})
            }
            Key::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
                let curve = match self.alg {
                    "ES256" => "P-256",
                    "ES384" => "P-384",
                    _ => "P-521",
                };
                json!({"use": "sig", "kty": "EC", "kid": self.kid, "alg": self.alg, "crv": curve, "x": text(x), "y": text(y)})
            }
        }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::Ec(key) => key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> Value {
        json!({"alg": self.alg, "kid": self.kid})
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}

fn set(signers: &[&Signer]) -> KeySet {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// What an API server says of the agent's token.
fn claims() -> Value {
    let now = NOW.unix_timestamp();
    json!({
        "aud": [AUDIENCE], "exp": now + 600, "iat": now, "nbf": now, "jti": "b2d5", "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:roadstead:roadstead-agent",
        "kubernetes.io": {
            "namespace": "roadstead", "node": {"name": "n", "uid": "u"}, "pod": {"name": "agent-1", "uid": "p"},
            "serviceaccount": {"name": "roadstead-agent", "uid": "s"},
        },
    })
}

fn check(token: &str, keys: &KeySet) -> Result<Verified, ProofError> {
    let account = "roadstead/roadstead-agent".parse().unwrap();
    verify(token, keys, &Expected { service_account: &account, audience: AUDIENCE, now: NOW })
}

/// The claim at fault, when `change` was made to good ones.
fn fault(signer: &Signer, change: impl FnOnce(&mut Value)) -> Option<&'static str> {
    let mut claims = claims();
    change(&mut claims);
    match check(&signer.token(&claims), &set(&[signer])) {
        Ok(_) => None,
        Err(ProofError::Claim { claim, .. }) => Some(claim),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_token_of_each_algorithm_proves_its_cluster() {
    let signers = ["RS256", "ES256", "ES384", "ES512"].map(|alg| Signer::new(alg, alg));
    let keys = set(&signers.each_ref());
    for signer in &signers {
        let pod = Some(BoundPod { name: "agent-1".into(), uid: "p".into() });
        assert_eq!(check(&signer.token(&claims()), &keys), Ok(Verified { pod }), "{}", signer.alg);
        let other = Signer::new(signer.kid, signer.alg);
        assert_eq!(check(&other.token(&claims()), &keys), Err(ProofError::Signature), "{}: T011", signer.alg);
    }
}

#[test]
fn a_token_outside_a_pod_proves_its_cluster_and_names_no_pod() {
    let signer = Signer::new("a", "ES256");
    let mut claims = claims();
    claims["kubernetes.io"].as_object_mut().unwrap().remove("pod");
    claims["aud"] = json!(AUDIENCE);
    assert_eq!(check(&signer.token(&claims), &set(&[&signer])), Ok(Verified { pod: None }));
}

/// T012, T013, T065, T066: whatever a claim says beside what it must.
#[test]
fn each_claim_is_exactly_what_it_must_be() {
    let signer = Signer::new("a", "ES256");
    let now = NOW.unix_timestamp();
    let rows: Vec<(&str, &str, Value)> = vec![
        ("iss", "/iss", Value::Null),
        ("iss", "/iss", json!("")),
        ("sub", "/sub", json!("system:serviceaccount:roadstead:other")),
        ("sub", "/sub", json!("system:serviceaccount:roadstead:roadstead-agent ")),
        ("sub", "/sub", json!(["system:serviceaccount:roadstead:roadstead-agent"])),
        ("aud", "/aud", json!(["https://kubernetes.default.svc"])),
        ("aud", "/aud", json!([AUDIENCE, "https://kubernetes.default.svc"])),
        ("aud", "/aud", json!([AUDIENCE, AUDIENCE])),
        ("aud", "/aud", json!([])),
        ("aud", "/aud", json!([[AUDIENCE]])),
        ("aud", "/aud", json!({"a": AUDIENCE})),
        ("aud", "/aud", json!("ROADSTEAD:td:hash")),
        ("exp", "/exp", json!((now + 600).to_string())),
        ("exp", "/exp", json!(-1)),
        ("exp", "/exp", json!(1e308)),
        ("exp", "/exp", json!(u64::MAX)),
        ("exp", "/exp", json!(now as f64 + 600.0)),
        ("exp", "/exp", json!(now + 1_801)),
        ("exp", "/exp", json!(now + 86_400)),
        ("exp", "/exp", json!(now)),
        ("iat", "/iat", Value::Null),
        ("nbf", "/nbf", json!(now + 61)),
        ("nbf", "/nbf", json!([now])),
        ("kubernetes.io", "/kubernetes.io", json!("roadstead")),
        ("kubernetes.io", "/kubernetes.io/namespace", json!("other")),
        ("kubernetes.io", "/kubernetes.io/serviceaccount/name", json!("other")),
        ("kubernetes.io", "/kubernetes.io/serviceaccount/uid", json!("")),
        ("kubernetes.io", "/kubernetes.io/serviceaccount", Value::Null),
        ("kubernetes.io", "/kubernetes.io/pod", json!({"name": "agent-1"})),
        ("kubernetes.io", "/kubernetes.io/pod", Value::Null),
    ];
    for (claim, at, value) in rows {
        let found = fault(&signer, |claims| *claims.pointer_mut(at).unwrap() = value.clone());
        assert_eq!(found, Some(claim), "{at} = {value}");
    }
    for claim in ["iss", "sub", "aud", "exp", "iat", "nbf", "kubernetes.io"] {
        let found = fault(&signer, |claims| drop(claims.as_object_mut().unwrap().remove(claim)));
        assert_eq!(found, Some(claim), "without {claim}");
    }
}

#[test]
fn clocks_may_differ_by_a_minute_and_no_more() {
    let signer = Signer::new("a", "ES256");
    let at = |issued: i64, ends: i64| {
        fault(&signer, |claims| {
            let now = NOW.unix_timestamp();
            (claims["iat"], claims["nbf"], claims["exp"]) =
                (json!(now + issued), json!(now + issued), json!(now + ends));
        })
    };
    assert_eq!(at(60, 660), None);
    assert_eq!(at(61, 661), Some("nbf"));
    assert_eq!(at(-659, -59), None);
    assert_eq!(at(-660, -60), Some("exp"));
    assert_eq!(at(-1_200, 600), None, "a token of half an hour");
    assert_eq!(fault(&signer, |claims| claims["iat"] = json!(NOW.unix_timestamp() + 61)), Some("iat"));
}

/// T062: no signature, a signature by something public, an algorithm of another key.
#[test]
fn the_algorithm_is_that_of_the_key() {
    let (rsa, ec) = (Signer::new("rsa", "RS256"), Signer::new("ec", "ES256"));
    let keys = set(&[&rsa, &ec]);
    for alg in ["none", "None", "", "HS256", "RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256"] {
        let token = rsa.sign(&json!({"alg": alg, "kid": "rsa"}).to_string(), &claims().to_string());
        assert_eq!(check(&token, &keys), Err(ProofError::Algorithm), "{alg}");
    }
    for header in [json!({"kid": "rsa"}), json!({"kid": "rsa", "alg": null}), json!({"kid": "rsa", "alg": ["RS256"]})] {
        assert_eq!(check(&rsa.sign(&header.to_string(), &claims().to_string()), &keys), Err(ProofError::Algorithm));
    }
    // The other key's id, with its algorithm and without.
    let crossed = rsa.sign(&json!({"alg": "ES256", "kid": "ec"}).to_string(), &claims().to_string());
    assert_eq!(check(&crossed, &keys), Err(ProofError::Signature));
    let unsigned = rsa.token(&claims());
    let unsigned = &unsigned[..=unsigned.rfind('.').unwrap()];
    assert_eq!(check(unsigned, &keys), Err(ProofError::Signature));
}

/// T063: an id is a name in the pinned set, whatever it says.
#[test]
fn a_key_is_found_by_its_id_in_the_pinned_set_alone() {
    let signer = Signer::new("a", "ES256");
    let keys = set(&[&signer, &Signer::new("b", "ES256")]);
    let long = "k".repeat(10_000);
    for kid in ["../../etc/passwd", "' OR 1=1 --", "", "A", "a ", &long] {
        let token = signer.sign(&json!({"alg": "ES256", "kid": kid}).to_string(), &claims().to_string());
        assert_eq!(check(&token, &keys), Err(ProofError::UnknownKey), "{kid:.20}");
    }
    for header in [json!({"alg": "ES256"}), json!({"alg": "ES256", "kid": 1}), json!({"alg": "ES256", "kid": ["a"]})] {
        assert_eq!(check(&signer.sign(&header.to_string(), &claims().to_string()), &keys), Err(ProofError::UnknownKey));
    }
}

/// T064: keys and addresses that a token brings along.
#[test]
fn a_header_that_brings_keys_is_refused() {
    let signer = Signer::new("a", "ES256");
    for name in ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "Alg"] {
        let mut header = signer.header();
        header[name] = signer.jwk();
        let token = signer.sign(&header.to_string(), &claims().to_string());
        assert_eq!(check(&token, &set(&[&signer])), Err(ProofError::Header(name.to_owned())));
    }
    let typed = |kind: Value| {
        let header = json!({"alg": "ES256", "kid": "a", "typ": kind});
        check(&signer.sign(&header.to_string(), &claims().to_string()), &set(&[&signer]))
    };
    assert!(typed(json!("JWT")).is_ok());
    for kind in [json!("at+jwt"), json!("JWE"), json!(null), json!(["JWT"])] {
        assert_eq!(typed(kind), Err(ProofError::Header("typ".to_owned())));
    }
}

/// T069: what two readers could read in two ways, and what would exhaust one.
#[test]
fn a_token_has_one_reading() {
    let signer = Signer::new("a", "ES256");
    let keys = set(&[&signer]);
    let (header, good) = (signer.header().to_string(), claims().to_string());
    let twice = |text: &str, extra: &str| format!("{{{extra},{}", &text[1..]);
    let sub = r#""sub":"system:serviceaccount:kube-system:x""#;
    let payload = Err(ProofError::Json("payload"));
    assert_eq!(check(&signer.sign(&header, &twice(&good, sub)), &keys), payload);
    assert_eq!(check(&signer.sign(&header, &twice(&good, r#""any":{"a":1,"a":2}"#)), &keys), payload);
    assert_eq!(check(&signer.sign(&twice(&header, r#""alg":"none""#), &good), &keys), Err(ProofError::Json("header")));
    let deep = format!(r#""deep":{}{}"#, "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(check(&signer.sign(&header, &twice(&good, &deep)), &keys), payload);
    for text in ["[]", "null", "\"a\"", "{} {}", "{", "\u{feff}{}"] {
        assert_eq!(check(&signer.sign(&header, text), &keys), payload, "{text}");
    }
    let token = signer.token(&claims());
    let long = signer.sign(&header, &twice(&good, &format!(r#""a":"{}""#, "x".repeat(MAX_TOKEN))));
    assert!(matches!(check(&long, &keys), Err(ProofError::TooLong(_))));
    for text in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b".into(),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}.a"),
    ] {
        assert!(matches!(check(&text, &keys), Err(ProofError::Form | ProofError::Json(_))), "{text:.30}");
    }
    let flipped = token.chars().last().map(|last| if last == 'A' { 'Q' } else { 'A' }).unwrap();
    assert!(check(&format!("{}{flipped}", &token[..token.len() - 1]), &keys).is_err());
}

#[test]
fn an_audience_is_of_one_key_one_nonce_and_one_hub() {
    let (one, other): (TrustDomain, TrustDomain) = ("a.roadstead".parse().unwrap(), "b.roadstead".parse().unwrap());
    let text = audience(&one, b"spki", b"nonce");
    assert!(text.starts_with("roadstead:a.roadstead:") && text.len() == "roadstead:a.roadstead:".len() + 43);
    for different in
        [audience(&other, b"spki", b"nonce"), audience(&one, b"spkj", b"nonce"), audience(&one, b"spki", b"nonces")]
    {
        assert_ne!(different, text);
    }
}

fn refused(keys: Value) -> String {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_key_set_is_of_public_signing_keys_of_known_kinds() {
    let (rsa, ec) = (Signer::new("rsa", "RS256").jwk(), Signer::new("ec", "ES256").jwk());
    let with = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        json!([key])
    };
    let rows = [
        (json!([]), "1 to 32 keys"),
        (json!(vec![ec.clone(); 33]), "1 to 32 keys"),
        (json!([1]), "\"#1\" of the set: it is no object"),
        (json!([rsa, rsa]), "\"rsa\" of the set: it stands twice"),
        (json!([ec, with(&ec, "kid", json!("other"))[0]]), "it stands twice"),
        (with(&ec, "d", json!("AA")), "private key"),
        (with(&rsa, "p", json!("AA")), "private key"),
        (with(&ec, "kty", json!("oct")), "only RSA and EC"),
        (with(&ec, "kty", json!("OKP")), "only RSA and EC"),
        (with(&ec, "use", json!("enc")), "\"sig\""),
        (with(&ec, "kid", json!("")), "no usable id"),
        (with(&ec, "kid", json!("k".repeat(257))), "no usable id"),
        (with(&ec, "alg", json!("ES384")), "does not fit the key"),
        (with(&rsa, "alg", json!("HS256")), "does not fit the key"),
        (with(&ec, "crv", json!("secp256k1")), "only the curves"),
        (with(&ec, "x", json!("AA")), "coordinates"),
        (with(&ec, "x", json!("A=")), "base64url"),
        (with(&rsa, "n", json!(URL_SAFE_NO_PAD.encode([0xff; 128]))), "2048 to 8192"),
        (with(&rsa, "n", json!(URL_SAFE_NO_PAD.encode([0xff; 1_025]))), "2048 to 8192"),
        (with(&rsa, "n", json!(URL_SAFE_NO_PAD.encode([&[0][..], &[0xff; 256]].concat()))), "2048 to 8192"),
        (with(&rsa, "e", json!("AQ")), "exponent"),
        (with(&rsa, "e", json!("Ag")), "exponent"),
    ];
    for (keys, why) in rows {
        let said = refused(keys.clone());
        assert!(said.contains(why), "{why}: {said}");
    }
    assert!(matches!(KeySet::parse(br#"{"keys":[],"keys":[]}"#), Err(JwksError::Json(_))));
    assert!(matches!(KeySet::parse(&vec![b' '; MAX_JWKS + 1]), Err(JwksError::TooLong(_))));
}

#[test]
fn a_key_set_survives_the_store_and_is_compared_by_its_keys() {
    let (a, b, c) = (Signer::new("a", "ES256"), Signer::new("b", "RS256"), Signer::new("c", "ES512"));
    let both = set(&[&a, &b]);
    let stored: KeySet = serde_json::from_str(&serde_json::to_string(&both).unwrap()).unwrap();
    assert_eq!(stored, both);
    assert!(both.overlaps(&set(&[&b, &c])) && !both.overlaps(&set(&[&c])));
    let mut renamed = a.jwk();
    renamed["kid"] = json!("z");
    let renamed = KeySet::parse(json!({"keys": [renamed]}).to_string().as_bytes()).unwrap();
    assert!(renamed.overlaps(&both), "a key is its numbers, not its name");
}

#[test]
fn accounts_are_names_and_nothing_else() {
    let name: ServiceAccountName = "roadstead/roadstead-agent".parse().unwrap();
    assert_eq!(name.subject(), "system:serviceaccount:roadstead:roadstead-agent");
    assert_eq!(ServiceAccountName::from_subject(&name.subject()), Some(name));
    assert!(ServiceAccountName::from_subject("admin").is_none());
    for text in ["", "a", "a/", "/a", "a/b/c", "A/b", "a/b:c", "a.b/c", "-a/b", "a/b..c"] {
        assert!(text.parse::<ServiceAccountName>().is_err(), "{text}");
    }
    assert!("a/b.c".parse::<ServiceAccountName>().is_ok());
}

proptest! {
    #[test]
    fn no_text_panics(header in ".{0,60}", claims in ".{0,60}", signature in "[A-Za-z0-9_-]{0,90}") {
        let keys = KeySet::try_from(json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "a",
            "x": URL_SAFE_NO_PAD.encode([1; 32]), "y": URL_SAFE_NO_PAD.encode([2; 32])}]})).unwrap();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{signature}", encode(&header), encode(&claims));
        prop_assert!(check(&token, &keys).is_err());
        let named = format!("{}.{}.{signature}", encode(r#"{"alg":"ES256","kid":"a"}"#), encode(&claims));
        prop_assert!(check(&named, &keys).is_err());
        prop_assert!(KeySet::parse(claims.as_bytes()).is_err());
    }
}
