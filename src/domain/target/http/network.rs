//! Which addresses may be reached: public ones, and those that a target names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin with the same bits: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network")]
pub struct BadNetwork;

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let most = width(first);
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| BadNetwork)?,
            None => most,
        };
        // Bits behind the prefix are a slip of the pen: nobody knows which of the two was meant.
        if bits > most || number(first) & !mask(most, bits) != 0 {
            return Err(BadNetwork);
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let most = width(self.first);
        width(address) == most && number(address) & mask(most, self.bits) == number(self.first)
    }

    const fn is_one_address(&self) -> bool {
        match self.first {
            IpAddr::V4(_) => self.bits == 32,
            IpAddr::V6(_) => self.bits == 128,
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The first `bits` of a number that is `most` bits wide.
fn mask(most: u8, bits: u8) -> u128 {
    let all = if most == 128 { u128::MAX } else { (1 << most) - 1 };
    match most - bits {
        128 => 0,
        behind => all >> behind << behind,
    }
}

/// Where clouds tell a machine who it is, and give it credentials. Only naming exactly these opens them.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether `address` may be connected to: it is public, or one of `named` has it. An IPv4 address inside an IPv6 one is
/// judged as what it leads to.
pub fn may_reach(address: IpAddr, named: &[Network]) -> bool {
    let address = inner(address);
    if METADATA.contains(&address) {
        return named
            .iter()
            .any(|network| network.is_one_address() && network.contains(address));
    }
    is_public(address) || named.iter().any(|network| network.contains(address))
}

/// The IPv4 address that an IPv6 one stands for, if it does: mapped, compatible, NAT64, 6to4.
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(long) = address else {
        return address;
    };
    let parts = long.segments();
    let [.., a, b] = parts;
    let from = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match parts {
        [0, 0, 0, 0, 0, 0xffff, ..] => from(a, b),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => from(a, b),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => from(a, b),
        [0x2002, high, low, ..] => from(high, low),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        // 2000::/3 is what is given out; of it, what is for documents and tunnels leads nowhere or anywhere.
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            let given_out = first & 0xe000 == 0x2000;
            let reserved = first == 0x2001 && (second < 0x200 || second == 0xdb8);
            given_out && !reserved && first != 0x3fff
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(networks: &[&str]) -> Vec<Network> {
        networks.iter().map(|text| text.parse().expect("a network")).collect()
    }

    fn reaches(address: &str, networks: &[&str]) -> bool {
        may_reach(address.parse().expect("an address"), &named(networks))
    }

    #[test]
    fn only_public_addresses_are_reached_unless_named() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
        ] {
            assert!(reaches(address, &[]), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!reaches(address, &[]), "{address}");
        }
        assert!(reaches("10.1.2.3", &["10.0.0.0/8"]));
        assert!(!reaches("11.1.2.3", &["12.0.0.0/8"]) || is_public_v4(Ipv4Addr::new(11, 1, 2, 3)));
        assert!(reaches("::ffff:127.0.0.1", &["127.0.0.1"]));
        assert!(!reaches("127.0.0.2", &["127.0.0.1"]));
        assert!(reaches("fd12::1", &["fd00::/8"]));
        assert!(reaches("192.168.7.7", &["0.0.0.0/0"]));
    }

    #[test]
    fn metadata_addresses_are_reached_only_when_named_exactly() {
        for address in [
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
        ] {
            assert!(!reaches(address, &["0.0.0.0/0", "::/0", "169.254.0.0/16"]), "{address}");
        }
        assert!(reaches("169.254.169.254", &["169.254.169.254"]));
        assert!(reaches("169.254.169.254", &["169.254.169.254/32"]));
    }

    #[test]
    fn networks_are_read_strictly() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::1/129",
            "a/8",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            "fd00::1/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(BadNetwork), "{text}");
        }
        for text in ["10.0.0.0/8", "::1/128", "0.0.0.0/0", "::/0"] {
            assert_eq!(text.parse::<Network>().expect("a network").to_string(), text);
        }
    }
}
