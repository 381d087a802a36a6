//! Good leaves, or nearly, whose chain does not hold.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Eku, IsCa, Issuer, KeyUsagePurpose as Ku};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{super::cluster, Case, agent_params};
use crate::identity::{
    KeyPair,
    testing::{
        Holder, World,
        forge::{ca_params, issuing_by_root, issuing_key},
        sign_any,
    },
};

const UNKNOWN_ISSUER: &str = "InvalidCertificate(UnknownIssuer)";
const PURPOSE: &str = "InvalidCertificate(InvalidPurposeContext";

pub(super) fn cases(world: &World) -> Vec<Case> {
    [strangers(world), shapes(world), issuing(world), below(world)].into_iter().flatten().collect()
}

/// A good leaf below an issuing certificate with these fields, which the agents' root signed.
fn below_issuing(world: &World, params: &CertificateParams) -> Holder {
    let (issuing, issuing_key) = issuing_by_root(&world.agents, params);
    let issuer = Issuer::from_params(params, &issuing_key);
    let key = KeyPair::generate();
    let leaf = agent_params(world).signed_by(&key, &issuer).unwrap().der().clone();
    Holder { key, chain: vec![leaf, issuing] }
}

pub(super) fn by_another_issuing(world: &World) -> Holder {
    below_issuing(world, &ca_params(world, "another issuing"))
}

/// T074: whom the agents' CA never saw.
fn strangers(world: &World) -> Vec<Case> {
    let other = World::new();
    let own_key = KeyPair::generate();
    let self_signed = agent_params(world).self_signed(&own_key).unwrap().der().clone();
    let mut with_our_issuing = other.agent(&cluster());
    with_our_issuing.chain[1] = world.agent(&cluster()).chain[1].clone();
    let mut with_our_root = other.agent(&cluster());
    with_our_root.chain.push(world.agents.root().clone());
    let case = |name: &str, agent, expected: &str| Case::new("T074", name, agent, expected);
    vec![
        case("self-signed", Holder { key: own_key, chain: vec![self_signed] }, UNKNOWN_ISSUER),
        case("another installation's CA", other.agent(&cluster()), UNKNOWN_ISSUER),
        case("another trust domain's CA", World::of("evil", world.now).agent(&cluster()), UNKNOWN_ISSUER),
        case("another installation's leaf below our issuing certificate", with_our_issuing, UNKNOWN_ISSUER),
        case("another installation's chain and our root", with_our_root, UNKNOWN_ISSUER),
        case("an agent's certificate of the hub's CA", sign_any(&world.hub, &agent_params(world)), UNKNOWN_ISSUER),
        case("the hub's own certificate for links", world.link(), PURPOSE),
        case("the hub's own certificate for HTTPS", world.https(), PURPOSE),
        case(
            "a CA of the same name, with our issuing certificate",
            same_name(world, true),
            "InvalidCertificate(BadSignature)",
        ),
        case("a CA of the same name, with its own", same_name(world, false), "InvalidCertificate(BadSignature)"),
    ]
}

