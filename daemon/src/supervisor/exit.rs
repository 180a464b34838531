//! The exit: the peer that all traffic of this host goes through which is nobody else's.
//!
//! It is chosen at once and takes effect when the peer is connected and says what it forwards. From then on everything
//! leads to it, connected or not, until it is none any more: what it cannot carry is refused here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::ExitStatus;
use ipnet::IpNet;
use net::address::relay_of;
use net::multiaddr::Protocol;
use net::{Multiaddr, peer_id};
use node::handshake::Forwarding;
use node::peer_key::PeerKey;
use node::router::{PeerSlot, Router};
use os::clock::boottime;
use os::journal::Change;
use os::network::policy::Family;
use os::{resolv_conf, resolved};

use super::health::{Fault, News};
use super::peer::Peer;
use super::settings::Routing;
use super::{Interface, Supervisor};
use crate::config::Ingress;
use crate::system::Deed;

pub(super) const NOTHING: Forwarding = Forwarding { ipv4: false, ipv6: false };
const HOW_TO_FORWARD: &str = "there, as root: cryprq peers set PEER --forward, or forward = true in its configuration";

/// The exit, and what was done for it.
#[derive(Default)]
pub(super) struct Exit {
    chosen: Option<PeerKey>,
    /// What the peer forwards, once everything leads to it.
    active: Option<Forwarding>,
    /// What was done to the system for it.
    made: Vec<Change>,
    resolvers: Vec<IpAddr>,
    /// Who answers this host's programs for names.
    names: Names,
    /// Whether something happened that it depends on.
    stale: bool,
}

/// Who answers a host's programs for names.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Names {
    /// Whom its `/etc/resolv.conf` names.
    #[default]
    ByFile,
    /// systemd-resolved, which that file leads to.
    ByResolved,
}

impl Names {
    /// Looks at the host, as it is while no exit of ours changed it.
    async fn of_this_host() -> Self {
        if !resolved::is_named_in(resolv_conf::PATH.as_ref()) {
            return Self::ByFile;
        }
        match resolved::ping().await {
            Ok(()) => Self::ByResolved,
            Err(error) => {
                tracing::warn!(%error, "/etc/resolv.conf names systemd-resolved, and is replaced");
                Self::ByFile
            }
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::ByFile => "resolv.conf",
            Self::ByResolved => "systemd-resolved",
        }
    }
}

impl Exit {
    pub(super) const fn chosen(&self) -> Option<PeerKey> {
        self.chosen
    }

    pub(super) fn wish(chosen: Option<PeerKey>) -> Self {
        Self { chosen, stale: true, ..Self::default() }
    }

    /// Something happened that it depends on.
    pub(super) const fn look_again(&mut self) {
        self.stale = true;
    }
}

impl Supervisor {
    /// Makes a peer the exit.
    ///
    /// # Errors
    /// Why it cannot be one; nothing has changed then.
    pub(super) async fn choose_exit(&mut self, slot: PeerSlot) -> Result<(), ErrorBody> {
        self.may_be_exit(slot)?;
        let Some(peer) = self.peers.get(&slot) else { return Ok(()) };
        let before = self.exit.chosen.replace(peer.config.key);
        if before != self.exit.chosen {
            // What the one before forwards says nothing of this one, and nothing goes to it any more.
            self.release_exit().await.map_err(|error| {
                self.exit.chosen = before;
                self.exit.stale = true;
                refused(&error)
            })?;
        }
        if let Err(error) = self.follow_exit().await {
            self.exit.chosen = before;
            self.exit.stale = true;
            return Err(refused(&error));
        }
        Ok(())
    }

    fn may_be_exit(&self, slot: PeerSlot) -> Result<(), ErrorBody> {
        let Some(peer) = self.peers.get(&slot) else { return Ok(()) };
        let name = &peer.config.name;
        if self.config.ingress == Ingress::None {
            let message = "where network.ingress is \"none\" no traffic of this host goes into the tunnel";
            return Err(ErrorBody::new(ErrorCode::Unsupported, message));
        }
        if self.config.linux.fwmark == 0 {
            let message = "without linux.fwmark the tunnel's own packets cannot be told from all others";
            return Err(ErrorBody::new(ErrorCode::InvalidConfig, message).hint("set linux.fwmark, and restart cryprqd"));
        }
        let widest = |peer: &Peer| peer.config.allowed_ips.iter().copied().find(|net| net.prefix_len() == 0);
        let others = self.peers.iter().filter(|(other, _)| **other != slot);
        if let Some((other, net)) = others.map(|(_, peer)| peer).find_map(|peer| Some((peer, widest(peer)?))) {
            let message = format!("{net} belongs to peer {} already, so nothing is left for {name}", other.config.name);
            return Err(
                ErrorBody::new(ErrorCode::AlreadyExists, message).hint("take it out of that peer's allowed_ips")
            );
        }
        if forwarding(peer) == Some(NOTHING) {
            let message = format!("{name} forwards nothing for this host");
            return Err(ErrorBody::new(ErrorCode::PeerRefused, message).hint(HOW_TO_FORWARD));
        }
        if self.resolvers_at(peer).is_empty() {
            let message = format!("no inner address of {name} is known that names could be asked at");
            return Err(ErrorBody::new(ErrorCode::InvalidConfig, message).hint("set exit.dns"));
        }
        Ok(())
    }

