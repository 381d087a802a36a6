//! Leaves of the agents' CA with the wrong name.

use rcgen::{CustomExtension, SanType};

use super::{
    super::{UID, good_uri},
    Case,
};
use crate::identity::testing::{World, der};

pub(super) fn cases(world: &World) -> Vec<Case> {
    [kinds(world), ids(world), raw(world)].into_iter().flatten().collect()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

/// T079, T080: other names than the one URI.
fn kinds(world: &World) -> Vec<Case> {
    let dns = |text: &str| SanType::DnsName(text.to_owned().try_into().unwrap());
    let mail = || SanType::Rfc822Name("a@b.example".try_into().unwrap());
    let other = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], UID.to_owned().into()));
    let cases = vec![
        ("T079", "no name", vec![]),
        ("T079", "the same URI twice", vec![uri(&good_uri()), uri(&good_uri())]),
        ("T079", "a second URI of another cluster", vec![uri(&good_uri()), uri(&good_uri().replace("2t4", "2t5"))]),
        ("T079", "a second URI before ours", vec![uri("https://hub.example/"), uri(&good_uri())]),
        ("T079", "URI and DNS name", vec![uri(&good_uri()), dns("a.example")]),
        ("T079", "DNS name and URI", vec![dns("a.example"), uri(&good_uri())]),
        ("T079", "URI and IPv4", vec![uri(&good_uri()), SanType::IpAddress([127, 0, 0, 1].into())]),
        ("T079", "URI and IPv6", vec![uri(&good_uri()), SanType::IpAddress([0u16; 8].into())]),
        ("T079", "URI and mail", vec![uri(&good_uri()), mail()]),
        ("T079", "URI and another name", vec![uri(&good_uri()), other]),
        ("T079", "DNS name only", vec![dns(UID)]),
        ("T079", "DNS name that looks like the id", vec![dns(&good_uri().replace("://", "."))]),
        ("T079", "mail only", vec![mail()]),
        ("T080", "200 URIs", vec![uri(&good_uri()); 200]),
        ("T080", "ours and 199 DNS names", {
            let others = (0..199).map(|i| dns(&format!("{i}.example")));
            std::iter::once(uri(&good_uri())).chain(others).collect()
        }),
    ];
    cases
        .into_iter()
        .map(|(row, name, names)| Case::of(world, row, name, |p| p.subject_alt_names = names, "NotOneUri"))
        .collect()
}

/// T074, T079: URIs that are nearly ours.
fn ids(world: &World) -> Vec<Case> {
    let td = "spiffe://fleet.example";
    let cases = [
        ("T079", "no uid", format!("{td}/cluster/"), "Name(ClusterUid)"),
        ("T079", "no role", format!("{td}/{UID}"), "Name(Uri)"),
        ("T079", "a name for a uid", format!("{td}/cluster/prod"), "Name(ClusterUid)"),
        ("T079", "the uid and one digit more", format!("{td}/cluster/{UID}5"), "Name(ClusterUid)"),
        ("T079", "the uid but for its last digit", format!("{td}/cluster/{}", &UID[..25]), "Name(ClusterUid)"),
        ("T079", "the uid and a suffix", format!("{td}/cluster/{UID}-eu"), "Name(ClusterUid)"),
        ("T079", "the uid after a prefix", format!("{td}/cluster/x{UID}"), "Name(ClusterUid)"),
        ("T079", "the uid in upper case", format!("{td}/cluster/{}", UID.to_uppercase()), "Name(ClusterUid)"),
        ("T079", "one digit in upper case", format!("{td}/cluster/{}", UID.replace('q', "Q")), "Name(ClusterUid)"),
        ("T079", "an l for a 1", format!("{td}/cluster/{}", UID.replace('1', "l")), "Name(ClusterUid)"),
        ("T079", "a uid over 128 bits", format!("{td}/cluster/8{}", &UID[1..]), "Name(ClusterUid)"),
        ("T079", "a trailing slash", format!("{td}/cluster/{UID}/"), "Name(Uri)"),
        ("T079", "a segment more", format!("{td}/cluster/{UID}/agent"), "Name(Uri)"),
        ("T079", "two slashes", format!("{td}//cluster/{UID}"), "Name(Uri)"),
        ("T079", "dot segments", format!("{td}/cluster/a/../{UID}"), "Name(Uri)"),
        ("T079", "a percent sign", format!("{td}/cluster/%3031jdq3v5c0e8m2k4n6p8r0s2t4"), "Name(ClusterUid)"),
        ("T079", "%61", format!("{td}/cluster/%61"), "Name(ClusterUid)"),
        ("T079", "a query", format!("{td}/cluster/{UID}?x"), "Name(ClusterUid)"),
        ("T079", "a fragment", format!("{td}/cluster/{UID}#x"), "Name(ClusterUid)"),
        ("T079", "a colon and more", format!("{td}/cluster/{UID}:agent"), "Name(ClusterUid)"),
        ("T079", "a space before", format!(" {td}/cluster/{UID}"), "Name(Uri)"),
        ("T079", "a line break after", format!("{td}/cluster/{UID}\n"), "Name(ClusterUid)"),
        ("T079", "the scheme in upper case", format!("SPIFFE://fleet.example/cluster/{UID}"), "Name(Uri)"),
        ("T079", "another scheme", format!("https://fleet.example/cluster/{UID}"), "Name(Uri)"),
        ("T079", "no authority", format!("spiffe:/cluster/{UID}"), "Name(Uri)"),
        ("T079", "an empty trust domain", format!("spiffe:///cluster/{UID}"), "Name(TrustDomain)"),
        (
            "T079",
            "the trust domain in upper case",
            format!("spiffe://FLEET.example/cluster/{UID}"),
            "Name(TrustDomain)",
        ),
        ("T079", "a port", format!("spiffe://fleet.example:443/cluster/{UID}"), "Name(TrustDomain)"),
        ("T079", "a user", format!("spiffe://a@fleet.example/cluster/{UID}"), "Name(TrustDomain)"),
        ("T079", "a role in upper case", format!("{td}/Cluster/{UID}"), "Name(Role)"),
        ("T079", "a role in the plural", format!("{td}/clusters/{UID}"), "Name(Role)"),
        ("T079", "a role that we do not have", format!("{td}/pending/{UID}"), "Name(Role)"),
        ("T079", "5 KB of trust domain", format!("spiffe://{}/cluster/{UID}", "a".repeat(5000)), "Name(Uri)"),
        ("T079", "5 KB of uid", format!("{td}/cluster/{}", UID.repeat(200)), "Name(Uri)"),
        ("T079", "an empty URI", String::new(), "Name(Uri)"),
        ("T081", "a hub's id", format!("{td}/hub/hub-0"), "Role"),
        (
            "T074",
            "a foreign trust domain",
            format!("spiffe://evil/cluster/{UID}"),
            "TrustDomain(TrustDomain(\"evil\"))",
        ),
        (
            "T074",
            "a trust domain that begins as ours",
            format!("spiffe://fleet.example.evil/cluster/{UID}"),
            "TrustDomain(TrustDomain(\"fleet.example.evil\"))",
        ),
        (
            "T074",
            "a trust domain that ends as ours",
            format!("spiffe://evil.fleet.example/cluster/{UID}"),
            "TrustDomain(TrustDomain(\"evil.fleet.example\"))",
        ),
    ];
    cases
        .into_iter()
        .map(|(row, name, id, expected)| Case::of(world, row, name, |p| p.subject_alt_names = vec![uri(&id)], expected))
        .collect()
}

