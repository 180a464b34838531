//! The connections of peers, and which of a peer's serves it best. Pure: what it says is done by the swarm's task.
//!
//! A peer's first connection counts at once. A further one counts when it has shown that it carries something, by a ping
//! that is answered or a substream that comes: a peer that checks whether it can reach us (AutoNAT) connects for that
//! alone, and whoever came back from a restart must not be asked on a connection into the void.

use std::collections::BTreeMap;

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId as SwarmConnection;
use node::tunnel::{ConnectionId, Dialled};

use crate::address::is_quic;

/// The way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// By a relay.
    Relayed,
    /// From host to host by TCP.
    Tcp,
    /// From host to host by QUIC, beside which frames may go.
    Quic,
}

/// A connection of a peer.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) swarm: SwarmConnection,
    pub(super) peer: PeerId,
    pub(super) dialled: Dialled,
    pub(super) way: Way,
    pub(super) endpoint: ConnectedPoint,
    proven: bool,
    /// When it last showed that it carries something, among all that did; zero for never.
    shown: u64,
    counts: bool,
}

/// Those of peers, without the visits of guests.
#[derive(Default)]
pub(super) struct Connections {
    known: BTreeMap<ConnectionId, Connection>,
    last: u64,
    /// How often any connection showed that it carries something.
    shown: u64,
}

impl Connections {
    /// A connection stands.
    pub(super) fn insert(&mut self, peer: PeerId, swarm: SwarmConnection, endpoint: &ConnectedPoint) {
        let dialled = if endpoint.is_dialer() { Dialled::ByUs } else { Dialled::ByPeer };
        let way = if endpoint.is_relayed() {
            Way::Relayed
        } else if is_quic(endpoint.get_remote_address()) {
            Way::Quic
        } else {
            Way::Tcp
        };
        let endpoint = endpoint.clone();
        self.last += 1;
        let connection = Connection { swarm, peer, dialled, way, endpoint, proven: false, shown: 0, counts: false };
        self.known.insert(ConnectionId(self.last), connection);
    }

    /// A connection showed that it carries something.
    pub(super) fn prove(&mut self, swarm: SwarmConnection) {
        if let Some(connection) = self.known.values_mut().find(|known| known.swarm == swarm) {
            self.shown += 1;
            (connection.proven, connection.shown) = (true, self.shown);
        }
    }

    /// Somebody finds no answer on a peer's connections: those that show that they carry something are better.
    pub(super) fn doubt(&mut self, peer: &PeerId) {
        self.known.values_mut().filter(|known| known.peer == *peer).for_each(|known| known.proven = false);
    }

    /// Whether a connection stands that was not heard of since somebody found no answer.
    pub(super) fn is_doubted(&self, swarm: SwarmConnection) -> bool {
        self.known.values().any(|known| known.swarm == swarm && !known.proven)
    }

    /// A connection is gone. Gives it, and its number if it counted.
    pub(super) fn remove(&mut self, swarm: SwarmConnection) -> Option<(Connection, Option<ConnectionId>)> {
        let number = self.number(swarm)?;
        let gone = self.known.remove(&number)?;
        let counted = gone.counts.then_some(number);
        Some((gone, counted))
    }

    /// Those of a peer that count from now on. Each is given once.
    pub(super) fn newly_counting(&mut self, peer: &PeerId) -> Vec<(ConnectionId, Connection)> {
        let mut any = self.known.values().any(|known| known.peer == *peer && known.counts);
        let mut news = Vec::new();
        for (number, known) in self.known.iter_mut().filter(|(_, known)| known.peer == *peer && !known.counts) {
            if known.proven || !any {
                (known.counts, any) = (true, true);
                news.push((*number, known.clone()));
            }
        }
        news
    }

    /// The connection that serves a peer best: of those that are proven one by QUIC, by TCP, by a relay, then the newest.
    /// While all are in doubt it is the one that showed last that it carries something: what died will show no more.
    pub(super) fn best(&self, peer: &PeerId) -> Option<&Connection> {
        let of_peer = self.known.iter().filter(|(_, known)| known.peer == *peer && known.counts);
        let merit = |(number, known): &(&ConnectionId, &Connection)| {
            let (way, shown) = if known.proven { (Some(known.way), 0) } else { (None, known.shown) };
            (way, shown, **number)
        };
        of_peer.max_by_key(merit).map(|(_, known)| known)
    }

    /// Older connections that a proven one makes needless: whoever dials again the same way has given the older one up,
    /// or was restarted and does not have it any more. Left alone it would take substreams into the void until its ping
    /// fails.
    pub(super) fn replaced_by(&self, proven: SwarmConnection) -> Vec<SwarmConnection> {
        let Some((number, newer)) = self.known.iter().find(|(_, known)| known.swarm == proven) else { return vec![] };
        let older = self.known.range(..number).map(|(_, older)| older);
        let same =
            |older: &&Connection| (older.peer, older.dialled, older.way) == (newer.peer, newer.dialled, newer.way);
        older.filter(same).map(|older| older.swarm).collect()
    }

    /// Connections by a relay that we asked for.
    pub(super) fn circuits(&self, peer: &PeerId) -> Vec<SwarmConnection> {
        let of_peer = self.known.values().filter(|known| known.peer == *peer);
        let ours = of_peer.filter(|known| known.way == Way::Relayed && known.dialled == Dialled::ByUs);
        ours.map(|known| known.swarm).collect()
    }

