//! Each kind of certificate is what its document in `certs/` says, and an authority refuses what it must not sign.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use time::macros::datetime;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    oid_registry,
};

use super::*;
use crate::identity::testing::{HOUR, World};

const NOW: OffsetDateTime = datetime!(2026-06-01 12:00:00.25 UTC);
const DAY: Duration = Duration::from_secs(86_400);

fn cluster() -> ClusterUid {
    "01jdq3v5c0e8m2k4n6p8r0s2t4".parse().unwrap()
}

fn issue(authority: &Authority, csr: &VerifiedCsr) -> Issued {
    let cluster = cluster();
    let request = AgentRequest { csr, cluster: &cluster, now: NOW, ttl: 24 * HOUR, serial: Serial::random() };
    authority.issue_agent(&request).unwrap()
}

/// A certificate as the lines of its document in `certs/`. `issuer` is the certificate above it, `now` the time of issue.
fn describe(der: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> String {
    let (rest, cert) = X509Certificate::from_der(der).unwrap();
    let (_, issuer) = X509Certificate::from_der(issuer).unwrap();
    assert!(rest.is_empty());
    cert.verify_signature(Some(issuer.public_key())).unwrap();
    assert_eq!(cert.issuer().as_raw(), issuer.subject().as_raw());
    let from = (NOW.truncate_to_second() - cert.validity().not_before.to_datetime()).whole_minutes();
    let life = cert.validity().not_after.to_datetime() - NOW.truncate_to_second();
    let life =
        if life.whole_days() > 1 { format!("{} days", life.whole_days()) } else { format!("{} h", life.whole_hours()) };
    let mut lines = vec![
        format!("version: {}", cert.version().0 + 1),
        format!("serial number: {} random bytes", cert.raw_serial().len()),
        format!("signature: {}", short(&cert.signature_algorithm.algorithm)),
        format!("issuer: {}", cert.issuer()),
        format!("not before: {from} min before issue"),
        format!("not after: {life} after issue"),
        format!("subject: {}", cert.subject()),
        format!("public key: {}", short(&cert.public_key().algorithm.parameters.as_ref().unwrap().as_oid().unwrap())),
    ];
    lines.extend(cert.extensions().iter().map(|extension| {
        let critical = if extension.critical { ", critical" } else { "" };
        format!(
            "{}{critical}: {}",
            short(&extension.oid),
            describe_extension(extension.parsed_extension(), &cert, &issuer)
        )
    }));
    let text = lines.join("\n");
    let generations = [(&cert, "<generation>"), (&issuer, "<issuer's generation>")];
    let text = generations.iter().fold(text, |text, (cert, name)| {
        let hex = SpkiSha256::of(cert.public_key().raw).to_string();
        text.replace(&hex["sha256:".len()..][..16], name)
    });
    text.replace("fleet.example", "<trust domain>").replace(cluster().as_str(), "<uid>").replace("hub-0", "<name>")
}

fn describe_extension(
    extension: &ParsedExtension<'_>,
    cert: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> String {
    let key_id = |cert: &X509Certificate<'_>| SpkiSha256::of(cert.public_key().raw).as_bytes()[..20].to_vec();
    match extension {
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            assert_eq!(id.key_identifier.as_ref().unwrap().0, key_id(issuer));
            "20 bytes of SHA-256 of the issuer's key".into()
        }
        ParsedExtension::SubjectKeyIdentifier(id) => {
            assert_eq!(id.0, key_id(cert));
            "20 bytes of SHA-256 of the key".into()
        }
        ParsedExtension::SubjectAlternativeName(names) => {
            let shown = names.general_names.iter().map(|name| match name {
                GeneralName::IPAddress([a, b, c, d]) => format!("IPAddress({a}.{b}.{c}.{d})"),
                other => other.to_string(),
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        ParsedExtension::KeyUsage(usage) => usage.to_string(),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            assert!(!usage.any && usage.other.is_empty());
            let usages = [(usage.client_auth, "client authentication"), (usage.server_auth, "server authentication")];
            usages.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
        }
        ParsedExtension::BasicConstraints(constraints) => match constraints.path_len_constraint {
            Some(length) => format!("CA {}, path length {length}", constraints.ca),
            None => format!("CA {}", constraints.ca),
        },
        other => panic!("an extension that no profile has: {other:?}"),
    }
}

fn short(oid: &oid_registry::Oid<'_>) -> String {
    oid_registry::OidRegistry::default().with_all_crypto().with_x509().get(oid).unwrap().sn().to_owned()
}

/// A fenced block of a document, counted from 0.
fn documented(document: &str, block: usize) -> &str {
    document.split("```").nth(2 * block + 1).unwrap().trim_start_matches("text").trim()
}

/// The documents in `certs/` say exactly what is issued: no field more, no field less.
#[test]
fn certificates_are_what_their_documents_say() {
    let world = World::of("fleet.example", NOW);
    let agent = issue(&world.agents, &VerifiedCsr::parse(&KeyPair::generate().csr()).unwrap());
    let link = world.link();
    let https = world.https();
    let agents_ca = include_str!("../../../certs/agents-ca.md");
    let hub_ca = include_str!("../../../certs/hub-ca.md");
    let cases = [
        (documented(include_str!("../../../certs/agent-leaf.md"), 0), &agent.chain[0], &agent.chain[1]),
        (documented(include_str!("../../../certs/hub-link-leaf.md"), 0), &link.chain[0], &link.chain[1]),
        (documented(include_str!("../../../certs/hub-https-leaf.md"), 0), &https.chain[0], &https.chain[1]),
        (documented(agents_ca, 0), world.agents.root(), world.agents.root()),
        (documented(agents_ca, 1), &agent.chain[1], world.agents.root()),
        (documented(hub_ca, 0), world.hub.root(), world.hub.root()),
        (documented(hub_ca, 1), &link.chain[1], world.hub.root()),
    ];
    for (document, cert, issuer) in cases {
        assert_eq!(describe(cert, issuer), document);
    }
    assert_eq!((agent.chain.len(), link.chain.len(), https.chain.len()), (2, 3, 3));
}

#[test]
fn what_is_reported_is_what_is_in_the_certificate() {
    let world = World::of("fleet.example", NOW);
    let key = KeyPair::generate();
    let issued = issue(&world.agents, &VerifiedCsr::parse(&key.csr()).unwrap());
    let (_, cert) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(Serial::from_der_bytes(cert.raw_serial()).unwrap(), issued.serial);
    assert_eq!((issued.spki_sha256, cert.public_key().raw), (key.spki_sha256(), key.spki_der().as_slice()));
    assert_eq!(cert.validity().not_before.to_datetime(), issued.not_before);
    assert_eq!(cert.validity().not_after.to_datetime(), issued.not_after);
    assert_eq!(issued.not_after, datetime!(2026-06-02 12:00 UTC));
    let again: Vec<_> = CertificateDer::pem_slice_iter(issued.chain_pem().as_bytes()).map(Result::unwrap).collect();
    assert_eq!(again, issued.chain);
}

/// T007, T008: whatever a request asks for, the certificate is the same but for serial and key.
#[test]
fn nothing_but_the_key_is_taken_from_a_request() {
    let world = World::of("fleet.example", NOW);
    let mut greedy = CertificateParams::default();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    greedy.distinguished_name.push(rcgen::DnType::CommonName, "01jdq3v5c0e8m2k4n6p8r0s2t5");
    let uri = "spiffe://fleet.example/hub/hub-0".try_into().unwrap();
    greedy.subject_alt_names = vec![SanType::URI(uri), SanType::DnsName("hub.example".try_into().unwrap())];
    let greedy = greedy.serialize_request(&KeyPair::generate()).unwrap();
    let honest = KeyPair::generate().csr();
    let texts = [greedy.der().to_vec(), honest].map(|csr| {
        let issued = issue(&world.agents, &VerifiedCsr::parse(&csr).unwrap());
        describe(&issued.chain[0], &issued.chain[1])
    });
    assert_eq!(texts[0], texts[1]);
}

/// T010: serials come from the caller, not from the key, as rcgen's default would have it.
#[test]
fn two_certificates_for_one_key_have_different_serials() {
    let world = World::of("fleet.example", NOW);
    let csr = VerifiedCsr::parse(&KeyPair::generate().csr()).unwrap();
    let (first, second) = (issue(&world.agents, &csr), issue(&world.agents, &csr));
    assert_ne!(first.serial, second.serial);
    assert_ne!(first.chain[0], second.chain[0]);
}

#[test]
fn requests_outside_the_rules_have_typed_errors() {
    let world = World::of("fleet.example", NOW);
    let key = KeyPair::generate();
    let name = "hub-0".parse().unwrap();
    let link =
        |authority: &Authority, now, ttl| authority.issue_hub_link(&LinkRequest { key: &key, name: &name, now, ttl });
    assert!(matches!(link(&world.agents, NOW, HOUR), Err(IssueError::WrongAuthority(AuthorityKind::Agents))));
    for ttl in [Duration::ZERO, Duration::from_millis(999), MAX_LEAF_LIFE + Duration::from_secs(1), Duration::MAX] {
        assert!(matches!(link(&world.hub, NOW, ttl), Err(IssueError::Life(_))));
    }
    assert!(link(&world.hub, NOW, MAX_LEAF_LIFE).is_ok());
    assert!(matches!(link(&world.hub, NOW + 89 * DAY, 2 * DAY), Err(IssueError::IssuerEnds(_))));

    let https = |dns: &[&str], ips: &[IpAddr]| {
        let dns: Vec<_> = dns.iter().map(ToString::to_string).collect();
        world.hub.issue_hub_https(&HttpsRequest { key: &key, dns: &dns, ips, now: NOW, ttl: HOUR }).map(drop)
    };
    assert!(matches!(https(&[], &[]), Err(IssueError::NoNames)));
    for bad in ["", "a b", "*.example", "ü.example", "a..b", "127.0.0.1", "https://x"] {
        assert!(matches!(https(&[bad], &[]), Err(IssueError::DnsName(name)) if name == bad), "{bad}");
    }
    assert!(https(&[], &["::1".parse().unwrap()]).is_ok());
    let csr = VerifiedCsr::parse(&key.csr()).unwrap();
    let cluster = cluster();
    let request = AgentRequest { csr: &csr, cluster: &cluster, now: NOW, ttl: HOUR, serial: Serial::random() };
    assert!(matches!(world.hub.issue_agent(&request), Err(IssueError::WrongAuthority(AuthorityKind::Hub))));
}

#[test]
fn an_authority_survives_its_files() {
    let world = World::of("fleet.example", NOW);
    for authority in [&world.agents, &world.hub] {
        let again = Authority::from_pem(authority.kind(), world.domain(), &authority.to_pem()).unwrap();
        assert_eq!((again.pin(), again.issuing_ends()), (authority.pin(), authority.issuing_ends()));
        assert_eq!((again.root(), &again.issuing), (authority.root(), &authority.issuing));
    }
    let printed = format!("{:?} {:?}", world.agents, world.agents.to_pem());
    assert!(!printed.contains("PRIVATE KEY"), "{printed}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let (world, other) = (World::of("fleet.example", NOW), World::of("fleet.example", NOW));
    let good = world.agents.to_pem();
    let load =
        |pem: &AuthorityPem| Authority::from_pem(AuthorityKind::Agents, world.domain(), pem).map(drop).unwrap_err();
    let with = |change: &dyn Fn(&mut AuthorityPem)| {
        let mut pem = good.clone();
        change(&mut pem);
        format!("{:?}", load(&pem))
    };
    let foreign = other.agents.to_pem();
    let rsa = Secret::new(rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem());
    assert_eq!(with(&|pem| pem.root_key = foreign.root_key.clone()), r#"Mismatch("root")"#);
    assert_eq!(with(&|pem| pem.issuing_key = foreign.issuing_key.clone()), r#"Mismatch("issuing")"#);
    assert_eq!(with(&|pem| (pem.root_cert, pem.root_key) = (foreign.root_cert.clone(), None)), "Chain");
    let real = KeyPair::from_pem(good.root_key.as_ref().unwrap()).unwrap();
    let namesake =
        profile::root(AuthorityKind::Agents, &world.domain(), &real, NOW).self_signed(&KeyPair::generate()).unwrap();
    assert_eq!(with(&|pem| (pem.root_cert, pem.root_key) = (to_pem(namesake.der()), None)), "Chain");
    assert_eq!(with(&|pem| pem.root_cert = "nothing".into()), r#"Certificate("root")"#);
    assert_eq!(with(&|pem| pem.issuing_cert = String::new()), r#"Certificate("issuing")"#);
    assert_eq!(with(&|pem| pem.issuing_key = Secret::new("")), r#"Key("issuing", Pem)"#);
    assert_eq!(with(&|pem| pem.root_key = Some(rsa.clone())), r#"Key("root", Kind)"#);
    assert_eq!(format!("{:?}", load(&world.hub.to_pem())), r#"Foreign("root")"#);
    assert_eq!(format!("{:?}", load(&World::of("evil.example", NOW).agents.to_pem())), r#"Foreign("root")"#);
}

#[test]
fn generations_have_names_of_their_own() {
    let names = [World::of("fleet.example", NOW), World::of("fleet.example", NOW)].map(|world| {
        let (_, root) = X509Certificate::from_der(world.agents.root()).unwrap();
        root.subject().to_string()
    });
    assert_ne!(names[0], names[1]);
}

#[test]
fn the_issuing_certificate_is_replaced_in_time_and_only_with_the_roots_key() {
    let mut world = World::of("fleet.example", NOW);
    let (pin, first) = (world.agents.pin(), world.agents.issuing.clone());
    assert!(!world.agents.ensure_issuing(NOW + 57 * DAY).unwrap());
    assert_eq!(world.agents.issuing, first);
    let mut pem = world.agents.to_pem();
    pem.root_key = None;
    let mut offline = Authority::from_pem(AuthorityKind::Agents, world.domain(), &pem).unwrap();
    assert!(matches!(offline.ensure_issuing(NOW + 58 * DAY), Err(IssueError::RootOffline)));
    assert!(world.agents.ensure_issuing(NOW + 58 * DAY).unwrap());
    assert_eq!(world.agents.issuing_ends(), NOW.truncate_to_second() + 58 * DAY + ISSUING_LIFE);
    let (_, old) = X509Certificate::from_der(&first).unwrap();
    let (_, new) = X509Certificate::from_der(&world.agents.issuing).unwrap();
    assert_ne!((old.subject().to_string(), old.public_key().raw), (new.subject().to_string(), new.public_key().raw));
    assert_eq!(world.agents.pin(), pin);
    assert!(Authority::from_pem(AuthorityKind::Agents, world.domain(), &world.agents.to_pem()).is_ok());
}
