//! Whose packets are whose: the router's snapshot, the host's routes to the interface, and what is forwarded.

use std::collections::BTreeSet;
use std::sync::Arc;

use node::router::{PeerSlot, PrefixTaken, Router};

use super::Supervisor;
use super::health::{Fault, News};
use super::peer::prefixes;

impl Supervisor {
    /// Builds the router's snapshot anew, without some peers, and routes every prefix of the others to the interface
    /// and nothing else.
    ///
    /// # Errors
    /// [`PrefixTaken`], and then nothing has changed; or what the system refuses first, and then all is done but that.
    pub(super) async fn set_router(&mut self, except: &BTreeSet<PeerSlot>) -> anyhow::Result<()> {
        let outer = self.config.listen.iter().copied().chain(self.surroundings.own());
        let mut router = Router::new(self.own.all(), outer, self.surroundings.direct());
        let peers = || self.peers.iter().filter(|(slot, _)| !except.contains(slot));
        for (slot, peer) in peers() {
            router.add_peer(*slot, &peer.config.allowed_ips)?;
            if peer.config.forward {
                router.forward(*slot);
            }
        }
        self.route_to_exit(&mut router, except);
        let prefixes = prefixes(peers().map(|(_, peer)| peer));
        self.plane.set_router(Arc::new(router));
        self.push_settings(except);
        let routed = match &mut self.interface {
            Some(interface) => interface.set_routes(prefixes).await,
            None => Ok(()),
        };
        routed.and(self.sync_gateway(except).await)
    }

    /// [`Self::set_router`] after something else than the peers changed, when nobody is there to be told a failure.
    pub(super) async fn renew_router(&mut self) {
        match self.set_router(&BTreeSet::new()).await {
            Ok(()) => self.health.clear(Fault::Routes, ""),
            Err(error) => self.routes_are_refused(&error),
        }
    }

    /// [`Self::set_router`] for a change of peers.
    ///
    /// # Errors
    /// As there; but not where the system refused something before: it may do so again, and that must keep nobody from
    /// removing another peer.
    pub(super) async fn revise_router(&mut self, gone: &BTreeSet<PeerSlot>) -> anyhow::Result<()> {
        let refused_before = self.health.has(Fault::Routes);
        match self.set_router(gone).await {
            Ok(()) => self.health.clear(Fault::Routes, ""),
            Err(error) if refused_before && !error.is::<PrefixTaken>() => self.routes_are_refused(&error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn routes_are_refused(&mut self, error: &anyhow::Error) {
        let hint = "look for another program's route to the same place, then 'sudo cryprq config reload'";
        if self.health.note(Fault::Routes, "", format!("{error:#}"), hint) == News::New {
            tracing::warn!("the system refuses a route: see cryprq status");
        }
    }
}