    /// The number of a connection.
    pub(super) fn number(&self, swarm: SwarmConnection) -> Option<ConnectionId> {
        self.known.iter().find(|(_, known)| known.swarm == swarm).map(|(number, _)| *number)
    }

    /// Whether a peer is connected in a way.
    pub(super) fn has(&self, peer: &PeerId, way: Way) -> bool {
        self.known.values().any(|known| known.peer == *peer && known.way == way)
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a peer is connected.
    pub(super) fn any(&self, peer: &PeerId) -> bool {
        self.known.values().any(|known| known.peer == *peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "/ip4/203.0.113.9/udp/1/quic-v1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn listened(local: &str) -> ConnectedPoint {
        let (local_addr, send_back_addr) = (local.parse().unwrap(), "/ip4/192.0.2.1/udp/2/quic-v1".parse().unwrap());
        ConnectedPoint::Listener { local_addr, send_back_addr }
    }

    fn id(number: usize) -> SwarmConnection {
        SwarmConnection::new_unchecked(number)
    }

    fn best(connections: &Connections, peer: &PeerId) -> Option<SwarmConnection> {
        connections.best(peer).map(|best| best.swarm)
    }

    fn counting(connections: &mut Connections, peer: &PeerId) -> Vec<SwarmConnection> {
        connections.newly_counting(peer).into_iter().map(|(_, connection)| connection.swarm).collect()
    }

    #[test]
    fn a_direct_connection_is_preferred_once_it_carries_something() {
        let (mut connections, peer) = (Connections::default(), PeerId::random());
        connections.insert(peer, id(1), &listened(&format!("{RELAY}/p2p-circuit")));
        assert_eq!((counting(&mut connections, &peer), best(&connections, &peer)), (vec![id(1)], Some(id(1))));
        connections.prove(id(1));
        connections.insert(peer, id(2), &listened("/ip4/192.0.2.2/udp/2/quic-v1"));
        assert_eq!((counting(&mut connections, &peer), best(&connections, &peer)), (vec![], Some(id(1))));
        connections.prove(id(2));
        assert_eq!((counting(&mut connections, &peer), best(&connections, &peer)), (vec![id(2)], Some(id(2))));
        // Another relayed one is newer, and still relayed.
        connections.insert(peer, id(3), &listened(&format!("{RELAY}/p2p-circuit")));
        connections.prove(id(3));
        assert_eq!((counting(&mut connections, &peer), best(&connections, &peer)), (vec![id(3)], Some(id(2))));
        assert_eq!(connections.replaced_by(id(3)), [id(1)], "the direct one stays");
        // The direct one is silent, and the relayed one answers.
        connections.doubt(&peer);
        connections.prove(id(3));
        assert_eq!(best(&connections, &peer), Some(id(3)));
        assert!(connections.is_doubted(id(2)) && !connections.is_doubted(id(3)) && !connections.is_doubted(id(9)));
        connections.prove(id(2));
        assert_eq!(best(&connections, &peer), Some(id(2)), "it was not dead after all");
        let (gone, number) = connections.remove(id(2)).unwrap();
        assert!(gone.way == Way::Quic && number.is_some());
        assert_eq!(best(&connections, &peer), Some(id(3)));
    }

    #[test]
    fn while_all_are_in_doubt_the_one_that_carried_something_last_is_used() {
        let (mut connections, peer) = (Connections::default(), PeerId::random());
        connections.insert(peer, id(1), &listened("/ip4/192.0.2.2/udp/2/quic-v1"));
        connections.prove(id(1));
        let tcp = ConnectedPoint::Listener {
            local_addr: "/ip4/192.0.2.2/tcp/2".parse().unwrap(),
            send_back_addr: "/ip4/192.0.2.1/tcp/3".parse().unwrap(),
        };
        connections.insert(peer, id(2), &tcp);
        connections.prove(id(2));
        counting(&mut connections, &peer);
        assert_eq!(best(&connections, &peer), Some(id(1)), "QUIC is better");
        connections.doubt(&peer);
        assert_eq!(best(&connections, &peer), Some(id(2)), "but TCP was heard later");
        connections.prove(id(1));
        assert_eq!(best(&connections, &peer), Some(id(1)));
    }

    #[test]
    fn the_only_connection_counts_at_once_and_the_next_when_it_is_gone() {
        let (mut connections, peer) = (Connections::default(), PeerId::random());
        for number in [1, 2] {
            connections.insert(peer, id(number), &listened("/ip4/192.0.2.2/udp/2/quic-v1"));
        }
        assert_eq!(counting(&mut connections, &peer), [id(1)]);
        // One that checks whether we can be reached goes as it came: nobody hears of it.
        connections.insert(peer, id(3), &listened("/ip4/192.0.2.2/udp/2/quic-v1"));
        assert_eq!(connections.remove(id(3)).unwrap().1, None);
        connections.remove(id(1));
        assert_eq!((counting(&mut connections, &peer), best(&connections, &peer)), (vec![id(2)], Some(id(2))));
        assert!(connections.any(&peer) && !connections.any(&PeerId::random()));
    }
}
