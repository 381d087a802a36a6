//! When the hub's certificates end, for whoever watches: a certificate that nobody renewed is an outage with a date.

use super::Hub;
use crate::identity::{
    tls::{CertSlot, ends},
    verify::ExternalRoot,
};

/// Each certificate by its name in metrics, with the Unix time of its end.
pub(super) fn expiries(hub: &Hub) -> Vec<(&'static str, i64)> {
    let leaf = |slot: &CertSlot| slot.current().cert.first().and_then(ends);
    let (agents, own) = (hub.pki.agents(), hub.pki.hub());
    // Of several the first: which one, `ca external list` says.
    let external = hub.directory.external_cas();
    let external =
        external.iter().filter_map(|ca| ExternalRoot::stored(&ca.pem).ok()).map(|root| root.not_after()).min();
    let all = [
        ("agents_root", ends(agents.root())),
        ("agents_issuing", Some(agents.issuing_ends())),
        ("hub_root", ends(own.root())),
        ("hub_issuing", Some(own.issuing_ends())),
        ("hub_link", leaf(&hub.pki.link)),
        ("hub_https", leaf(&hub.pki.https)),
        ("external_ca", external),
        ("given_https", hub.https.given().map(|given| given.not_after)),
    ];
    all.into_iter().filter_map(|(name, end)| Some((name, end?.unix_timestamp()))).collect()
}
