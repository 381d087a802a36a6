//! Certificates of external CAs, made anew for every run: each with one thing wrong and the reason for which it is refused, and those that
//! look odd and are in order.

mod roots;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose as Eku, GeneralSubtree, IsCa,
    KeyUsagePurpose as Ku, NameConstraints, SanType,
};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::identity::{
    KeyPair, SanName,
    testing::{
        HOUR,
        external::{ExternalWorld, Issuing, NAME, ca_params, dns, name, uri},
        forge::{Parts, field, issuing_key},
    },
};

type Chain = Vec<CertificateDer<'static>>;
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

const OTHER_UID: &str = "01jdq3v5c0e8m2k4n6p8r0s2t5";
const OTHER_NAME: &str = "spiffe://corp.example/ns/fleet/sa/edge-2";
const DNS: &str = "edge-1.fleet.corp.example";

/// A hub, and the two external CAs that it trusts.
struct Setting {
    hub: World,
    corp: ExternalWorld,
    other: ExternalWorld,
}

impl Setting {
    fn new() -> Self {
        Self { hub: World::new(), corp: ExternalWorld::new(), other: ExternalWorld::new() }
    }

    fn slot(&self, roots: &[&ExternalWorld]) -> Arc<AgentSlot> {
        let slot = AgentSlot::new(vec![(self.hub.agents.pin(), Arc::new(self.hub.agent_verifier()))]);
        slot.replace_external(roots.iter().map(|world| ExternalVerifier::new(&world.root()).unwrap()).collect());
        slot
    }

    /// `edge-1` by a URI and by a DNS name, `edge-2` by a URI, of `corp`; nothing of `other`.
    fn map(&self, ca: &crate::identity::SpkiSha256, name: &SanName) -> Option<ClusterUid> {
        let ours = *ca == self.corp.root().pin();
        match (name.as_uri(), name.as_dns()) {
            (Some(NAME), _) | (_, Some(DNS)) if ours => Some(cluster()),
            (Some(OTHER_NAME), _) if ours => Some(OTHER_UID.parse().unwrap()),
            _ => None,
        }
    }

