//! Rows of the security design § 9 E, each a whole TLS handshake through memory: what they share.

mod agents;
mod corpus;
mod external;
mod hub_leaves;
mod hubs;

use super::*;
use crate::identity::{
    ClusterUid,
    testing::{ALPN, Holder, Refusal, World, handshake},
    tls,
};

const UID: &str = "01jdq3v5c0e8m2k4n6p8r0s2t4";

fn cluster() -> ClusterUid {
    UID.parse().unwrap()
}

fn good_uri() -> String {
    format!("spiffe://fleet.example/cluster/{UID}")
}

fn reason(error: &rustls::Error) -> String {
    match PeerError::in_handshake(error) {
        Some(PeerError::Leaf(leaf)) => format!("{leaf:?}"),
        Some(other) => format!("{other:?}"),
        None => {
            let text = format!("{error:?}");
            text.split([' ', '{']).next().unwrap().to_owned()
        }
    }
}
