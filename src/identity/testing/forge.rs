//! Certificates and requests taken apart, changed and signed again: what rcgen cannot be made to write.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, SigningKey,
};
use rustls::pki_types::CertificateDer;

use super::{World, der};
use crate::identity::{Authority, KeyPair};

/// The fields of a certificate's `TBSCertificate` or a request's `CertificationRequestInfo`, each as its own DER.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) fields: Vec<Vec<u8>>,
    pub(crate) algorithm: Vec<u8>,
}

/// Where the fields of a certificate stand in [`Parts::fields`].
pub(crate) mod field {
    pub(crate) const VERSION: usize = 0;
    pub(crate) const SERIAL: usize = 1;
    pub(crate) const ALGORITHM: usize = 2;
    pub(crate) const VALIDITY: usize = 4;
    pub(crate) const KEY: usize = 6;
    pub(crate) const EXTENSIONS: usize = 7;
}

impl Parts {
    pub(crate) fn of(signed: &[u8]) -> Self {
        let [to_be_signed, algorithm, _signature] = children(signed).try_into().unwrap();
        Self { fields: children(&to_be_signed), algorithm }
    }

    /// The signed bytes.
    pub(crate) fn to_be_signed(&self) -> Vec<u8> {
        der(0x30, &self.fields.concat())
    }

    /// The whole, signed anew with ECDSA over P-256 and SHA-256.
    pub(crate) fn sign(&self, key: &KeyPair) -> Vec<u8> {
        let signature = key.sign(&self.to_be_signed()).unwrap();
        self.with_signature(&[vec![0], signature].concat())
    }

    /// The whole with these content bytes of the signature.
    pub(crate) fn with_signature(&self, bits: &[u8]) -> Vec<u8> {
        der(0x30, &[self.to_be_signed(), self.algorithm.clone(), der(3, bits)].concat())
    }
}

/// The elements inside a constructed one.
pub(crate) fn children(element: &[u8]) -> Vec<Vec<u8>> {
    let (header, length) = header(element);
    let mut content = &element[header..header + length];
    let mut out = Vec::new();
    while !content.is_empty() {
        let (header, length) = self::header(content);
        let (child, rest) = content.split_at(header + length);
        out.push(child.to_vec());
        content = rest;
    }
    out
}

/// The length of an element's header and of its content.
pub(crate) fn header(element: &[u8]) -> (usize, usize) {
    match element[1] {
        short @ 0..=0x7f => (2, short.into()),
        long => {
            let digits = usize::from(long & 0x7f);
            (2 + digits, element[2..2 + digits].iter().fold(0, |value, digit| value << 8 | usize::from(*digit)))
        }
    }
}

/// The key of an authority's issuing certificate.
pub(crate) fn issuing_key(authority: &Authority) -> KeyPair {
    KeyPair::from_pem(&authority.to_pem().issuing_key).unwrap()
}

/// The fields of an issuing certificate, to be broken.
pub(crate) fn ca_params(world: &World, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (world.now - super::HOUR, world.now + super::HOUR);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// An issuing certificate of `params`, signed by the authority's own root.
pub(crate) fn issuing_by_root(authority: &Authority, params: &CertificateParams) -> (CertificateDer<'static>, KeyPair) {
    let root_key = KeyPair::from_pem(&authority.to_pem().root_key.unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_der(authority.root(), root_key).unwrap();
    let key = KeyPair::generate();
    (params.signed_by(&key, &issuer).unwrap().der().clone(), key)
}
