//! Section A: who gets a certificate, over real HTTPS, and what becomes of the join token's text.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    string::Ia5String,
};
use roadstead::{defaults, identity::KeyPair};
use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{
    origin::Origin,
    quic::{decode, enrol, join_with},
    rows::{Outcome, Rows, expect},
    world::{Announced, Hub, Process, spawn_agent, write_private},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_is_one_identity() {
    let mut hub = Hub::start("info").await;
    let rows = Rows::default();
    rows.run("T001", "a used token with another key", used(&hub)).await;
    rows.run("T002", "a used token with the same key: the lost answer again", lost_answer(&hub)).await;
    rows.run("T003", "200 parallel uses of one token: one identity", parallel(&hub)).await;
    rows.run("T004", "expired, mistyped, unknown: 401 in the same words", same_words(&hub)).await;
    rows.run("T007", "a CSR that asks for everything: a plain leaf for one hour's cluster", greedy(&hub)).await;
    rows.run("T008", "a CSR that names another cluster", other_cluster(&hub)).await;
    for (what, csr) in bad_csrs() {
        rows.run("T009", what, refused_csr(&hub, &csr)).await;
    }
    rows.run("T010", "one key twice: two serials", serials(&hub)).await;
    rows.run("T017", "a name that exists", name_taken(&hub)).await;
    rows.run("T019", "failures from one address: 429, and nobody else waits", limited(&hub)).await;
    for (what, body, status) in bodies() {
        rows.run("T009", what, body_gets(&hub, &body, status)).await;
    }
    rows.run("T020", "a hub that is not the pinned one never sees the token", wrong_pin(&hub)).await;
    hub.check_unharmed();
    rows.end().await;
}

async fn used(hub: &Hub) -> Outcome {
    let announced = hub.announce("used").await;
    join_with(hub, &announced).await;
    let (status, body) = enrol(hub, &announced.token, &KeyPair::generate().csr()).await;
    expect(status == 401 && body["chain"].is_null(), format!("{status} {body}"))
}

async fn lost_answer(hub: &Hub) -> Outcome {
    let announced = hub.announce("lost").await;
    let key = KeyPair::generate();
    let (first, a) = enrol(hub, &announced.token, &key.csr()).await;
    let (second, b) = enrol(hub, &announced.token, &key.csr()).await;
    expect(first == 200 && second == 200 && a["uid"] == b["uid"], format!("{first} {second}"))
}

async fn parallel(hub: &Hub) -> Outcome {
    let announced = Arc::new(hub.announce("parallel").await);
    let mut asking = JoinSet::new();
    for _ in 0..200 {
        let (door, announced) = (hub.door.elsewhere(), announced.clone());
        asking.spawn(async move {
            let csr = BASE64_STANDARD.encode(KeyPair::generate().csr());
            let body = json!({"token": announced.token, "csr": csr}).to_string();
            door.enrol(&body).await.status()
        });
    }
    let statuses = asking.join_all().await;
    let of = |status| statuses.iter().filter(|s| **s == status).count();
    expect(of(200) == 1 && of(401) == 199, format!("{} × 200, {} × 401 of {}", of(200), of(401), statuses.len()))
}

async fn same_words(hub: &Hub) -> Outcome {
    let (_, short) = hub.api("POST", "/api/v1/clusters", &json!({"name": "short", "ttlSeconds": 1})).await;
    let good = hub.announce("typo").await.token;
    sleep(Duration::from_millis(1_100)).await;
    let secret = secret_part(&good);
    let flip = |c: char| if c == 'A' { 'B' } else { 'A' };
    let wrong: String = secret.chars().map(flip).collect();
    let candidates = [
        short["token"].as_str().unwrap_or_default().to_owned(),
        roadstead::identity::Token::generate(roadstead::identity::TokenKind::Join).reveal().expose().to_owned(),
        roadstead::identity::Token::generate(roadstead::identity::TokenKind::Hub).reveal().expose().to_owned(),
        good.replace(secret, &wrong),
        good[..good.len() - 1].to_owned(),
        format!("{good} "),
        String::new(),
        hub.admin.clone(),
    ];
    let mut words = Vec::new();
    for token in &candidates {
        let (status, body) = enrol(hub, token, &KeyPair::generate().csr()).await;
        expect(status == 401, format!("status {status} {body}"))?;
        words.push(body["message"].as_str().unwrap_or_default().to_owned());
    }
    words.dedup();
    expect(words.len() == 1, format!("{words:?}"))
}

async fn limited(hub: &Hub) -> Outcome {
    let body = json!({"token": "guessed", "csr": BASE64_STANDARD.encode(KeyPair::generate().csr())}).to_string();
    let door = hub.door.elsewhere();
    let mut asking = JoinSet::new();
    for _ in 0..3 * defaults::ENROLMENT_FAILURES {
        let (door, body) = (door.clone(), body.clone());
        asking.spawn(async move { door.enrol(&body).await.first() });
    }
    let answers = asking.join_all().await;
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    let (refused, over) = (of(401), of(429));
    // Some grow back while this runs.
    let fits = refused >= defaults::ENROLMENT_FAILURES as usize && over > 0 && refused + over == answers.len();
    expect(fits, format!("{refused} × 401, {over} × 429 of {}", answers.len()))?;
    let told = answers.iter().filter(|a| a.status == 429).all(|a| !a.header("retry-after").is_empty());
    let counted = hub.metric("roadstead_enrolments_total{outcome=\"limited\"}").await;
    expect(told && counted == over as f64, format!("told: {told}, counted: {counted} of {over}"))?;
    let announced = hub.announce("unlimited").await;
    let (status, body) = enrol(hub, &announced.token, &KeyPair::generate().csr()).await;
    expect(status == 200, format!("another address: {status} {body}"))
}

/// A CSR signed by its own key, with whatever in it.
fn csr(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    change(&mut params);
    params.serialize_request(&KeyPair::generate()).unwrap().der().to_vec()
}

async fn greedy(hub: &Hub) -> Outcome {
    let announced = hub.announce("greedy").await;
    let asks = csr(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName(Ia5String::try_from("hub.example").unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        params.distinguished_name.push(DnType::CommonName, "system:masters");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    plain_leaf(hub, &announced, &asks).await
}

async fn other_cluster(hub: &Hub) -> Outcome {
    let (victim, own) = (hub.announce("victim").await, hub.announce("thief").await);
    let asks = csr(|params| {
        let name = format!("spiffe://x.roadstead/cluster/{}", victim.uid);
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(name).unwrap())];
        params.distinguished_name.push(DnType::CommonName, victim.uid.as_str());
    });
    plain_leaf(hub, &own, &asks).await
}

/// The one certificate that the hub gives: one URI, client use, 24 h, no authority.
async fn plain_leaf(hub: &Hub, announced: &Announced, csr: &[u8]) -> Outcome {
    let (status, body) = enrol(hub, &announced.token, csr).await;
    expect(status == 200, format!("{status} {body}"))?;
    let der = decode(&body["chain"][0]);
    let (_, leaf) = X509Certificate::from_der(&der).map_err(|e| e.to_string())?;
    let names = leaf.subject_alternative_name().ok().flatten().ok_or("no name")?.value.general_names.clone();
    let own = format!("/cluster/{}", announced.uid);
    expect(matches!(names.as_slice(), [GeneralName::URI(uri)] if uri.ends_with(&own)), format!("{names:?}"))?;
    expect(!leaf.is_ca(), "an authority")?;
    let usage = leaf.key_usage().ok().flatten().ok_or("no key usage")?.value;
    expect(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign(), format!("{usage:?}"))?;
    let extended = leaf.extended_key_usage().ok().flatten().ok_or("no extended key usage")?.value;
    expect(extended.client_auth && !extended.server_auth && !extended.any, format!("{extended:?}"))?;
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    expect(life <= 25 * 3600, format!("a life of {life} s"))?;
    expect(!leaf.subject().to_string().contains("masters"), leaf.subject().to_string())
}

fn bad_csrs() -> Vec<(&'static str, Vec<u8>)> {
    let good = KeyPair::generate().csr();
    let mut forged = good.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let p521 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let p521 = CertificateParams::default().serialize_request(&p521).unwrap().der().to_vec();
    let point = KeyPair::generate().spki_der();
    let mut off_curve = KeyPair::generate().csr();
    if let Some(at) = off_curve.windows(2).position(|w| w == [0, 4]) {
        off_curve[at + 2..at + 34].copy_from_slice(&[0xff; 32]);
    }
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&KeyPair::generate()).unwrap().der().to_vec();
    vec![
        ("a CSR with a forged signature", forged),
        ("a CSR with bytes after its end", [good.as_slice(), b"x"].concat()),
        ("a CSR cut in two", good[..good.len() / 2].to_vec()),
        ("a certificate instead of a CSR", certificate),
        ("a bare public key", point),
        ("a CSR of another curve", p521),
        ("a CSR with a point off the curve", off_curve),
        ("a CSR of 40 KB of zeros", vec![0; 40 << 10]),
        ("no CSR", Vec::new()),
    ]
}

