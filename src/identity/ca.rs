//! Certificate authorities: a root that is pinned, an issuing intermediate that signs, and the leaves they issue.
//!
//! There are two, kept apart: the agents' CA (the hub trusts it) and the hub's CA (agents and people trust it). Every field of a
//! certificate is decided here (`certs/` documents them); from a request only the public key is taken. Refuses to know where keys are
//! kept, who may have a certificate, and which were issued.

pub(super) mod profile;
mod root;

use std::{fmt, net::IpAddr, time::Duration};

use rcgen::{CertificateParams, Issuer, PublicKeyData};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    ClusterUid, HubName, KeyPair, Secret, Serial, SpiffeId, SpkiSha256, TrustDomain, VerifiedCsr, keys::KeyError,
};

/// How far every certificate is backdated, so that a peer whose clock is behind accepts it (security design § 4.1).
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Life of a root: replaced by an operator, in phases.
pub const ROOT_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// Life of an issuing intermediate.
pub const ISSUING_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Longest life of a leaf.
pub const MAX_LEAF_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// What is left of an issuing intermediate when [`Authority::ensure_issuing`] replaces it: the longest leaf and two days of slack.
pub const ISSUING_RESERVE: Duration = Duration::from_secs(32 * 86_400);

/// Whom an authority certifies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthorityKind {
    /// Agents; trusted by hubs.
    Agents,
    /// Hubs; trusted by agents and people.
    Hub,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// An agents' CA was asked for a hub's certificate, or the other way round.
    #[error("the {0:?} authority does not issue this kind of certificate")]
    WrongAuthority(AuthorityKind),
    /// A life under a second or above [`MAX_LEAF_LIFE`].
    #[error("a certificate's life must be between 1 s and 30 days, not {0:?}")]
    Life(Duration),
    /// The issuing certificate ends before the leaf would: [`Authority::ensure_issuing`] was not called.
    #[error("the issuing certificate ends at {0}, before the certificate asked for")]
    IssuerEnds(OffsetDateTime),
    /// An issuing certificate is needed, but the root's key is not here.
    #[error("the root's key is kept offline, so the issuing certificate cannot be replaced")]
    RootOffline,
    /// No DNS name and no address for an HTTPS certificate.
    #[error("an HTTPS certificate needs at least one DNS name or address")]
    NoNames,
    /// A DNS name that no certificate can carry.
    #[error("`{0}` is not a DNS name")]
    DnsName(String),
    /// The library refused the fields.
    #[error("the certificate could not be built")]
    Build(#[source] rcgen::Error),
}

/// Why an authority cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A certificate is not one PEM block of a certificate.
    #[error("the {0} certificate is not a certificate in PEM")]
    Certificate(&'static str),
    /// A private key cannot be read.
    #[error("the {0} key cannot be read")]
    Key(&'static str, #[source] KeyError),
    /// A key does not belong to its certificate.
    #[error("the {0} key does not belong to the {0} certificate")]
    Mismatch(&'static str),
    /// The issuing certificate is not issued by this root.
    #[error("the issuing certificate is not signed by the root")]
    Chain,
    /// A certificate of another kind of authority, trust domain or purpose.
    #[error("the {0} certificate belongs to another authority or trust domain")]
    Foreign(&'static str),
}

/// What an agent's certificate is made from.
#[derive(Clone, Copy, Debug)]
pub struct AgentRequest<'a> {
    /// The key to certify.
    pub csr: &'a VerifiedCsr,
    /// Whose certificate it is.
    pub cluster: &'a ClusterUid,
    /// The hub's time.
    pub now: OffsetDateTime,
    /// Life from `now` on.
    pub ttl: Duration,
    /// Its serial; the caller records it before the certificate leaves the hub.
    pub serial: Serial,
}

/// What a hub's certificate for links is made from.
#[derive(Clone, Copy, Debug)]
pub struct LinkRequest<'a> {
    /// The hub's key.
    pub key: &'a KeyPair,
    /// Which hub replica.
    pub name: &'a HubName,
    /// The hub's time.
    pub now: OffsetDateTime,
    /// Life from `now` on.
    pub ttl: Duration,
}

/// What a hub's certificate for HTTPS is made from.
#[derive(Clone, Copy, Debug)]
pub struct HttpsRequest<'a> {
    /// The hub's key; not the one of its links.
    pub key: &'a KeyPair,
    /// DNS names, without wildcard.
    pub dns: &'a [String],
    /// IP addresses.
    pub ips: &'a [IpAddr],
    /// The hub's time.
    pub now: OffsetDateTime,
    /// Life from `now` on.
    pub ttl: Duration,
}

