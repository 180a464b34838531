//! Connections that come in and have not shown whose they are yet. By QUIC they are counted before they come here
//! (`crate::quic`); by TCP or a relay one that says nothing stays until libp2p gives it up.

use std::collections::BTreeMap;
use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::address::{is_quic, relay_of, subscriber_of};

/// Of one source: an IPv4 address, an IPv6 network of 64 bits, or a relay. Peers of a house that come back at once are
/// through in a few round trips, and who finds no room dials again after a second.
const MAX_PER_SOURCE: usize = 8;
/// In all.
pub(in crate::swarm) const MAX_PENDING: usize = 64;

#[derive(Default)]
pub(super) struct Pending(BTreeMap<ConnectionId, Source>);

/// Whom a connection counts for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// What has no address counts as one source.
    Host(Option<IpAddr>),
    /// Whoever is said to be behind it. Those whose PeerId is not known count as one.
    Relay(Option<PeerId>),
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Granted,
    Refused,
}

impl Pending {
    pub(super) fn enter(&mut self, connection: ConnectionId, local: &Multiaddr, remote: &Multiaddr) -> Entry {
        let Some(source) = Source::of(local, remote) else { return Entry::Granted };
        let of_source = self.0.values().filter(|other| **other == source).count();
        if self.0.len() >= MAX_PENDING || of_source >= MAX_PER_SOURCE {
            return Entry::Refused;
        }
        self.0.insert(connection, source);
        Entry::Granted
    }

    /// It showed whose it is, or ended.
    pub(super) fn leave(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }
}

impl Source {
    /// `None` for a connection by QUIC.
    fn of(local: &Multiaddr, remote: &Multiaddr) -> Option<Self> {
        // Of a circuit's other end nothing is known but the name that the relay gives it.
        if local.iter().any(|part| part == Protocol::P2pCircuit) {
            return Some(Self::Relay(relay_of(local)));
        }
        (!is_quic(remote)).then(|| Self::Host(subscriber_of(remote)))
    }
}
