//! The tuning of QUIC on both ends of a link.

use std::sync::Arc;

use aws_lc_rs::hmac;
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;

use super::congestion::PatientConfig;
use crate::defaults;

/// Keys that let a restarted hub tell its agents at once that their links are gone (stateless reset, RFC 9000 § 10.3).
///
/// Both follow from one persisted secret: with either of them fresh, agents wait for their idle timeout instead.
pub struct RestartKeys {
    reset: hmac::Key,
    connection_ids: u64,
}

impl RestartKeys {
    /// From a persisted secret of the hub (32 random bytes).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let derive = |label: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), label);
        let ids = derive(b"roadstead connection ids");
        let mut first = [0; 8];
        first.copy_from_slice(&ids.as_ref()[..8]);
        Self {
            reset: hmac::Key::new(hmac::HMAC_SHA256, derive(b"roadstead stateless reset").as_ref()),
            connection_ids: u64::from_le_bytes(first),
        }
    }

    pub(super) fn endpoint_config(self) -> EndpointConfig {
        let ids = self.connection_ids;
        let mut config = EndpointConfig::new(Arc::new(self.reset));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
        config.min_reset_interval(defaults::LINK_RESET_INTERVAL);
        large_packets(&mut config);
        config
    }
}

/// An agent's endpoint.
pub(super) fn agent_endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    large_packets(&mut config);
    config
}

/// Lets the peer send what its path MTU discovery may find.
fn large_packets(config: &mut EndpointConfig) {
    config.max_udp_payload_size(defaults::LINK_MTU).expect("more than 1,200");
}

impl std::fmt::Debug for RestartKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestartKeys(***)")
    }
}

/// QUIC as the hub tunes it: many links, small requests out, large answers in.
pub fn hub_transport() -> TransportConfig {
    let mut config = common(defaults::HUB_MTU);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(defaults::HUB_STREAMS))
        .stream_receive_window(VarInt::from_u32(defaults::HUB_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(defaults::HUB_LINK_WINDOW))
        .send_window(defaults::HUB_SEND_WINDOW);
    config
}

/// QUIC as the agent tunes it: one link, many streams granted, keep-alive (only the side behind the NAT sends it).
pub fn agent_transport() -> TransportConfig {
    let mut config = common(defaults::LINK_MTU);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(defaults::AGENT_STREAMS_FIRST))
        .stream_receive_window(VarInt::from_u32(defaults::AGENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(defaults::AGENT_LINK_WINDOW))
        .send_window(defaults::AGENT_SEND_WINDOW)
        .keep_alive_interval(Some(defaults::LINK_KEEP_ALIVE));
    config
}

/// `largest` is the largest packet that is tried, in bytes of UDP payload.
fn common(largest: u16) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(largest).minimum_change(defaults::MTU_STEP);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::try_from(defaults::LINK_IDLE).expect("15 s fit a varint of milliseconds")))
        .initial_rtt(defaults::LINK_INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(None)
        .congestion_controller_factory(Arc::new(PatientConfig::default()));
    config
}
