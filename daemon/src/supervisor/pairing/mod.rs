//! Pairing by ticket (protocol.md 10): what is on disk before what is said, and who becomes a peer.
//!
//! `tickets.toml` holds both messages of a pairing before the second one leaves, and the new peer follows from them: what
//! a crash cuts off between it and `peers.toml` is finished at the next start.

mod inviter;
mod joiner;
mod refusals;

use std::net::IpAddr;
use std::time::Duration;

use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::message::{Addresses, Reply};
use ipnet::{IpNet, Ipv4Net};
use net::address::ip_of;
use net::swarm::Guests;
use net::{Multiaddr, peer_id};
use node::pairing::{Inviter, Ipv4Rules, Joiner, Now, PairedPeer, Uncounted};
use node::peer_key::PeerKey;
use node::time::Time;
use node::tunnel::TunnelEvent;
use os::clock::boottime;
use tokio::sync::oneshot;

use super::Supervisor;
use super::peers::{Origin, internal};
use super::revision::{PskChange, Revision};
use crate::config::{PeerConfig, Psk};
use crate::state_dir::{KeptJoin, StateError, Tickets};

/// How long a join is tried before it is given up.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// The longest name of a peer, in bytes.
const MAX_NAME: usize = 63;

type Answered = Result<Reply, ErrorBody>;

/// Tickets and joins.
pub(super) struct Pairing {
    inviter: Inviter,
    /// Joins that got their answer and wait for their first tunnel handshake.
    joins: Vec<KeptJoin>,
    /// The join that waits for its answer.
    joining: Option<Joining>,
    guests: Guests,
}

struct Joining {
    joiner: Joiner,
    addresses: Vec<Multiaddr>,
    until: Time,
    /// Why it has not worked so far.
    last_error: Option<String>,
    reply: oneshot::Sender<Answered>,
}

impl Pairing {
    pub(super) fn new(own: PeerKey, tickets: Tickets) -> Self {
        let Tickets { invitations, joins } = tickets;
        let inviter = Inviter::restore(own, invitations, now());
        Self { inviter, joins, joining: None, guests: Guests::Refuse }
    }

    /// When [`Supervisor::expire_pairing`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let join = self.joining.as_ref().map(|joining| joining.until);
        join.into_iter().chain(self.inviter.deadline()).min()
    }

    fn is_joining(&self, peer: PeerKey) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.joiner.inviter() == peer)
    }

    /// The place of a join that waits for its first tunnel handshake.
    fn kept(&self, inviter: PeerKey) -> Option<usize> {
        self.joins.iter().position(|join| join.joiner.inviter() == inviter)
    }
}

fn now() -> Now {
    let wall = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    Now { boot: boottime(), wall }
}

impl Supervisor {
    /// Finishes what a crash cut off: a peer that is in `tickets.toml` and not, or with another PSK, in `peers.toml`.
    pub(super) async fn heal_pairings(&mut self) {
        let mut found: Vec<_> = self.pairing.inviter.unfinished().map(|peer| (peer, Vec::new(), None)).collect();
        for join in &self.pairing.joins {
            let rules = self.ipv4_rules(join.joiner.inviter(), &join.addresses);
            found.push(match join.joiner.read(&join.p2, &rules) {
                Ok(joined) => (Ok(joined.peer), join.addresses.clone(), joined.granted),
                Err(fault) => (Err(fault), Vec::new(), None),
            });
        }
        for (peer, addresses, granted) in found {
            let healed = match peer {
                Ok(peer) if self.has_psk(&peer) => Ok(()),
                Ok(peer) => {
                    self.take_granted(granted).await;
                    self.enter_paired(&peer, addresses).await.map_err(|error| error.message)
                }
                Err(fault) => Err(fault.to_string()),
            };
            if let Err(error) = healed {
                tracing::warn!(error, "a pairing that was cut off cannot be finished");
            }
        }
        self.follow_tickets().await;
    }

    fn has_psk(&self, peer: &PairedPeer) -> bool {
        let known = self.slots.get(&peer.key).and_then(|slot| self.peers.get(slot));
        let psk = known.and_then(|known| known.psk.as_ref());
        psk.is_some_and(|psk| node::crypto::ct_eq(psk.expose(), peer.psk.expose()))
    }

    /// Makes a peer of what pairing says, or gives it the new PSK if it is one: its handshakes end then.
    async fn enter_paired(&mut self, peer: &PairedPeer, addresses: Vec<Multiaddr>) -> Result<(), ErrorBody> {
        let psk = Some(Psk::copy_of(peer.psk.expose()));
        let known = self.slots.get(&peer.key).and_then(|slot| Some((*slot, self.peers.get(slot)?)));
        if let Some((slot, known)) = known {
            let mut config = known.config.without_psk();
            config.allowed_ips = peer.allowed_ips();
            self.check_peer(&config, Some(slot))?;
            let revision = Revision { changed: vec![(slot, config, PskChange::Set(psk))], ..Revision::default() };
            return self.revise(revision).await.map(drop).map_err(internal);
        }
        let mut config = PeerConfig::new(peer.key);
        (config.name, config.addresses, config.allowed_ips) = (self.free_name(peer), addresses, peer.allowed_ips());
        config.psk = psk;
        self.add_peer(config, Origin::State).await.map(drop)
    }

