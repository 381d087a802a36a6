//! A [`KeyWrapper`] without a service: its key is derived from a passphrase. Refuses to know where the passphrase is kept.
//!
//! PBKDF2-HMAC-SHA256 (RFC 8018) from aws-lc, with the rounds of OWASP's advice of 2023: the one crypto provider has it, and a
//! memory-hard function would be a dependency for a secret that should be random and long anyway.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    aead::{Aad, Nonce},
    pbkdf2::{PBKDF2_HMAC_SHA256, derive},
};
use zeroize::Zeroizing;

use super::{DataKey, KeyWrapper, TAG, WrapError, cipher};
use crate::identity::{Secret, random};

/// Shortest passphrase, bytes.
const SHORTEST: usize = 16;
/// Rounds of what is wrapped from now on: a third of a second.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// Most rounds that are believed: a file of someone else's must not cost more than some seconds.
const MOST_ROUNDS: u32 = 10_000_000;
/// The one way of deriving that there is; it stands first in what is wrapped.
const PBKDF2: u8 = 1;
const SALT: usize = 16;
const NONCE: usize = 12;
/// Way, rounds and salt.
const DERIVATION: usize = 1 + 4 + SALT;
const WRAPPED: usize = DERIVATION + NONCE + 32 + TAG;

/// Why a text is no passphrase.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PassphraseError {
    /// A short one is guessed.
    #[error("a passphrase has at least {SHORTEST} characters, this has {0}; make one with `openssl rand -base64 32`")]
    Short(usize),
}

/// Wraps data keys with a key that is derived from a passphrase. Deriving takes a third of a second and is remembered.
pub struct PassphraseKey {
    passphrase: Secret,
    rounds: NonZeroU32,
    derived: Mutex<Option<Derived>>,
}

#[derive(Clone)]
struct Derived {
    rounds: NonZeroU32,
    salt: [u8; SALT],
    key: Zeroizing<[u8; 32]>,
}

impl PassphraseKey {
    /// A passphrase as it stands in a file: line ends at its end do not count.
    ///
    /// # Errors
    /// [`PassphraseError`], without any of the text.
    pub fn new(text: &Secret) -> Result<Self, PassphraseError> {
        let text = text.expose().trim_end_matches(['\r', '\n']);
        if text.len() < SHORTEST {
            return Err(PassphraseError::Short(text.len()));
        }
        Ok(Self { passphrase: Secret::new(text), rounds: ROUNDS, derived: Mutex::new(None) })
    }

    /// The same with one round: for tests of what is done with it.
    #[cfg(test)]
    pub(crate) fn quick(text: &str) -> Self {
        Self { passphrase: Secret::new(text), rounds: NonZeroU32::MIN, derived: Mutex::new(None) }
    }

    /// The key of this derivation, or of any when none is asked for.
    fn derived(&self, wanted: Option<(NonZeroU32, [u8; SALT])>) -> Derived {
        let mut known = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known
            && wanted.map_or(known.rounds == self.rounds, |wanted| wanted == (known.rounds, known.salt))
        {
            return known.clone();
        }
        let (rounds, salt) = wanted.unwrap_or_else(|| (self.rounds, random::bytes()));
        let mut key = Zeroizing::new([0; 32]);
        derive(PBKDF2_HMAC_SHA256, rounds, &salt, self.passphrase.expose().as_bytes(), &mut *key);
        known.insert(Derived { rounds, salt, key }).clone()
    }
}

impl Derived {
    fn aad(&self, id: &str) -> Vec<u8> {
        let mut aad = vec![PBKDF2];
        aad.extend(self.rounds.get().to_be_bytes());
        aad.extend(self.salt);
        aad.extend(id.as_bytes());
        aad
    }
}

impl KeyWrapper for PassphraseKey {
    fn key_id(&self) -> &str {
        "passphrase"
    }

    fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, WrapError> {
        let derived = self.derived(None);
        let aad = derived.aad(self.key_id());
        let nonce: [u8; NONCE] = random::bytes();
        let mut secret = Zeroizing::new(*key.expose());
        let tag = cipher(&derived.key)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), &mut *secret)
            .expect("32 bytes are far below the cipher's limit");
        Ok([&aad[..DERIVATION], &nonce, &*secret, tag.as_ref()].concat())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<DataKey, WrapError> {
        let (derivation, rest) = wrapped.split_at_checked(DERIVATION).ok_or(WrapError::Malformed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(WrapError::Malformed)?;
        let (rounds, salt) = derivation[1..].split_first_chunk::<4>().ok_or(WrapError::Malformed)?;
        let rounds = NonZeroU32::new(u32::from_be_bytes(*rounds)).filter(|rounds| rounds.get() <= MOST_ROUNDS);
        let (Some(rounds), Ok(salt)) = (rounds, <[u8; SALT]>::try_from(salt)) else { return Err(WrapError::Malformed) };
        if derivation[0] != PBKDF2 || wrapped.len() != WRAPPED {
            return Err(WrapError::Malformed);
        }
        let derived = self.derived(Some((rounds, salt)));
        let mut secret = Zeroizing::new(rest.to_vec());
        let opened = cipher(&derived.key).open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(&derived.aad(self.key_id())),
            &mut secret,
        );
        let opened = opened.map_err(|_| WrapError::WrongKey)?;
        Ok(DataKey::new(<[u8; 32]>::try_from(&*opened).map_err(|_| WrapError::Malformed)?))
    }
}

impl fmt::Debug for PassphraseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassphraseKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_opens_what_it_wrapped_and_another_does_not() {
        let key = DataKey::new([7; 32]);
        let [first, same, other] = ["correct horse battery", "correct horse battery\r\n", "correct horse batterz"]
            .map(|text| PassphraseKey::new(&Secret::new(text)).unwrap());
        let wrapped = first.wrap(&key).unwrap();
        assert_eq!(same.unwrap(&wrapped).unwrap().expose(), key.expose());
        assert!(matches!(other.unwrap(&wrapped), Err(WrapError::WrongKey)));
        assert_eq!(&wrapped[..5], [1, 0, 9, 39, 192], "600,000 rounds");
    }

    #[test]
    fn a_key_is_wrapped_differently_each_time_and_derived_once() {
        let keys = PassphraseKey::quick("correct horse battery");
        let [first, second] = [(); 2].map(|()| keys.wrap(&DataKey::new([7; 32])).unwrap());
        assert_eq!(first[..DERIVATION], second[..DERIVATION]);
        assert_ne!(first[DERIVATION..], second[DERIVATION..]);
    }

    #[test]
    fn no_byte_of_a_wrapped_key_can_be_changed() {
        let keys = PassphraseKey::quick("correct horse battery");
        let wrapped = keys.wrap(&DataKey::new([7; 32])).unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(keys.unwrap(&changed).is_err(), "byte {at}");
        }
        for length in 0..wrapped.len() {
            assert!(matches!(keys.unwrap(&wrapped[..length]), Err(WrapError::Malformed)), "{length} bytes");
        }
        let mut costly = wrapped;
        costly[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(keys.unwrap(&costly), Err(WrapError::Malformed)));
    }

    #[test]
    fn short_passphrases_are_refused_and_none_is_printed() {
        let short = PassphraseKey::new(&Secret::new("fifteen letters\n")).unwrap_err();
        assert_eq!(short, PassphraseError::Short(15));
        assert!(!short.to_string().contains("fifteen"));
        assert!(!format!("{:?}", PassphraseKey::quick("correct horse")).contains("horse"));
    }
}
