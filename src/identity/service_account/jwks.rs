//! The keys with which an API server signs ServiceAccount tokens, as it publishes them at `/openid/v1/jwks` (RFC 7517).

use std::{collections::BTreeSet, fmt};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::strict::Once;

/// The longest document that is read, bytes: 32 RSA keys of 4096 bits take 26 KiB.
pub const MAX_JWKS: usize = 48 << 10;
/// Keys in one set, at the most. API servers publish one, and a few during a rotation.
pub const MAX_KEYS: usize = 32;
/// The longest key id, bytes; Kubernetes' own have 43.
const MAX_KID: usize = 256;
/// Moduli that are accepted, bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Members that only a private or a shared key has (RFC 7518 § 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// How tokens are signed. Closed: nothing symmetric, nothing unsigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// ECDSA on P-521.
    Es512,
}

impl Algorithm {
    /// Its name (RFC 7518 § 3.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }
}

/// Why a document is no set of keys that tokens are verified by.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwksError {
    /// Longer than [`MAX_JWKS`].
    #[error("the key set has {0} bytes, more than {MAX_JWKS}")]
    TooLong(usize),
    /// No JSON, or a name stands twice.
    #[error("the key set is no JSON in which each name stands once: {0}")]
    Json(String),
    /// No `keys`, none in it, or too many.
    #[error("a key set has an array `keys` of 1 to {MAX_KEYS} keys, as `kubectl get --raw /openid/v1/jwks` prints it")]
    Keys,
    /// A key that cannot be used.
    #[error("key {kid:?} of the set: {why}")]
    Key {
        /// Its id, or its number.
        kid: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// SHA-256 of what makes a key this key, whatever it is called (as RFC 7638, over the numbers instead of their spelling).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Thumbprint([u8; 32]);

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The numbers of a public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Numbers {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Both coordinates, each as long as its field is.
    Ec {
        x: Vec<u8>,
        y: Vec<u8>,
    },
}

/// One key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SigningKey {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) numbers: Numbers,
}

/// 1 to [`MAX_KEYS`] keys with ids of their own.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct KeySet(Vec<SigningKey>);

impl KeySet {
    /// Reads what an API server publishes.
    ///
    /// # Errors
    /// [`JwksError`]; hostile bytes are never a panic.
    pub fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if text.len() > MAX_JWKS {
            return Err(JwksError::TooLong(text.len()));
        }
        let Once(value) = serde_json::from_slice(text).map_err(|error| JwksError::Json(error.to_string()))?;
        value.try_into()
    }

    /// The key of that id. An id is a name in this set and nothing else.
    pub(super) fn key(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.kid == kid)
    }

    /// Which keys they are.
    pub fn thumbprints(&self) -> BTreeSet<Thumbprint> {
        self.0.iter().map(SigningKey::thumbprint).collect()
    }

    /// Whether a key is in both sets.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.thumbprints().is_disjoint(&other.thumbprints())
    }

    /// Ids and algorithms of the keys, for people.
    pub fn describe(&self) -> Vec<(String, Algorithm, Thumbprint)> {
        self.0.iter().map(|key| (key.kid.clone(), key.algorithm, key.thumbprint())).collect()
    }
}

impl TryFrom<Value> for KeySet {
    type Error = JwksError;

    fn try_from(value: Value) -> Result<Self, JwksError> {
        let keys = value.get("keys").and_then(Value::as_array).ok_or(JwksError::Keys)?;
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(JwksError::Keys);
        }
        let mut set: Vec<SigningKey> = Vec::with_capacity(keys.len());
        for (number, key) in keys.iter().enumerate() {
            let kid = key.get("kid").and_then(Value::as_str).unwrap_or_default();
            let named = if kid.is_empty() { format!("#{}", number + 1) } else { kid.chars().take(64).collect() };
            let failed = |why| JwksError::Key { kid: named.clone(), why };
            let key = SigningKey::read(key).map_err(failed)?;
            if set.iter().any(|other| other.kid == key.kid || other.thumbprint() == key.thumbprint()) {
                return Err(failed("it stands twice, by its id or by its numbers"));
            }
            set.push(key);
        }
        Ok(Self(set))
    }
}

