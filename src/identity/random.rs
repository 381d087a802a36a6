//! Random bytes from aws-lc-rs, for keys, secrets and serials. Refuses to know what they are for.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// `N` random bytes.
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    // AWS-LC aborts the process rather than return weak randomness, so the error has no cause on any supported platform.
    SystemRandom::new().fill(&mut out).expect("aws-lc's generator does not fail");
    out
}
