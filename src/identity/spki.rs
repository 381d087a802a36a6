//! The fingerprint of a public key, and nothing about the certificate around it.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// SHA-256 of a DER `SubjectPublicKeyInfo` (RFC 7469 § 2.4): what agents pin and what the hub records of a key.
/// Written as `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpkiSha256([u8; 32]);

/// A pin that is not `sha256:` and 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a pin is `sha256:` followed by 64 hexadecimal digits")]
pub struct PinError;

impl SpkiSha256 {
    /// The fingerprint of the `SubjectPublicKeyInfo` in `spki_der`.
    pub fn of(spki_der: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, spki_der).as_ref());
        Self(hash)
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SpkiSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for SpkiSha256 {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let hex = text.strip_prefix("sha256:").ok_or(PinError)?;
        decode_hex(hex).map(Self).ok_or(PinError)
    }
}

impl TryFrom<&[u8]> for SpkiSha256 {
    type Error = PinError;

    fn try_from(hash: &[u8]) -> Result<Self, PinError> {
        hash.try_into().map(Self).map_err(|_| PinError)
    }
}

impl TryFrom<String> for SpkiSha256 {
    type Error = PinError;

    fn try_from(text: String) -> Result<Self, PinError> {
        text.parse()
    }
}

impl From<SpkiSha256> for String {
    fn from(pin: SpkiSha256) -> Self {
        pin.to_string()
    }
}

/// `N` bytes from exactly `2 N` hexadecimal digits of either case.
pub(super) fn decode_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_survives_its_text() {
        let pin = SpkiSha256::of(b"key");
        assert_eq!(pin.to_string().parse::<SpkiSha256>().unwrap(), pin);
        assert_eq!(pin.to_string().len(), 71);
    }

    #[test]
    fn anything_but_a_pin_is_refused() {
        let good = SpkiSha256::of(b"key").to_string();
        for bad in
            ["", "sha256:", &good[7..], &good[..70], &format!("{good}0"), &good.replace("sha256", "sha1"), "sha256:é"]
        {
            assert!(bad.parse::<SpkiSha256>().is_err(), "{bad}");
        }
    }
}
