//! Which HTTP/1.1 requests are let in, judged on the raw head: anything that two parsers could read in two ways is
//! refused, never normalised (RFC 9112 § 11.2, security abuse cases T022–T032).

use crate::k8s::Reason;

/// The most header fields that one request may have.
pub(super) const MAX_HEADERS: usize = 100;
/// The most bytes that the head of one request may have: room for users with many groups.
pub(super) const MAX_HEAD: usize = 64 << 10;

/// A request that is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the request head is not valid HTTP/1.1")]
    Syntax,
    #[error("a line of the request head does not end with CR LF")]
    BareLineFeed,
    #[error("only HTTP/1.1 and HTTP/2 are spoken here")]
    Version,
    #[error("the method {0} is not allowed here")]
    Method(&'static str),
    #[error("the request target must be a path: absolute and asterisk forms are refused")]
    TargetForm,
    #[error("exactly one Host header is needed")]
    Host,
    #[error("the Host header names another host than the TLS handshake did")]
    Misdirected,
    #[error("Content-Length must be one plain decimal number")]
    ContentLength,
    #[error("Transfer-Encoding must be exactly \"chunked\"")]
    TransferEncoding,
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    LengthAndEncoding,
    #[error("more than one Authorization header")]
    Authorization,
    #[error("a request that asks for an upgrade must not have a body")]
    UpgradeWithBody,
    #[error("the request head has more than {MAX_HEADERS} fields or {MAX_HEAD} bytes")]
    TooLarge,
    #[error("a chunk of the request body is malformed")]
    Chunk,
    #[error("the request head did not arrive in time")]
    Slow,
}

impl Violation {
    /// The kind of the answer.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Method(_) => Reason::MethodNotAllowed,
            Self::Misdirected => Reason::Misdirected,
            Self::TooLarge => Reason::HeadTooLarge,
            Self::Version
            | Self::Slow
            | Self::Syntax
            | Self::BareLineFeed
            | Self::TargetForm
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::LengthAndEncoding
            | Self::Authorization
            | Self::UpgradeWithBody
            | Self::Chunk => Reason::BadRequest,
        }
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    /// The connection may stop being HTTP: nothing after this head is read as HTTP again.
    Upgrade,
}

/// Judges a whole head, from its first byte to its empty line. `sni` is the name of the TLS handshake, if any.
pub(super) fn judge(head: &[u8], sni: Option<&str>) -> Result<Body, Violation> {
    if head.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r') || head.first() == Some(&b'\n') {
        return Err(Violation::BareLineFeed);
    }
    if head.first() == Some(&b'\r') {
        return Err(Violation::Syntax);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Violation::TooLarge),
        Err(httparse::Error::Version) => return Err(Violation::Version),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Violation::Syntax),
    }
    if request.version != Some(1) {
        return Err(Violation::Version);
    }
    method(request.method.unwrap_or_default())?;
    if !request.path.unwrap_or_default().starts_with('/') {
        return Err(Violation::TargetForm);
    }
    let named = |name: &str| values(request.headers, name);
    host(&named("host"), sni)?;
    if named("authorization").len() > 1 {
        return Err(Violation::Authorization);
    }
    body(&named("content-length"), &named("transfer-encoding"), asks_upgrade(request.headers))
}

/// CONNECT would make this a generic proxy; TRACE would echo credentials.
pub(super) fn method(method: &str) -> Result<(), Violation> {
    match method {
        "CONNECT" => Err(Violation::Method("CONNECT")),
        "TRACE" => Err(Violation::Method("TRACE")),
        _ => Ok(()),
    }
}

/// Whether `authority` names the host that the TLS handshake named.
pub(super) fn authority_matches(authority: &str, sni: Option<&str>) -> bool {
    let Some(sni) = sni else { return true };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.trim_end_matches('.').eq_ignore_ascii_case(sni.trim_end_matches('.'))
}

fn values<'a>(headers: &[httparse::Header<'a>], name: &str) -> Vec<&'a [u8]> {
    headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value).collect()
}

