//! Addresses that the daemon listens on: what fails is tried again for ever.

use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use node::time::Time;

use super::{NetConfig, Tcp};

const RETRY: Duration = Duration::from_secs(2);

pub(super) struct Listeners(Vec<Listener>);

struct Listener {
    address: Multiaddr,
    id: Option<ListenerId>,
    due: Option<Time>,
}

impl Listeners {
    pub(super) fn new(config: &NetConfig) -> Self {
        let mut addresses = Vec::new();
        for &ip in &config.listen {
            let base = Multiaddr::empty().with(ip.into());
            addresses.push(base.clone().with(Protocol::Udp(config.port)).with(Protocol::QuicV1));
            if config.tcp == Tcp::Listen {
                addresses.push(base.with(Protocol::Tcp(config.port)));
            }
        }
        let due = Some(Time::ZERO);
        Self(addresses.into_iter().map(|address| Listener { address, id: None, due }).collect())
    }

    /// Tries what is due; gives the failures.
    pub(super) fn listen<E>(
        &mut self,
        now: Time,
        mut listen_on: impl FnMut(Multiaddr) -> Result<ListenerId, E>,
    ) -> Vec<(Multiaddr, E)> {
        let mut failures = Vec::new();
        for listener in self.0.iter_mut().filter(|listener| listener.due.is_some_and(|due| due <= now)) {
            match listen_on(listener.address.clone()) {
                Ok(id) => (listener.id, listener.due) = (Some(id), None),
                Err(error) => {
                    listener.due = Some(now + RETRY);
                    failures.push((listener.address.clone(), error));
                }
            }
        }
        failures
    }

    /// A listener ended: it is tried again, and its address is given.
    pub(super) fn closed(&mut self, id: ListenerId, now: Time) -> Option<Multiaddr> {
        let listener = self.0.iter_mut().find(|listener| listener.id == Some(id))?;
        (listener.id, listener.due) = (None, Some(now + RETRY));
        Some(listener.address.clone())
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.iter().filter_map(|listener| listener.due).min()
    }
}
