//! The way to the hub: its name, HTTPS with the known CA, both clocks, and UDP, which is what is most often closed on the way.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{Finding, PATIENCE, Verdict, text};
use crate::{
    agent::state::Identity,
    defaults,
    identity::{
        HttpsVerifier, HubTrust, HubUrl, HubVerifier, KeyPair, TrustDomain,
        tls::{ALPN_ENROL, agent_client, given_client, https_client, probe_client},
        verify::{GivenIdentity, LINK_SERVER_NAME, PeerError},
    },
    transport::{DialError, Dialer},
    wire::{ALPN_LINK, CloseCode},
};

/// Two clocks may differ by so much; certificates are backdated by five minutes.
const SKEW: Duration = Duration::seconds(60);

/// As whom the hub is dialled.
pub enum Caller {
    /// With an agent's certificate: the hub must take it.
    Agent {
        /// Whose installation it belongs to.
        trust_domain: TrustDomain,
        /// Its chain.
        chain: Vec<CertificateDer<'static>>,
        /// Its key.
        key: Arc<KeyPair>,
    },
    /// With a certificate of another CA.
    Given(GivenIdentity),
    /// Without one: the hub must refuse, and that it does shows that it is there.
    Nobody,
}

impl Caller {
    pub(super) fn of(identity: &Identity) -> Option<Self> {
        let enrolled = identity.enrolled.as_ref()?;
        let trust_domain = enrolled.own.trust_domain.clone();
        Some(Self::Agent { trust_domain, chain: enrolled.chain.clone(), key: identity.key.clone() })
    }
}

/// What was found on the way to a hub.
pub struct Answer {
    /// Each thing that was looked at.
    pub findings: Vec<Finding>,
    /// How far the clock here is ahead of the hub's, if that is known.
    pub skew: Option<Duration>,
}

/// Looks at the way to a hub that `trust` is known of.
pub async fn examine_hub(hub: &HubUrl, trust: &HubTrust, caller: &Caller) -> Answer {
    let addresses = match timeout(PATIENCE, tokio::net::lookup_host((hub.host(), hub.port()))).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(error)) => return no_name(hub, &text(&error)),
        Err(_) => return no_name(hub, "no answer from the resolver in time"),
    };
    if addresses.is_empty() {
        return no_name(hub, "it has no address");
    }
    let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let mut findings = vec![Finding::ok("hub name", format!("{} is {}", hub.host(), shown.join(", ")))];
    let (https, clock, skew) = match timeout(PATIENCE * 2, https(hub, trust)).await {
        Ok(Ok(date)) => {
            let (clock, skew) = judge_clock(date.as_deref(), OffsetDateTime::now_utc());
            (
                Finding::ok(
                    "hub https",
                    format!("https://{} answers, with a certificate of the known CA", hub.authority()),
                ),
                clock,
                skew,
            )
        }
        Ok(Err(finding)) => (finding, Finding::skipped("clock", "the hub did not say its time"), None),
        Err(_) => (no_tcp(hub, "no answer in time"), Finding::skipped("clock", "the hub did not say its time"), None),
    };
    findings.extend([https, clock, udp(hub, &addresses, trust, caller).await]);
    Answer { findings, skew }
}

fn no_name(hub: &HubUrl, why: &str) -> Answer {
    let remedy = "check the hub's URL, and the name server that this machine or pod uses";
    let mut findings = vec![Finding::failed("hub name", format!("cannot look up {}: {why}", hub.host()), remedy)];
    findings.extend(["hub https", "clock", "hub udp"].map(|check| Finding::skipped(check, "no address of the hub")));
    Answer { findings, skew: None }
}

fn no_tcp(hub: &HubUrl, why: &str) -> Finding {
    let remedy = format!("see that the hub runs, and that TCP to port {} is allowed on the way", hub.port());
    Finding::failed("hub https", format!("cannot reach https://{}: {why}", hub.authority()), remedy)
}

