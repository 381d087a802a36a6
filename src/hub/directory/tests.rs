//! Where certificates stand and what is denied, in a real store that is read again.

use std::path::Path;

use time::Duration;

use super::*;
use crate::{
    identity::{Position, Serial, VerifiedCsr, VerifiedPeer, testing::World},
    store::Embedded,
};

/// A directory on a disk, its clusters' agents, and a clock.
struct Hub {
    directory: Directory,
    world: World,
    now: OffsetDateTime,
}

impl Hub {
    async fn start(path: &Path) -> Self {
        let store = Arc::new(Embedded::open(&path.join("store.redb")).await.unwrap());
        let world = World::new();
        Self { directory: Directory::load(store).await.unwrap(), now: world.now, world }
    }

    /// The hub ends and another one reads the store.
    async fn restart(self) -> Self {
        let directory = Directory::load(self.directory.store.clone()).await.unwrap();
        Self { directory, ..self }
    }

    async fn cluster(&self, name: &str) -> Arc<Cluster> {
        let wish = JoinWish { ttl: Duration::HOUR, max_uses: 1, sources: Vec::new(), by: "me".to_owned() };
        self.directory.add_cluster(name.to_owned(), BTreeMap::new(), wish, self.now).await.unwrap().0
    }

    /// A certificate of a cluster as the handshake proves it, recorded at `position`.
    async fn certified(&self, cluster: &Cluster, position: Position) -> VerifiedPeer {
        let holder = self.world.agent_at(&cluster.uid, self.now);
        let peer = VerifiedPeer::from_chain(&self.world.agent_verifier(), &holder.chain, self.now).unwrap();
        let record = CertificateRecord { issued: Some(self.now), ..CertificateRecord::adopted(&peer, position) };
        self.directory.record_certificate(&record).await.unwrap();
        peer
    }

    async fn enrol(&self, cluster: &Cluster) -> VerifiedPeer {
        let holder = self.world.agent_at(&cluster.uid, self.now);
        let peer = VerifiedPeer::from_chain(&self.world.agent_verifier(), &holder.chain, self.now).unwrap();
        let mut record = CertificateRecord::adopted(&peer, Position::default());
        let enrolling = self.directory.enrolling(&mut record).await.unwrap().unwrap();
        let revision = self.directory.store.commit(vec![enrolling.op.clone()]).await.unwrap();
        self.directory.enrolled(&record, Some(enrolling), revision);
        self.directory.record_certificate(&record).await.unwrap();
        peer
    }

    async fn renew(&self, cluster: &Cluster, peer: &VerifiedPeer) -> Result<VerifiedPeer, RenewError> {
        let key = VerifiedCsr::parse(&crate::identity::KeyPair::generate().csr()).unwrap().spki_sha256();
        let position = self.directory.renewing(peer, None, key, self.now)?;
        Ok(self.certified(cluster, position).await)
    }

    async fn link(&self, peer: &VerifiedPeer) -> Result<Admitted, Denied> {
        self.directory.judge(peer, self.now)?;
        let admitted = self.directory.admit(peer, self.now).await.unwrap();
        self.directory.judge(peer, self.now)?;
        Ok(admitted)
    }
}

#[tokio::test]
async fn a_renewed_certificate_comes_into_use_once_and_its_predecessor_is_a_copy_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(dir.path()).await;
    let cluster = hub.cluster("a").await;
    let first = hub.enrol(&cluster).await;
    assert_eq!(hub.link(&first).await.unwrap(), Admitted::Promoted);
    let second = hub.renew(&cluster, &first).await.unwrap();
    assert_eq!(hub.link(&first).await.unwrap(), Admitted::Current);
    assert_eq!(hub.link(&second).await.unwrap(), Admitted::Promoted);
    assert!(matches!(hub.link(&first).await, Err(Denied::Late)));
    hub.now += Duration::MINUTE;
    let mut hub = hub.restart().await;
    assert_eq!(hub.link(&second).await.unwrap(), Admitted::Current);
    assert!(matches!(hub.link(&first).await, Err(Denied::Copied(serial)) if serial == first.serial()));
    let renewal = hub.renew(&cluster, &first).await;
    assert!(matches!(renewal, Err(RenewError::Denied(Denied::Copied(_)))));
    hub.now += Duration::MINUTE;
    assert!(hub.renew(&cluster, &second).await.is_ok(), "the one in use goes on");
}

#[tokio::test]
async fn locks_and_revocations_survive_a_restart_and_a_lock_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path()).await;
    let (locked, revoked, one) = (hub.cluster("locked").await, hub.cluster("revoked").await, hub.cluster("one").await);
    let peers = [hub.enrol(&locked).await, hub.enrol(&revoked).await, hub.enrol(&one).await];
    for peer in &peers {
        hub.link(peer).await.unwrap();
    }
    hub.directory.lock(&locked.uid, LockedBy::Admin("me".to_owned()), "why".to_owned(), hub.now).await.unwrap();
    hub.directory.revoke_certificates(&revoked.uid, "me".to_owned(), None, hub.now).await.unwrap();
    let certificate = hub.directory.certificate(peers[2].serial()).await.unwrap();
    hub.directory
        .revoke_certificate(&certificate, "me".to_owned(), Some("INC-4711".to_owned()), hub.now)
        .await
        .unwrap();
    let hub = hub.restart().await;
    assert!(matches!(hub.link(&peers[0]).await, Err(Denied::Locked(lock)) if lock.reason == "why"));
    assert!(matches!(hub.link(&peers[1]).await, Err(Denied::ClusterRevoked(None))));
    assert!(matches!(hub.link(&peers[2]).await, Err(Denied::CertificateRevoked(_))));
    assert!(matches!(hub.directory.may_enrol(&one.uid, peers[2].spki_sha256()), Err(RenewError::Key)), "its key, too");
    hub.directory.unlock(&locked.uid).await.unwrap();
    let again = hub.enrol(&revoked).await;
    let hub = hub.restart().await;
    assert_eq!(hub.link(&peers[0]).await.unwrap(), Admitted::Current);
    assert_eq!(hub.link(&again).await.unwrap(), Admitted::Promoted);
}