    /// What a hub says to this chain: the cluster, or the reason.
    fn judge(&self, chain: &[CertificateDer<'_>]) -> String {
        let judged = match self.slot(&[&self.other, &self.corp]).verify(chain, self.hub.now) {
            Ok(Vouched::Own(peer, _)) => return format!("own {}", peer.cluster()),
            Ok(Vouched::External(peer)) => peer.mapped(|ca, name| self.map(ca, name)),
            Err(error) => Err(error),
        };
        match judged {
            Ok(peer) => {
                let external = peer.external().unwrap();
                assert_eq!(external.root(), self.corp.root().pin());
                if *peer.cluster() == cluster() { "edge-1".to_owned() } else { "edge-2".to_owned() }
            }
            Err(PeerError::Unmapped { names, .. }) => format!("Unmapped({names})"),
            Err(error) => reason(&error.into()),
        }
    }
}

fn other(ca: &World) -> String {
    format!("spiffe://{}/cluster/{UID}", ca.domain())
}

/// Leaves of the trusted CA with these names.
fn names(setting: &Setting) -> Vec<(&'static str, Chain, String)> {
    let with = |names: Vec<SanType>| setting.corp.leaf(|p| p.subject_alt_names = names).0;
    let unmapped = |names: &str| format!("Unmapped({names})");
    let mail = || SanType::Rfc822Name("a@b.example".try_into().unwrap());
    let upn = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], UID.to_owned().into()));
    let ours = other(&setting.hub);
    let many: Vec<_> = (0..10).map(|n| dns(&format!("n{n}.example"))).collect();
    let shown: Vec<_> = (0..8).map(|n| format!("DNS n{n}.example")).collect();
    vec![
        ("the name that is mapped", with(vec![uri(NAME)]), "edge-1".into()),
        ("another mapped name is another cluster", with(vec![uri(OTHER_NAME)]), "edge-2".into()),
        ("a mapped DNS name", with(vec![dns(DNS)]), "edge-1".into()),
        ("two names of one cluster", with(vec![uri(NAME), dns(DNS)]), "edge-1".into()),
        ("a mapped name and one that is not", with(vec![dns("x.example"), uri(NAME), mail()]), "edge-1".into()),
        ("beside an address", with(vec![uri(NAME), SanType::IpAddress([10, 0, 0, 1].into())]), "edge-1".into()),
        (
            "names of two clusters",
            with(vec![uri(NAME), uri(OTHER_NAME)]),
            format!("Ambiguous(\"URI {NAME}, URI {OTHER_NAME}\")"),
        ),
        (
            "a name that nobody mapped",
            with(vec![uri("spiffe://corp.example/x")]),
            unmapped("URI spiffe://corp.example/x"),
        ),
        (
            "a name that begins like a mapped one",
            with(vec![uri(&format!("{NAME}0"))]),
            unmapped(&format!("URI {NAME}0")),
        ),
        (
            "a mapped name cut short",
            with(vec![uri(&NAME[..NAME.len() - 1])]),
            unmapped(&format!("URI {}", &NAME[..NAME.len() - 1])),
        ),
        (
            "a mapped URI's host in capitals",
            with(vec![uri(&NAME.replace("corp", "CORP"))]),
            unmapped(&format!("URI {}", NAME.replace("corp", "CORP"))),
        ),
        ("a wildcard", with(vec![dns("*.fleet.corp.example")]), unmapped("DNS *.fleet.corp.example")),
        ("a mapped DNS name as a URI", with(vec![uri(DNS)]), unmapped(&format!("URI {DNS}"))),
        ("the hub's own kind of name", with(vec![uri(&ours)]), unmapped(&format!("URI {ours}"))),
        ("ten names that nobody mapped", with(many), unmapped(&format!("{}, and 2 more", shown.join(", ")))),
        ("no name", with(vec![]), "NoName".into()),
        ("mail only", with(vec![mail()]), "NoName".into()),
        ("an address only", with(vec![SanType::IpAddress([10, 0, 0, 1].into())]), "NoName".into()),
        ("a name of another kind", with(vec![uri(NAME), upn]), "Names".into()),
        ("33 names", with(vec![uri(NAME); 33]), "Names".into()),
        ("a name with a line break", with(vec![uri("spiffe://x/\n")]), "Names".into()),
        ("a name with a space", with(vec![uri("spiffe://x/ y")]), "Names".into()),
        ("an empty name", with(vec![uri("")]), "Names".into()),
    ]
}

/// Leaves of the trusted CA with a mapped name and something wrong.
fn leaves(setting: &Setting) -> Vec<(&'static str, Chain, String)> {
    let now = setting.hub.now;
    let second = std::time::Duration::from_secs(1);
    let with = |change: Change<'_>| setting.corp.leaf(|p| change(p)).0;
    let key = |algorithm| setting.corp.leaf_for(rcgen::KeyPair::generate_for(algorithm).unwrap(), |_| {}).0;
    let unknown = || {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        extension
    };
    let purpose = "InvalidCertificate(InvalidPurposeContext";
    let rows: Vec<(&str, Chain, &str)> = vec![
        ("without server authentication", with(&|p| p.extended_key_usages = vec![Eku::ClientAuth]), "edge-1"),
        ("without basic constraints", with(&|p| p.is_ca = IsCa::NoCa), "edge-1"),
        ("RSA-2048", key(&rcgen::PKCS_RSA_SHA256), "edge-1"),
        ("P-384", key(&rcgen::PKCS_ECDSA_P384_SHA384), "edge-1"),
        ("Ed25519", key(&rcgen::PKCS_ED25519), "edge-1"),
        ("P-521", key(&rcgen::PKCS_ECDSA_P521_SHA512), "Key(Kind)"),
        ("of 398 days", with(&|p| (p.not_before, p.not_after) = (now - HOUR, now - HOUR + 398 * 24 * HOUR)), "edge-1"),
        ("expired", with(&|p| p.not_after = now - second), "InvalidCertificate(ExpiredContext"),
        ("not valid yet", with(&|p| p.not_before = now + 30 * second), "InvalidCertificate(NotValidYetContext"),
        (
            "of 399 days",
            with(&|p| (p.not_before, p.not_after) = (now - HOUR, now - HOUR + 399 * 24 * HOUR)),
            "Life(34473600s)",
        ),
        ("no extended key usage", with(&|p| p.extended_key_usages.clear()), "ExtendedKeyUsage"),
        ("for servers only", with(&|p| p.extended_key_usages = vec![Eku::ServerAuth]), purpose),
        ("for anything", with(&|p| p.extended_key_usages = vec![Eku::Any]), purpose),
        (
            "for mail, too",
            with(&|p| p.extended_key_usages = vec![Eku::ClientAuth, Eku::EmailProtection]),
            "ExtendedKeyUsage",
        ),
        ("no key usage", with(&|p| p.key_usages.clear()), "KeyUsage"),
        ("not for signatures", with(&|p| p.key_usages = vec![Ku::KeyEncipherment]), "KeyUsage"),
        ("may sign certificates", with(&|p| p.key_usages = vec![Ku::DigitalSignature, Ku::KeyCertSign]), "KeyUsage"),
        (
            "a CA",
            with(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))",
        ),
        (
            "a critical extension that nobody knows",
            with(&|p| p.custom_extensions = vec![unknown()]),
            "InvalidCertificate(Other(OtherError(UnsupportedCriticalExtension)))",
        ),
    ];
    rows.into_iter().map(|(name, chain, expected)| (name, chain, expected.to_owned())).collect()
}

