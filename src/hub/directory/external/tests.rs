//! External CAs, names and certificates in a real store that is read again.

use std::collections::BTreeMap;

use rcgen::SerialNumber;
use time::Duration;

use super::*;
use crate::{
    hub::directory::{Cluster, Denied, JoinWish, LockedBy},
    identity::{
        AgentSlot, AgentVerifier, VerifiedCsr, VerifiedPeer,
        ca::to_pem,
        testing::{
            World,
            external::{ExternalWorld, NAME, name},
        },
        verify::{ExternalVerifier, Vouched},
    },
    store::Embedded,
};

struct Setting {
    directory: Directory,
    hub: World,
    corp: ExternalWorld,
    a: Arc<Cluster>,
    b: Arc<Cluster>,
    now: OffsetDateTime,
    _dir: tempfile::TempDir,
}

impl Setting {
    /// A hub that trusts one external CA, and two clusters.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(&dir.path().join("store.redb")).await.unwrap());
        let directory = Directory::load(store).await.unwrap();
        let (hub, corp) = (World::new(), ExternalWorld::new());
        let wish = || JoinWish { ttl: Duration::HOUR, max_uses: 1, sources: Vec::new(), by: "me".to_owned() };
        let mut clusters = Vec::new();
        for name in ["a", "b"] {
            let added = directory.add_cluster(name.to_owned(), BTreeMap::new(), wish(), hub.now).await;
            clusters.push(added.unwrap().0);
        }
        let (a, b) = (clusters.remove(0), clusters.remove(0));
        let setting = Self { directory, now: hub.now, hub, corp, a, b, _dir: dir };
        setting.directory.add_external(setting.ca()).await.unwrap();
        setting
    }

    async fn restart(self) -> Self {
        let directory = Directory::load(self.directory.store.clone()).await.unwrap();
        Self { directory, ..self }
    }

    fn pin(&self) -> SpkiSha256 {
        self.corp.root().pin()
    }

    fn ca(&self) -> ExternalCa {
        ExternalCa { pin: self.pin(), pem: to_pem(&self.corp.root), at: self.now, by: "me".to_owned() }
    }

    async fn map(&self, cluster: &Cluster, name: SanName) -> Result<(), ExternalError> {
        let (ca, cluster, at) = (self.pin(), cluster.uid.clone(), self.now);
        self.directory.map_name(MappedName { ca, name, cluster, at, by: "me".to_owned() }).await
    }

    /// Who shows a good certificate of the CA, with that beginning, key and serial.
    fn peer(&self, from: OffsetDateTime, key: rcgen::KeyPair, serial: &[u8]) -> VerifiedPeer {
        let (chain, _) = self.corp.leaf_for(key, |p| {
            p.not_before = from;
            p.serial_number = Some(SerialNumber::from(serial.to_vec()));
        });
        let own = AgentVerifier::new(Arc::new(self.hub.agents.roots()), self.hub.domain()).unwrap();
        let slot = AgentSlot::new(vec![(self.hub.agents.pin(), Arc::new(own))]);
        slot.replace_external(vec![ExternalVerifier::new(&self.corp.root()).unwrap()]);
        let Ok(Vouched::External(peer)) = slot.verify(&chain, self.now) else { panic!("refused") };
        peer.mapped(|ca, name| self.directory.cluster_named(ca, name)).unwrap()
    }

    fn fresh(&self) -> VerifiedPeer {
        self.peer(self.now - Duration::MINUTE, rcgen::KeyPair::generate().unwrap(), &[7])
    }
}

