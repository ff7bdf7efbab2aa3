//! IPv4 prefixes: who may ask.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 prefix in CIDR notation: `10.1.0.0/16`, or a bare address for one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: u32,
    mask: u32,
}

/// Text that is not a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Neither an address nor `address/length`.
    #[error("'{0}' is not an IPv4 prefix: write it as 10.1.0.0/16, or as 10.1.2.3 for one host")]
    Syntax(String),
    /// Bits are set beyond the prefix's length: perhaps a typing error in either.
    #[error("'{text}' has bits beyond its length: did you mean {network}?")]
    HostBits {
        /// As given.
        text: String,
        /// The prefix that it lies in.
        network: Prefix,
    },
}

impl Prefix {
    /// Every address.
    pub const ANY: Prefix = Prefix { network: 0, mask: 0 };
    /// 127.0.0.0/8.
    pub const LOOPBACK: Prefix = Prefix { network: 0x7F00_0000, mask: 0xFF00_0000 };

    /// One address.
    pub const fn host(address: Ipv4Addr) -> Prefix {
        Prefix { network: address.to_bits(), mask: u32::MAX }
    }

    /// Whether `address` lies in the prefix.
    pub const fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        let (address, length) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| syntax())?;
        let all_digits = length.bytes().all(|b| b.is_ascii_digit());
        let length: u32 = length.parse().ok().filter(|&l| l <= 32 && all_digits).ok_or_else(syntax)?;
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let network = Prefix { network: address.to_bits() & mask, mask };
        if network.network != address.to_bits() {
            return Err(PrefixError::HostBits { text: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.network), self.mask.count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_matches() {
        let prefix: Prefix = "10.1.0.0/16".parse().unwrap();
        assert!(prefix.contains(Ipv4Addr::new(10, 1, 255, 3)));
        assert!(!prefix.contains(Ipv4Addr::new(10, 2, 0, 0)));
        assert_eq!(prefix.to_string(), "10.1.0.0/16");
        let host: Prefix = "192.168.7.9".parse().unwrap();
        assert!(
            host.contains(Ipv4Addr::new(192, 168, 7, 9)) && !host.contains(Ipv4Addr::new(192, 168, 7, 8))
        );
        assert_eq!("0.0.0.0/0".parse(), Ok(Prefix::ANY));
        assert!(Prefix::ANY.contains(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn refuses_with_a_remedy() {
        for bad in
            ["", "10.1.0.0/33", "10.1/16", "10.1.0.0/", "10.1.0.0/+8", "::1/8", "10.1.0.0/8/8", "10.1.0.0/-1"]
        {
            assert!(matches!(bad.parse::<Prefix>(), Err(PrefixError::Syntax(_))), "{bad}");
        }
        let error = "10.1.2.3/16".parse::<Prefix>().unwrap_err().to_string();
        assert!(error.ends_with("did you mean 10.1.0.0/16?"), "{error}");
    }
}
