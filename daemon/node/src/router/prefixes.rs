//! Longest-prefix match by one hash table per prefix length in use.
//!
//! AllowedIPs are few lengths (mostly /32 and /128) of many addresses, so a look-up is one or two probes however many
//! peers there are. The keys are the administrator's, not an attacker's, so a fast hash is enough.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

use super::PeerSlot;

#[derive(Debug, Default)]
pub(super) struct PrefixTable {
    v4: Lengths,
    v6: Lengths,
}

/// By descending prefix length, each with its truncated addresses.
type Lengths = Vec<(u8, HashMap<u128, PeerSlot, BuildHasherDefault<Fold>>)>;

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

/// Folds a 128-bit key into 64 bits by two multiplications.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u128(&mut self, key: u128) {
        let [low, high] = [key as u64, (key >> 64) as u64];
        self.mix(low);
        self.mix(high);
    }
}

impl Fold {
    fn mix(&mut self, word: u64) {
        // The odd constant is 2^64 divided by the golden ratio.
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}
