//! Serial numbers of certificates. Refuses to know which were issued.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{random, spki::decode_hex};

/// Longest serial number, in bytes (RFC 5280 § 4.1.2.2).
const MAX_SERIAL: usize = 20;

/// A certificate's serial number: a positive integer of at most 20 bytes (RFC 5280 § 4.1.2.2). Ours have 128 random bits.
/// Written in lower-case hexadecimal, as openssl and x509-parser do without their colons.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial([u8; MAX_SERIAL]);

/// Not the hexadecimal digits of a serial number.
#[derive(Debug, thiserror::Error)]
#[error("a serial number is 1 to {} hexadecimal digits and not zero", 2 * MAX_SERIAL)]
pub struct SerialError;

impl Serial {
    /// A new serial of exactly 16 bytes, positive without a padding byte.
    pub fn random() -> Self {
        let random: [u8; 16] = random::bytes();
        let mut bytes = [0; MAX_SERIAL];
        bytes[MAX_SERIAL - 16..].copy_from_slice(&random);
        bytes[MAX_SERIAL - 16] = (random[0] & 0x7f).max(1);
        Self(bytes)
    }

    /// The serial of a parsed certificate from the content bytes of its DER INTEGER; `None` if zero, negative or too long.
    pub(super) fn from_der_bytes(bytes: &[u8]) -> Option<Self> {
        let negative = bytes.first()? & 0x80 != 0;
        let magnitude = bytes.strip_prefix(&[0]).unwrap_or(bytes);
        if negative || magnitude.len() > MAX_SERIAL || magnitude.iter().all(|byte| *byte == 0) {
            return None;
        }
        let mut out = [0; MAX_SERIAL];
        out[MAX_SERIAL - magnitude.len()..].copy_from_slice(magnitude);
        Some(Self(out))
    }

    /// The bytes without leading zeroes.
    pub(super) fn magnitude(&self) -> &[u8] {
        &self.0[self.0.iter().position(|byte| *byte != 0).unwrap_or(MAX_SERIAL - 1)..]
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(hex: &str) -> Result<Self, SerialError> {
        let padded = format!("{hex:0>width$}", width = 2 * MAX_SERIAL);
        let bytes = decode_hex(&padded).filter(|bytes| bytes != &[0; MAX_SERIAL]).ok_or(SerialError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;

    fn try_from(hex: String) -> Result<Self, SerialError> {
        hex.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.magnitude().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_serials_are_sixteen_positive_bytes_and_survive_their_text() {
        for _ in 0..200 {
            let serial = Serial::random();
            assert_eq!(serial.to_string().len(), 32);
            assert!((1..0x80).contains(&serial.magnitude()[0]));
            assert_eq!(serial.to_string().parse::<Serial>().unwrap(), serial);
        }
    }

    #[test]
    fn only_the_serials_of_rfc_5280_are_read() {
        let longest = [0x7f; 20];
        let cases: [(&[u8], Option<&str>); 7] = [
            (&[1], Some("01")),
            (&[0, 0x80], Some("80")),
            (&longest, Some("7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f")),
            (&[], None),
            (&[0], None),
            (&[0x80], None),
            (&[1; 21], None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Serial::from_der_bytes(bytes).map(|s| s.to_string()).as_deref(), expected);
        }
    }

    #[test]
    fn texts_that_are_no_serial_are_refused() {
        for bad in ["", "0", "00", "xyz", &"1".repeat(41), "-1", "é1"] {
            assert!(bad.parse::<Serial>().is_err(), "{bad}");
        }
    }
}