/// Leaves signed again with a field that rcgen does not write.
fn forged(setting: &Setting) -> Vec<(&'static str, Chain, String)> {
    let with = |at: usize, value: Vec<u8>| {
        let issuing = setting.corp.issuing(|_| {});
        let leaf = issuing.sign(&setting.corp.leaf_params(), &KeyPair::generate());
        let mut parts = Parts::of(&leaf);
        parts.fields[at] = value;
        vec![parts.sign(&issuing.key).into(), issuing.der]
    };
    let der = crate::identity::testing::der;
    let rsa = |bits: usize| {
        let modulus = [vec![0, 0x80], vec![0x5b; bits / 8 - 2], vec![0x01]].concat();
        let key = [vec![0], der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat())].concat();
        let algorithm = [der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]), vec![5, 0]].concat();
        der(0x30, &[der(0x30, &algorithm), der(3, &key)].concat())
    };
    let rows = vec![
        ("RSA-1024", with(field::KEY, rsa(1024)), "Key(ExternalRsaSize(1024))"),
        ("RSA-2040", with(field::KEY, rsa(2040)), "Key(ExternalRsaSize(2040))"),
        ("serial zero", with(field::SERIAL, der(2, &[0])), "Serial"),
    ];
    rows.into_iter().map(|(name, chain, expected)| (name, chain, expected.to_owned())).collect()
}

/// Good leaves below CAs that may or may not issue them.
fn issuers(setting: &Setting) -> Vec<(&'static str, Chain, String)> {
    let corp = &setting.corp;
    let below = |change: Change<'_>| {
        let issuing = corp.issuing(|p| change(p));
        vec![issuing.sign(&corp.leaf_params(), &KeyPair::generate()), issuing.der]
    };
    let by_dns = |permitted: &str| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName(permitted.to_owned())];
        let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: vec![] };
        let issuing = corp.issuing(|p| p.name_constraints = Some(constraints));
        let mut params = corp.leaf_params();
        params.subject_alt_names = vec![dns(DNS)];
        vec![issuing.sign(&params, &KeyPair::generate()), issuing.der]
    };
    let free = |_| BasicConstraints::Unconstrained;
    let ended = corp.now - HOUR / 60;
    let [too_long, no_ca, constraint] = ["PathLenConstraintViolated", "EndEntityUsedAsCa", "NameConstraintViolation"]
        .map(|kind| format!("InvalidCertificate(Other(OtherError({kind})))"));
    let purpose = "InvalidCertificate(InvalidPurposeContext";
    let rows: Vec<(&str, Chain, &str)> = vec![
        ("three issuing CAs and the root", with_root(corp, deep(corp, 3, &free)), "edge-1"),
        ("four issuing CAs and the root", with_root(corp, deep(corp, 4, &free)), "ChainLength(6)"),
        (
            "a path longer than an issuing CA allows",
            deep(corp, 2, &|level| BasicConstraints::Constrained(u8::from(level > 0))),
            &too_long,
        ),
        ("without its issuing CA", below(&|_| {})[..1].to_vec(), "InvalidCertificate(UnknownIssuer)"),
        ("an issuing CA that ended", below(&|p| p.not_after = ended), "InvalidCertificate(ExpiredContext"),
        ("an issuing CA for servers only", below(&|p| p.extended_key_usages = vec![Eku::ServerAuth]), purpose),
        ("an issuing CA that may not sign certificates", below(&|p| p.key_usages = vec![Ku::CrlSign]), "Issuer(2)"),
        ("an issuing certificate that is no CA", below(&|p| p.is_ca = IsCa::ExplicitNoCa), &no_ca),
        ("a name within a constraint", by_dns("fleet.corp.example"), "edge-1"),
        ("a name outside a constraint", by_dns("lab.corp.example"), &constraint),
        ("another leaf behind it", [below(&|_| {}), corp.leaf(|_| {}).0[..1].to_vec()].concat(), "Issuer(3)"),
    ];
    rows.into_iter().map(|(name, chain, expected)| (name, chain, expected.to_owned())).collect()
}

