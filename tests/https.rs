//! A certificate that the operator gave for HTTPS: people get it, agents join and come back all the same, it is replaced without a restart, and
//! one that does not fit changes nothing. Hub and agents are processes of this build; only the API server is a fake (`abuse/origin.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "tasks end with the runtime of their test, and processes outside are waited for in real time"
)]

#[path = "abuse/setting.rs"]
mod setting;

use std::{fs, path::PathBuf, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use origin::Origin;
use raw::Door;
use setting::{origin, raw, world};
use world::{Hub, until, write_private};

/// A CA that is not the hub's, and where its certificate and key for the hub are written.
struct Public {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Public {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "public CA");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let public = Self { dir: TempDir::new().unwrap(), ca };
        public.issue("127.0.0.1", time::Duration::HOUR);
        public
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes another certificate for `host`; its bytes.
    fn issue(&self, host: &str, life: time::Duration) -> Vec<u8> {
        let now = OffsetDateTime::now_utc();
        let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (leaf.not_before, leaf.not_after) = (now - time::Duration::DAY, now + life);
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &self.ca).unwrap();
        write_private(&self.path("tls.key"), &key.serialize_pem());
        write_private(&self.path("tls.crt"), &leaf.pem());
        leaf.der().to_vec()
    }

    /// The hub's door for those who trust this CA and no other.
    fn door(&self, hub: &Hub) -> Door {
        Door { ca: self.ca.pem(), ..hub.door.clone() }
    }
}

/// The leaf that is shown to whom this door lets in.
async fn shown(door: &Door) -> Result<Vec<u8>, String> {
    let tls = door.connect("127.0.0.1", &[b"http/1.1"]).await?;
    Ok(tls.get_ref().1.peer_certificates().unwrap()[0].to_vec())
}

async fn start(public: &Public) -> Hub {
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| public.path(name).to_str().unwrap().to_owned());
    Hub::start_with(&["--https-cert", &cert, "--https-key", &key], "info").await
}

/// Waits until the hub says whether the files are in order.
async fn fault(hub: &Hub, expected: f64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while hub.metric("roadstead_https_certificate_fault").await != expected {
        assert!(Instant::now() < deadline, "{}", hub.process.said());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_get_the_operators_certificate_and_agents_join_by_their_pin_all_the_same() {
    let (public, origin) = (Public::new(), Origin::start().await);
    let given = public.issue("127.0.0.1", time::Duration::DAY);
    let mut hub = start(&public).await;
    assert_eq!(shown(&public.door(&hub)).await.unwrap(), given);
    let expiry = hub.metric("roadstead_certificate_expiry_seconds{certificate=\"given_https\"}").await;
    let left = expiry - OffsetDateTime::now_utc().unix_timestamp() as f64;
    assert!((80_000.0..=86_400.0).contains(&left), "{left}");
    // The administrator's file knows the hub's CA only, and so does an agent: both get the hub's own.
    assert_ne!(shown(&hub.door).await.unwrap(), given);
    let _agent = hub.agent("edge-1", &origin, "info").await;
    let asked = hub.roadstead(&["status"]);
    assert!(asked.status.success(), "{asked:?}");
    // A person with the other CA, given by flag.
    write_private(&public.path("ca.pem"), &public.ca.pem());
    let ca = public.path("ca.pem");
    let asked = hub.roadstead(&["status", "--hub-ca", ca.to_str().unwrap()]);
    assert!(asked.status.success(), "{asked:?}");
    hub.check_unharmed();
}

/// T098.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_without_a_restart_and_by_nothing_that_does_not_fit() {
    let public = Public::new();
    let mut hub = start(&public).await;
    let first = shown(&public.door(&hub)).await.unwrap();
    let second = public.issue("127.0.0.1", time::Duration::HOUR);
    let deadline = Instant::now() + Duration::from_secs(10);
    while shown(&public.door(&hub)).await.unwrap() != second {
        assert!(Instant::now() < deadline, "not replaced: {}", hub.process.said());
        sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(first, second);
    let (cert, key) = (public.path("tls.crt"), public.path("tls.key"));
    let good = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
    let restore = || {
        fs::write(&cert, &good.0).unwrap();
        fs::write(&key, &good.1).unwrap();
    };
    let faults: [(&str, &dyn Fn(), &str); 6] = [
        ("garbage", &|| fs::write(&cert, "garbage").unwrap(), "holds no chain"),
        ("another key", &|| write_private(&key, &KeyPair::generate().unwrap().serialize_pem()), "does not belong"),
        ("an expired one", &|| drop(public.issue("127.0.0.1", -time::Duration::HOUR)), "certificate ended on"),
        ("another name", &|| drop(public.issue("other.example", time::Duration::HOUR)), "is not for 127.0.0.1"),
        ("no key", &|| fs::write(&key, "").unwrap(), "holds no private key"),
        ("no file", &|| fs::remove_file(&cert).unwrap(), "cannot read"),
    ];
    for (what, break_it, said) in faults {
        break_it();
        fault(&hub, 1.0).await;
        assert_eq!(shown(&public.door(&hub)).await.as_ref(), Ok(&second), "{what}");
        until(what, || hub.process.said().contains(said)).await;
        restore();
        fault(&hub, 0.0).await;
    }
    hub.check_unharmed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_given_certificate_does_not_fit_starts_with_its_own_and_takes_it_when_it_does() {
    let (public, origin) = (Public::new(), Origin::start().await);
    public.issue("other.example", time::Duration::HOUR);
    let hub = start(&public).await;
    assert!(hub.process.said().contains("is not for 127.0.0.1"), "{}", hub.process.said());
    assert_eq!(hub.metric("roadstead_https_certificate_fault").await, 1.0);
    let _agent = hub.agent("edge-1", &origin, "info").await;
    assert!(shown(&public.door(&hub)).await.is_err());
    let good = public.issue("127.0.0.1", time::Duration::HOUR);
    fault(&hub, 0.0).await;
    assert_eq!(shown(&public.door(&hub)).await, Ok(good));
}
