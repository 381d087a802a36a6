//! Ranges of addresses: whence a credential may be used. One spelling for each range. Knows nothing of connections.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A range such as `192.0.2.0/24` or `2001:db8::/32`; a lone address is a range of one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// Zero behind the prefix, and never an IPv4 address in the clothes of IPv6.
    address: IpAddr,
    prefix: u32,
}

/// A text that is no range.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CidrError {
    /// Not `ADDRESS/LENGTH`.
    #[error("{0:?} is no range of addresses: write one such as 192.0.2.0/24 or 2001:db8::/32")]
    Form(String),
    /// Bits are set behind the prefix: what was meant is not clear.
    #[error("{given} has bits behind its prefix; the range is {meant}")]
    Bits {
        /// As written.
        given: String,
        /// What it would be without them.
        meant: Cidr,
    },
}

impl Cidr {
    /// Whether `address` is in the range. An IPv4 address that came over an IPv6 socket is an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.address)
            && self.address.is_ipv4() == address.to_canonical().is_ipv4()
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        if address.to_canonical() != address {
            return Err(form());
        }
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => whole,
            Some(digits)
                if digits.bytes().all(|b| b.is_ascii_digit()) && !(digits.len() > 1 && digits.starts_with('0')) =>
            {
                digits.parse().map_err(|_| form())?
            }
            Some(_) => return Err(form()),
        };
        let network = masked(address, prefix).ok_or_else(form)?;
        let range = Self { address: network, prefix };
        if network == address { Ok(range) } else { Err(CidrError::Bits { given: text.to_owned(), meant: range }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

/// The first `prefix` bits of `address`; `None` when it has fewer.
fn masked(address: IpAddr, prefix: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let behind = 32_u32.checked_sub(prefix)?;
            Some(Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            let behind = 128_u32.checked_sub(prefix)?;
            Some(Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_contains_its_addresses_and_no_neighbour() {
        let rows = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.9", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "203.0.113.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ];
        for (cidr, address, contains) in rows {
            assert_eq!(range(cidr).contains(address.parse().unwrap()), contains, "{cidr} {address}");
        }
    }

    #[test]
    fn a_range_has_one_spelling() {
        for text in ["192.0.2.0/24", "2001:db8::/32", "::1/128", "0.0.0.0/0"] {
            assert_eq!(range(text).to_string(), text);
        }
        for text in [
            "",
            "/",
            "192.0.2.0/",
            "192.0.2.0/33",
            "192.0.2.0/024",
            "192.0.2.0/+8",
            "::/129",
            "::ffff:1.2.3.4",
            "a/8",
            "1.2.3/8",
        ] {
            assert!(matches!(text.parse::<Cidr>(), Err(CidrError::Form(_))), "{text}");
        }
        let bits = "192.0.2.1/24".parse::<Cidr>().unwrap_err();
        assert_eq!(bits.to_string(), "192.0.2.1/24 has bits behind its prefix; the range is 192.0.2.0/24");
    }
}
