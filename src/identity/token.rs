//! Bearer tokens: join tokens (`rsj_`) and hub tokens (`rst_`), what is shown once and what is stored.
//!
//! `<prefix>_<id>_<secret>_<crc32>`: the prefix is for secret scanners, the id is the look-up key, the secret is 256 random bits in
//! base64url without padding, the checksum finds typing mistakes before any network is used. Only [`SecretHash`] is ever stored; with
//! 256 bits of entropy a plain SHA-256 needs no slow derivation. Refuses to know what a token allows.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Secret, random, spki::decode_hex};

/// Digits of a token id: RFC 4648 base 32 in lower case (50 bits: an index, not a secret).
const ID_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_LEN: usize = 10;
const SECRET_LEN: usize = 43;
const CRC_LEN: usize = 8;
const PREFIX_LEN: usize = 3;
/// `rsj_` + id + `_` + secret + `_` + checksum.
const TOKEN_LEN: usize = PREFIX_LEN + 1 + ID_LEN + 1 + SECRET_LEN + 1 + CRC_LEN;

/// What a token is for; it shows in the prefix, so that neither can be used as the other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenKind {
    /// Lets one agent ask for its first certificate (`rsj_`).
    Join,
    /// Lets a person or a program call the hub (`rst_`).
    Hub,
}

impl TokenKind {
    /// The three letters before the first underscore.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Join => "rsj",
            Self::Hub => "rst",
        }
    }
}

/// Why a text is not a token. Nothing of the text is repeated, because it may be nearly a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Neither `rsj_` nor `rst_` at the front.
    #[error("not a token: it must begin with rsj_ or rst_")]
    Prefix,
    /// A good token of the other kind.
    #[error("a token of the wrong kind: a {} token is needed here", .wanted.prefix())]
    Kind {
        /// What was needed.
        wanted: TokenKind,
    },
    /// Cut off, or something is attached.
    #[error("a token has {TOKEN_LEN} characters, this has {0}")]
    Length(usize),
    /// A character that its place does not allow.
    #[error("a token with a character that cannot occur there")]
    Character,
    /// The checksum disagrees: a typing or copying mistake.
    #[error("the token's checksum does not match: it was not copied whole")]
    Checksum,
}

/// The public part of a token: ten base-32 characters. Safe to log and to store.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() != ID_LEN || !text.bytes().all(|b| ID_ALPHABET.contains(&b)) {
            return Err(TokenError::Character);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

/// A whole token, secret included. `Debug` shows kind and id only.
#[derive(Clone)]
pub struct Token {
    kind: TokenKind,
    id: TokenId,
    secret: Zeroizing<[u8; 32]>,
}

impl Token {
    /// A new token with 256 random bits.
    pub fn generate(kind: TokenKind) -> Self {
        let id = random::bytes::<ID_LEN>().iter().map(|b| char::from(ID_ALPHABET[usize::from(b % 32)])).collect();
        Self { kind, id: TokenId(id), secret: Zeroizing::new(random::bytes()) }
    }

    /// Reads a token of `kind`.
    ///
    /// # Errors
    /// [`TokenError::Kind`] when it is a good token of the other kind; the other variants when it is no token.
    pub fn parse(kind: TokenKind, text: &str) -> Result<Self, TokenError> {
        let token: Self = text.parse()?;
        if token.kind != kind {
            return Err(TokenError::Kind { wanted: kind });
        }
        Ok(token)
    }

    /// What it is for.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The look-up key.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What may be stored of it.
    pub fn hash(&self) -> SecretHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.secret.as_ref()).as_ref());
        SecretHash(hash)
    }

    /// The whole text, to be shown once or sent to the hub.
    pub fn reveal(&self) -> Secret {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.secret.as_ref()));
        let body = Zeroizing::new(format!("{}_{}_{}", self.kind.prefix(), self.id, secret.as_str()));
        Secret::new(format!("{}_{:08x}", body.as_str(), crc32fast::hash(body.as_bytes())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_***", self.kind.prefix(), self.id)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// Splits by position: the secret's alphabet contains the separator.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let kind = match text.get(..=PREFIX_LEN) {
            Some("rsj_") => TokenKind::Join,
            Some("rst_") => TokenKind::Hub,
            _ => return Err(TokenError::Prefix),
        };
        if text.len() != TOKEN_LEN {
            return Err(TokenError::Length(text.chars().count()));
        }
        if !text.is_ascii() {
            return Err(TokenError::Character);
        }
        let (body, crc) = text.split_at(TOKEN_LEN - CRC_LEN - 1);
        let (head, secret) = body.split_at(body.len() - SECRET_LEN);
        let id = head[PREFIX_LEN + 1..].strip_suffix('_').ok_or(TokenError::Character)?.parse()?;
        let crc = crc.strip_prefix('_').and_then(decode_hex::<4>).ok_or(TokenError::Character)?;
        if u32::from_be_bytes(crc) != crc32fast::hash(body.as_bytes()) {
            return Err(TokenError::Checksum);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        let written = URL_SAFE_NO_PAD.decode_slice(secret, bytes.as_mut()).map_err(|_| TokenError::Character)?;
        if written != bytes.len() {
            return Err(TokenError::Character);
        }
        Ok(Self { kind, id, secret: bytes })
    }
}

/// SHA-256 of a token's secret: the only form of it that is stored. Written as 64 hexadecimal digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Compares in constant time what was stored for `token`'s id with `token`. `None` (an unknown id) takes the same time and is false.
    pub fn verify(stored: Option<&Self>, token: &Token) -> bool {
        // SHA-256 never yields a hash that anyone knows a secret of for all zeroes, and `known` decides anyway.
        const DUMMY: SecretHash = SecretHash([0; 32]);
        let known = subtle::Choice::from(u8::from(stored.is_some()));
        let equal = stored.unwrap_or(&DUMMY).0.ct_eq(&token.hash().0);
        bool::from(known & equal)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = TokenError;

    fn try_from(hex: String) -> Result<Self, TokenError> {
        decode_hex(&hex).map(Self).ok_or(TokenError::Character)
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests;
