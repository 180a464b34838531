//! Where the connections that stand end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::{Multiaddr, PeerId};

use super::address;

/// The connections of a transport by their peers: libp2p does not say where a connection ends that was dialled by name,
/// or whose peer came to another address since.
#[derive(Clone, Default)]
pub struct Ends {
    standing: Arc<Mutex<Standing>>,
    count: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Standing {
    last: u64,
    peers: HashMap<PeerId, Vec<(u64, quinn::Connection)>>,
}

/// The ends of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The peer's.
    pub remote: SocketAddr,
    /// Ours, as far as it is known.
    pub local: Option<IpAddr>,
}

impl End {
    /// The peer's, as a multiaddr.
    pub fn address(&self) -> Multiaddr {
        address::format(self.remote)
    }
}

impl Ends {
    /// Of the newest connection to a peer at an address; of its newest one where the address is a name, or was left since.
    pub fn newest(&self, peer: &PeerId, address: &Multiaddr) -> Option<End> {
        let at = address::parse(address).map(|(socket, _)| socket);
        let standing = self.lock();
        let connections = standing.peers.get(peer)?;
        let there = connections.iter().rev().find(|(_, connection)| Some(connection.remote_address()) == at);
        let (_, connection) = there.or(connections.last())?;
        Some(End { remote: connection.remote_address(), local: connection.local_ip() })
    }

    /// Enters a connection for as long as the result lives.
    pub(super) fn enter(&self, peer: PeerId, connection: quinn::Connection) -> Entered {
        let mut standing = self.lock();
        standing.last += 1;
        let number = standing.last;
        standing.peers.entry(peer).or_default().push((number, connection));
        self.count.fetch_add(1, Ordering::Relaxed);
        Entered { ends: self.clone(), peer, number }
    }

    #[cfg(test)]
    pub(super) fn of(count: usize) -> Self {
        Self { count: Arc::new(count.into()), ..Self::default() }
    }

    /// How many connections stand.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's entry.
pub(super) struct Entered {
    ends: Ends,
    peer: PeerId,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.ends.count.fetch_sub(1, Ordering::Relaxed);
        let mut standing = self.ends.lock();
        let Some(connections) = standing.peers.get_mut(&self.peer) else { return };
        connections.retain(|&(number, _)| number != self.number);
        if connections.is_empty() {
            standing.peers.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;
    use quinn::Endpoint;

    use super::super::settings::Settings;
    use super::*;

    #[tokio::test]
    async fn a_connection_counts_for_as_long_as_it_is_entered() {
        let settings = Settings::new(Keypair::generate_ed25519()).unwrap();
        let server = Endpoint::server(settings.listening.clone(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = server.local_addr().unwrap();
        let connecting = client.connect_with(settings.dialling(None).unwrap(), to, "l").unwrap();
        let answering = async { server.accept().await.unwrap().await };
        let (connection, _answered) = tokio::try_join!(connecting, answering).unwrap();

        let (ends, peer) = (Ends::default(), PeerId::random());
        let [first, second] = [ends.enter(peer, connection.clone()), ends.enter(peer, connection)];
        let seen = ends.clone();
        assert_eq!(seen.count(), 2);
        let there = seen.newest(&peer, &address::format(to)).unwrap();
        assert_eq!(there.remote, to);
        drop(first);
        assert_eq!(seen.count(), 1);
        drop(second);
        assert_eq!((seen.count(), seen.newest(&peer, &address::format(to))), (0, None));
    }
}
