//! The joiner's side: the verb, and the answer to our own P1.

use std::net::Ipv4Addr;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::secret::SecretText;
use net::{Multiaddr, peer_id};
use node::pairing::{HostName, JoinError, Joined, Joiner, Ticket};
use node::peer_key::PeerKey;
use os::clock::boottime;
use os::random::SystemRandom;
use tokio::sync::oneshot;

use super::refusals::{not_kept, refused};
use super::{Answered, JOIN_LIMIT, Joining, warn_of};
use crate::config::OwnIpv4;
use crate::state_dir::{KeptJoin, StateError};
use crate::supervisor::Supervisor;
use crate::supervisor::addresses::readable;
use crate::supervisor::peers::{bad_request, internal};
use crate::supervisor::pings::Later;

impl Supervisor {
    /// Begins a join; the answer comes when it is over. One that is going on makes way.
    pub(in crate::supervisor) async fn join(&mut self, ticket: &SecretText) -> Result<Later, ErrorBody> {
        let (joiner, addresses) = self.begin_join(ticket)?;
        self.end_join(Err(ErrorBody::new(ErrorCode::Busy, "another join took the place of this one"))).await;
        let (inviter, p1, until) = (joiner.inviter(), joiner.p1().to_vec(), boottime() + JOIN_LIMIT);
        self.net.join(inviter, addresses.clone(), p1).await;
        let (reply, later) = oneshot::channel();
        self.pairing.joining = Some(Joining { joiner, addresses, until, last_error: None, reply });
        Ok(later)
    }

    fn begin_join(&self, ticket: &SecretText) -> Result<(Joiner, Vec<Multiaddr>), ErrorBody> {
        let malformed = |message: String| ErrorBody::new(ErrorCode::TicketMalformed, message);
        let ticket = Ticket::parse(ticket.expose()).map_err(|error| {
            malformed(error.to_string()).hint("copy it again, or make a new one with 'cryprq invite' on the other host")
        })?;
        if let Some(peer) = self.slots.get(&ticket.inviter).and_then(|slot| self.peers.get(slot)) {
            let message = format!("the host that made this ticket is peer {} already", peer.config.name);
            return Err(ErrorBody::new(ErrorCode::AlreadyExists, message)
                .hint("to pair anew, first run 'sudo cryprq peers remove' for each other on both hosts"));
        }
        let addresses: Vec<_> = ticket.addresses.iter().cloned().filter_map(readable).collect();
        if addresses.is_empty() {
            return Err(malformed("the ticket names no address that this version can dial".into())
                .hint("a newer CrypRQ on this host may know how"));
        }
        let own_name = HostName::new(&self.config.name).map_err(internal)?;
        let offered = self.offered_ipv4().map_err(internal)?;
        let joiner = Joiner::start(self.identity.public(), &ticket, own_name, offered, &mut SystemRandom);
        let joiner = joiner.map_err(|error| match error {
            JoinError::Own => bad_request("ticket", error.to_string()),
            JoinError::Random(_) => internal(error),
        })?;
        Ok((joiner, addresses))
    }

    /// The inner IPv4 address that we have for sure: at its first pairing a host takes what it is granted.
    pub(in crate::supervisor) fn offered_ipv4(&self) -> Result<Option<Ipv4Addr>, StateError> {
        let first = self.peers.is_empty() && self.state.own_ipv4()?.is_none();
        Ok(match self.config.address {
            OwnIpv4::Fixed(address) => Some(address),
            OwnIpv4::None => None,
            OwnIpv4::Derived if first => None,
            OwnIpv4::Derived => self.own.ipv4,
        })
    }

    pub(super) async fn end_join(&mut self, outcome: Answered) {
        if let Some(joining) = self.pairing.joining.take() {
            self.net.end_join(joining.joiner.inviter()).await;
            // Whoever asked may have left.
            let _ = joining.reply.send(outcome);
        }
    }

    pub(in crate::supervisor) async fn on_pairing_answered(&mut self, inviter: PeerKey, answer: Vec<u8>) {
        if !self.pairing.is_joining(inviter) {
            return self.on_answered_again(inviter, answer).await;
        }
        let Some(joining) = &self.pairing.joining else { return };
        let rules = self.ipv4_rules(inviter, &joining.addresses);
        match joining.joiner.read(&answer, &rules) {
            Ok(joined) => {
                let Some(Joining { joiner, addresses, reply, .. }) = self.pairing.joining.take() else { return };
                // Its connections were a guest's: as a peer we connect anew.
                self.net.end_join(inviter).await;
                let outcome = self.keep_join(KeptJoin { joiner, p2: answer, addresses }, joined).await;
                // Whoever asked may have left.
                let _ = reply.send(outcome);
            }
            Err(fault) => self.end_join(Err(refused(&fault))).await,
        }
    }

    pub(in crate::supervisor) fn on_pairing_failed(&mut self, inviter: PeerKey, error: String) {
        tracing::debug!(peer = %inviter, %error, "a pairing message got no answer");
        if let Some(joining) = self.pairing.joining.as_mut().filter(|joining| joining.joiner.inviter() == inviter) {
            joining.last_error = Some(error);
        }
    }

    /// Writes the join down, and then the peer; the first handshake comes after both.
    async fn keep_join(&mut self, join: KeptJoin, joined: Joined) -> Answered {
        let (inviter, addresses) = (join.joiner.inviter(), join.addresses.clone());
        self.pairing.joins.push(join);
        let kept = match self.save_tickets() {
            Ok(()) => {
                self.take_granted(joined.granted).await;
                self.enter_paired(&joined.peer, addresses).await
            }
            Err(error) => Err(not_kept(&error)),
        };
        if let Err(error) = kept {
            self.pairing.joins.pop();
            // It may be on the disk already. If that fails too, the next start finishes the join.
            let _ = self.save_tickets();
            return Err(error);
        }
        tracing::info!(peer = peer_id::format(inviter), "joined");
        warn_of(inviter, &joined.uncounted);
        Ok(self.joined(inviter))
    }

    /// A repeated P1 was answered.
    async fn on_answered_again(&mut self, inviter: PeerKey, answer: Vec<u8>) {
        let Some(at) = self.pairing.kept(inviter) else { return };
        let rules = self.ipv4_rules(inviter, &[]);
        let Some(join) = self.pairing.joins.get_mut(at) else { return };
        match join.joiner.read(&answer, &rules) {
            Ok(_) if join.p2 == answer => {}
            Ok(joined) => {
                join.p2 = answer;
                let kept = match self.save_tickets() {
                    Ok(()) => self.enter_paired(&joined.peer, Vec::new()).await,
                    Err(error) => Err(not_kept(&error)),
                };
                if let Err(error) = kept {
                    tracing::warn!(peer = %inviter, error = error.message, "a new PSK could not be kept");
                }
            }
            Err(fault) => tracing::warn!(peer = %inviter, %fault, "the inviter does not confirm the pairing"),
        }
    }

    /// Takes over the IPv4 address that another host granted, unless the configuration decides.
    pub(super) async fn take_granted(&mut self, granted: Option<Ipv4Addr>) {
        if granted.is_none() || self.config.address != OwnIpv4::Derived {
            return;
        }
        if let Err(error) = self.set_own_ipv4(granted).await {
            tracing::warn!(error = error.message, "the granted IPv4 address is not used");
        }
    }
}
