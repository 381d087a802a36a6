//! Nonces for proofs: not kept until they are used, fresh for a minute, for one network, used once. Knows no HTTP, and takes the time as
//! an argument.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, MutexGuard},
};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256, Tag},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use time::OffsetDateTime;

use crate::defaults;

const STAMP: usize = 8;
const RANDOM: usize = 16;
const BODY: usize = STAMP + RANDOM;
const WHOLE: usize = BODY + 32;

/// A nonce is of no use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(in crate::hub) enum NonceError {
    /// Not one that this process gave to that network.
    #[error("the nonce is not one that this hub gave to this network since it started")]
    Foreign,
    /// Too old.
    #[error("the nonce is older than {} s", defaults::NONCE.as_secs())]
    Old,
    /// Used before.
    #[error("the nonce was used")]
    Used,
    /// No room to remember that it is used.
    #[error("too many proofs within {} s", defaults::NONCE.as_secs())]
    Full,
}

/// Whom a nonce is for: a /24 of IPv4, a /64 of IPv6. A client that changes its address within it is the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Network([u8; 16]);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8)).to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).octets(),
        })
    }
}

/// A nonce that is fresh and this hub's; whether it was used is known when it is spent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::hub) struct Nonce([u8; WHOLE]);

impl Nonce {
    /// What a proof is bound to.
    pub(in crate::hub) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn random(&self) -> [u8; RANDOM] {
        let mut random = [0; RANDOM];
        random.copy_from_slice(&self.0[STAMP..BODY]);
        random
    }

    /// When it was given, Unix time in milliseconds.
    fn given(&self) -> i64 {
        let mut stamp = [0; STAMP];
        stamp.copy_from_slice(&self.0[..STAMP]);
        i64::from_be_bytes(stamp)
    }
}

/// Gives and takes nonces. Its key is of this process alone: after a restart no nonce of before is good, so none can be used twice.
pub(in crate::hub) struct Nonces {
    key: hmac::Key,
    /// Those that were used, until they would be too old anyway, Unix time in milliseconds; at most [`defaults::NONCES_USED`].
    used: Mutex<HashMap<[u8; RANDOM], i64>>,
}

impl Nonces {
    pub(in crate::hub) fn new() -> Self {
        Self { key: hmac::Key::new(HMAC_SHA256, &bytes::<32>()), used: Mutex::default() }
    }

    /// A nonce for whoever comes from `address`.
    pub(in crate::hub) fn give(&self, address: IpAddr, now: OffsetDateTime) -> String {
        let mut nonce = [0; WHOLE];
        nonce[..STAMP].copy_from_slice(&millis(now).to_be_bytes());
        nonce[STAMP..BODY].copy_from_slice(&bytes::<RANDOM>());
        let tag = self.tag(&nonce[..BODY], address);
        nonce[BODY..].copy_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(nonce)
    }

    /// Reads a nonce that comes from `address`.
    ///
    /// # Errors
    /// [`NonceError::Foreign`], [`NonceError::Old`].
    pub(in crate::hub) fn take(&self, text: &str, address: IpAddr, now: OffsetDateTime) -> Result<Nonce, NonceError> {
        let mut nonce = [0; WHOLE];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut nonce);
        if read != Ok(WHOLE) {
            return Err(NonceError::Foreign);
        }
        let signed = [&nonce[..BODY], &Network::from(address).0].concat();
        hmac::verify(&self.key, &signed, &nonce[BODY..]).map_err(|_| NonceError::Foreign)?;
        let nonce = Nonce(nonce);
        let age = millis(now) - nonce.given();
        // One from the future is of a clock that was set back since.
        if age.unsigned_abs() > u64::try_from(life()).unwrap_or(0) { Err(NonceError::Old) } else { Ok(nonce) }
    }

    /// Uses a nonce up. Asked last, for a proof that is good in all else: what proves nothing takes no room.
    ///
    /// # Errors
    /// [`NonceError::Used`], [`NonceError::Full`].
    pub(in crate::hub) fn spend(&self, nonce: &Nonce, now: OffsetDateTime) -> Result<(), NonceError> {
        let mut used = self.used();
        let now = millis(now);
        if used.len() >= defaults::NONCES_USED {
            used.retain(|_, until| *until > now);
        }
        if used.contains_key(&nonce.random()) {
            return Err(NonceError::Used);
        }
        if used.len() >= defaults::NONCES_USED {
            return Err(NonceError::Full);
        }
        // As long as `take` may accept it, even if it is of a little ahead.
        used.insert(nonce.random(), nonce.given().max(now) + 2 * life());
        Ok(())
    }

    fn tag(&self, body: &[u8], address: IpAddr) -> Tag {
        hmac::sign(&self.key, &[body, &Network::from(address).0].concat())
    }

    fn used(&self) -> MutexGuard<'_, HashMap<[u8; RANDOM], i64>> {
        self.used.lock().expect("no panic while it is held")
    }
}