async fn refused_csr(hub: &Hub, csr: &[u8]) -> Outcome {
    let name = format!("csr-{}", crate::world::marker());
    let announced = hub.announce(&name).await;
    let (status, body) = enrol(hub, &announced.token, csr).await;
    expect(status == 400, format!("{status} {body}"))?;
    // A bad CSR does not use up the token.
    let (status, _) = enrol(hub, &announced.token, &KeyPair::generate().csr()).await;
    expect(status == 200, "the token is used up")
}

async fn serials(hub: &Hub) -> Outcome {
    let announced = hub.announce("serials").await;
    let csr = KeyPair::generate().csr();
    let mut serials = Vec::new();
    for _ in 0..3 {
        let (_, body) = enrol(hub, &announced.token, &csr).await;
        let der = decode(&body["chain"][0]);
        let (_, leaf) = X509Certificate::from_der(&der).map_err(|e| e.to_string())?;
        serials.push(leaf.raw_serial().to_vec());
    }
    serials.sort();
    serials.dedup();
    expect(serials.len() == 3, "equal serials")
}

async fn name_taken(hub: &Hub) -> Outcome {
    hub.announce("taken").await;
    let (status, _) = hub.api("POST", "/api/v1/clusters", &json!({"name": "taken"})).await;
    expect(status == 409, format!("status {status}"))
}