fn host(values: &[&[u8]], sni: Option<&str>) -> Result<(), Violation> {
    let [value] = values else { return Err(Violation::Host) };
    let text = std::str::from_utf8(value).map_err(|_| Violation::Host)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(Violation::Host);
    }
    if authority_matches(text, sni) { Ok(()) } else { Err(Violation::Misdirected) }
}

fn asks_upgrade(headers: &[httparse::Header<'_>]) -> bool {
    let token = |value: &[u8]| value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    values(headers, "connection").iter().any(|v| token(v)) || !values(headers, "upgrade").is_empty()
}

fn body(lengths: &[&[u8]], encodings: &[&[u8]], upgrade: bool) -> Result<Body, Violation> {
    let body = match (lengths, encodings) {
        ([], []) => Body::Length(0),
        ([length], []) => {
            if length.is_empty() || length.len() > 18 || !length.iter().all(u8::is_ascii_digit) {
                return Err(Violation::ContentLength);
            }
            let number = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            Body::Length(number.ok_or(Violation::ContentLength)?)
        }
        ([], [encoding]) if encoding.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
        ([], _) => return Err(Violation::TransferEncoding),
        (_, []) => return Err(Violation::ContentLength),
        (_, _) => return Err(Violation::LengthAndEncoding),
    };
    match body {
        Body::Length(0) if upgrade => Ok(Body::Upgrade),
        _ if upgrade => Err(Violation::UpgradeWithBody),
        body => Ok(body),
    }
}

/// Follows a chunked body to its end (RFC 9112 § 7.1), so that the next head is found where hyper finds it.
#[derive(Debug)]
pub(super) struct ChunkedScan {
    state: Chunk,
    line: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Chunk {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data(u64),
    DataCr,
    DataLf,
    Trailer { empty: bool },
    TrailerLf { last: bool },
}

impl ChunkedScan {
    /// The most bytes of a chunk's extension or of all trailers.
    const MAX_LINE: usize = 4 << 10;

    pub(super) fn new() -> Self {
        Self { state: Chunk::Size { value: 0, digits: 0 }, line: 0 }
    }

    /// How many bytes of `input` belong to the body, and whether it ends there.
    pub(super) fn scan(&mut self, input: &[u8]) -> Result<(usize, bool), Violation> {
        let mut i = 0;
        while i < input.len() {
            if let Chunk::Data(left) = self.state {
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - i);
                i += n;
                let left = left - n as u64;
                self.state = if left == 0 { Chunk::DataCr } else { Chunk::Data(left) };
                continue;
            }
            let last = self.step(input[i])?;
            i += 1;
            if last {
                return Ok((i, true));
            }
        }
        Ok((i, false))
    }

    fn step(&mut self, byte: u8) -> Result<bool, Violation> {
        self.line += 1;
        if self.line > Self::MAX_LINE {
            return Err(Violation::Chunk);
        }
        self.state = match (self.state, byte) {
            (Chunk::Size { value, digits }, b) if b.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(b).to_digit(16).unwrap_or(0);
                Chunk::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Chunk::Size { value, digits: 1.. } | Chunk::Extension { value }, b'\r') => Chunk::SizeLf { value },
            (Chunk::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => Chunk::Extension { value },
            (Chunk::Extension { value }, b) if b >= b' ' && b != 0x7f || b == b'\t' => Chunk::Extension { value },
            (Chunk::SizeLf { value: 0 }, b'\n') => Chunk::Trailer { empty: true },
            (Chunk::SizeLf { value }, b'\n') => {
                self.line = 0;
                Chunk::Data(value)
            }
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => Chunk::Size { value: 0, digits: 0 },
            (Chunk::Trailer { empty }, b'\r') => Chunk::TrailerLf { last: empty },
            (Chunk::Trailer { .. }, b) if b != b'\n' && b != 0 => Chunk::Trailer { empty: false },
            (Chunk::TrailerLf { last: true }, b'\n') => return Ok(true),
            (Chunk::TrailerLf { last: false }, b'\n') => Chunk::Trailer { empty: true },
            _ => return Err(Violation::Chunk),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