/// A leaf below so many issuing CAs, the uppermost of them level 0.
fn deep(corp: &ExternalWorld, levels: usize, lengths: &dyn Fn(usize) -> BasicConstraints) -> Chain {
    let mut issuing = corp.issuing(|p| p.is_ca = IsCa::Ca(lengths(0)));
    let mut chain = vec![issuing.der.clone()];
    for level in 1..levels {
        let mut params = ca_params(&format!("level {level}"), corp.now);
        params.is_ca = IsCa::Ca(lengths(level));
        let key = KeyPair::generate();
        let der = issuing.sign(&params, &key);
        issuing = Issuing { der: der.clone(), params, key };
        chain.insert(0, der);
    }
    chain.insert(0, issuing.sign(&corp.leaf_params(), &KeyPair::generate()));
    chain
}

fn with_root(corp: &ExternalWorld, mut chain: Chain) -> Chain {
    chain.push(corp.root.clone());
    chain
}

/// Whose roots: the one by which the name is mapped, others, the hub's own.
fn roots(setting: &Setting) -> Vec<(&'static str, Chain, String)> {
    let Setting { hub, corp, other } = setting;
    // The external CA signs the hub's issuing key: what the hub issued must not become more than it is by that.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![Ku::KeyCertSign];
    params.distinguished_name = super::corpus::chains::name_of(&hub.agent(&cluster()).chain[1]);
    let crossed = params.signed_by(&issuing_key(&hub.agents), &corp.root_issuer()).unwrap().der().clone();
    let own = hub.agent(&cluster()).chain;
    let mut two_names = super::corpus::agent_params(hub);
    two_names.subject_alt_names = vec![uri(NAME), uri("spiffe://x/y")];
    let two_names = crate::identity::testing::sign_any(&hub.agents, &two_names).chain;
    let direct = corp.leaf_params().signed_by(&KeyPair::generate(), &corp.root_issuer()).unwrap().der().clone();
    let stranger = ExternalWorld::at(corp.now, |p| p.distinguished_name.push(DnType::CommonName, "stranger"));
    let as_leaf = "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))";
    let (unmapped, itself) = (format!("Unmapped(URI {NAME})"), format!("own {UID}"));
    let crossing = |chain: Chain| [chain, vec![crossed.clone()]].concat();
    let rows: Vec<(&str, Chain, &str)> = vec![
        ("issued by the root itself", vec![direct], "edge-1"),
        ("with the root", with_root(corp, corp.leaf(|_| {}).0), "edge-1"),
        ("a CA that nobody trusts", stranger.leaf(|_| {}).0, "InvalidCertificate(UnknownIssuer)"),
        ("another trusted CA, by whom the name is not mapped", other.leaf(|_| {}).0, &unmapped),
        ("the root as a leaf", vec![corp.root.clone()], as_leaf),
        ("the hub's certificate for links", hub.link().chain, "InvalidCertificate(InvalidPurposeContext"),
        ("an agent's of the hub's own CA", own.clone(), &itself),
        ("an agent's of the hub's own CA with a cross-certificate", crossing(own), &itself),
        ("what the hub's own CA signed and the hub refuses, by a cross-certificate", crossing(two_names), "NotOneUri"),
    ];
    rows.into_iter().map(|(name, chain, expected)| (name, chain, expected.to_owned())).collect()
}

