//! All grants together: who holds which, and the decision. Pure: no file, no clock, no lock.

use std::borrow::Cow;
use std::collections::HashMap;

use super::decision::{Considered, Decision, Misses, Verdict};
use super::grant::{ClusterRef, Grant, Request};
use super::identity::Impersonation;
use super::subject::Subject;

/// Every grant, in the order in which they are asked: most specific selector first, then by name. So which of several
/// fitting grants names the identity never depends on the order of a file.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    ranked: Vec<Grant>,
    by_user: HashMap<String, Vec<u32>>,
    by_group: HashMap<String, Vec<u32>>,
}

impl Grants {
    /// Ranks and indexes grants. Names are unique: parsing saw to it.
    pub(super) fn new(mut grants: Vec<Grant>) -> Self {
        grants
            .sort_by(|a, b| b.clusters.specificity().cmp(&a.clusters.specificity()).then_with(|| a.name.cmp(&b.name)));
        let (mut by_user, mut by_group) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (rank, grant) in (0..).zip(&grants) {
            grant.users.iter().for_each(|user| by_user.entry(user.clone()).or_default().push(rank));
            grant.subject_groups.iter().for_each(|group| by_group.entry(group.clone()).or_default().push(rank));
        }
        Self { ranked: grants, by_user, by_group }
    }

    /// All grants, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.ranked.iter()
    }

    /// What `subject` holds: look it up once to ask about many clusters.
    pub fn held_by(&self, subject: &Subject) -> Held<'_> {
        let user = self.by_user.get(subject.as_str());
        let groups: Vec<_> = subject.groups().filter_map(|group| self.by_group.get(group)).collect();
        let ranks = match (user, &*groups) {
            (Some(only), []) => Cow::Borrowed(&**only),
            (None, [only]) => Cow::Borrowed(&***only),
            (user, groups) => {
                let mut ranks: Vec<u32> = user.into_iter().chain(groups.iter().copied()).flatten().copied().collect();
                ranks.sort_unstable();
                ranks.dedup();
                Cow::Owned(ranks)
            }
        };
        Held { grants: self, ranks }
    }

    /// Whether `subject` may do `request` in `cluster`, and as whom. Default deny; the union of all grants; the first in
    /// rank that allows all of it names the identity.
    pub fn decide(
        &self,
        subject: &Subject,
        cluster: &ClusterRef<'_>,
        request: &Request<'_>,
        wish: Option<&Impersonation<'_>>,
    ) -> Decision {
        let mut misses = Misses::default();
        for grant in self.held_by(subject).iter() {
            match grant.check(cluster, request, wish) {
                Ok(()) => {
                    return Decision::Allow { identity: grant.identity(subject, wish), grant: grant.name.clone() };
                }
                Err(miss) => misses.add(grant, miss),
            }
        }
        Decision::Deny(misses.denial(request))
    }

    /// Whether any grant of `subject` selects `cluster`. One that it cannot see must look like one that does not exist.
    pub fn can_see(&self, subject: &Subject, cluster: &ClusterRef<'_>) -> bool {
        self.held_by(subject).can_see(cluster)
    }

    /// What every grant says to a request, in the order in which they are asked.
    pub fn explain(
        &self,
        subject: &Subject,
        cluster: &ClusterRef<'_>,
        request: &Request<'_>,
        wish: Option<&Impersonation<'_>>,
    ) -> Vec<Considered> {
        let held = self.held_by(subject);
        let verdict = |(rank, grant): (u32, &Grant)| match held.ranks.binary_search(&rank) {
            Err(_) => Verdict::NotHeld,
            Ok(_) => grant.check(cluster, request, wish).map_or_else(Verdict::Misses, |()| Verdict::Allows),
        };
        (0..).zip(&self.ranked).map(|at| Considered { grant: at.1.name.clone(), verdict: verdict(at) }).collect()
    }
}

/// The grants that one subject holds.
#[derive(Debug)]
pub struct Held<'g> {
    grants: &'g Grants,
    ranks: Cow<'g, [u32]>,
}

impl<'g> Held<'g> {
    /// They, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &'g Grant> {
        let ranked = &self.grants.ranked;
        self.ranks.iter().filter_map(|rank| ranked.get(*rank as usize))
    }

    /// Whether any of them selects `cluster`.
    pub fn can_see(&self, cluster: &ClusterRef<'_>) -> bool {
        self.iter().any(|grant| grant.clusters.matches(cluster))
    }
}