#[tokio::test]
async fn a_removed_cluster_leaves_neither_lock_nor_standing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path()).await;
    let cluster = hub.cluster("a").await;
    hub.enrol(&cluster).await;
    hub.directory.lock(&cluster.uid, LockedBy::CopiedKey, "x".to_owned(), hub.now).await.unwrap();
    hub.directory.remove_cluster("a").await.unwrap();
    for prefix in [deny::LOCKS, standing::STANDINGS] {
        assert!(hub.directory.store.list(prefix.as_bytes()).await.unwrap().entries.is_empty(), "{prefix}");
    }
    assert!(hub.directory.lock_of(&cluster.uid).is_none());
}

#[tokio::test]
async fn a_certificate_that_is_not_recorded_is_adopted_unless_certificates_were_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path()).await;
    let (cluster, revoked) = (hub.cluster("a").await, hub.cluster("b").await);
    let unrecorded = |cluster: &Cluster| {
        let holder = hub.world.agent_at(&cluster.uid, hub.now);
        VerifiedPeer::from_chain(&hub.world.agent_verifier(), &holder.chain, hub.now).unwrap()
    };
    hub.link(&hub.enrol(&cluster).await).await.unwrap();
    let peer = unrecorded(&cluster);
    assert_eq!(hub.link(&peer).await.unwrap(), Admitted::Adopted);
    assert_eq!(hub.link(&peer).await.unwrap(), Admitted::Current);
    assert_eq!(hub.directory.certificate(peer.serial()).await.unwrap().position.generation, 2);
    hub.directory.revoke_certificates(&revoked.uid, "me".to_owned(), None, hub.now).await.unwrap();
    assert!(matches!(hub.link(&unrecorded(&revoked)).await, Err(Denied::Unrecorded(_))));
}

#[tokio::test]
async fn records_of_an_older_hub_are_read_and_their_holders_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(dir.path()).await;
    let cluster = hub.cluster("a").await;
    let holder = hub.world.agent_at(&cluster.uid, hub.now);
    let peer = VerifiedPeer::from_chain(&hub.world.agent_verifier(), &holder.chain, hub.now).unwrap();
    let (serial, at) = (peer.serial(), "2999-01-01T00:00:00Z");
    let old = format!(
        r#"{{"serial":"{serial}","cluster":"{}","spki":"{}","not_after":"{at}"}}"#,
        cluster.uid,
        peer.spki_sha256()
    );
    hub.directory.store.commit(vec![Op::put(format!("certificates/{serial}"), old, Expect::Any)]).await.unwrap();
    let hub = hub.restart().await;
    assert_eq!(hub.link(&peer).await.unwrap(), Admitted::Promoted);
    let next = hub.renew(&cluster, &peer).await.unwrap();
    assert_eq!(hub.link(&next).await.unwrap(), Admitted::Promoted);
}

#[tokio::test]
async fn the_store_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(dir.path()).await;
    let (cluster, quiet) = (hub.cluster("busy").await, hub.cluster("quiet").await);
    let last_of_quiet = hub.enrol(&quiet).await;
    let mut most = 0;
    for _ in 0..30 {
        // Certificates of the tests live for an hour, ours for a day: as many are kept as of days, and those of one more.
        for _ in 0..2 {
            hub.certified(&cluster, Position::default()).await;
        }
        hub.now += Duration::DAY;
        hub.directory.forget_ended(hub.now).await.unwrap();
        most = most.max(hub.directory.certificates().await.unwrap().len());
    }
    assert!((6..=9).contains(&most), "{most} records");
    let kept = hub.directory.certificates().await.unwrap();
    assert!(kept.iter().any(|record| record.serial == last_of_quiet.serial()), "it says since when it is gone");
    let gone: Serial = "0a".parse().unwrap();
    assert!(matches!(hub.directory.certificate(gone).await, Err(DirectoryError::Missing(_))));
}

#[tokio::test]
async fn a_revoked_certificate_is_remembered_for_longer_than_it_would_have_lived() {
    let dir = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(dir.path()).await;
    let cluster = hub.cluster("a").await;
    let peer = hub.enrol(&cluster).await;
    let certificate = hub.directory.certificate(peer.serial()).await.unwrap();
    hub.directory
        .revoke_certificate(&certificate, "me".to_owned(), Some("INC-4711".to_owned()), hub.now)
        .await
        .unwrap();
    hub.now = certificate.not_after;
    hub.directory.forget_ended(hub.now).await.unwrap();
    assert!(hub.directory.revoked_certificate(peer.serial()).is_some());
    hub.now += crate::defaults::CERTIFICATE_KEPT;
    hub.directory.forget_ended(hub.now).await.unwrap();
    assert!(hub.directory.revoked_certificate(peer.serial()).is_none());
    assert!(hub.directory.store.list(b"deny/").await.unwrap().entries.is_empty());
}
