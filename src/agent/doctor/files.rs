//! The files of a certificate that another CA issues: what they hold, when it ends, who may read the key.

use std::{os::unix::fs::PermissionsExt, path::Path};

use time::{Duration, OffsetDateTime};

use super::Finding;
use crate::{
    agent::{files, settings::CertificateFiles},
    identity::verify::{GivenIdentity, GivenIdentityError},
};

const CHECK: &str = "identity";

/// What can be shown of the files at `now`, if anything can.
pub(super) async fn examine(
    paths: &CertificateFiles,
    now: OffsetDateTime,
    findings: &mut Vec<Finding>,
) -> Option<GivenIdentity> {
    let read = files::read(paths, now).await;
    findings.push(match &read {
        Ok(given) => judge(given, now),
        Err(fault) => {
            let remedy = match fault {
                files::FileFault::Given(GivenIdentityError::Expired(_)) => {
                    "see why its issuer writes no new one; or mend the clock"
                }
                files::FileFault::Given(GivenIdentityError::NotYet(_)) => "mend the clock, here or at the issuer",
                files::FileFault::Given(_) => {
                    "have its issuer write a chain (leaf first) and its key that an agent can use: docs/bring-your-own.md says what that is"
                }
                files::FileFault::File { .. } => "see that the files are there and that the agent may read them",
            };
            Finding::failed(CHECK, fault.to_string(), remedy)
        }
    });
    findings.extend(permission(&paths.key));
    read.ok()
}

fn judge(given: &GivenIdentity, now: OffsetDateTime) -> Finding {
    let names: Vec<_> = given.names().iter().take(4).map(ToString::to_string).collect();
    let (names, ends) = (names.join(", "), given.not_after());
    let found = format!("a certificate of another CA for {names}, until {ends}");
    // Issuers renew at a third of the life left or earlier.
    let left = ends - now;
    if left < Duration::HOUR && left < (ends - given.not_before()) / 10 {
        return Finding::failed(CHECK, found, "it was to be replaced before: see why its issuer writes no new one");
    }
    Finding::ok(CHECK, found)
}

/// Whether others on this machine can read the key.
fn permission(key: &Path) -> Option<Finding> {
    const CHECK: &str = "key file";
    let mode = std::fs::metadata(key).ok()?.permissions().mode() & 0o777;
    let path = key.display();
    Some(if mode & 0o007 == 0 {
        Finding::ok(CHECK, format!("{path} has mode {mode:03o}"))
    } else {
        let remedy = "chmod o= it; in a pod: `defaultMode: 0440` of the volume, with fsGroup";
        Finding::failed(CHECK, format!("{path} has mode {mode:03o}: everybody on this machine can use it"), remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agent::doctor::Verdict, identity::testing::external::ExternalWorld};

    #[tokio::test]
    async fn the_files_are_judged_as_a_hub_would_and_their_key_must_be_private() {
        let dir = tempfile::tempdir().unwrap();
        let paths = CertificateFiles { cert: dir.path().join("tls.crt"), key: dir.path().join("tls.key") };
        let world = ExternalWorld::new();
        let good = world.pem(|_| {});
        let write = |pem: &(String, String), mode: u32| {
            std::fs::write(&paths.cert, &pem.0).unwrap();
            std::fs::write(&paths.key, &pem.1).unwrap();
            std::fs::set_permissions(&paths.key, PermissionsExt::from_mode(mode)).unwrap();
        };
        let look = async |now: OffsetDateTime| {
            let mut findings = Vec::new();
            let given = examine(&paths, now, &mut findings).await;
            let verdicts = findings.iter().map(|f| (f.check, f.verdict)).collect::<Vec<_>>();
            (given.is_some(), verdicts, findings[0].found.clone())
        };
        write(&good, 0o600);
        let fine = vec![("identity", Verdict::Ok), ("key file", Verdict::Ok)];
        let (usable, verdicts, found) = look(world.now).await;
        assert!(usable && verdicts == fine && found.contains("URI spiffe://corp.example/"), "{found}");
        write(&good, 0o644);
        assert_eq!(look(world.now).await.1[1], ("key file", Verdict::Failed));
        let (usable, verdicts, found) = look(world.now + Duration::days(2)).await;
        assert!(!usable && verdicts[0].1 == Verdict::Failed && found.contains("ended on"), "{found}");
        let (usable, verdicts, _) = look(world.now + Duration::minutes(59)).await;
        assert!(usable && verdicts[0].1 == Verdict::Failed, "it ends in a minute");
        write(&(good.0, world.pem(|_| {}).1), 0o600);
        assert!(look(world.now).await.2.contains("does not belong"));
        std::fs::remove_file(&paths.key).unwrap();
        assert!(look(world.now).await.2.contains("cannot read"));
    }
}