#[tokio::test]
async fn one_name_of_one_ca_is_of_one_cluster_also_after_a_restart() {
    let setting = Setting::new().await;
    setting.map(&setting.a, name()).await.unwrap();
    setting.map(&setting.a, name()).await.unwrap();
    assert!(
        matches!(setting.map(&setting.b, name()).await, Err(ExternalError::Taken { cluster, .. }) if cluster == "a")
    );
    let setting = setting.restart().await;
    assert!(matches!(setting.map(&setting.b, name()).await, Err(ExternalError::Taken { .. })));
    let dns = SanName::dns("a.example").unwrap();
    setting.map(&setting.b, dns.clone()).await.unwrap();
    let of = |ca: &SpkiSha256, name: &SanName| setting.directory.cluster_named(ca, name);
    assert_eq!(of(&setting.pin(), &name()), Some(setting.a.uid.clone()));
    assert_eq!(of(&setting.pin(), &dns), Some(setting.b.uid.clone()));
    assert_eq!(of(&SpkiSha256::of(b"another CA"), &name()), None);
    let unmapped = setting.directory.unmap_name(&setting.pin(), &name(), &setting.b).await;
    assert!(matches!(unmapped, Err(ExternalError::NotMapped { .. })), "it is the other cluster's");
    setting.directory.unmap_name(&setting.pin(), &name(), &setting.a).await.unwrap();
    setting.map(&setting.b, name()).await.unwrap();
    let setting = setting.restart().await;
    assert_eq!(setting.directory.mapped_names(Some(&setting.b.uid)).len(), 2);
    setting.directory.remove_cluster("b").await.unwrap();
    let setting = setting.restart().await;
    assert!(setting.directory.mapped_names(None).is_empty());
}

#[tokio::test]
async fn a_ca_that_goes_takes_its_names_along_and_does_not_bring_them_back() {
    let setting = Setting::new().await;
    setting.map(&setting.a, name()).await.unwrap();
    assert!(matches!(setting.directory.add_external(setting.ca()).await, Err(ExternalError::Exists(_))));
    setting.directory.remove_external(&setting.pin()).await.unwrap();
    assert!(matches!(setting.directory.remove_external(&setting.pin()).await, Err(ExternalError::NoCa(_))));
    assert!(matches!(setting.map(&setting.a, name()).await, Err(ExternalError::NoCa(_))));
    let setting = setting.restart().await;
    setting.directory.add_external(setting.ca()).await.unwrap();
    assert_eq!(setting.directory.cluster_named(&setting.pin(), &name()), None);
    for n in 1..defaults::EXTERNAL_CAS {
        let ca = ExternalCa { pin: SpkiSha256::of(&[n as u8]), ..setting.ca() };
        setting.directory.add_external(ca).await.unwrap();
    }
    let ca = ExternalCa { pin: SpkiSha256::of(b"x"), ..setting.ca() };
    assert!(matches!(setting.directory.add_external(ca).await, Err(ExternalError::TooManyCas)));
    for n in 0..defaults::EXTERNAL_NAMES {
        setting.map(&setting.a, SanName::uri(&format!("x:{n}")).unwrap()).await.unwrap();
    }
    assert!(matches!(setting.map(&setting.a, name()).await, Err(ExternalError::TooManyNames { .. })));
}

/// Serials of another issuer are no serials of ours: neither ours nor theirs is taken for the other.
#[tokio::test]
async fn an_external_certificate_stands_for_itself_and_dies_by_its_key() {
    let setting = Setting::new().await;
    setting.map(&setting.a, name()).await.unwrap();
    let own = setting.hub.agent(&setting.a.uid);
    let verifier = setting.hub.agent_verifier();
    let own = VerifiedPeer::from_chain(&verifier, &own.chain, setting.now).unwrap();
    let record = crate::hub::directory::CertificateRecord::adopted(&own, Default::default());
    setting.directory.record_certificate(&record).await.unwrap();
    let digits: Vec<u8> = own
        .serial()
        .to_string()
        .as_bytes()
        .chunks(2)
        .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
        .collect();
    let twin = setting.peer(setting.now - Duration::MINUTE, rcgen::KeyPair::generate().unwrap(), &digits);
    assert_eq!(twin.serial(), own.serial());
    assert!(setting.directory.held(&twin).is_none());
    let judge = |directory: &Directory, peer: &VerifiedPeer| directory.judge(peer, setting.now);
    assert!(setting.directory.external_shown(&twin, setting.now).await.unwrap());
    assert!(!setting.directory.external_shown(&twin, setting.now).await.unwrap(), "nothing new");
    setting.directory.revoke_certificate(&record, "me".to_owned(), None, setting.now).await.unwrap();
    assert!(judge(&setting.directory, &own).is_err() && judge(&setting.directory, &twin).is_ok());
    let shown = setting.directory.external_by_key(&twin.spki_sha256()).unwrap();
    setting.directory.revoke_key(&shown, "me".to_owned(), None, setting.now).await.unwrap();
    let again = Directory::load(setting.directory.store.clone()).await.unwrap();
    assert!(matches!(judge(&again, &twin), Err(Denied::KeyRevoked(_))));
    assert!(judge(&again, &setting.fresh()).is_ok());
    again.lock(&setting.a.uid, LockedBy::Admin("me".to_owned()), "why".to_owned(), setting.now).await.unwrap();
    assert!(matches!(judge(&again, &setting.fresh()), Err(Denied::Locked(_))));
}

