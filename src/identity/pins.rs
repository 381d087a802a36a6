//! The set of hub's roots that are to be trusted, as hub and agent agree on it. Refuses to be empty or large.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::SpkiSha256;

/// Most roots that are trusted at once: two in a rotation, and room.
pub const MAX_PINS: usize = 8;

/// Pins of roots: at least one, at most [`MAX_PINS`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<SpkiSha256>", into = "Vec<SpkiSha256>")]
pub struct PinSet(BTreeSet<SpkiSha256>);

/// No pin, or too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a set of pins has 1 to {MAX_PINS} of them")]
pub struct PinSetError;

impl PinSet {
    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = SpkiSha256> {
        self.0.iter().copied()
    }

    /// Whether it is one of them.
    pub fn contains(&self, pin: &SpkiSha256) -> bool {
        self.0.contains(pin)
    }

    /// What an agent acknowledges: it depends on the pins alone, and each side computes it from what it keeps.
    pub fn hash(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(b"roadstead hub roots 1\0");
        for pin in &self.0 {
            context.update(pin.as_bytes());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

impl TryFrom<Vec<SpkiSha256>> for PinSet {
    type Error = PinSetError;

    fn try_from(pins: Vec<SpkiSha256>) -> Result<Self, PinSetError> {
        let pins: BTreeSet<_> = pins.into_iter().collect();
        if pins.is_empty() || pins.len() > MAX_PINS { Err(PinSetError) } else { Ok(Self(pins)) }
    }
}

impl From<PinSet> for Vec<SpkiSha256> {
    fn from(pins: PinSet) -> Self {
        pins.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(n: u8) -> SpkiSha256 {
        SpkiSha256::of(&[n])
    }

    #[test]
    fn the_hash_is_of_the_set_and_of_nothing_else() {
        let set = |pins: &[u8]| PinSet::try_from(pins.iter().map(|n| pin(*n)).collect::<Vec<_>>()).unwrap();
        assert_eq!(set(&[1, 2]).hash(), set(&[2, 1, 2]).hash());
        assert_ne!(set(&[1, 2]).hash(), set(&[1]).hash());
        assert_ne!(set(&[1]).hash(), set(&[2]).hash());
    }

    #[test]
    fn an_empty_and_an_endless_set_are_none() {
        assert_eq!(PinSet::try_from(vec![]), Err(PinSetError));
        let many: Vec<_> = (0..9).map(pin).collect();
        assert_eq!(PinSet::try_from(many.clone()), Err(PinSetError));
        assert!(PinSet::try_from(many[..8].to_vec()).is_ok());
    }
}
