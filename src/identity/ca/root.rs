//! An authority's root key. Only new issuing certificates need it, so it may be kept elsewhere; refuses to know where.

use time::OffsetDateTime;

use super::{Authority, ISSUING_RESERVE, IssueError, LoadError, new_issuing};
use crate::identity::{KeyPair, Secret, SpkiSha256};

impl Authority {
    /// The fingerprint of the root's key: what agents pin.
    pub fn pin(&self) -> SpkiSha256 {
        self.pin
    }

    /// The root's key in PEM; `None` when it is kept elsewhere.
    pub fn root_key(&self) -> Option<Secret> {
        self.root_key.as_ref().map(KeyPair::to_pem)
    }

    /// Whether the root's key is kept elsewhere.
    pub fn is_root_offline(&self) -> bool {
        self.root_key.is_none()
    }

    /// From when on the issuing certificate is due, which only the root's key can replace.
    pub fn issuing_due(&self) -> OffsetDateTime {
        self.issuing_ends - ISSUING_RESERVE
    }

    /// Forgets the root's key. Whoever calls it knows that it is kept elsewhere.
    pub fn forget_root_key(&mut self) {
        self.root_key = None;
    }

    /// Takes the root's key back.
    ///
    /// # Errors
    /// [`LoadError::Mismatch`] when it is another root's.
    pub fn bring_root_key(&mut self, key: KeyPair) -> Result<(), LoadError> {
        if key.spki_sha256() != self.pin() {
            return Err(LoadError::Mismatch("root"));
        }
        self.root_key = Some(key);
        Ok(())
    }

    /// Replaces the issuing certificate when less than [`ISSUING_RESERVE`] is left of it. True: save the authority again.
    ///
    /// # Errors
    /// [`IssueError::RootOffline`] when it is due and the root's key is not here.
    pub fn ensure_issuing(&mut self, now: OffsetDateTime) -> Result<bool, IssueError> {
        if now < self.issuing_due() {
            return Ok(false);
        }
        self.renew_issuing(now).map(|()| true)
    }

    /// Replaces the issuing certificate, with a new key and name. Leaves of the old one stay valid, since they carry it in their chain.
    ///
    /// # Errors
    /// [`IssueError::RootOffline`] when the root's key is not here.
    pub fn renew_issuing(&mut self, now: OffsetDateTime) -> Result<(), IssueError> {
        let root_key = self.root_key.as_ref().ok_or(IssueError::RootOffline)?;
        let (issuing, key, ends) = new_issuing(self.kind, &self.trust_domain, (&self.root, root_key), now)?;
        (self.issuing, self.issuing_key, self.issuing_ends) = (issuing, key, ends);
        Ok(())
    }
}