/// A certificate that was just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain to present: leaf, issuing certificate, and for a hub the root, which is what agents pin.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's serial.
    pub serial: Serial,
    /// The fingerprint of the leaf's key.
    pub spki_sha256: SpkiSha256,
    /// Valid from.
    pub not_before: OffsetDateTime,
    /// Valid until.
    pub not_after: OffsetDateTime,
}

impl Issued {
    /// The chain in PEM, leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| to_pem(der)).collect()
    }
}

/// An authority as text, for its files. The root's key may be elsewhere.
#[derive(Clone, Debug)]
pub struct AuthorityPem {
    /// The root certificate; public, what others trust.
    pub root_cert: String,
    /// The root's key; `None` when it is kept off this machine.
    pub root_key: Option<Secret>,
    /// The issuing certificate; public.
    pub issuing_cert: String,
    /// The issuing key.
    pub issuing_key: Secret,
}

/// A root and the intermediate that issues for it.
pub struct Authority {
    kind: AuthorityKind,
    trust_domain: TrustDomain,
    root: CertificateDer<'static>,
    /// Of the root's key.
    pin: SpkiSha256,
    root_key: Option<KeyPair>,
    issuing: CertificateDer<'static>,
    issuing_key: KeyPair,
    issuing_ends: OffsetDateTime,
}

impl Authority {
    /// A new root with a new issuing certificate. Each generation has a subject of its own, made from its key.
    ///
    /// # Errors
    /// [`IssueError::Build`], for a time that no certificate can hold.
    pub fn create(kind: AuthorityKind, trust_domain: TrustDomain, now: OffsetDateTime) -> Result<Self, IssueError> {
        let root_key = KeyPair::generate();
        let params = profile::root(kind, &trust_domain, &root_key, now);
        let root = params.self_signed(&root_key).map_err(IssueError::Build)?.der().clone();
        let (issuing, issuing_key, issuing_ends) = new_issuing(kind, &trust_domain, (&root, &root_key), now)?;
        let pin = root_key.spki_sha256();
        Ok(Self { kind, trust_domain, root, pin, root_key: Some(root_key), issuing, issuing_key, issuing_ends })
    }

    /// Loads what [`Authority::to_pem`] wrote and checks that it belongs together.
    ///
    /// # Errors
    /// [`LoadError`], naming the part that is wrong.
    pub fn from_pem(kind: AuthorityKind, trust_domain: TrustDomain, pem: &AuthorityPem) -> Result<Self, LoadError> {
        let root = certificate("root", &pem.root_cert)?;
        let issuing = certificate("issuing", &pem.issuing_cert)?;
        let root_key = pem
            .root_key
            .as_ref()
            .map(|key| KeyPair::from_pem(key).map_err(|e| LoadError::Key("root", e)))
            .transpose()?;
        let issuing_key = KeyPair::from_pem(&pem.issuing_key).map_err(|e| LoadError::Key("issuing", e))?;

        let (_, parsed_root) = X509Certificate::from_der(&root).map_err(|_| LoadError::Certificate("root"))?;
        let (_, parsed) = X509Certificate::from_der(&issuing).map_err(|_| LoadError::Certificate("issuing"))?;
        if root_key.as_ref().is_some_and(|key| key.spki_der() != parsed_root.public_key().raw) {
            return Err(LoadError::Mismatch("root"));
        }
        if issuing_key.spki_der() != parsed.public_key().raw {
            return Err(LoadError::Mismatch("issuing"));
        }
        let signed = parsed.verify_signature(Some(parsed_root.public_key())).is_ok();
        if parsed.issuer().as_raw() != parsed_root.subject().as_raw() || !signed {
            return Err(LoadError::Chain);
        }
        for (part, cert) in [("root", &parsed_root), ("issuing", &parsed)] {
            if !profile::is_subject_of(kind, &trust_domain, part, cert.subject()) || !cert.is_ca() {
                return Err(LoadError::Foreign(part));
            }
        }
        let issuing_ends = parsed.validity().not_after.to_datetime();
        let pin = SpkiSha256::of(parsed_root.public_key().raw);
        drop((parsed_root, parsed));
        Ok(Self { kind, trust_domain, root, pin, root_key, issuing, issuing_key, issuing_ends })
    }

    /// The authority as text for its files.
    pub fn to_pem(&self) -> AuthorityPem {
        AuthorityPem {
            root_cert: self.root_pem(),
            root_key: self.root_key.as_ref().map(KeyPair::to_pem),
            issuing_cert: to_pem(&self.issuing),
            issuing_key: self.issuing_key.to_pem(),
        }
    }

    /// Whom it certifies.
    pub fn kind(&self) -> AuthorityKind {
        self.kind
    }

    /// Whose ids it certifies.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificate in PEM: public.
    pub fn root_pem(&self) -> String {
        to_pem(&self.root)
    }