#[tokio::test]
async fn revoking_a_cluster_kills_what_was_issued_before_and_the_keys_in_use() {
    let mut setting = Setting::new().await;
    setting.map(&setting.a, name()).await.unwrap();
    let key = || rcgen::KeyPair::generate().unwrap();
    let kept = key();
    let copy = || rcgen::KeyPair::from_pem(&kept.serialize_pem()).unwrap();
    let before = setting.peer(setting.now - Duration::MINUTE, copy(), &[1]);
    setting.directory.external_shown(&before, setting.now).await.unwrap();
    let unseen = setting.peer(setting.now - Duration::SECOND, key(), &[2]);
    let at = setting.now;
    setting.directory.revoke_certificates(&setting.a.uid, "me".to_owned(), Some("why".to_owned()), at).await.unwrap();
    setting.now += Duration::MINUTE;
    let (same_key, fresh) = (setting.peer(setting.now, copy(), &[3]), setting.peer(setting.now, key(), &[4]));
    let setting = setting.restart().await;
    let judge = |peer: &VerifiedPeer| setting.directory.judge(peer, setting.now);
    for peer in [&before, &unseen] {
        assert!(matches!(judge(peer), Err(Denied::ClusterRevoked(Some(why))) if why == "why"));
    }
    assert!(matches!(judge(&same_key), Err(Denied::KeyRevoked(_))), "signed again, for a key that was revoked");
    assert!(judge(&fresh).is_ok());
}

#[tokio::test]
async fn of_own_and_external_certificates_the_one_that_came_into_use_last_counts() {
    let mut setting = Setting::new().await;
    setting.map(&setting.a, name()).await.unwrap();
    let uid = setting.a.uid.clone();
    assert_eq!(setting.directory.certificate_ends(&uid), None);
    let external = setting.fresh();
    setting.directory.external_shown(&external, setting.now).await.unwrap();
    assert_eq!(setting.directory.certificate_ends(&uid), Some(external.not_after()));
    assert!(setting.directory.is_by_external(&uid) && !setting.directory.has_own_certificate(&uid));
    setting.now += Duration::SECOND;
    let holder = setting.hub.agent(&uid);
    let own = VerifiedPeer::from_chain(&setting.hub.agent_verifier(), &holder.chain, setting.now).unwrap();
    setting.directory.admit(&own, setting.now).await.unwrap();
    assert_eq!(setting.directory.certificate_ends(&uid), Some(own.not_after()));
    assert!(!setting.directory.is_by_external(&uid));
    setting.now += Duration::SECOND;
    assert!(setting.directory.external_shown(&external, setting.now).await.unwrap(), "it is back");
    let setting = setting.restart().await;
    assert!(setting.directory.is_by_external(&uid));
    let late = setting.now + Duration::days(10);
    assert_eq!(setting.directory.forget_ended(late).await.unwrap(), 0, "the last one of each kind says since when");
    setting.directory.unmap_name(&setting.pin(), &name(), &setting.a).await.unwrap();
    assert!(!setting.directory.is_by_external(&uid), "nobody is let in by it");
    // Its own key may not enrol either once it is revoked as an external one.
    let shown = setting.directory.external_by_key(&external.spki_sha256()).unwrap();
    assert_eq!(shown.names, [format!("URI {NAME}")]);
    setting.directory.revoke_key(&shown, "me".to_owned(), None, setting.now).await.unwrap();
    assert!(setting.directory.may_enrol(&uid, external.spki_sha256()).is_err());
    assert!(VerifiedCsr::parse(&holder.key.csr()).is_ok());
}
