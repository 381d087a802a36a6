//! The strict gate on raw paths and queries. Knows bytes and, of Kubernetes, only where a proxied tail begins.

use super::TargetError;
use super::escape::{decode_bytes, escaped};

/// Rounds of decoding that an opaque tail is searched through for dot segments; three covers `%25252e`.
const DECODE_ROUNDS: usize = 4;

/// A path being checked, with the offset that errors count from.
pub(super) struct Gate<'a> {
    path: &'a [u8],
    base: usize,
}

impl<'a> Gate<'a> {
    /// Refuses every path, and every query of it, that two parsers could read differently.
    pub(super) fn check(path: &'a str, query: Option<&str>, base: usize) -> Result<(), TargetError> {
        let gate = Self { path: path.as_bytes(), base };
        let tail = tail_start(path);
        let end = tail.unwrap_or(path.len());
        gate.check_strict(end)?;
        gate.check_tail(end)?;
        let query_base = base + path.len() + 1;
        match (query, tail) {
            (None, _) => Ok(()),
            (Some(query), None) => check_query(query, query_base),
            // The application's own query: nothing is classified by it.
            (Some(query), Some(_)) => check_visible(query.as_bytes(), query_base),
        }
    }

    /// Everything before the tail: plain segments, each decoding once to plain text.
    fn check_strict(&self, end: usize) -> Result<(), TargetError> {
        let mut start = 1;
        while start <= end && start < self.path.len() {
            let stop = self.path[start..end].iter().position(|b| *b == b'/').map_or(end, |n| start + n);
            if start == stop && stop < end {
                return Err(TargetError::EmptySegment { at: self.base + start });
            }
            self.check_segment(start, stop)?;
            start = stop + 1;
        }
        Ok(())
    }

    fn check_segment(&self, start: usize, stop: usize) -> Result<(), TargetError> {
        let mut i = start;
        while i < stop {
            let at = self.base + i;
            let byte = self.path[i];
            if byte == b'%' {
                self.check_escape(i, stop)?;
                i += 3;
                continue;
            }
            match byte {
                b'\\' => return Err(TargetError::HiddenSlash { at }),
                b if !is_path_byte(b) => return Err(TargetError::ForbiddenByte { at, byte }),
                _ => i += 1,
            }
        }
        let decoded = decode_bytes(&self.path[start..stop]);
        if matches!(&*decoded, b"." | b"..") {
            return Err(TargetError::DotSegment { at: self.base + start });
        }
        match std::str::from_utf8(&decoded) {
            Err(_) => Err(TargetError::NotUtf8 { at: self.base + start }),
            // C1 controls and the like: only an escape can have brought them.
            Ok(text) if text.chars().any(char::is_control) => {
                Err(TargetError::ForbiddenByte { at: self.base + start, byte: 0x80 })
            }
            Ok(_) => Ok(()),
        }
    }

    fn check_escape(&self, i: usize, stop: usize) -> Result<(), TargetError> {
        let at = self.base + i;
        let byte = escaped(&self.path[..stop], i).ok_or(TargetError::BadEscape { at })?;
        match byte {
            b'/' | b'\\' => Err(TargetError::HiddenSlash { at }),
            b'%' => Err(TargetError::DoubleEncoding { at }),
            0..=0x1f | 0x7f | b';' | b'#' | b'?' => Err(TargetError::ForbiddenByte { at, byte }),
            _ => Ok(()),
        }
    }

    /// A proxied tail is the application's own path: opaque, but dot segments in any encoding would leave it.
    fn check_tail(&self, start: usize) -> Result<(), TargetError> {
        let tail = &self.path[start..];
        check_visible(tail, self.base + start)?;
        let mut decoded = std::borrow::Cow::Borrowed(tail);
        for round in 0..=DECODE_ROUNDS {
            let mut at = 0;
            for segment in decoded.split(|b| matches!(b, b'/' | b'\\')) {
                // `;` begins a parameter for some servers, so `..;x` is `..` to them.
                let name = segment.split(|b| *b == b';').next().unwrap_or_default();
                if matches!(name, b"." | b"..") {
                    // Offsets are exact while nothing is decoded; later rounds point at the tail.
                    let i = if round == 0 { at } else { 0 };
                    return Err(TargetError::DotSegment { at: self.base + start + i });
                }
                at += segment.len() + 1;
            }
            if let Some(byte) = decoded.iter().find(|b| **b == 0) {
                return Err(TargetError::ForbiddenByte { at: self.base + start, byte: *byte });
            }
            let next = decode_bytes(&decoded).into_owned();
            if next == *decoded {
                return Ok(());
            }
            decoded = std::borrow::Cow::Owned(next);
        }
        Err(TargetError::DoubleEncoding { at: self.base + start })
    }
}

/// Refuses what Go's query parser drops without a word (`;`, broken escapes) and bytes that are not visible ASCII.
pub(super) fn check_query(query: &str, base: usize) -> Result<(), TargetError> {
    let bytes = query.as_bytes();
    check_visible(bytes, base)?;
    for (i, byte) in bytes.iter().copied().enumerate() {
        let at = base + i;
        if byte == b';' {
            return Err(TargetError::ForbiddenByte { at, byte });
        }
        if byte == b'%' && escaped(bytes, i).is_none() {
            return Err(TargetError::BadEscape { at });
        }
    }
    Ok(())
}

fn check_visible(bytes: &[u8], base: usize) -> Result<(), TargetError> {
    match bytes.iter().position(|b| !b.is_ascii_graphic() || *b == b'#') {
        Some(i) => Err(TargetError::ForbiddenByte { at: base + i, byte: bytes[i] }),
        None => Ok(()),
    }
}

/// Offset of the first byte after `…/proxy/` of a pod, service or node, or of such a path without a tail, its end.
fn tail_start(path: &str) -> Option<usize> {
    let segments: Vec<&str> = path.splitn(9, '/').collect();
    let proxy = match segments.as_slice() {
        ["", "api", _, "nodes", _, "proxy", ..] => 5,
        ["", "api", _, "namespaces", _, "pods" | "services", _, "proxy", ..] => 7,
        _ => return None,
    };
    let end: usize = segments[..=proxy].iter().map(|s| s.len() + 1).sum::<usize>();
    Some(end.min(path.len()))
}

/// RFC 3986 `pchar` without `%` and `;`.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}
