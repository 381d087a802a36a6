//! Where a peer is, as far as bounds for each address go.

use std::net::{IpAddr, Ipv6Addr};

/// Who is counted together: an IPv4 address, or the /64 that one IPv6 subscriber has at least.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::hub) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
            v4 => v4,
        })
    }
}