    /// There is no exit any more, if it is one of these.
    ///
    /// # Errors
    /// What could not be undone; it stays in the journal.
    pub(super) async fn end_exit(&mut self, keys: &[PeerKey]) -> anyhow::Result<()> {
        if !self.exit.chosen.is_some_and(|chosen| keys.contains(&chosen)) {
            return Ok(());
        }
        self.exit.chosen = None;
        self.health.clear(Fault::Exit, "");
        self.release_exit().await
    }

    /// The host's routes and resolvers are as they were.
    pub(super) async fn release_exit(&mut self) -> anyhow::Result<()> {
        self.exit.active = None;
        let result = self.sync_exit(Vec::new()).await;
        self.renew_router().await;
        result
    }

    /// Undoes what was done for an exit or as one.
    pub(super) async fn restore(&mut self) {
        for result in [self.release_exit().await, self.close_gateway().await] {
            if let Err(error) = result {
                tracing::warn!(%error, "not everything could be undone: the next start, or cryprqd --cleanup, does the rest");
            }
        }
        self.wait_until_taken_back().await;
    }

    /// Brings everything in line with what the exit says now, if something happened.
    pub(super) async fn follow_exit_if_stale(&mut self) {
        if !std::mem::take(&mut self.exit.stale) || self.exit.chosen.is_none() {
            return;
        }
        match self.follow_exit().await {
            Ok(()) => {}
            Err(error) => {
                let hint = "mend it: it is tried again each 5 s; 'cryprq down' ends it";
                if self.health.note(Fault::Exit, "", format!("{error:#}"), hint) == News::New {
                    tracing::warn!("what leads to the exit cannot be kept up: see cryprq status");
                }
            }
        }
    }

    /// Brings the host's routes and resolvers in line with what the exit says now.
    ///
    /// # Errors
    /// What the system refuses. An exit that was not active before is not active then, and nothing has changed.
    async fn follow_exit(&mut self) -> anyhow::Result<()> {
        let Some(peer) = self.exit_peer() else { return Ok(()) };
        let name = peer.config.name.clone();
        let (before, said) = (self.exit.active, forwarding(peer));
        let Some(now) = said.or(before).filter(|now| before.is_some() || *now != NOTHING) else {
            let text = match said {
                None => {
                    format!("all traffic is to go through {name}, which is not connected yet: routes are as they were")
                }
                Some(_) => format!("all traffic is to go through {name}, which forwards nothing for this host"),
            };
            self.health.note(Fault::Exit, "", text, HOW_TO_FORWARD);
            return Ok(());
        };
        let resolvers = self.resolvers_at(peer);
        let by_us = self.config.ingress == Ingress::Tun;
        if before.is_none() && by_us {
            self.check_table().await?;
            self.exit.names = Names::of_this_host().await;
        }
        self.exit.active = Some(now);
        if before != Some(now) {
            self.renew_router().await;
        } else {
            // Connections came and went.
            self.push_settings(&BTreeSet::new());
        }
        // The extension's system carries out what its settings say.
        let deeds = if by_us { self.exit_deeds(now, resolvers) } else { Vec::new() };
        if let Err(error) = self.sync_exit(deeds).await {
            if before.is_none() {
                self.exit.active = None;
                self.renew_router().await;
            }
            return Err(error);
        }
        if now == NOTHING {
            let text = format!("{name} forwards nothing for this host any more, and all traffic leads to it");
            self.health.note(Fault::Exit, "", text, HOW_TO_FORWARD);
        } else {
            self.health.clear(Fault::Exit, "");
        }
        if before != Some(now) {
            tracing::info!(ipv4 = now.ipv4, ipv6 = now.ipv6, "all traffic goes through the exit");
        }
        Ok(())
    }