/// One request without a credential; the `Date` of its answer, whatever that is.
async fn https(hub: &HubUrl, trust: &HubTrust) -> Result<Option<String>, Finding> {
    let unreachable = |error: &(dyn std::error::Error + 'static)| no_tcp(hub, &text(error));
    let verifier = Arc::new(HttpsVerifier::new(trust.clone()));
    // Who knows a pin is shown the hub's own certificate, as agents that enrol are; others see what browsers see.
    let protocols: &[&[u8]] = match trust {
        HubTrust::Pins(_) => &[ALPN_ENROL, b"http/1.1"],
        HubTrust::Roots(_) => &[b"http/1.1"],
    };
    let tls = https_client(verifier, protocols).map_err(|error| unreachable(&error))?;
    let name = ServerName::try_from(hub.host().to_owned()).map_err(|error| unreachable(&error))?;
    let tcp = TcpStream::connect((hub.host(), hub.port())).await.map_err(|error| unreachable(&error))?;
    let tls = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(|error| distrust(hub, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(|error| unreachable(&error))?;
    let request = Request::builder().method(Method::GET).uri("/").header(header::HOST, hub.authority());
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| unreachable(&error))?;
    let answer = tokio::select! {
        biased;
        answer = sender.send_request(request) => answer.map_err(|error| unreachable(&error))?,
        ended = connection => {
            let why = ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| text(&error));
            return Err(no_tcp(hub, &why));
        }
    };
    Ok(answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned))
}

/// TLS failed: who is there is not the hub that is known, or one of the clocks is wrong.
fn distrust(hub: &HubUrl, error: &std::io::Error) -> Finding {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(tls) = tls else { return no_tcp(hub, &text(error)) };
    let (found, remedy) = match (PeerError::in_handshake(tls), tls) {
        (Some(PeerError::NotPinned), _)
        | (None, rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => (
            "who answers there has a certificate of another CA".to_owned(),
            "see that nothing on the way ends TLS, and compare the pin or CA with what the hub gives (`roadstead cluster add`, hub-ca.pem)",
        ),
        (None, rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext { .. })) => (
            format!("the hub's certificate is not for {}", hub.host()),
            "use a name that the hub's certificate has, or start the hub with --public-url",
        ),
        (None, rustls::Error::InvalidCertificate(rustls::CertificateError::ExpiredContext { .. })) => (
            format!("the hub's certificate has expired, or the clock here ({}) is ahead", OffsetDateTime::now_utc()),
            "set the clock; if it is right, look at the hub's log",
        ),
        (None, rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidYetContext { .. })) => (
            format!(
                "the hub's certificate is not valid yet, or the clock here ({}) is behind",
                OffsetDateTime::now_utc()
            ),
            "set the clock; if it is right, look at the hub's log",
        ),
        (Some(reason), _) => (text(reason), "see that this is the hub and that nothing on the way ends TLS"),
        (None, other) => (text(other), "see that this is the hub and that nothing on the way ends TLS"),
    };
    Finding::failed("hub https", format!("https://{}: {found}", hub.authority()), remedy)
}

/// How the clock here stands to the hub's, from the `Date` of an answer that came just now.
fn judge_clock(date: Option<&str>, now: OffsetDateTime) -> (Finding, Option<Duration>) {
    let Some(hub) = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()) else {
        return (Finding::skipped("clock", "the hub did not say its time"), None);
    };
    let skew = now - hub;
    let seconds = skew.whole_seconds();
    if skew.abs() <= SKEW {
        return (Finding::ok("clock", format!("within {} s of the hub's", seconds.abs().max(1))), Some(skew));
    }
    let side = if seconds > 0 { "ahead of" } else { "behind" };
    let found = format!("{} s {side} the hub's", seconds.abs());
    (
        Finding::failed("clock", found, "set the clock by NTP, here or at the hub: certificates are judged by it"),
        Some(skew),
    )
}

