//! A PKI that is not the hub's, as companies have them: a root, an issuing CA, leaves as SPIRE or cert-manager make them.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku, IsCa, Issuer,
    KeyUsagePurpose as Ku, SanType,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::HOUR;
use crate::identity::{KeyPair, SanName, ca::to_pem, verify::ExternalRoot};

/// What the good leaf is called.
pub(crate) const NAME: &str = "spiffe://corp.example/ns/fleet/sa/edge-1";

/// A root and the issuing CA below it.
pub(crate) struct ExternalWorld {
    pub(crate) root_key: KeyPair,
    pub(crate) root: CertificateDer<'static>,
    root_params: CertificateParams,
    pub(crate) now: OffsetDateTime,
}

/// A CA below another: its certificate, and what it signs with.
pub(crate) struct Issuing {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
}

impl ExternalWorld {
    pub(crate) fn new() -> Self {
        Self::at(OffsetDateTime::now_utc(), |_| {})
    }

    /// A root of that time, changed by `change`.
    pub(crate) fn at(now: OffsetDateTime, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut root_params = ca_params("corp root", now);
        change(&mut root_params);
        let root_key = KeyPair::generate();
        let root = root_params.self_signed(&root_key).unwrap().der().clone();
        Self { root_key, root, root_params, now }
    }

    pub(crate) fn root(&self) -> ExternalRoot {
        ExternalRoot::stored(&to_pem(&self.root)).unwrap()
    }

    pub(crate) fn root_issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.root_params, &self.root_key)
    }

    /// An issuing CA below the root.
    pub(crate) fn issuing(&self, change: impl FnOnce(&mut CertificateParams)) -> Issuing {
        let mut params = ca_params("corp issuing", self.now);
        change(&mut params);
        let key = KeyPair::generate();
        let der = params.signed_by(&key, &self.root_issuer()).unwrap().der().clone();
        Issuing { der, params, key }
    }

    /// The fields of a good leaf, to be broken: what SPIRE issues.
    pub(crate) fn leaf_params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "SPIRE");
        (params.not_before, params.not_after) = (self.now - HOUR / 60, self.now + HOUR);
        params.subject_alt_names = vec![uri(NAME)];
        params.key_usages = vec![Ku::DigitalSignature, Ku::KeyEncipherment];
        params.extended_key_usages = vec![Eku::ServerAuth, Eku::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// A leaf by an issuing CA: its chain without the root, and its key.
    pub(crate) fn leaf(
        &self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, rcgen::KeyPair) {
        self.leaf_for(rcgen::KeyPair::generate().unwrap(), change)
    }

    pub(crate) fn leaf_for(
        &self,
        key: rcgen::KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, rcgen::KeyPair) {
        let issuing = self.issuing(|_| {});
        let mut params = self.leaf_params();
        change(&mut params);
        (vec![issuing.sign(&params, &key), issuing.der], key)
    }

    /// The same as its files: chain and key.
    pub(crate) fn pem(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let (chain, key) = self.leaf(change);
        (chain.iter().map(|der| to_pem(der)).collect(), key.serialize_pem())
    }
}

impl Issuing {
    pub(crate) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &impl rcgen::PublicKeyData) -> CertificateDer<'static> {
        params.signed_by(key, &self.issuer()).unwrap().der().clone()
    }
}

/// The fields of a CA, to be broken.
pub(crate) fn ca_params(name: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (now - HOUR, now + 24 * HOUR);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![Ku::KeyCertSign, Ku::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.to_owned().try_into().unwrap())
}

/// The good leaf's name.
pub(crate) fn name() -> SanName {
    SanName::uri(NAME).unwrap()
}
