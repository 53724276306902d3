//! What kind of place an IP address is. The ranges are those of the IANA registries of special-purpose addresses
//! (RFC 6890), and the addresses at which clouds hand out credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is, with a word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Public,
    /// This machine, or a private network.
    Inside(&'static str),
    /// Where no name has any business: metadata services, this link, many at once, nobody.
    Never(&'static str),
}

const METADATA: &str = "a metadata service";

/// What kind of place an address is. An IPv6 address that carries an IPv4 one is what it carries.
pub fn nature(address: IpAddr) -> Nature {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Nature {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (169, 254, 169, 254) | (169, 254, 170, 2) | (168, 63, 129, 16) | (100, 100, 100, 200) | (192, 0, 0, 192) => Nature::Never(METADATA),
        (169, 254, ..) => Nature::Never("a link-local address"),
        (0, ..) => Nature::Inside("this machine"),
        (127, ..) => Nature::Inside("a loopback address"),
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Nature::Inside("a private address"),
        (100, 64..=127, ..) => Nature::Inside("an address shared by a provider's customers"),
        (198, 18..=19, ..) => Nature::Inside("an address for benchmarks"),
        (192, 0, 0, _) | (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => Nature::Never("a reserved address"),
        (224..=239, ..) => Nature::Never("a multicast address"),
        (240..=255, ..) => Nature::Never("a reserved address"),
        _ => Nature::Public,
    }
}

fn v6(address: Ipv6Addr) -> Nature {
    let segments = address.segments();
    let carried = |high: u16, low: u16| v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => Nature::Inside("a loopback address"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Nature::Inside("this machine"),
        // Mapped and compatible; translated (RFC 2765); NAT64 (RFC 6052, RFC 8215); 6to4.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => carried(high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => carried(high, low),
        [0x2002, high, low, ..] => carried(high, low),
        [0x2001, 0, ..] => Nature::Never("a tunnel's address"),
        [0x2001, 0xdb8, ..] => Nature::Never("a reserved address"),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Nature::Never(METADATA),
        [0xfc00..=0xfdff, ..] => Nature::Inside("a private address"),
        [0xfe80..=0xfebf, ..] => Nature::Never("a link-local address"),
        [0xfec0..=0xfeff, ..] => Nature::Inside("a private address"),
        [0xff00..=0xffff, ..] => Nature::Never("a multicast address"),
        // All that is given out to the public so far.
        [0x2000..=0x3fff, ..] => Nature::Public,
        _ => Nature::Never("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &[&str], is: impl Fn(Nature) -> bool) {
        for address in addresses {
            let found = nature(address.parse().expect("an address"));
            assert!(is(found), "{address} is {found:?}");
        }
    }

    #[test]
    fn fault_09_metadata_services_and_links_are_never_reached_by_name() {
        let metadata = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"];
        check(&metadata, |nature| nature == Nature::Never(METADATA));
        let carried =
            ["::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::ffff:0:169.254.169.254"];
        check(&carried, |nature| nature == Nature::Never(METADATA));
        let others = ["169.254.0.1", "fe80::1", "febf::1", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "2001::1", "4000::1"];
        check(&others, |nature| matches!(nature, Nature::Never(_)));
    }

    #[test]
    fn fault_09_this_machine_and_private_networks_are_inside() {
        check(
            &[
                "127.0.0.1",
                "127.255.255.254",
                "0.0.0.0",
                "0.1.2.3",
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "::1",
                "::",
                "fc00::1",
                "fd12:3456::1",
                "fec0::1",
                "::ffff:127.0.0.1",
                "::ffff:10.1.2.3",
                "64:ff9b::7f00:1",
                "64:ff9b:1::c0a8:101",
                "2002:7f00:1::",
            ],
            |nature| matches!(nature, Nature::Inside(_)),
        );
    }

    #[test]
    fn public_addresses_are_public() {
        check(
            &[
                "1.1.1.1",
                "172.15.0.1",
                "172.32.0.1",
                "100.63.0.1",
                "100.128.0.1",
                "192.0.1.1",
                "223.255.255.1",
                "2606:4700::1111",
                "::ffff:8.8.8.8",
            ],
            |nature| nature == Nature::Public,
        );
    }
}