/// A QUIC handshake with each address of the hub, until one answers.
async fn udp(hub: &HubUrl, addresses: &[SocketAddr], trust: &HubTrust, caller: &Caller) -> Finding {
    const CHECK: &str = "hub udp";
    let failed = |found: String| {
        let remedy = format!(
            "allow UDP to port {} of the hub on the way, and back: security groups, NetworkPolicies, proxies, load balancers",
            hub.port()
        );
        Finding::failed(CHECK, found, remedy)
    };
    let tls = match caller {
        Caller::Agent { trust_domain, chain, key } => {
            let verifier = Arc::new(HubVerifier::new(trust.clone(), trust_domain.clone()));
            agent_client(verifier, chain.clone(), key, ALPN_LINK)
        }
        Caller::Given(given) => given_client(Arc::new(HubVerifier::of_any_domain(trust.clone())), given, ALPN_LINK),
        Caller::Nobody => probe_client(trust.clone(), ALPN_LINK),
    };
    let tls = match tls {
        Ok(tls) => Arc::new(tls),
        Err(error) => return Finding::skipped(CHECK, text(&error)),
    };
    let mut last = failed("the hub has no address".to_owned());
    for address in addresses {
        last = match dial(*address, tls.clone(), caller).await {
            Ok(finding) => finding,
            Err(why) => failed(why),
        };
        if last.verdict == Verdict::Ok {
            break;
        }
    }
    last
}

async fn dial(address: SocketAddr, tls: Arc<rustls::ClientConfig>, caller: &Caller) -> Result<Finding, String> {
    const CHECK: &str = "hub udp";
    let dialer = Dialer::bind(address).map_err(|error| text(&error))?;
    let dialled = dialer.dial(address, LINK_SERVER_NAME, tls, PATIENCE).await;
    let refusal = match dialled {
        // In TLS 1.3 a client is done before the server has judged its certificate: a refusal comes right after.
        Ok(link) => timeout(defaults::SESSION_GRACE, link.closed()).await.ok().map(|end| end.to_string()),
        Err(DialError::Refused { end, .. }) => Some(end.to_string()),
        Err(error @ (DialError::Start { .. } | DialError::Timeout { .. } | DialError::Slow { .. })) => {
            return Err(text(&error));
        }
    };
    dialer.close(CloseCode::Normal, defaults::SESSION_GRACE).await;
    Ok(match (caller, refusal) {
        (Caller::Agent { .. } | Caller::Given(_), None) => Finding::ok(CHECK, format!("a link to {address} comes up")),
        (Caller::Nobody, _) => Finding::ok(CHECK, format!("{address} answers by QUIC")),
        (Caller::Given(_), Some(refusal)) => Finding::failed(
            CHECK,
            format!("{address} answers by QUIC, and the link is refused: {refusal}"),
            "see the hub's log for why: is the CA trusted (`roadstead ca external list`), and a name of the certificate mapped (`roadstead cluster map`)?",
        ),
        (Caller::Agent { .. }, Some(refusal)) => Finding::failed(
            CHECK,
            format!("{address} answers by QUIC, and the link is refused: {refusal}"),
            "see `roadstead cluster show` and the hub's log for why; a certificate that has ended or was revoked needs a new join token",
        ),
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn clocks_may_differ_by_a_minute() {
        let now = datetime!(2026-11-25 12:00:00 UTC);
        let cases = [
            (Some("Wed, 25 Nov 2026 12:00:00 GMT"), Verdict::Ok, "within 1 s"),
            (Some("Wed, 25 Nov 2026 11:59:00 GMT"), Verdict::Ok, "within 60 s"),
            (Some("Wed, 25 Nov 2026 11:58:59 GMT"), Verdict::Failed, "61 s ahead of"),
            (Some("Thu, 25 Nov 2027 12:00:00 GMT"), Verdict::Failed, "31536000 s behind"),
            (Some("yesterday"), Verdict::Skipped, "did not say"),
            (None, Verdict::Skipped, "did not say"),
        ];
        for (date, verdict, found) in cases {
            let (finding, skew) = judge_clock(date, now);
            assert_eq!(finding.verdict, verdict, "{date:?}: {}", finding.found);
            assert!(finding.found.contains(found), "{date:?}: {}", finding.found);
            assert_eq!(skew.is_some(), verdict != Verdict::Skipped);
        }
    }
}