    fn exit_peer(&self) -> Option<&Peer> {
        self.exit.chosen.and_then(|key| self.slots.get(&key)).and_then(|slot| self.peers.get(slot))
    }

    /// Another program's routes in our table would lead packets elsewhere.
    async fn check_table(&self) -> anyhow::Result<()> {
        let table = self.config.linux.table;
        for family in families() {
            let taken = self.system.network()?.has_routes(family, table.into()).await?;
            anyhow::ensure!(
                !taken,
                "table {table} holds {family} routes of another program: choose another linux.table"
            );
        }
        Ok(())
    }

    fn exit_deeds(&self, forwarding: Forwarding, resolvers: Vec<IpAddr>) -> Vec<Deed> {
        let ipv6 = |interface: &Interface| interface.carries([0_u16; 8].into());
        let routing = Routing {
            interface: self.interface.as_ref().map(Interface::index),
            forwarding: Forwarding {
                ipv4: forwarding.ipv4 && self.own.ipv4.is_some(),
                ipv6: forwarding.ipv6 && self.interface.as_ref().is_some_and(ipv6),
            },
            families: families().collect(),
            ports: self.outer_ports(),
            linux: self.config.linux,
        };
        let mut deeds: Vec<_> = routing.changes().into_iter().map(Deed::Plain).collect();
        deeds.push(match (self.exit.names, &self.interface) {
            (Names::ByResolved, Some(interface)) => {
                let (name, index) = (interface.name().to_owned(), interface.index());
                Deed::LinkResolvers { name, index, servers: resolvers }
            }
            // Without an interface resolved has nowhere to ask, and nobody is to ask elsewhere.
            (Names::ByResolved, None) | (Names::ByFile, _) => Deed::Resolvers(resolv_conf::PATH.into(), resolvers),
        });
        deeds
    }

    /// Undoes what is not wanted any more, the last first, and then does what is missing: of what is new all or nothing.
    async fn sync_exit(&mut self, deeds: Vec<Deed>) -> anyhow::Result<()> {
        let resolvers = deeds.iter().find_map(Deed::resolvers).unwrap_or_default().to_vec();
        let same = resolvers == self.exit.resolvers;
        let stays =
            |made: &Change| deeds.iter().any(|deed| deed.change() == *made && (same || deed.resolvers().is_none()));
        let stale: Vec<_> = self.exit.made.iter().rev().filter(|made| !stays(made)).cloned().collect();
        for change in stale {
            self.system.unmake(&change).await?;
            self.exit.made.retain(|made| *made != change);
        }
        self.exit.resolvers = resolvers;
        let kept = self.keep_exit(&deeds).await;
        let mut fresh = Vec::new();
        for deed in deeds.iter().filter(|deed| !self.exit.made.contains(&deed.change())) {
            if let Err(error) = self.system.make(deed).await {
                for change in fresh.iter().rev() {
                    // What stays is in the journal, and undone at the next start.
                    let _ = self.system.unmake(change).await;
                }
                return Err(error);
            }
            fresh.push(deed.change());
        }
        self.exit.made.extend(fresh);
        kept
    }

    /// Does again what another program undid since it was made, all that can be done: whoever is told that everything goes
    /// through the exit relies on it.
    async fn keep_exit(&self, deeds: &[Deed]) -> anyhow::Result<()> {
        let (mut again, mut failed) = (0_usize, None);
        for deed in deeds.iter().filter(|deed| self.exit.made.contains(&deed.change())) {
            match self.system.keep(deed).await {
                Ok(missed) => again += usize::from(missed),
                Err(error) => _ = failed.get_or_insert(error),
            }
        }
        if again > 0 {
            tracing::warn!(changes = again, "another program undid what leads to the exit, which is done again");
        }
        failed.map_or(Ok(()), Err)
    }

    /// Tells the router who the exit is.
    pub(super) fn route_to_exit(&self, router: &mut Router, except: &BTreeSet<PeerSlot>) {
        let slot = self.exit.chosen.and_then(|key| self.slots.get(&key)).filter(|slot| !except.contains(slot));
        if let Some((slot, forwarding)) = slot.zip(self.exit.active) {
            router.set_exit(*slot, forwarding, self.outer_ports());
        }
    }

    /// The ports that our own sockets send from.
    fn outer_ports(&self) -> BTreeSet<u16> {
        ports_of(&self.listening).chain([self.config.port]).filter(|port| *port != 0).collect()
    }