    /// The root certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Of the issuing key.
    pub fn issuing_pin(&self) -> SpkiSha256 {
        self.issuing_key.spki_sha256()
    }

    /// The root as the one trust anchor of a verifier.
    pub fn roots(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(self.root.clone()).expect("a root that this authority built or checked is a trust anchor");
        store
    }

    /// When the root ends.
    pub fn root_ends(&self) -> OffsetDateTime {
        let (_, root) =
            X509Certificate::from_der(&self.root).expect("a root that this authority built or checked parses");
        root.validity().not_after.to_datetime()
    }

    /// When the issuing certificate ends.
    pub fn issuing_ends(&self) -> OffsetDateTime {
        self.issuing_ends
    }

    /// Issues an agent's certificate (`certs/agent-leaf.md`).
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_agent(&self, request: &AgentRequest<'_>) -> Result<Issued, IssueError> {
        self.must_be(AuthorityKind::Agents)?;
        let life = self.life(request.now, request.ttl)?;
        let id = SpiffeId::cluster(self.trust_domain.clone(), request.cluster.clone());
        let params = profile::agent_leaf(&id, request.cluster, life, request.serial);
        self.sign(&params, request.csr.public_key(), request.serial)
    }

    /// Issues a hub's certificate for links (`certs/hub-link-leaf.md`).
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_hub_link(&self, request: &LinkRequest<'_>) -> Result<Issued, IssueError> {
        self.must_be(AuthorityKind::Hub)?;
        let life = self.life(request.now, request.ttl)?;
        let id = SpiffeId::hub(self.trust_domain.clone(), request.name.clone());
        let serial = Serial::random();
        let params = profile::hub_link_leaf(&id, request.name, life, serial);
        self.sign(&params, request.key, serial)
    }

    /// Issues a hub's certificate for HTTPS (`certs/hub-https-leaf.md`).
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_hub_https(&self, request: &HttpsRequest<'_>) -> Result<Issued, IssueError> {
        self.must_be(AuthorityKind::Hub)?;
        let life = self.life(request.now, request.ttl)?;
        let serial = Serial::random();
        let params = profile::hub_https_leaf(request.dns, request.ips, life, serial)?;
        self.sign(&params, request.key, serial)
    }

    fn must_be(&self, kind: AuthorityKind) -> Result<(), IssueError> {
        if self.kind == kind { Ok(()) } else { Err(IssueError::WrongAuthority(self.kind)) }
    }

    fn life(&self, now: OffsetDateTime, ttl: Duration) -> Result<profile::Life, IssueError> {
        if ttl < Duration::from_secs(1) || ttl > MAX_LEAF_LIFE {
            return Err(IssueError::Life(ttl));
        }
        let life = profile::Life::from(now, ttl);
        if life.not_after > self.issuing_ends {
            return Err(IssueError::IssuerEnds(self.issuing_ends));
        }
        Ok(life)
    }

    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        serial: Serial,
    ) -> Result<Issued, IssueError> {
        let issuer = Issuer::from_ca_cert_der(&self.issuing, &self.issuing_key).map_err(IssueError::Build)?;
        let leaf = params.signed_by(key, &issuer).map_err(IssueError::Build)?.der().clone();
        let mut chain = vec![leaf, self.issuing.clone()];
        if self.kind == AuthorityKind::Hub {
            chain.push(self.root.clone());
        }
        let spki_sha256 = SpkiSha256::of(&key.subject_public_key_info());
        Ok(Issued { chain, serial, spki_sha256, not_before: params.not_before, not_after: params.not_after })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?}, {}, {})", self.kind, self.trust_domain, self.pin())
    }
}

/// A certificate as one PEM block.
pub fn to_pem(der: &CertificateDer<'_>) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    super::keys::pem_block("CERTIFICATE", &STANDARD.encode(der))
}

fn certificate(part: &'static str, pem: &str) -> Result<CertificateDer<'static>, LoadError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| LoadError::Certificate(part))
}

fn new_issuing(
    kind: AuthorityKind,
    trust_domain: &TrustDomain,
    (root, root_key): (&CertificateDer<'static>, &KeyPair),
    now: OffsetDateTime,
) -> Result<(CertificateDer<'static>, KeyPair, OffsetDateTime), IssueError> {
    let key = KeyPair::generate();
    let params = profile::issuing(kind, trust_domain, &key, now);
    let issuer = Issuer::from_ca_cert_der(root, root_key).map_err(IssueError::Build)?;
    let certificate = params.signed_by(&key, &issuer).map_err(IssueError::Build)?.der().clone();
    Ok((certificate, key, params.not_after))
}

#[cfg(test)]
mod tests;
