//! Cryptokey routing (protocol.md 7.4): the destination picks the peer, and the peer must own the source.

mod prefixes;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::drops::DropReason;
use crate::handshake::Forwarding;
use crate::packet::{addresses, source_port, true_length};
use prefixes::PrefixTable;

/// A peer's place in the tables of the packet loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSlot(pub u32);

/// An immutable snapshot of whose packets are whose; swapped as a whole when something changes.
#[derive(Debug, Default)]
pub struct Router {
    allowed: PrefixTable,
    own: BTreeSet<IpAddr>,
    outer: BTreeSet<IpAddr>,
    direct: Vec<IpNet>,
    /// Who has what is nobody else's, and of which families.
    exit: Option<(PeerSlot, Forwarding)>,
    /// Whose packets go on to other networks.
    forwarded: BTreeSet<PeerSlot>,
    /// The ports of our own outer packets.
    ports: BTreeSet<u16>,
}

/// Judges packets that come in one after another by the same [`Router`]: what passed once between two addresses passes
/// again, so that neighbours of one flow cost a comparison each.
#[derive(Debug)]
pub struct Inward<'r> {
    router: &'r Router,
    passed: Option<(PeerSlot, IpAddr, IpAddr)>,
}

impl<'r> Inward<'r> {
    /// With nothing passed yet.
    pub const fn new(router: &'r Router) -> Self {
        Self { router, passed: None }
    }

    /// Whether `slot` may send us this packet, whose length was checked.
    ///
    /// # Errors
    /// The [`DropReason`] of protocol.md 7.4 that forbids it.
    pub fn inbound(&mut self, slot: PeerSlot, packet: &[u8]) -> Result<(), DropReason> {
        let (source, destination) = addresses(packet).ok_or(DropReason::InnerHeader)?;
        if self.passed != Some((slot, source, destination)) {
            self.router.inbound(slot, source, destination)?;
            self.passed = Some((slot, source, destination));
        }
        Ok(())
    }
}

/// The same prefix at two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{prefix} is in the AllowedIPs of two peers")]
pub struct PrefixTaken {
    /// The prefix.
    pub prefix: IpNet,
    /// Who had it first.
    pub first: PeerSlot,
    /// Who wanted it too.
    pub second: PeerSlot,
}

impl Router {
    /// A router that knows our own addresses and no peer.
    ///
    /// `own` are our inner addresses, `outer` the addresses that we listen on outside, `direct` the networks that we
    /// are directly connected to.
    pub fn new(
        own: impl IntoIterator<Item = IpAddr>,
        outer: impl IntoIterator<Item = IpAddr>,
        direct: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        Self {
            allowed: PrefixTable::default(),
            own: own.into_iter().collect(),
            outer: outer.into_iter().collect(),
            direct: direct.into_iter().map(|net| net.trunc()).collect(),
            exit: None,
            forwarded: BTreeSet::new(),
            ports: BTreeSet::new(),
        }
    }

    /// Adds a peer's AllowedIPs. The longest prefix wins over shorter ones of other peers.
    ///
    /// # Errors
    /// [`PrefixTaken`] when another peer has the very same prefix.
    pub fn add_peer(&mut self, slot: PeerSlot, prefixes: &[IpNet]) -> Result<(), PrefixTaken> {
        for prefix in prefixes.iter().map(IpNet::trunc) {
            if let Some(first) = self.allowed.insert(prefix, slot).filter(|&first| first != slot) {
                return Err(PrefixTaken { prefix, first, second: slot });
            }
        }
        Ok(())
    }

    /// Sends what is nobody's through a peer, which may send from everywhere, as far as it forwards the family. The caller
    /// routes everything to us then, so packets from `ports`, the outer ports of this host, are our own that lost their
    /// way.
    pub fn set_exit(&mut self, slot: PeerSlot, forwarding: Forwarding, ports: impl IntoIterator<Item = u16>) {
        self.exit = Some((slot, forwarding));
        self.ports = ports.into_iter().collect();
    }

    /// Lets a peer send to other networks through this host: neither to its neighbours on a link nor to other peers.
    pub fn forward(&mut self, slot: PeerSlot) {
        self.forwarded.insert(slot);
    }

    /// Whose AllowedIPs hold `address`, or who is the exit.
    pub fn owner(&self, address: IpAddr) -> Option<PeerSlot> {
        self.allowed.longest_match(address).or_else(|| self.exit_for(address))
    }

