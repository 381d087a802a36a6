//! Sealing: bytes that only the holder of one key reads, and that nobody changes, swaps or shortens unseen. Envelope encryption: a data key
//! of its own for every sealed thing, wrapped by a key that stays with a [`KeyWrapper`]. Refuses to know where that key comes from and where
//! sealed bytes are kept.
//!
//! ```text
//! "rsseal\0" version=1 · length and id of the wrapping key · length and wrapped data key      the header
//! chunks of 64 KiB, each AES-256-GCM with a tag of 16 bytes; only the last may be shorter
//! ```
//!
//! Chunks follow the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the nonce is 7 zero bytes (the data key is used once),
//! the chunk's number and whether it is the last. The header and the purpose are authenticated with every chunk.

mod passphrase;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

pub use self::passphrase::{PassphraseError, PassphraseKey};
use super::random;

/// The beginning of everything that is sealed; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"rsseal\0\x01";
/// Bytes of one chunk before encryption.
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

/// A key that encrypts one sealed thing and nothing else. Zeroed on drop, printed by nothing.
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// From its bytes, as a [`KeyWrapper`] gives them back.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, for a [`KeyWrapper`] to encrypt.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> LessSafeKey {
        cipher(&self.0)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(***)")
    }
}

/// Encrypts data keys with a key that it keeps to itself: a key management service, or something of its shape. May block for as long as a
/// network or a slow derivation takes: call it where that is allowed.
pub trait KeyWrapper: Send + Sync + fmt::Debug {
    /// The name of its key, which is written beside what it wrapped; at most 65,535 bytes.
    fn key_id(&self) -> &str;

    /// Encrypts a data key; the answer is at most 65,535 bytes and means something to [`KeyWrapper::unwrap`] alone.
    ///
    /// # Errors
    /// [`WrapError::Service`].
    fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, WrapError>;

    /// Decrypts what [`KeyWrapper::wrap`] gave.
    ///
    /// # Errors
    /// [`WrapError`].
    fn unwrap(&self, wrapped: &[u8]) -> Result<DataKey, WrapError>;
}

/// Why a data key was not wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// Another key wrapped it, or the wrapped key was changed; the two cannot be told apart.
    #[error("another key sealed it, or it was changed")]
    WrongKey,
    /// It is not what this wrapper writes.
    #[error("the wrapped data key cannot be read")]
    Malformed,
    /// The service behind the wrapper failed.
    #[error("the service that keeps the sealing key failed")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It does not begin as sealed things do.
    #[error("it is not sealed by roadstead")]
    NotSealed,
    /// A later version sealed it.
    #[error("it is sealed in format {0}, and this version knows format 1: a newer roadstead wrote it")]
    Version(u8),
    /// The id beside it is of another key.
    #[error("it is sealed with the key {found:?}, and the key given is {given:?}")]
    OtherKey {
        /// Which key sealed it.
        found: String,
        /// Which key was given.
        given: String,
    },
    /// The data key.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A chunk is changed, missing, or of something else.
    #[error("it is damaged: cut short, changed, or moved here from another place")]
    Damaged,
    /// More than 256 TiB, or an id of more than 64 KiB.
    #[error("it is too large to be sealed")]
    TooLarge,
}

/// Whether bytes claim to be sealed, in whatever version.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC[..7])
}

/// Seals `plain` for `purpose`: it opens for the same purpose only, so that sealed things cannot take each other's place.
///
/// # Errors
/// [`SealError::Wrap`] and [`SealError::TooLarge`].
pub fn seal(keys: &dyn KeyWrapper, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let key = DataKey::new(random::bytes());
    let mut sealed = header(keys.key_id(), &keys.wrap(&key)?)?;
    let (cipher, aad) = (key.cipher(), [&sealed, purpose.as_bytes()].concat());
    let count = plain.len().div_ceil(CHUNK).max(1);
    sealed.reserve(plain.len() + count * TAG);
    for number in 0..count {
        let from = number * CHUNK;
        let last = number + 1 == count;
        let chunk = &plain[from..plain.len().min(from + CHUNK)];
        let begin = sealed.len();
        sealed.extend_from_slice(chunk);
        let nonce = nonce(u32::try_from(number).map_err(|_| SealError::TooLarge)?, last);
        let tag = cipher
            .seal_in_place_separate_tag(nonce, Aad::from(&aad), &mut sealed[begin..])
            .expect("a chunk is far below the cipher's limit");
        sealed.extend_from_slice(tag.as_ref());
    }
    Ok(sealed)
}

/// Opens what [`seal`] gave for the same purpose. All of it is checked before any of it is given.
///
/// # Errors
/// See [`SealError`].
pub fn open(keys: &dyn KeyWrapper, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let Parts { id, wrapped, chunks: mut rest } = Parts::of(sealed)?;
    if id != keys.key_id().as_bytes() {
        let found = String::from_utf8_lossy(id).chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(SealError::OtherKey { found, given: keys.key_id().to_owned() });
    }
    let cipher = keys.unwrap(wrapped)?.cipher();
    let aad = [&sealed[..sealed.len() - rest.len()], purpose.as_bytes()].concat();
    // As long as it will be: growing would leave copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(rest.len()));
    let mut number = 0_u32;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(CHUNK + TAG));
        let begin = plain.len();
        plain.extend_from_slice(chunk);
        let nonce = nonce(number, after.is_empty());
        let opened =
            cipher.open_in_place(nonce, Aad::from(&aad), &mut plain[begin..]).map_err(|_| SealError::Damaged)?.len();
        plain.truncate(begin + opened);
        if after.is_empty() {
            return Ok(plain);
        }
        rest = after;
        number = number.checked_add(1).ok_or(SealError::TooLarge)?;
    }
}

fn header(id: &str, wrapped: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut header = MAGIC.to_vec();
    for part in [id.as_bytes(), wrapped] {
        header.extend(u16::try_from(part.len()).map_err(|_| SealError::TooLarge)?.to_be_bytes());
        header.extend_from_slice(part);
    }
    Ok(header)
}

/// What sealed bytes consist of.
struct Parts<'a> {
    /// Of the wrapping key.
    id: &'a [u8],
    wrapped: &'a [u8],
    chunks: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, SealError> {
        let rest = sealed.strip_prefix(&MAGIC[..7]).ok_or(SealError::NotSealed)?;
        let (version, rest) = rest.split_first().ok_or(SealError::Damaged)?;
        if *version != MAGIC[7] {
            return Err(SealError::Version(*version));
        }
        let part = |bytes: &'a [u8]| {
            let (length, rest) = bytes.split_first_chunk::<2>()?;
            rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        };
        let (id, rest) = part(rest).ok_or(SealError::Damaged)?;
        let (wrapped, chunks) = part(rest).ok_or(SealError::Damaged)?;
        Ok(Self { id, wrapped, chunks })
    }
}

fn nonce(number: u32, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 keys have 32 bytes"))
}

#[cfg(test)]
mod tests;