    /// The name that the peer gives itself, with a number if another has it.
    fn free_name(&self, peer: &PairedPeer) -> String {
        let name = peer.name.as_str();
        let misleading = name.is_empty() || peer_id::parse(name).is_ok_and(|key| key != peer.key);
        let name = if misleading { peer_id::format(peer.key) } else { name.to_owned() };
        let taken = |name: &str| self.peers.values().any(|other| other.config.name == name);
        if !taken(&name) {
            return name;
        }
        let numbered = (2u32..).map(|number| {
            let number = format!("-{number}");
            let longest = name.floor_char_boundary(MAX_NAME - number.len());
            format!("{}{number}", &name[..longest])
        });
        numbered.into_iter().find(|name| !taken(name)).unwrap_or(name)
    }

    /// What we know about IPv4 addresses when `other` names one. `outer` are further outer addresses of it.
    pub(super) fn ipv4_rules(&self, other: PeerKey, outer: &[Multiaddr]) -> Ipv4Rules {
        let ipv4 = |net: &IpNet| if let IpNet::V4(net) = net { Some(*net) } else { None };
        let others = self.peers.values().filter(|peer| peer.config.key != other);
        let taken: Vec<Ipv4Net> = others.flat_map(|peer| peer.config.allowed_ips.iter().filter_map(ipv4)).collect();
        let peers = self.peers.values().flat_map(|peer| peer.config.addresses.iter().chain(peer.connections.values()));
        let outer = peers.chain(outer).filter_map(ip_of);
        Ipv4Rules {
            range: self.config.ipv4,
            own: self.own.ipv4,
            taken,
            direct: self.surroundings.direct().filter_map(|net| ipv4(&net)).collect(),
            outer: outer.filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).collect(),
        }
    }

    fn joined(&self, inviter: PeerKey) -> Reply {
        let peer = self.slots.get(&inviter).and_then(|slot| self.peers.get(slot));
        Reply::Joined {
            peer: peer_id::format(inviter),
            name: peer.map(|peer| peer.config.name.clone()).unwrap_or_default(),
            addresses: Addresses { ipv4: self.own.ipv4, ipv6: self.own.ipv6 },
        }
    }

    /// What a tunnel's news mean for its pairing: it is complete with the first keys, and P1 is said again after a
    /// handshake that failed.
    pub(super) async fn on_paired_event(&mut self, peer: PeerKey, event: &TunnelEvent) {
        match event {
            TunnelEvent::Rotated { .. } => self.end_pairing(peer).await,
            TunnelEvent::HandshakeFailed { .. } | TunnelEvent::Rejected(_) => {
                let kept = self.pairing.kept(peer).and_then(|at| self.pairing.joins.get(at));
                if let Some(p1) = kept.map(|join| join.joiner.p1().to_vec()) {
                    self.net.ask_again(peer, p1).await;
                }
            }
            TunnelEvent::StateChanged(_)
            | TunnelEvent::ChainReset(_)
            | TunnelEvent::KeysExpired
            | TunnelEvent::PathDead => {}
        }
    }

    /// The pairing with a peer is complete, or of no use any more: its ticket's secret goes.
    pub(super) async fn end_pairing(&mut self, peer: PeerKey) {
        self.pairing.inviter.complete(peer);
        let was_kept = self.pairing.kept(peer).map(|at| self.pairing.joins.swap_remove(at)).is_some();
        if was_kept {
            // If that fails a health item says so, and the next start repeats P1 once more.
            let _ = self.save_tickets();
        }
        self.follow_tickets().await;
    }

    /// Ends what is over.
    pub(super) async fn expire_pairing(&mut self) {
        let now = now();
        if let Some(joining) = self.pairing.joining.as_ref().filter(|joining| joining.until <= now.boot) {
            let outcome = Err(refusals::timed_out(joining));
            self.end_join(outcome).await;
        }
        if self.pairing.inviter.deadline().is_some_and(|deadline| deadline <= now.boot) {
            self.pairing.inviter.expire(now);
            self.follow_tickets().await;
        }
    }

    /// Writes the tickets if they changed, and lets strangers in as long as one is kept.
    async fn follow_tickets(&mut self) {
        if self.pairing.inviter.take_changed() {
            // If that fails a health item says so; what matters is in memory.
            let _ = self.save_tickets();
        }
        let guests = if self.pairing.inviter.admits_strangers() { Guests::Admit } else { Guests::Refuse };
        if guests != self.pairing.guests {
            self.pairing.guests = guests;
            self.net.set_guests(guests).await;
        }
    }

    fn save_tickets(&mut self) -> Result<(), StateError> {
        let written = self.state.set_tickets(self.pairing.inviter.invitations(), self.pairing.joins.iter());
        self.saved("tickets.toml", written)?;
        self.pairing.inviter.take_changed();
        Ok(())
    }
}

fn warn_of(peer: PeerKey, uncounted: &[Uncounted]) {
    for Uncounted { address, why } in uncounted {
        tracing::debug!(%peer, %address, "an inner IPv4 address is not used");
        tracing::warn!(%peer, reason = %why, "an inner IPv4 address is not used: the pair has IPv6");
    }
}
