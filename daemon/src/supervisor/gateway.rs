//! The other end of an exit: packets of peers with `forward` go on to other networks, translated, and so do their questions
//! for names. Nothing is forwarded for anybody else.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use node::handshake::{Forwarding, Tlv};
use node::router::PeerSlot;
use node::tunnel::Input;
use os::clock::boottime;
use os::firewall::Gateway as Rules;
use os::journal::Change;
use os::network::policy::Family;
use os::sysctl;

use super::exit::NOTHING;
use super::peer::prefixes;
use super::{Interface, Supervisor};
use crate::names::{Names, resolvers_of_host};
use crate::system::Deed;

/// What was done so that packets are forwarded.
pub(super) struct Gateway {
    made: Vec<Change>,
    rules: Option<Rules>,
    names: Option<Names>,
    /// What peers with `forward` are told.
    forwarding: Forwarding,
    /// Whether they may have been told something else.
    stale: bool,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { made: Vec::new(), rules: None, names: None, forwarding: NOTHING, stale: false }
    }
}

impl Supervisor {
    /// Forwards for the peers that may have it, without some, and for nobody else.
    ///
    /// # Errors
    /// What the system refuses; nothing is forwarded then.
    pub(super) async fn sync_gateway(&mut self, except: &BTreeSet<PeerSlot>) -> anyhow::Result<()> {
        self.gateway.stale = true;
        let peers = self.peers.iter().filter(|(slot, peer)| !except.contains(slot) && peer.config.forward);
        let clients = prefixes(peers.map(|(_, peer)| peer));
        let interface = self.interface.as_ref().map(Interface::index);
        let Some(interface) = interface.filter(|_| !clients.is_empty()) else { return self.close_gateway().await };
        let result = self.open_gateway(interface, clients).await;
        if result.is_err() {
            self.close_gateway().await?;
        }
        result
    }

    async fn open_gateway(&mut self, interface: u32, clients: BTreeSet<IpNet>) -> anyhow::Result<()> {
        let own: BTreeSet<IpAddr> = self.own.all().filter(|ip| self.carries(*ip)).collect();
        let answered: BTreeSet<IpAddr> =
            self.gateway.names.iter().flat_map(|names| names.at().iter().map(|(address, _)| *address)).collect();
        if self.gateway.names.is_none() || answered != own {
            let (resolvers, drops) = (resolvers_of_host(own.clone()), Arc::clone(self.plane.drops()));
            self.gateway.names = Some(Names::start(own.iter().copied(), resolvers, drops).await?);
        }
        let names = self.gateway.names.as_ref().map(|names| names.at().to_vec()).unwrap_or_default();
        let mut settings = Vec::new();
        let mut closed = self.gateway.rules.as_ref().map(|rules| rules.closed.clone()).unwrap_or_default();
        if self.gateway.rules.is_none() {
            for family in Family::BOTH {
                // A family that the kernel does not have is not forwarded either.
                let needed = sysctl::to_forward(family).unwrap_or_default();
                if !needed.is_empty() {
                    closed.insert(family);
                }
                settings.extend(needed);
            }
        }
        let rules = Rules { interface, clients, names, closed };
        if self.gateway.rules.as_ref() != Some(&rules) {
            // First, so that at no moment anything is forwarded for others.
            self.make_for_gateway(Deed::Firewall(rules.clone())).await?;
        }
        for setting in settings {
            self.make_for_gateway(Deed::Plain(Change::Sysctl(setting))).await?;
        }
        if let Some(names) = &self.gateway.names {
            names.set_clients(&rules.clients);
        }
        self.gateway.rules = Some(rules);
        self.look_at_uplinks().await;
        Ok(())
    }

    async fn make_for_gateway(&mut self, deed: Deed) -> anyhow::Result<()> {
        let change = deed.change();
        let result = self.system.make(&deed).await;
        self.gateway.made.retain(|made| *made != change);
        if result.is_ok() {
            self.gateway.made.push(change);
        }
        result
    }

    /// Forwards nothing any more.
    ///
    /// # Errors
    /// What could not be undone; it stays in the journal.
    pub(super) async fn close_gateway(&mut self) -> anyhow::Result<()> {
        (self.gateway.rules, self.gateway.names, self.gateway.forwarding) = (None, None, NOTHING);
        // The settings go before the rules that keep others out.
        while let Some(change) = self.gateway.made.last().cloned() {
            self.system.unmake(&change).await?;
            self.gateway.made.pop();
        }
        Ok(())
    }

    /// Which families can be forwarded now: those of the clients that have a way out.
    pub(super) async fn look_at_uplinks(&mut self) {
        let Some(rules) = &self.gateway.rules else { return };
        let Ok(network) = self.system.network() else { return };
        let mut forwarding = NOTHING;
        for family in Family::BOTH {
            let carried = |net: &IpNet| Family::of(net.addr()) == family && self.carries(net.addr());
            let wanted = rules.clients.iter().any(carried);
            let forwarded = wanted && network.has_default(family).await.unwrap_or(false);
            match family {
                Family::Ipv4 => forwarding.ipv4 = forwarded,
                Family::Ipv6 => forwarding.ipv6 = forwarded,
            }
        }
        self.gateway.stale |= self.gateway.forwarding != forwarding;
        self.gateway.forwarding = forwarding;
    }

    fn carries(&self, address: IpAddr) -> bool {
        self.interface.as_ref().is_some_and(|interface| interface.carries(address))
    }

    /// Tells each peer what is forwarded for it, in the next handshake, which is now if something else was told before.
    pub(super) async fn announce_forwarding(&mut self) {
        if !std::mem::take(&mut self.gateway.stale) {
            return;
        }
        let forwarding = self.gateway.forwarding;
        let tlvs = |forward: bool| if forward { vec![Tlv::Forwarding(forwarding)] } else { Vec::new() };
        let told = self.peers.iter().filter(|(_, peer)| peer.told != tlvs(peer.config.forward));
        let told: Vec<_> = told.map(|(slot, peer)| (*slot, tlvs(peer.config.forward))).collect();
        for (slot, tlvs) in told {
            let Some(peer) = self.peers.get_mut(&slot) else { continue };
            peer.told.clone_from(&tlvs);
            let live = peer.tunnel.status(boottime()).epoch.is_some();
            self.feed(slot, Input::TlvsChanged(tlvs)).await;
            if live {
                self.feed(slot, Input::Rotate).await;
            }
        }
    }
}