/// The issuing certificate's fields by a stranger's key.
fn same_name(world: &World, real_issuing: bool) -> Holder {
    let real = world.agent(&cluster()).chain[1].clone();
    let (mut params, mut root) = (ca_params(world, ""), ca_params(world, ""));
    params.distinguished_name = name_of(&real);
    root.distinguished_name = name_of(world.agents.root());
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    let (issuing_key, root_key, key) = (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
    let forged = params.signed_by(&issuing_key, &Issuer::from_params(&root, &root_key)).unwrap().der().clone();
    let leaf = agent_params(world).signed_by(&key, &Issuer::from_params(&params, &issuing_key)).unwrap().der().clone();
    Holder { key, chain: vec![leaf, if real_issuing { real } else { forged }] }
}

pub(in crate::identity::verify::tests) fn name_of(der: &CertificateDer<'_>) -> rcgen::DistinguishedName {
    let (_, cert) = X509Certificate::from_der(der).unwrap();
    let mut name = rcgen::DistinguishedName::new();
    for (kind, part) in [
        (rcgen::DnType::OrganizationName, cert.subject().iter_organization().next()),
        (rcgen::DnType::CommonName, cert.subject().iter_common_name().next()),
    ] {
        name.push(kind, part.unwrap().as_str().unwrap());
    }
    name
}

/// T080: good certificates in the wrong number or order.
fn shapes(world: &World) -> Vec<Case> {
    let chain = |change: &dyn Fn(&mut Vec<CertificateDer<'static>>)| {
        let mut agent = world.agent(&cluster());
        change(&mut agent.chain);
        agent
    };
    let root = world.agents.root().clone();
    let other_leaf = world.agent(&cluster()).chain[0].clone();
    let request = KeyPair::generate().csr();
    let case = |name: &str, agent, expected: &str| Case::new("T080", name, agent, expected);
    vec![
        case("without the issuing certificate", chain(&|c| c.truncate(1)), UNKNOWN_ISSUER),
        case("the root in place of the issuing certificate", chain(&|c| c[1] = root.clone()), UNKNOWN_ISSUER),
        case(
            "the issuing certificate first",
            chain(&|c| c.reverse()),
            "InvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))",
        ),
        case("the leaf twice", chain(&|c| c.insert(0, c[0].clone())), "Issuer(2)"),
        case("another agent's leaf behind it", chain(&|c| c.push(other_leaf.clone())), "Issuer(3)"),
        case("a request behind it", chain(&|c| c.push(request.clone().into())), "Issuer(3)"),
        case("nothing behind it", chain(&|c| c.push(vec![].into())), "Issuer(3)"),
        case("a chain of 4", chain(&|c| c.resize(4, c[1].clone())), "ChainLength(4)"),
        case("a chain of 8", chain(&|c| c.resize(8, c[1].clone())), "ChainLength(8)"),
        case("a chain of 100", chain(&|c| c.resize(100, c[1].clone())), "ChainLength(100)"),
    ]
}

/// T080: issuing certificates that the agents' root signed and that may not issue this.
fn issuing(world: &World) -> Vec<Case> {
    let case = |name: &str, change: &dyn Fn(&mut CertificateParams), expected: &str| {
        let mut params = ca_params(world, name);
        change(&mut params);
        Case::new("T080", format!("issuing certificate: {name}"), below_issuing(world, &params), expected)
    };
    let second = std::time::Duration::from_secs(1);
    let no_ca = "InvalidCertificate(Other(OtherError(EndEntityUsedAsCa)))";
    vec![
        case("expired", &|p| p.not_after = world.now - second, "InvalidCertificate(ExpiredContext"),
        case("not valid yet", &|p| p.not_before = world.now + 30 * second, "InvalidCertificate(NotValidYetContext"),
        case("no CA", &|p| p.is_ca = IsCa::ExplicitNoCa, no_ca),
        case("without basic constraints", &|p| p.is_ca = IsCa::NoCa, no_ca),
        case("may not sign certificates", &|p| p.key_usages = vec![Ku::CrlSign], "Issuer(2)"),
        case(
            "for servers only",
            &|p| p.extended_key_usages = vec![Eku::ServerAuth],
            "InvalidCertificate(InvalidPurposeContext",
        ),
    ]
}

/// T080: chains with a certificate too many in the middle.
fn below(world: &World) -> Vec<Case> {
    let issuing = world.agent(&cluster()).chain[1].clone();
    let issuer = Issuer::from_ca_cert_der(&issuing, issuing_key(&world.agents)).unwrap();
    let sub_params = ca_params(world, "below the issuing certificate");
    let (sub_key, key) = (KeyPair::generate(), KeyPair::generate());
    let sub = sub_params.signed_by(&sub_key, &issuer).unwrap().der().clone();
    let leaf = agent_params(world).signed_by(&key, &Issuer::from_params(&sub_params, &sub_key)).unwrap().der().clone();
    let too_long = Holder { key, chain: vec![leaf, sub, issuing.clone()] };

    let agent = world.agent(&cluster());
    let mut agent_name = ca_params(world, "");
    agent_name.distinguished_name = agent_params(world).distinguished_name;
    let key = KeyPair::generate();
    let leaf =
        agent_params(world).signed_by(&key, &Issuer::from_params(&agent_name, &agent.key)).unwrap().der().clone();
    let by_agent = Holder { key, chain: vec![leaf, agent.chain[0].clone(), issuing] };
    vec![
        Case::new(
            "T080",
            "a path longer than the issuing certificate allows",
            too_long,
            "InvalidCertificate(Other(OtherError(PathLenConstraintViolated)))",
        ),
        Case::new("T080", "issued by an agent", by_agent, "InvalidCertificate(Other(OtherError(EndEntityUsedAsCa)))"),
    ]
}
