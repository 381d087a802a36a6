//! Percent-encoding, decoded once as Go's `net/url` does. Refuses to know which escapes are allowed where.

use std::borrow::Cow;

/// The byte that an escape at `at` stands for; `None` unless it is `%` and two hexadecimal digits.
pub(super) fn escaped(bytes: &[u8], at: usize) -> Option<u8> {
    if bytes.get(at) != Some(&b'%') {
        return None;
    }
    let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
    let (high, low) = (digit(at + 1)?, digit(at + 2)?);
    u8::try_from(high << 4 | low).ok()
}

/// Decodes every escape once; what is not an escape stays as it is.
pub(super) fn decode_bytes(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut i = 0;
    while i < raw.len() {
        match escaped(raw, i) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(raw[i]);
                i += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// A path segment decoded once; bytes that are not UTF-8 become U+FFFD (the gate lets none through outside opaque tails).
pub(in crate::k8s) fn decode(raw: &str) -> Cow<'_, str> {
    match decode_bytes(raw.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(raw),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// A query key or value decoded once, where `+` is a space.
pub(in crate::k8s) fn decode_query(raw: &str) -> Cow<'_, str> {
    if raw.contains('+') { Cow::Owned(decode(&raw.replace('+', " ")).into_owned()) } else { decode(raw) }
}