    fn exit_for(&self, address: IpAddr) -> Option<PeerSlot> {
        let (slot, Forwarding { ipv4, ipv6 }) = self.exit?;
        let forwarded = if address.is_ipv4() { ipv4 } else { ipv6 };
        forwarded.then_some(slot)
    }

    /// The peer that a packet on its way out belongs to.
    ///
    /// # Errors
    /// [`DropReason::OutMalformed`], [`DropReason::OutNoPeer`], [`DropReason::OutLinkScope`] or [`DropReason::OutLoop`].
    pub fn outbound(&self, packet: &[u8]) -> Result<PeerSlot, DropReason> {
        if true_length(packet) != Ok(packet.len()) {
            return Err(DropReason::OutMalformed);
        }
        let (source, destination) = addresses(packet).ok_or(DropReason::OutMalformed)?;
        if stays_on_link(destination) {
            return Err(DropReason::OutLinkScope);
        }
        if self.is_our_own(source, packet) {
            return Err(DropReason::OutLoop);
        }
        self.owner(destination).ok_or(DropReason::OutNoPeer)
    }

    fn inbound(&self, slot: PeerSlot, source: IpAddr, destination: IpAddr) -> Result<(), DropReason> {
        self.check_source(slot, source)?;
        if self.outer.contains(&destination) {
            return Err(DropReason::DestinationOuter);
        }
        if self.own.contains(&destination) || self.may_be_forwarded(slot, destination) {
            Ok(())
        } else {
            Err(DropReason::DestinationNotOurs)
        }
    }

    fn may_be_forwarded(&self, slot: PeerSlot, destination: IpAddr) -> bool {
        self.forwarded.contains(&slot)
            && !stays_on_link(destination)
            && never_a_source(destination).is_none()
            && self.allowed.longest_match(destination).is_none()
    }

    /// Whether an outer packet of this host came back to be sealed once more. Only our own sockets have these ports.
    fn is_our_own(&self, source: IpAddr, packet: &[u8]) -> bool {
        !self.ports.is_empty()
            && (self.own.contains(&source) || self.outer.contains(&source))
            && source_port(packet).is_some_and(|port| self.ports.contains(&port))
    }

    fn check_source(&self, slot: PeerSlot, source: IpAddr) -> Result<(), DropReason> {
        if let Some(reason) = never_a_source(source) {
            return Err(reason);
        }
        if self.own.contains(&source) {
            return Err(DropReason::SourceOwn);
        }
        if self.direct.iter().any(|net| net.contains(&source)) {
            return Err(DropReason::SourceDirect);
        }
        if self.owner(source) == Some(slot) { Ok(()) } else { Err(DropReason::SourceNotAllowed) }
    }
}

/// Multicast and link-local destinations: routers and neighbours that the host's kernel looks for.
const fn stays_on_link(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local(),
    }
}

/// Sources that no peer may use, whatever its AllowedIPs say.
fn never_a_source(source: IpAddr) -> Option<DropReason> {
    match source {
        IpAddr::V4(ip) => never_a_source_v4(ip),
        // A mapped address would be judged as the IPv4 address that it stands for.
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or_else(
            || never_a_source_v6(ip),
            |mapped| never_a_source_v4(mapped).or(Some(DropReason::SourceNotAllowed)),
        ),
    }
}

fn never_a_source_v4(ip: Ipv4Addr) -> Option<DropReason> {
    if ip.octets()[0] == 0 {
        Some(DropReason::SourceUnspecified)
    } else if ip.is_loopback() {
        Some(DropReason::SourceLoopback)
    } else if ip.is_link_local() {
        Some(DropReason::SourceLinkLocal)
    } else if ip.is_multicast() || ip.is_broadcast() {
        Some(DropReason::SourceMulticast)
    } else {
        None
    }
}

fn never_a_source_v6(ip: Ipv6Addr) -> Option<DropReason> {
    if ip.is_unspecified() {
        Some(DropReason::SourceUnspecified)
    } else if ip.is_loopback() {
        Some(DropReason::SourceLoopback)
    } else if ip.is_unicast_link_local() {
        Some(DropReason::SourceLinkLocal)
    } else if ip.is_multicast() {
        Some(DropReason::SourceMulticast)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
