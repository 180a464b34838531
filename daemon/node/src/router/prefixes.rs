//! Longest-prefix match by one hash table per prefix length in use.
//!
//! AllowedIPs are few lengths (mostly /32 and /128) of many addresses, so a look-up is one or two probes however many
//! peers there are. The keys are the administrator's, not an attacker's, so a fast hash is enough.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::PeerSlot;
use crate::hash::BuildFold;

#[derive(Debug, Default)]
pub(super) struct PrefixTable {
    v4: Lengths,
    v6: Lengths,
}

/// By descending prefix length, each with its truncated addresses.
type Lengths = Vec<(u8, HashMap<u128, PeerSlot, BuildFold>)>;

impl PrefixTable {
    /// Enters a prefix unless somebody has it; gives who has it.
    pub(super) fn insert(&mut self, prefix: IpNet, slot: PeerSlot) -> Option<PeerSlot> {
        let (lengths, bits) = match prefix {
            IpNet::V4(net) => (&mut self.v4, u128::from(net.network().to_bits())),
            IpNet::V6(net) => (&mut self.v6, net.network().to_bits()),
        };
        let length = prefix.prefix_len();
        let at = match lengths.binary_search_by(|(l, _)| length.cmp(l)) {
            Ok(at) => at,
            Err(at) => {
                lengths.insert(at, (length, HashMap::default()));
                at
            }
        };
        let table = &mut lengths[at].1;
        if let Some(&taken) = table.get(&bits) {
            return Some(taken);
        }
        table.insert(bits, slot);
        None
    }

    pub(super) fn longest_match(&self, address: IpAddr) -> Option<PeerSlot> {
        let (lengths, bits, width) = match address {
            IpAddr::V4(ip) => (&self.v4, u128::from(ip.to_bits()), 32),
            IpAddr::V6(ip) => (&self.v6, ip.to_bits(), 128),
        };
        lengths.iter().find_map(|(length, table)| {
            let host_bits = u32::from(width - length);
            let network = bits.checked_shr(host_bits).map_or(0, |kept| kept << host_bits);
            table.get(&network).copied()
        })
    }
}