/// A subject alternative name with exactly these content bytes.
pub(super) fn raw_san(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}

/// T079: the right name in encodings that parsers read differently.
fn raw(world: &World) -> Vec<Case> {
    let good = der(0x86, good_uri().as_bytes());
    let length = u8::try_from(good.len()).unwrap();
    let and = |more: Vec<u8>| der(0x30, &[good.clone(), more].concat());
    let cases = [
        ("an empty list of names", der(0x30, &[])),
        ("a second URI that is not UTF-8", and(der(0x86, &[0xff, 0xfe]))),
        ("an empty second URI", and(der(0x86, &[]))),
        ("trailing bytes inside", and(vec![0])),
        ("trailing bytes outside", [der(0x30, &good), vec![5, 0]].concat()),
        ("a length that is not minimal", [vec![0x30, 0x81, length], good.clone()].concat()),
        ("a length that is not minimal inside", der(0x30, &[vec![0x86, 0x81, length - 2], good_uri().into()].concat())),
        ("of indefinite length", [vec![0x30, 0x80], good.clone(), vec![0, 0]].concat()),
        ("constructed", der(0x30, &der(0xa6, &der(0x16, good_uri().as_bytes())))),
        ("no list", good.clone()),
        ("a set", der(0x31, &good)),
        ("two lists", [der(0x30, &good), der(0x30, &good)].concat()),
        ("not ASCII", der(0x30, &der(0x86, format!("{}é", good_uri()).as_bytes()))),
        ("a zero byte", der(0x30, &der(0x86, format!("{}\0", good_uri()).as_bytes()))),
        ("a registered id beside it", and(der(0x88, &[0x2a, 0x03]))),
        ("a name of an unknown kind beside it", and(der(0x8f, &[1]))),
        ("no content", vec![]),
    ];
    let expected = |name: &str| match name {
        "not ASCII" | "a zero byte" => "Name(ClusterUid)",
        // What is no list of names at all stops webpki.
        "trailing bytes outside"
        | "a length that is not minimal"
        | "of indefinite length"
        | "no list"
        | "a set"
        | "two lists"
        | "no content" => "InvalidCertificate(BadEncoding)",
        _ => "NotOneUri",
    };
    let broken = |(name, content): (&str, Vec<u8>)| {
        let change = |p: &mut rcgen::CertificateParams| {
            p.subject_alt_names.clear();
            p.custom_extensions = vec![raw_san(content)];
        };
        Case::of(world, "T079", &format!("name: {name}"), change, expected(name))
    };
    cases.into_iter().map(broken).collect()
}
