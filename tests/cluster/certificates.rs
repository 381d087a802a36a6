//! The keys and certificates of one control plane: one CA, and what it signs. They live as long as the test.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};

use super::process::write_private;

/// A directory of PEM files: `ca`, `apiserver`, `kubelet` (the test node), `kubelet-client` (the API server towards it), `admin`
/// (each `.crt` and `.key`) and `service-accounts` (`.key`, `.pub`).
#[derive(Debug)]
pub(crate) struct Certificates {
    dir: PathBuf,
    ca_pem: String,
}

impl Certificates {
    /// Makes all of them; the API server's key is RSA of 2048 bits, as kubeadm's default is, or else like all others of P-256.
    pub(crate) fn make(dir: &Path, rsa: bool) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test-cluster-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(dir.join("ca.crt"), ca.pem())?;
        write_private(&dir.join("ca.key"), ca.key().serialize_pem().as_bytes())?;

        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let api_names =
            ["127.0.0.1", "localhost", "10.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let api_key = KeyPair::generate_for(if rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 })?;
        issue_for(&api_key, dir, &ca, "apiserver", ("kube-apiserver", None), &api_names, server.clone())?;
        issue(dir, &ca, "kubelet", ("system:node:test-node", Some("system:nodes")), &["127.0.0.1"], server)?;
        issue(dir, &ca, "kubelet-client", ("kube-apiserver-kubelet-client", None), &[], client.clone())?;
        issue(dir, &ca, "admin", ("test-admin", Some("system:masters")), &[], client)?;

        let accounts = KeyPair::generate()?;
        write_private(&dir.join("service-accounts.key"), accounts.serialize_pem().as_bytes())?;
        fs::write(dir.join("service-accounts.pub"), accounts.public_key_pem())?;
        Ok(Self { dir: dir.to_owned(), ca_pem: ca.pem() })
    }

    /// One of the files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The CA's certificate.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
}

fn issue(
    dir: &Path,
    ca: &CertifiedIssuer<'_, KeyPair>,
    file: &str,
    name: (&str, Option<&str>),
    names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<()> {
    issue_for(&KeyPair::generate()?, dir, ca, file, name, names, usage)
}

fn issue_for(
    key: &KeyPair,
    dir: &Path,
    ca: &CertifiedIssuer<'_, KeyPair>,
    file: &str,
    (common_name, organization): (&str, Option<&str>),
    names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<()> {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    fs::write(dir.join(format!("{file}.crt")), params.signed_by(key, ca)?.pem())?;
    write_private(&dir.join(format!("{file}.key")), key.serialize_pem().as_bytes())
}
