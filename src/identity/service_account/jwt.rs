//! A ServiceAccount token, verified (RFC 7519, RFC 8725). The crate that checks signatures is asked for nothing else: its own checks of
//! claims let too much pass that is not there.

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as JwtAlgorithm, DecodingKey, crypto};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    Algorithm, KeySet, ServiceAccountName,
    jwks::{Numbers, SigningKey},
    strict::Once,
};

/// The longest token, bytes; Kubernetes' own have about 1 KiB.
pub const MAX_TOKEN: usize = 16 << 10;
/// The longest life of a token that proves anything, seconds: it cannot be taken back when its pod or its account is deleted.
pub const MAX_TOKEN_LIFE: i64 = 1_800;
/// By how much the clocks of hub and API server may differ, seconds.
pub const TOKEN_LEEWAY: i64 = 60;

/// Why a token proves nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token has {0} bytes, more than {MAX_TOKEN}")]
    TooLong(usize),
    /// Not three parts of base64url.
    #[error("the token is no signed JWT")]
    Form,
    /// A part is no JSON object in which each name stands once.
    #[error("the {0} is no JSON object in which each name stands once")]
    Json(&'static str),
    /// Something in the header that has no business there: keys and addresses in a token prove nothing, and what is critical is not known.
    #[error("the token's header says {0:?}, which no token of an API server says")]
    Header(String),
    /// Not one of those that API servers use, or not that of the key.
    #[error("the token's algorithm is not that of the key")]
    Algorithm,
    /// No key of that id is pinned for the cluster.
    #[error("no key of the token's id is pinned for this cluster")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token is not signed by the cluster's pinned key")]
    Signature,
    /// A claim is missing or wrong. Only whoever holds a token of the cluster's learns which.
    #[error("claim `{claim}`: {why}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

impl ProofError {
    /// Whether the token was signed by a pinned key: then more may be told.
    pub fn is_of_the_cluster(&self) -> bool {
        matches!(self, Self::Claim { .. })
    }
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Whose it is.
    pub service_account: &'a ServiceAccountName,
    /// For whom, alone: [`super::audience`].
    pub audience: &'a str,
    /// When it is judged.
    pub now: OffsetDateTime,
}

/// A token that proves what was expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// Where the agent runs, if the token is bound to a pod.
    pub pod: Option<BoundPod>,
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BoundPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Verifies a token by the keys that are pinned for one cluster.
///
/// # Errors
/// [`ProofError`]; hostile bytes are never a panic.
pub fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Verified, ProofError> {
    if token.len() > MAX_TOKEN {
        return Err(ProofError::TooLong(token.len()));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(ProofError::Form)?;
    let (header, claims) = message.split_once('.').ok_or(ProofError::Form)?;
    let key = signer(&object(header, "header")?, keys)?;
    if !is_signed(message, signature, key)? {
        return Err(ProofError::Signature);
    }
    judge(&object(claims, "payload")?, expected)
}

fn object(part: &str, what: &'static str) -> Result<Map<String, Value>, ProofError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| ProofError::Form)?;
    match serde_json::from_slice(&bytes) {
        Ok(Once(Value::Object(object))) => Ok(object),
        _ => Err(ProofError::Json(what)),
    }
}

/// The pinned key that the header names, if the header says nothing else.
fn signer<'a>(header: &Map<String, Value>, keys: &'a KeySet) -> Result<&'a SigningKey, ProofError> {
    if let Some(name) = header.keys().find(|name| !["alg", "kid", "typ"].contains(&name.as_str())) {
        return Err(ProofError::Header(name.chars().take(32).collect()));
    }
    if header.get("typ").is_some_and(|kind| kind != "JWT") {
        return Err(ProofError::Header("typ".to_owned()));
    }
    let kid = header.get("kid").and_then(Value::as_str).ok_or(ProofError::UnknownKey)?;
    let key = keys.key(kid).ok_or(ProofError::UnknownKey)?;
    let is_its = header.get("alg").is_some_and(|alg| alg == key.algorithm.as_str());
    if is_its { Ok(key) } else { Err(ProofError::Algorithm) }
}

