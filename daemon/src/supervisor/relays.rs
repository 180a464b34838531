//! Relays that keep a place for us, and those that do not.

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use net::address::relay_of;
use net::multiaddr::Protocol;
use net::{Multiaddr, PeerId, peer_id};

use super::Supervisor;
use super::health::{Fault, News};

impl Supervisor {
    /// A relay keeps a place for us: who knows of it reaches us there.
    pub(super) fn reserved(&mut self, relay: Multiaddr) {
        self.health.clear(Fault::Relay, &relay.to_string());
        self.health.clear(Fault::Unreachable, "");
        if self.reserved.insert(relay) {
            tracing::info!("a relay keeps a place for this host");
        }
    }

    /// Where we wait at a relay that a caller names, by the name of a peer, a PeerId or its beginning.
    pub(super) fn places_at(&self, name: &str) -> Result<Vec<Multiaddr>, ErrorBody> {
        let called = |id: PeerId| {
            let peer =
                peer_id::to_key(&id).ok().and_then(|key| self.slots.get(&key)).and_then(|slot| self.peers.get(slot));
            peer.is_some_and(|peer| peer.config.name == name) || (!name.is_empty() && id.to_base58().starts_with(name))
        };
        let circuit = |relay: &Multiaddr| relay.clone().with(Protocol::P2pCircuit);
        let at = |relay: &&Multiaddr| relay_of(&circuit(relay)).is_some_and(called);
        let named: Vec<_> = self.config.relays.iter().filter(at).collect();
        if named.is_empty() {
            let message = format!("no relay of relay.use is called '{}'", name.escape_debug());
            return Err(ErrorBody::new(ErrorCode::UnknownPeer, message).hint("'cryprq netcheck' shows the relays"));
        }
        let kept: Vec<_> = named.into_iter().filter(|relay| self.reserved.contains(*relay)).map(circuit).collect();
        if kept.is_empty() {
            let message = "the relay keeps no place for this host";
            return Err(ErrorBody::new(ErrorCode::NotConnected, message).hint("'cryprq status' says why"));
        }
        Ok(kept)
    }

    /// A relay keeps no place for us; it is asked again.
    pub(super) fn unreserved(&mut self, relay: &Multiaddr, error: &str) {
        tracing::debug!(%relay, %error, "no place at a relay");
        self.reserved.remove(relay);
        let text = format!("the relay {relay} keeps no place for this host: {error}");
        let hint = "is it up, has it relay.serve = true, and this host among its peers?";
        if self.health.note(Fault::Relay, &relay.to_string(), text, hint) == News::New {
            tracing::warn!(%error, "no place at a relay; trying again");
        }
    }
}