#[test]
fn every_external_certificate_is_the_cluster_or_the_refusal_that_it_must_be() {
    let setting = Setting::new();
    let cases = [names(&setting), leaves(&setting), forged(&setting), issuers(&setting), roots(&setting)].concat();
    let refused =
        cases.iter().filter(|(_, _, expected)| !expected.starts_with("edge-") && !expected.starts_with("own"));
    assert!(refused.count() >= 40);
    let mut wrong = Vec::new();
    for (name, chain, expected) in &cases {
        let found = setting.judge(chain);
        if found != *expected {
            wrong.push(format!("{name}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_agent_takes_only_files_that_a_hub_would_take() {
    let world = ExternalWorld::new();
    let good = world.pem(|_| {});
    let given = |chain: &str, key: &str, at| {
        let given = GivenIdentity::new(chain, &crate::identity::Secret::new(key), at);
        given.map_or_else(|error| format!("{error:?}"), |given| format!("ok {}", given.names()[0]))
    };
    let now = world.now;
    let half = &good.0[..good.0.find("-----END").unwrap()];
    let server = world.pem(|p| p.extended_key_usages = vec![Eku::ServerAuth]);
    let rsa = world.leaf_for(rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), |_| {});
    let rsa_chain: String = rsa.0.iter().map(|der| crate::identity::ca::to_pem(der)).collect();
    let (rsa_key, next) = (rsa.1.serialize_pem(), world.pem(|_| {}));
    let twice = good.0.clone() + &good.0;
    let many = good.0.repeat(3);
    let rows: Vec<(&str, &str, &str, time::OffsetDateTime, &str)> = vec![
        ("good", &good.0, &good.1, now, "ok URI spiffe://corp.example/"),
        ("RSA", &rsa_chain, &rsa_key, now, "ok URI"),
        ("half of it written", half, &good.1, now, "Chain"),
        ("empty", "", &good.1, now, "Chain"),
        ("no key yet", &good.0, "", now, "Key"),
        ("the key of the next one", &good.0, &next.1, now, "Mismatch"),
        ("ended", &good.0, &good.1, now + 2 * HOUR, "Expired"),
        ("not begun", &good.0, &good.1, now - HOUR, "NotYet"),
        ("for servers only", &server.0, &server.1, now, "Leaf(ExtendedKeyUsage)"),
        ("a leaf among its issuers", &twice, &good.1, now, "Issuer(3)"),
        ("six certificates", &many, &good.1, now, "Size"),
    ];
    for (name, chain, key, at, expected) in rows {
        let found = given(chain, key, at);
        assert!(found.starts_with(expected), "{name}: {found}, expected {expected}");
        assert!(!found.contains("PRIVATE"), "{name}");
    }
    let given = GivenIdentity::new(&good.0, &crate::identity::Secret::new(good.1), now).unwrap();
    assert!(format!("{given:?}").ends_with("***)"), "{given:?}");
    assert_eq!(given.names(), [name()]);
}

/// T088 for what is read of other CAs: no change of a byte makes a panic, nor a name that was not there.
#[test]
fn changed_bytes_never_panic_and_never_pass() {
    let setting = Setting::new();
    let (slot, chain) = (setting.slot(&[&setting.corp]), setting.corp.leaf(|_| {}).0);
    let root = crate::identity::ca::to_pem(&setting.corp.root);
    for at in 0..chain[0].len() {
        let mut leaf = chain[0].to_vec();
        leaf[at] ^= 1 << (at % 8);
        let leaf = CertificateDer::from(leaf);
        let read = super::super::leaf::ExternalLeaf::read(&leaf, MAX_EXTERNAL_LIFE);
        drop(read);
        assert!(slot.verify(&[leaf, chain[1].clone()], setting.hub.now).is_err(), "{at}");
        let cut = CertificateDer::from(chain[0][..at].to_vec());
        assert!(super::super::leaf::ExternalLeaf::read(&cut, MAX_EXTERNAL_LIFE).is_err(), "{at}");
    }
    for at in 0..root.len() {
        let mut text = root.clone().into_bytes();
        text[at] ^= 1 << (at % 8);
        let _ = ExternalRoot::stored(&String::from_utf8_lossy(&text));
    }
}
