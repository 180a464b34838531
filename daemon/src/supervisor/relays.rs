//! Relays that keep a place for us, and those that do not.

use net::Multiaddr;

use super::Supervisor;
use super::health::{Fault, News};

impl Supervisor {
    /// A relay keeps a place for us: who knows of it reaches us there.
    pub(super) fn reserved(&mut self, relay: Multiaddr) {
        self.health.clear(Fault::Relay, &relay.to_string());
        if self.reserved.insert(relay) {
            tracing::info!("a relay keeps a place for this host");
        }
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
