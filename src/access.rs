//! Who a caller is and what it may do: subjects, grants, the decision and its explanation.
//! Pure: does not know how bytes travel, where grants are kept, or what time it is.

mod cidr;
mod decision;
mod document;
mod grant;
mod grants;
mod identity;
mod labels;
mod parse;
mod subject;

#[cfg(test)]
mod tests;

pub use cidr::{Cidr, CidrError};
pub use decision::{Considered, Decision, Denial, Miss, Refused, Verdict};
pub use document::Fault;
pub use grant::{
    Capabilities, ClusterRef, ClusterSelector, Grant, Impersonate, Names, NamespacePattern, Request, Scope,
};
pub use grants::{Grants, Held};
pub use identity::{DEFAULT_USER, Identity, Impersonation, RESERVED_EXTRAS, SUBJECT_EXTRA};
pub use labels::{LabelError, Labels, check_label, is_dns_label, parse_label};
pub use parse::GrantsError;
pub use subject::{
    MAX_GROUPS, MAX_NAME, NameError, Principal, PrincipalError, Subject, TOKEN_ISSUER, TokenRecord, check_name,
    is_reserved,
};