    /// Where names are asked while a peer is the exit: at its inner addresses, unless the configuration says it.
    fn resolvers_at(&self, peer: &Peer) -> Vec<IpAddr> {
        if !self.config.exit_dns.is_empty() {
            return self.config.exit_dns.clone();
        }
        let hosts = peer.config.allowed_ips.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
        let mut hosts: Vec<_> = hosts.map(IpNet::addr).filter(|ip| ip.is_ipv6() || self.own.ipv4.is_some()).collect();
        hosts.sort();
        hosts.truncate(3);
        hosts
    }

    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        let (key, peer) = (self.exit.chosen?, self.exit_peer()?);
        let now = self.exit.active.filter(|_| self.extensions.is_none() || self.extension_leads_all());
        let by_extension = now.and(self.in_force.as_ref());
        Some(ExitStatus {
            peer: peer_id::format(key),
            name: peer.config.name.clone(),
            state: if now.is_some() { "active" } else { "waiting" }.into(),
            ipv4: now.unwrap_or(NOTHING).ipv4,
            ipv6: now.unwrap_or(NOTHING).ipv6,
            dns: by_extension.map_or_else(|| self.exit.resolvers.clone(), |settings| settings.dns.clone()),
            dns_by: now.map(|_| if self.extensions.is_some() { "extension" } else { self.exit.names.label() }.into()),
            outside: match now {
                None => Vec::new(),
                Some(_) if self.extensions.is_some() => OUTSIDE_EXTENSION.map(Into::into).into(),
                Some(_) => self.outside().map(Into::into).collect(),
            },
        })
    }

    /// What leaves this host outside the tunnel while everything else leads to an exit by an interface of its own.
    fn outside(&self) -> impl Iterator<Item = &'static str> {
        OUTSIDE.into_iter().chain((self.exit.names == Names::ByResolved).then_some(OUTSIDE_RESOLVED))
    }

    /// The resolvers of the exit, if all traffic goes through one.
    pub(super) fn exit_resolvers(&self) -> Option<Vec<IpAddr>> {
        self.exit_peer().filter(|_| self.exit.active.is_some()).map(|peer| self.resolvers_at(peer))
    }
}

/// What leaves a host outside the tunnel while everything else leads to an exit, connected or not.
const OUTSIDE: [&str; 3] = [
    "the tunnel's own packets",
    "what this host has routes of its own for, such as its LAN",
    "everything, from a restart of the daemon until the exit is connected",
];

/// What does besides where systemd-resolved answers for names.
const OUTSIDE_RESOLVED: &str = "questions for names in a domain that systemd-resolved was told of another interface";

/// The same where an extension's system leads it.
const OUTSIDE_EXTENSION: [&str; 4] = [
    "the tunnel's own packets",
    "the networks that this host is directly connected to, such as its LAN",
    "all that goes to a peer or a relay which is reached by TCP",
    "everything, from a restart of the daemon until the exit is connected, and while no extension is attached",
];

/// What a peer forwards for us, while it is connected.
fn forwarding(peer: &Peer) -> Option<Forwarding> {
    let epoch = peer.tunnel.status(boottime()).epoch?;
    Some(epoch.forwarding.unwrap_or(NOTHING))
}

/// The ports of these addresses that are this host's own: at a relay it listens by the relay's, and what a program here
/// sends from a port of that number is not ours.
fn ports_of(listening: &BTreeSet<Multiaddr>) -> impl Iterator<Item = u16> {
    listening.iter().filter(|address| relay_of(address).is_none()).flat_map(|address| {
        address
            .iter()
            .filter_map(|part| if let Protocol::Udp(port) | Protocol::Tcp(port) = part { Some(port) } else { None })
    })
}

/// The families that this host has.
fn families() -> impl Iterator<Item = Family> {
    let present = |family: &Family| *family == Family::Ipv4 || Path::new("/proc/sys/net/ipv6").exists();
    Family::BOTH.into_iter().filter(present)
}

fn refused(error: &anyhow::Error) -> ErrorBody {
    ErrorBody::new(ErrorCode::Internal, format!("nothing was changed: {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_relay_is_none_of_our_own() {
        let listening = [
            "/ip4/192.0.2.1/udp/41820/quic-v1",
            "/ip6/2001:db8::1/tcp/41821",
            "/ip4/203.0.113.7/tcp/443/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit",
            "/ip4/203.0.113.7/udp/443/quic-v1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
        ];
        let listening = listening.map(|text| text.parse().unwrap()).into();
        assert_eq!(ports_of(&listening).collect::<BTreeSet<_>>(), [41820, 41821].into());
    }
}
