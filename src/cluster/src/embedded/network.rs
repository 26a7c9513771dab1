//! Addresses of the veth pair between host and node: a /30 of its own for each
//! cluster, so that several stand side by side and no route of the host's is
//! covered.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use podcov_process::Cancel;
use serde::{Deserialize, Serialize};

use super::lock::Lock;
use crate::provider::Error;

/// 198.18.0.0/15: for tests of networks, routed nowhere (RFC 2544).
const RANGE: u32 = 0xC612_0000;
const BLOCK: u32 = 4;
const BLOCKS: u32 = (1 << 17) / BLOCK;

/// The /30 of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    /// The host's end.
    pub host: Ipv4Addr,
    /// The node's end: its address in the cluster.
    pub node: Ipv4Addr,
}

impl Subnet {
    fn nth(block: u32) -> Self {
        let base = RANGE + block * BLOCK;
        Subnet {
            host: Ipv4Addr::from(base + 1),
            node: Ipv4Addr::from(base + 2),
        }
    }

    /// With the prefix length, as links want it.
    pub fn cidr(address: Ipv4Addr) -> String {
        format!("{address}/30")
    }
}

/// Held while a cluster picks its addresses and until its link has them. One
/// for the whole machine, whatever state folders there are; a lock on /run
/// itself needs no file.
pub(crate) fn lock(cancel: &Cancel) -> Result<Lock, Error> {
    Lock::take(Path::new("/run"), cancel, || {})
}

/// A subnet that no route of the host's touches. Starts looking at a place that
/// `id` decides, so that a cluster tends to get the same one again.
pub(crate) fn pick(id: u32) -> Result<Subnet, Error> {
    let path = "/proc/net/route";
    let table = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let routes = parse_routes(&table);
    free(id, &routes).ok_or_else(|| {
        Error::Other("expected a free /30 in 198.18.0.0/15, found all of it routed".into())
    })
}

fn free(id: u32, routes: &[(u32, u32)]) -> Option<Subnet> {
    let overlaps = |base: u32| {
        routes.iter().any(|(network, mask)| {
            let common = mask & !(BLOCK - 1);
            network & common == base & common
        })
    };
    (0..BLOCKS)
        .map(|offset| (id.wrapping_add(offset)) % BLOCKS)
        .find(|block| !overlaps(RANGE + block * BLOCK))
        .map(Subnet::nth)
}

/// Network and mask of each route but the default one. The file has them as
/// hexadecimal numbers in the machine's byte order.
fn parse_routes(table: &str) -> Vec<(u32, u32)> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some((number(fields.get(1)?)?, number(fields.get(7)?)?))
        })
        .filter(|(_, mask)| *mask != 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
pcov1\t140012C6\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_are_read_and_the_default_one_is_left_out() {
        assert_eq!(parse_routes(TABLE), [(0xC612_0014, 0xFFFF_FFFC)]);
    }

    #[test]
    fn a_taken_subnet_is_passed_over() {
        assert_eq!(free(5, &[]), Some(Subnet::nth(5)));
        assert_eq!(free(5, &[(0xC612_0014, 0xFFFF_FFFC)]), Some(Subnet::nth(6)));
        let single_host = (0xC612_0016, 0xFFFF_FFFF);
        assert_eq!(free(5, &[single_host]), Some(Subnet::nth(6)));
    }

    #[test]
    fn a_route_over_the_whole_range_leaves_none() {
        assert_eq!(free(0, &[(0xC600_0000, 0xFF00_0000)]), None);
    }

    #[test]
    fn addresses_are_the_two_in_the_middle() {
        let subnet = Subnet::nth(5);
        assert_eq!(subnet.host, Ipv4Addr::new(198, 18, 0, 21));
        assert_eq!(subnet.node, Ipv4Addr::new(198, 18, 0, 22));
    }
}