impl From<KeySet> for Value {
    fn from(set: KeySet) -> Self {
        json!({"keys": set.0.iter().map(SigningKey::to_json).collect::<Vec<_>>()})
    }
}

impl SigningKey {
    fn read(value: &Value) -> Result<Self, &'static str> {
        let object = value.as_object().ok_or("it is no object")?;
        if PRIVATE.iter().any(|name| object.contains_key(*name)) {
            return Err("it contains a private key: never give that away, and make a new one");
        }
        let text = |name| object.get(name).map(|value| value.as_str().unwrap_or_default());
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Err("its use is not \"sig\"");
        }
        let kid = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID).ok_or("it has no usable id")?;
        let (algorithm, numbers) = match text("kty") {
            Some("RSA") => (Algorithm::Rs256, rsa(object)?),
            Some("EC") => elliptic(object)?,
            _ => return Err("only RSA and EC keys are known"),
        };
        if text("alg").is_some_and(|alg| alg != algorithm.as_str()) {
            return Err("its algorithm is not RS256, ES256, ES384 or ES512, or does not fit the key");
        }
        Ok(Self { kid: kid.to_owned(), algorithm, numbers })
    }

    fn thumbprint(&self) -> Thumbprint {
        let mut text = self.algorithm.as_str().as_bytes().to_vec();
        let (a, b) = match &self.numbers {
            Numbers::Rsa { n, e } => (n, e),
            Numbers::Ec { x, y } => (x, y),
        };
        for number in [a, b] {
            text.extend_from_slice(&(number.len() as u64).to_be_bytes());
            text.extend_from_slice(number);
        }
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, &text).as_ref());
        Thumbprint(print)
    }

    fn to_json(&self) -> Value {
        let alg = self.algorithm.as_str();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let curve = match self.algorithm {
            Algorithm::Rs256 => "",
            Algorithm::Es256 => "P-256",
            Algorithm::Es384 => "P-384",
            Algorithm::Es512 => "P-521",
        };
        match &self.numbers {
            Numbers::Rsa { n, e } => {
                json!({"kty": "RSA", "use": "sig", "kid": self.kid, "alg": alg, "n": text(n), "e": text(e)})
            }
            Numbers::Ec { x, y } => {
                json!({"kty": "EC", "use": "sig", "kid": self.kid, "alg": alg, "crv": curve, "x": text(x), "y": text(y)})
            }
        }
    }
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = object.get(name).and_then(Value::as_str).ok_or("a number is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number is not base64url without padding")
}

fn rsa(object: &Map<String, Value>) -> Result<Numbers, &'static str> {
    let (n, e) = (number(object, "n")?, number(object, "e")?);
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    // A leading zero octet is another spelling of the same key (RFC 7518 § 6.3.1.1).
    if n.first() == Some(&0) || !RSA_BITS.contains(&bits) {
        return Err("its modulus is not of 2048 to 8192 bits");
    }
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if e.first() == Some(&0) || e.len() > 4 || !odd || e == [1] {
        return Err("its exponent is none");
    }
    Ok(Numbers::Rsa { n, e })
}

fn elliptic(object: &Map<String, Value>) -> Result<(Algorithm, Numbers), &'static str> {
    let (algorithm, size) = match object.get("crv").and_then(Value::as_str) {
        Some("P-256") => (Algorithm::Es256, 32),
        Some("P-384") => (Algorithm::Es384, 48),
        Some("P-521") => (Algorithm::Es512, 66),
        _ => return Err("only the curves P-256, P-384 and P-521 are known"),
    };
    let (x, y) = (number(object, "x")?, number(object, "y")?);
    if x.len() != size || y.len() != size {
        return Err("its coordinates are not as long as its curve's");
    }
    Ok((algorithm, Numbers::Ec { x, y }))
}
