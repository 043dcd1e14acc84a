//! What a name and an address may look like.

use core::net::Ipv6Addr;

pub(crate) const NAME_BYTES_MAX: usize = 64;
/// A DNS name has at most 253 characters; more only fits an error.
const ADDRESS_BYTES_MAX: usize = 255;

/// Names of networks, actors and protocols: lower-case letters, digits, `-` and `.`, at most 64,
/// starting and ending with a letter or digit.
pub fn valid_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    bytes.len() <= NAME_BYTES_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

/// `host:port`: a DNS name, an IPv4 address, or an IPv6 address in brackets.
pub fn valid_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let named = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    let host_is_valid = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => named(host),
    };
    // Digits only, and one text for one port: no sign, no leading zero.
    let port_is_valid = port
        .parse::<u16>()
        .is_ok_and(|number| number > 0 && number.to_string() == port);
    address.len() <= ADDRESS_BYTES_MAX && host_is_valid && port_is_valid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "0", "contoso", "trade.example", "a-b.c-9"] {
            assert!(valid_name(good), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "", "A", "a b", "-a", "a-", ".a", "a.", "a_b", "a/b", "ä", "a\0", &long,
        ] {
            assert!(!valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        for good in ["a:1", "node-1.example:65535", "127.0.0.1:80", "[::1]:9000"] {
            assert!(valid_address(good), "{good}");
        }
        let bad = [
            "", ":1", "a", "a:0", "a:65536", "a:+1", "a:01", "a b:1", "::1:9000", "[::g]:1",
            "[a]:1", "a/b:1", "ä:1",
        ];
        for bad in bad {
            assert!(!valid_address(bad), "{bad}");
        }
    }
}
