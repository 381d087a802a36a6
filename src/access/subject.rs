//! Who a caller is: a subject as grants name it, and a principal as a credential proved it. Does not know how it was sent.

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;

/// Longest user, group or issuer name, in bytes. Names become header values in every request, so they stay short.
pub const MAX_NAME: usize = 253;

/// Most groups of one subject: each is looked up in the grants for each request.
pub const MAX_GROUPS: usize = 256;

/// The issuer of hub tokens, as in `token:alice`.
pub const TOKEN_ISSUER: &str = "token";

/// Why a name cannot be one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or blanks around it.
    #[error("name {0:?} is empty or begins or ends with a blank")]
    Blank(String),
    /// Longer than [`MAX_NAME`].
    #[error("name has {0} bytes, at most {MAX_NAME} are allowed")]
    Long(usize),
    /// Something that is not printable ASCII, which no header can carry unchanged.
    #[error("name {0:?} has characters other than printable ASCII")]
    Characters(String),
    /// More than [`MAX_GROUPS`] groups.
    #[error("{0} groups, at most {MAX_GROUPS} are allowed")]
    Groups(usize),
    /// An issuer with a colon would make `issuer:name` ambiguous.
    #[error("issuer {0:?} contains ':'")]
    Issuer(String),
}

/// Checks that `name` can be a user or group: printable ASCII, no blank at either end, at most [`MAX_NAME`] bytes.
///
/// # Errors
/// [`NameError`] says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.trim() != name {
        return Err(NameError::Blank(name.to_owned()));
    }
    if name.len() > MAX_NAME {
        return Err(NameError::Long(name.len()));
    }
    if !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(NameError::Characters(name.to_owned()));
    }
    Ok(())
}

/// Whether Kubernetes keeps `name` for itself. Compared without case, which is stricter than Kubernetes, on purpose.
pub fn is_reserved(name: &str) -> bool {
    name.as_bytes().get(..7).is_some_and(|head| head.eq_ignore_ascii_case(b"system:"))
}

/// A caller as grants name it: `issuer:name`, with groups of the same issuer. A name without its issuer cannot be made,
/// so that one issuer's `alice` is never another's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    user: Arc<str>,
    issuer_len: usize,
    groups: Arc<[Arc<str>]>,
}

impl Subject {
    /// The subject `issuer:name` in the groups `issuer:group`.
    ///
    /// # Errors
    /// [`NameError`] when a part is not a name.
    pub fn new(issuer: &str, name: &str, groups: &[impl AsRef<str>]) -> Result<Self, NameError> {
        check_name(issuer)?;
        if issuer.contains(':') {
            return Err(NameError::Issuer(issuer.to_owned()));
        }
        check_name(name)?;
        if groups.len() > MAX_GROUPS {
            return Err(NameError::Groups(groups.len()));
        }
        let qualified = |group: &str| check_name(group).map(|()| Arc::from(format!("{issuer}:{group}")));
        Ok(Self {
            user: Arc::from(format!("{issuer}:{name}")),
            issuer_len: issuer.len(),
            groups: groups.iter().map(|group| qualified(group.as_ref())).collect::<Result<_, _>>()?,
        })
    }

    /// The whole name, `issuer:name`: what grants, the audit log and the cluster see.
    pub fn as_str(&self) -> &str {
        &self.user
    }

    /// Who vouched for the name.
    pub fn issuer(&self) -> &str {
        &self.user[..self.issuer_len]
    }

    /// The name within its issuer.
    pub fn name(&self) -> &str {
        &self.user[self.issuer_len + 1..]
    }

    /// The whole names of the groups, `issuer:group`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| &**group)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}

/// What the hub remembers of a hub token whose secret was verified. Times are instants of the hub's clock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRecord {
    /// Public id of the token; the audit log names it.
    pub id: String,
    /// User, without issuer.
    pub user: String,
    /// Groups, without issuer.
    pub groups: Vec<String>,
    /// Whether its holder may manage clusters and tokens.
    pub admin: bool,
    /// First instant at which it is no longer valid.
    pub expires: OffsetDateTime,
}

/// Why a verified record makes no principal.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PrincipalError {
    /// The token is past its time.
    #[error("token {id} expired at {expires}; create a new one with `roadstead token create`")]
    Expired {
        /// Public id of the token.
        id: String,
        /// When it ended.
        expires: OffsetDateTime,
    },
    /// The record holds a name that is not one; it was written by something else.
    #[error("token {id} is of no valid user")]
    Name {
        /// Public id of the token.
        id: String,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
}

/// A caller whose credential was verified and is valid now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    /// Who it is.
    pub subject: Subject,
    /// Whether it may manage clusters and tokens. Gives no access to any cluster: only grants do.
    pub admin: bool,
    /// Public id of the credential, for the audit log and for revocation.
    pub credential: Arc<str>,
    /// When the credential ends; streams of this principal end then too.
    pub expires: OffsetDateTime,
}

impl Principal {
    /// The principal of a hub token whose secret the caller has verified, if it is valid at `now`.
    ///
    /// # Errors
    /// [`PrincipalError::Expired`] from `expires` on.
    pub fn from_token(record: &TokenRecord, now: OffsetDateTime) -> Result<Self, PrincipalError> {
        if now >= record.expires {
            return Err(PrincipalError::Expired { id: record.id.clone(), expires: record.expires });
        }
        let subject = Subject::new(TOKEN_ISSUER, &record.user, &record.groups)
            .map_err(|source| PrincipalError::Name { id: record.id.clone(), source })?;
        Ok(Self { subject, admin: record.admin, credential: Arc::from(&*record.id), expires: record.expires })
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;

    fn record() -> TokenRecord {
        TokenRecord {
            id: "abc".into(),
            user: "alice".into(),
            groups: vec!["sre".into()],
            admin: false,
            expires: datetime!(2026-11-22 20:00 UTC),
        }
    }

    #[test]
    fn a_token_is_valid_until_the_instant_it_expires() {
        let end = record().expires;
        assert!(Principal::from_token(&record(), end - Duration::NANOSECOND).is_ok());
        for late in [end, end + Duration::SECOND] {
            let error = Principal::from_token(&record(), late).unwrap_err();
            assert!(matches!(error, PrincipalError::Expired { .. }), "{error}");
        }
    }

    #[test]
    fn names_are_qualified_by_their_issuer() {
        let subject = Subject::new("token", "a:b", &["sre"]).unwrap();
        assert_eq!((subject.as_str(), subject.issuer(), subject.name()), ("token:a:b", "token", "a:b"));
        assert_eq!(subject.groups().collect::<Vec<_>>(), ["token:sre"]);
    }

    #[test]
    fn what_no_header_can_carry_is_no_name() {
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", " ", " a", "a ", "a\n", "a\0b", "\u{e9}", "a\u{7f}", &long] {
            assert!(check_name(bad).is_err(), "{bad:?}");
            assert!(Subject::new("token", bad, &[""; 0]).is_err(), "{bad:?}");
            assert!(Subject::new("token", "alice", &[bad]).is_err(), "{bad:?}");
        }
        assert_eq!(Subject::new("a:b", "c", &[""; 0]), Err(NameError::Issuer("a:b".into())));
    }

    #[test]
    fn reserved_names_are_seen_in_any_case() {
        for (name, expected) in [("system:masters", true), ("SyStEm:x", true), ("system", false), ("xsystem:", false)] {
            assert_eq!(is_reserved(name), expected, "{name}");
        }
    }
}
