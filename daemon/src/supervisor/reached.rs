//! Where peers were reached: tried first at the next start, so that a peer is found though its name does not resolve, or
//! though only it knew where to find us.

use net::Multiaddr;
use net::address::relay_of;
use net::multiaddr::Protocol;
use node::peer_key::PeerKey;
use node::tunnel::Dialled;

use super::Supervisor;
use super::peer::Peer;
use crate::state_dir::{Addresses, StateError};

/// How many addresses of a peer are kept.
const KEPT: usize = 4;

/// What is known of where peers are.
#[derive(Debug, Default)]
pub(super) struct Reached {
    addresses: Addresses,
    unsaved: bool,
}

impl Reached {
    pub(super) const fn new(addresses: Addresses) -> Self {
        Self { addresses, unsaved: false }
    }

    /// A connection to a peer stands. Where a TCP connection of the peer's own came from leads nowhere, and the relay that
    /// the peer found us by may have no place for it.
    pub(super) fn note(&mut self, peer: PeerKey, address: &Multiaddr, dialled: Dialled) {
        let mut address = address.clone();
        if let Some(Protocol::P2p(_)) = address.iter().last() {
            address.pop();
        }
        let tcp = address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
        if dialled == Dialled::ByPeer && (tcp || relay_of(&address).is_some()) {
            return;
        }
        let known = self.addresses.entry(peer).or_default();
        if known.first() != Some(&address) {
            known.retain(|other| *other != address);
            known.insert(0, address);
            known.truncate(KEPT);
            self.unsaved = true;
        }
    }

    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.unsaved |= self.addresses.remove(&peer).is_some();
    }

    /// Where to dial a peer: where it was reached, then where it is said to be.
    fn of(&self, peer: PeerKey, said: &[Multiaddr]) -> Vec<Multiaddr> {
        let mut all = self.addresses.get(&peer).cloned().unwrap_or_default();
        let more: Vec<_> = said.iter().filter(|address| !all.contains(address)).cloned().collect();
        all.extend(more);
        all
    }
}

impl Supervisor {
    /// Dials a peer, for ever.
    pub(super) async fn dial(&self, peer: &Peer) {
        self.net.dial(peer.config.key, self.dialled(peer)).await;
    }

    /// Where a peer is dialled.
    pub(super) fn dialled(&self, peer: &Peer) -> Vec<Multiaddr> {
        self.reached.of(peer.config.key, &peer.config.addresses)
    }

    /// Writes `addresses.toml` when there is something new in it.
    pub(super) fn save_addresses(&mut self) -> Result<(), StateError> {
        if !self.reached.unsaved {
            return Ok(());
        }
        let result = self.state.set_addresses(&self.reached.addresses);
        self.reached.unsaved = result.is_err();
        self.saved("addresses.toml", result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_good_address_comes_first_and_what_leads_nowhere_is_not_kept() {
        let key = net::peer_id::parse("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA").unwrap();
        let said = [address("/dns4/gw.example.org/udp/1/quic-v1"), address("/ip4/192.0.2.1/udp/1/quic-v1")];
        let mut reached = Reached::default();
        assert_eq!(reached.of(key, &said), said);
        reached.note(key, &address("/ip4/192.0.2.7/tcp/50000"), Dialled::ByPeer);
        assert!(!reached.unsaved);
        let id = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        reached.note(key, &address(&format!("/ip4/192.0.2.1/udp/1/quic-v1/p2p/{id}")), Dialled::ByUs);
        assert!(std::mem::take(&mut reached.unsaved));
        reached.note(key, &said[1], Dialled::ByUs);
        assert!(!reached.unsaved, "nothing new");
        assert_eq!(reached.of(key, &said), [said[1].clone(), said[0].clone()]);
        for port in 2..9 {
            reached.note(key, &address(&format!("/ip4/192.0.2.9/udp/{port}/quic-v1")), Dialled::ByPeer);
        }
        let known = reached.of(key, &[]);
        assert_eq!((known.len(), known[0].to_string().as_str()), (KEPT, "/ip4/192.0.2.9/udp/8/quic-v1"));
        reached.unsaved = false;
        reached.forget(key);
        assert!(reached.unsaved && reached.of(key, &[]).is_empty());
    }
}