fn bodies() -> Vec<(&'static str, String, u16)> {
    vec![
        ("an enrolment of 1 MB", format!("{{\"token\":\"{}\"}}", "x".repeat(1 << 20)), 413),
        ("an enrolment nested 10,000 deep", "[".repeat(10_000), 400),
        ("an enrolment with an unknown field", r#"{"token":"x","csr":"","cluster":"other"}"#.to_owned(), 400),
        ("an enrolment with a token twice", r#"{"token":"x","token":"y","csr":""}"#.to_owned(), 400),
        ("an enrolment that is no JSON", "token=x&csr=y".to_owned(), 400),
    ]
}

async fn body_gets(hub: &Hub, body: &str, status: u16) -> Outcome {
    let reply = hub.door.elsewhere().enrol(body).await;
    expect(reply.status() == status, format!("status {}", reply.status()))
}

/// A TLS server with a certificate of its own: the agent must hang up before it has said anything.
async fn wrong_pin(hub: &Hub) -> Outcome {
    let announced = hub.announce("pinned").await;
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(roadstead::identity::tls::provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dir, origin) = (hub.dir.path(), Origin::start().await);
    write_private(&dir.join("pinned.join"), &announced.token);
    let address = listener.local_addr().unwrap().to_string();
    let agent = spawn_agent(dir, "pinned", &address, &announced.pin, &origin, "trace");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    for _ in 0..2 {
        let (tcp, _) = timeout(Duration::from_secs(10), listener.accept()).await.map_err(|_| "it never came")?.unwrap();
        if let Ok(mut tls) = acceptor.accept(tcp).await {
            let mut said = Vec::new();
            let _ = timeout(Duration::from_secs(2), tls.read_to_end(&mut said)).await;
            expect(said.is_empty(), String::from_utf8_lossy(&said))?;
        }
    }
    expect(!agent.said().contains(&announced.token), "the token is in the agent's log")
}

/// Everything at its loudest: no secret is in any log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log() {
    let (hub, origin) = (Hub::start("trace").await, Origin::start().await);
    let rows = Rows::default();
    let announced = hub.announce("loud").await;
    let agent = hub.spawn_agent("loud", &announced, &origin, "trace");
    hub.connected("loud").await;
    let alice = hub.token("alice").await;
    for path in ["/clusters/loud/api/v1/pods", "/api/v1/whoami", "/clusters/nowhere/api", "/nothing"] {
        hub.post("GET", path, &alice, "").await;
    }
    let (status, _) = enrol(&hub, &announced.token, &KeyPair::generate().csr()).await;
    assert_eq!(status, 401);
    hub.post("POST", "/enrol/v1", "x", &format!("{{\"token\":\"{}\",", announced.token)).await;
    let secrets = [
        ("join token", announced.token.as_str()),
        ("secret part of the join token", secret_part(&announced.token)),
        ("hub token", &alice),
        ("secret part of the hub token", secret_part(&alice)),
        ("administrator's token", &hub.admin),
        ("agent's own credential", crate::origin::AGENT_TOKEN),
    ];
    for (what, secret) in secrets {
        rows.run("T021", &format!("{what}: in no log at trace level"), silent(&hub, &agent, secret)).await;
    }
    rows.run("T006", "the data directory holds no token but the administrator's file", at_rest(&hub, &secrets[..4]))
        .await;
    rows.end().await;
}

/// Between the id and the checksum; base64url, so it may hold underscores of its own.
fn secret_part(token: &str) -> &str {
    let part = token.splitn(3, '_').nth(2).and_then(|rest| rest.rsplit_once('_'));
    part.expect("a token has four parts").0
}

async fn silent(hub: &Hub, agent: &Process, secret: &str) -> Outcome {
    for (who, said) in [("hub", hub.process.said()), ("agent", agent.said())] {
        expect(said.len() > 10_000, format!("the {who} was not at trace level"))?;
        if let Some(line) = said.lines().find(|line| line.contains(secret)) {
            return Err(format!("in the {who}'s log: {}", &line[..line.len().min(200)]));
        }
        // Bytes printed as numbers would hide from a search for text.
        let numbers = secret.bytes().take(12).map(|b| b.to_string()).collect::<Vec<_>>().join(", ");
        expect(!said.contains(&numbers), format!("in the {who}'s log as numbers"))?;
    }
    Ok(())
}

async fn at_rest(hub: &Hub, secrets: &[(&str, &str)]) -> Outcome {
    for entry in std::fs::read_dir(hub.dir.path().join("data")).map_err(|e| e.to_string())?.flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        for (what, secret) in secrets {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            expect(!found, format!("{what} in {:?}", entry.file_name()))?;
        }
    }
    Ok(())
}