fn life() -> i64 {
    i64::try_from(defaults::NONCE.as_millis()).unwrap_or(i64::MAX / 4)
}

fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// T014: too old, from elsewhere, used.
    #[test]
    fn a_nonce_is_fresh_for_a_minute_for_its_network_and_once() {
        let nonces = Nonces::new();
        let text = nonces.give(from("192.0.2.1"), NOW);
        let take = |address: &str, after: i64| nonces.take(&text, from(address), NOW + Duration::seconds(after));
        let nonce = take("192.0.2.1", 60).unwrap();
        assert_eq!(take("192.0.2.254", 0), Ok(nonce), "its neighbour, for one site may have several addresses");
        assert_eq!(take("::ffff:192.0.2.1", 0), Ok(nonce));
        assert_eq!(take("192.0.3.1", 0), Err(NonceError::Foreign));
        assert_eq!(take("192.0.2.1", 61), Err(NonceError::Old));
        assert_eq!(take("192.0.2.1", -61), Err(NonceError::Old));
        assert_eq!(nonces.spend(&nonce, NOW), Ok(()));
        assert_eq!(nonces.spend(&nonce, NOW + Duration::seconds(59)), Err(NonceError::Used));
    }

    #[test]
    fn a_nonce_of_another_process_or_a_changed_one_is_foreign() {
        let (one, other) = (Nonces::new(), Nonces::new());
        let text = one.give(from("2001:db8::1"), NOW);
        assert!(one.take(&text, from("2001:db8::ffff"), NOW).is_ok());
        assert_eq!(one.take(&text, from("2001:db8:0:1::1"), NOW), Err(NonceError::Foreign));
        assert_eq!(other.take(&text, from("2001:db8::1"), NOW), Err(NonceError::Foreign));
        for at in 0..text.len() {
            let with = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
            assert_eq!(one.take(&changed, from("2001:db8::1"), NOW), Err(NonceError::Foreign), "{at}");
        }
        for text in ["", "AA", &format!("{text}AA"), "not base64url !"] {
            assert_eq!(one.take(text, from("2001:db8::1"), NOW), Err(NonceError::Foreign));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let (nonces, address) = (Nonces::new(), from("192.0.2.1"));
        let fresh = |now| nonces.take(&nonces.give(address, now), address, now).unwrap();
        let first = fresh(NOW);
        nonces.spend(&first, NOW).unwrap();
        for _ in 1..defaults::NONCES_USED {
            nonces.spend(&fresh(NOW), NOW).unwrap();
        }
        assert_eq!(nonces.spend(&first, NOW), Err(NonceError::Used));
        assert_eq!(nonces.spend(&fresh(NOW), NOW), Err(NonceError::Full));
        let later = NOW + Duration::seconds(121);
        assert_eq!(nonces.spend(&fresh(later), later), Ok(()));
        assert_eq!(nonces.used().len(), 1);
    }
}
