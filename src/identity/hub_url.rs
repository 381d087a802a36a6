//! The hub's address as a URL, read strictly: `https://host[:port]` and nothing more, for everything else is added to it.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Where a hub is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HubUrl {
    host: String,
    port: u16,
}

/// A text that is no [`HubUrl`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not the URL of a hub ({fault}); write https://host:port")]
pub struct UrlError {
    text: String,
    fault: &'static str,
}

impl HubUrl {
    /// DNS name or address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, 443 when the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, with brackets around IPv6: what `Host` headers and names in a kubeconfig carry.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

impl From<SocketAddr> for HubUrl {
    /// The URL of a hub that listens there: on this machine, when it listens everywhere.
    fn from(address: SocketAddr) -> Self {
        let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
        Self { host, port: address.port() }
    }
}

impl FromStr for HubUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        parse(text).map_err(|fault| UrlError { text: text.to_owned(), fault })
    }
}

fn parse(text: &str) -> Result<HubUrl, &'static str> {
    let rest = text.strip_prefix("https://").ok_or("it does not begin with https://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@', '\\', '%']) {
        return Err("only a host and a port may follow https://");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("a bracket is not closed")?;
            host.parse::<Ipv6Addr>().map_err(|_| "the address in brackets is not IPv6")?;
            (host, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
            if host.is_empty() || host.len() > 253 || !host.bytes().all(known) {
                return Err("the host is not a DNS name or address");
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().ok().filter(|port| *port != 0),
        None if port.is_empty() => Some(443),
        _ => None,
    };
    Ok(HubUrl { host: host.to_ascii_lowercase(), port: port.ok_or("the port is not a number from 1 to 65535")? })
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_hubs_are_a_host_and_a_port() {
        let good = [
            ("https://127.0.0.1:41234", "https://127.0.0.1:41234"),
            ("https://Hub.Example.com/", "https://hub.example.com:443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ];
        for (text, shown) in good {
            assert_eq!(text.parse::<HubUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_address_is_a_hub_too() {
        for (address, shown) in [
            ("127.0.0.1:1", "https://127.0.0.1:1"),
            ("[::1]:2", "https://[::1]:2"),
            ("0.0.0.0:3", "https://localhost:3"),
            ("[::]:4", "https://localhost:4"),
        ] {
            assert_eq!(HubUrl::from(address.parse::<SocketAddr>().unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = "|http://h|h:1|https://|https://:1|https://h:0|https://h:65536|https://h:|https://h:+1|https://u@h|https://h/x\
                   |https://h?x|https://h#x|https://h//|https://[::1|https://[zz]:1|https://h:1:2|https://h h|https://h%2f|HTTPS://h";
        for text in bad.split('|') {
            assert!(text.parse::<HubUrl>().is_err(), "{text}");
        }
    }
}
