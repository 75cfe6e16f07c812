//! Addresses that a policy is limited to: one, or a block (`10.0.0.0/8`).

use std::fmt;
use std::net::IpAddr;

/// An IPv4 address is kept as one, also where it was written in IPv6's way (`::ffff:10.0.0.1`): so are the addresses of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    address: IpAddr,
    /// The bits in front that all addresses of the block have in common; `None`: this address alone.
    prefix_bits: Option<u8>,
}

impl Source {
    /// An address or a block. Not a host's name.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix_bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        };
        let written: IpAddr = address.parse().ok()?;
        let address = written.to_canonical();
        let before = bits_of(written) - bits_of(address);
        let prefix_bits = match prefix_bits {
            // A block that is partly of IPv4 is refused: it would fit no address of it.
            Some(bits) => Some(u8::checked_sub(bits, before)?),
            None => None,
        };
        prefix_bits
            .is_none_or(|bits| bits <= bits_of(address))
            .then_some(Self {
                address,
                prefix_bits,
            })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let Some(bits) = self.prefix_bits else {
            return self.address == address;
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                own.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                own.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_bits {
            None => write!(f, "{}", self.address),
            Some(bits) => write!(f, "{}/{bits}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_blocks() {
        let fits = |source: &str, address: &str| {
            let source = Source::parse(source).unwrap();
            source.contains(address.parse().unwrap())
        };
        assert!(fits("127.0.0.1", "127.0.0.1") && fits("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(!fits("127.0.0.1", "127.0.0.2") && !fits("127.0.0.1", "::1"));
        assert!(fits("10.0.0.0/8", "10.255.1.2") && !fits("10.0.0.0/8", "11.0.0.1"));
        assert!(fits("0.0.0.0/0", "9.9.9.9") && fits("1.2.3.4/32", "1.2.3.4"));
        assert!(fits("fe80::/10", "fe80::1") && !fits("fe80::/10", "::1"));
        assert!(fits("::/0", "::1") && !fits("::/0", "1.2.3.4"));
        let mapped = "::ffff:10.0.0.0/104";
        assert!(fits(mapped, "10.1.2.3") && fits(mapped, "::ffff:10.1.2.3"));
        assert!(!fits(mapped, "11.0.0.1") && !fits(mapped, "::1"));
        assert!(fits("::ffff:0:0/96", "9.9.9.9") && fits("::ffff:1.2.3.4", "1.2.3.4"));
        assert_eq!(Source::parse(mapped), Source::parse("10.0.0.0/8"));
        for wrong in [
            "",
            "1.2.3",
            "localhost",
            "1.2.3.4/33",
            "::1/129",
            "1.2.3.4/x",
            "1.2.3.4/-1",
            "::ffff:10.0.0.0/95",
            "::ffff:10.0.0.0/129",
        ] {
            assert_eq!(Source::parse(wrong), None, "{wrong}");
        }
        assert_eq!(
            Source::parse("10.0.0.0/8").unwrap().to_string(),
            "10.0.0.0/8"
        );
    }
}