fn is_signed(message: &str, signature: &str, key: &SigningKey) -> Result<bool, ProofError> {
    // One spelling: the signature is not part of what it signs.
    let bytes = URL_SAFE_NO_PAD.decode(signature).map_err(|_| ProofError::Form)?;
    let encode = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
    let made = match &key.numbers {
        Numbers::Rsa { n, e } => Ok(DecodingKey::from_rsa_raw_components(n, e)),
        Numbers::Ec { x, y } if key.algorithm == Algorithm::Es512 => {
            // The crate has no ES512.
            let point = [&[4], x.as_slice(), y].concat();
            let verified = UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point).verify(message.as_bytes(), &bytes);
            return Ok(verified.is_ok());
        }
        Numbers::Ec { x, y } => DecodingKey::from_ec_components(&encode(x), &encode(y)),
    };
    let algorithm = match key.algorithm {
        Algorithm::Rs256 => JwtAlgorithm::RS256,
        Algorithm::Es256 => JwtAlgorithm::ES256,
        Algorithm::Es384 => JwtAlgorithm::ES384,
        Algorithm::Es512 => return Err(ProofError::Algorithm),
    };
    let made = made.map_err(|_| ProofError::Signature)?;
    Ok(crypto::verify(signature, message.as_bytes(), &made, algorithm).unwrap_or(false))
}

fn judge(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<Verified, ProofError> {
    let wrong = |claim, why| Err(ProofError::Claim { claim, why });
    if claims.get("iss").and_then(Value::as_str).is_none_or(str::is_empty) {
        return wrong("iss", "missing");
    }
    if claims.get("sub").and_then(Value::as_str) != Some(expected.service_account.subject().as_str()) {
        return wrong("sub", "not the ServiceAccount that is pinned for this cluster's agent");
    }
    let alone = match claims.get("aud") {
        Some(Value::Array(all)) if all.len() == 1 => all[0].as_str(),
        Some(one) => one.as_str(),
        None => None,
    };
    if alone != Some(expected.audience) {
        return wrong("aud", "not this hub, this key and this nonce alone");
    }
    within(claims, expected.now.unix_timestamp())?;
    workload(claims, expected.service_account)
}

fn within(claims: &Map<String, Value>, now: i64) -> Result<(), ProofError> {
    let wrong = |claim, why| Err(ProofError::Claim { claim, why });
    let seconds = |claim: &'static str| {
        let value = claims.get(claim).and_then(Value::as_i64).filter(|at| (0..=i64::from(u32::MAX) * 4).contains(at));
        value.ok_or(ProofError::Claim { claim, why: "no whole number of seconds" })
    };
    let (issued, begins, ends) = (seconds("iat")?, seconds("nbf")?, seconds("exp")?);
    if ends <= issued || ends - issued > MAX_TOKEN_LIFE {
        return wrong("exp", "the token lives for longer than half an hour, or not at all");
    }
    if now >= ends + TOKEN_LEEWAY {
        return wrong("exp", "the token has expired; compare the clocks of hub and cluster");
    }
    if now < begins - TOKEN_LEEWAY {
        return wrong("nbf", "the token is not valid yet; compare the clocks of hub and cluster");
    }
    if now < issued - TOKEN_LEEWAY {
        return wrong("iat", "the token is of the future; compare the clocks of hub and cluster");
    }
    Ok(())
}

/// What Kubernetes says of the account beside `sub`: a token that an API server did not make by the TokenRequest API does not say it.
fn workload(claims: &Map<String, Value>, account: &ServiceAccountName) -> Result<Verified, ProofError> {
    let wrong = |why| ProofError::Claim { claim: "kubernetes.io", why };
    let private = claims.get("kubernetes.io").and_then(Value::as_object).ok_or(wrong("missing"))?;
    let text = |object: &Value, name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    if private.get("namespace").and_then(Value::as_str) != Some(account.namespace()) {
        return Err(wrong("another namespace"));
    }
    let said = private.get("serviceaccount").ok_or(wrong("no ServiceAccount"))?;
    if text(said, "name").as_deref() != Some(account.name()) || text(said, "uid").is_none_or(|uid| uid.is_empty()) {
        return Err(wrong("another ServiceAccount"));
    }
    let pod = match private.get("pod") {
        None => None,
        Some(pod) => {
            let name = text(pod, "name").zip(text(pod, "uid")).ok_or(wrong("a pod without a name or a uid"))?;
            Some(BoundPod { name: name.0, uid: name.1 })
        }
    };
    Ok(Verified { pod })
}
