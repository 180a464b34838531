//! What local callers ask for.

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{Reply, Request};
use cryprq_ipc_proto::verb::Tier;
use net::peer_id;
use node::router::PeerSlot;
use node::tunnel::{Input, Want};

use super::peers::{PeerFields, bad_request};
use super::pings::Later;
use super::{Origin, Supervisor};
use crate::config::PeerConfig;
use crate::ipc::Call;

/// When the answer comes.
pub(super) enum Answer {
    Now(Reply),
    Later(Later),
}

impl Supervisor {
    pub(super) async fn on_call(&mut self, call: Call) {
        let answer = self.answer(&call.request).await;
        if call.request.tier() > Tier::Observe {
            let uid = call.caller.credentials.as_ref().map(|credentials| credentials.uid);
            let refused = answer.as_ref().err().map(|error| error.code.name());
            tracing::info!(uid, verb = call.request.name(), refused, "asked for by a local caller");
        }
        match answer {
            // Who asked may have left.
            Ok(Answer::Now(reply)) => _ = call.reply.send(Ok(reply)),
            Ok(Answer::Later(later)) => {
                tokio::spawn(async move {
                    let stopping = || ErrorBody::new(ErrorCode::NotRunning, "the daemon is stopping");
                    let _ = call.reply.send(later.await.unwrap_or_else(|_| Err(stopping())));
                });
            }
            Err(error) => _ = call.reply.send(Err(error)),
        }
    }

    pub(super) async fn answer(&mut self, request: &Request) -> Result<Answer, ErrorBody> {
        match request {
            Request::Hello {} => return Ok(Answer::Now(Reply::Hello { version: env!("CARGO_PKG_VERSION").into() })),
            Request::Status {} => return Ok(Answer::Now(Reply::Status(Box::new(self.status())))),
            Request::Peers { peer } => {
                let slots = self.named(peer.as_deref())?;
                let peers =
                    slots.iter().filter_map(|slot| self.peers.get(slot)).map(|peer| self.peer_status(peer)).collect();
                return Ok(Answer::Now(Reply::Peers { peers }));
            }
            Request::Config {} => return Ok(Answer::Now(Reply::Config { toml: self.shown_config() })),
            Request::Reload {} => return Ok(Answer::Now(self.reload().await?)),
            Request::Ping { peer } => return Ok(Answer::Later(self.ping(peer)?)),
            Request::Up { peer, exit } => self.up(peer.as_deref(), exit.as_deref()).await?,
            Request::Down { peer } => self.down(peer.as_deref()).await?,
            Request::Rotate { peer } => self.tell(peer.as_deref(), || Input::Rotate).await?,
            Request::Reconnect { peer } => {
                self.net.kick().await;
                self.tell(peer.as_deref(), || Input::Reconnect).await?;
            }
            Request::Netcheck {} => return Ok(Answer::Now(Reply::Netcheck(self.netcheck().await))),
            Request::Invite { expires_ms, relay } => {
                return self.invite(*expires_ms, relay.as_deref()).await.map(Answer::Now);
            }
            Request::InviteList {} => return Ok(Answer::Now(self.invites())),
            Request::InviteCancel { invite } => self.cancel_invite(invite).await?,
            Request::Join { ticket } => return self.join(ticket).await.map(Answer::Later),
            Request::PeerAdd { peer, name, addresses, allowed_ips, psk, require_chain, up, forward } => {
                let fields = PeerFields {
                    name: name.as_deref(),
                    addresses: (!addresses.is_empty()).then_some(addresses),
                    allowed_ips: (!allowed_ips.is_empty()).then_some(allowed_ips),
                    psk: psk.as_ref(),
                    require_chain: Some(*require_chain),
                    up: Some(*up),
                    forward: Some(*forward),
                };
                let key = peer_id::parse(peer).map_err(|error| bad_request("peer", error.to_string()))?;
                let config = fields.over(PeerConfig::new(key))?;
                self.add_peer(config, Origin::State).await?;
            }
            Request::PeerSet { peer, name, addresses, allowed_ips, psk, require_chain, up, forward } => {
                let fields = PeerFields {
                    name: name.as_deref(),
                    addresses: addresses.as_ref(),
                    allowed_ips: allowed_ips.as_ref(),
                    psk: psk.as_ref(),
                    require_chain: *require_chain,
                    up: *up,
                    forward: *forward,
                };
                self.set_peer(peer, &fields).await?;
            }
            Request::PeerRemove { peer } => self.remove_peer(peer).await?,
            Request::PeerAcceptChainReset { peer } => self.tell(Some(peer), || Input::AcceptChainReset).await?,
            Request::LogLevel { level } => {
                self.log.set(level).map_err(|error| ErrorBody::new(ErrorCode::BadRequest, error))?;
            }
            // Made of the state, by those who serve the socket.
            Request::Watch {} | Request::Metrics {} => {
                return Err(ErrorBody::new(ErrorCode::Internal, "the control task is not who answers that"));
            }
        }
        Ok(Answer::Now(Reply::Done {}))
    }

    async fn up(&mut self, peer: Option<&str>, exit: Option<&str>) -> Result<(), ErrorBody> {
        let Some(exit) = exit else { return self.want(self.named(peer)?, Want::Up).await };
        let through = self.named(Some(exit))?;
        let others = if peer.is_some() { self.named(peer)? } else { Vec::new() };
        for slot in &through {
            self.choose_exit(*slot).await?;
        }
        self.want([through, others].concat(), Want::Up).await
    }

    async fn down(&mut self, peer: Option<&str>) -> Result<(), ErrorBody> {
        let slots = self.named(peer)?;
        let keys: Vec<_> = slots.iter().filter_map(|slot| Some(self.peers.get(slot)?.config.key)).collect();
        let ended = self.end_exit(&keys).await;
        self.want(slots, Want::Down).await?;
        ended.map_err(|error| {
            let message = format!("disconnected, but not everything was undone: {error:#}");
            ErrorBody::new(ErrorCode::Internal, message).hint("stop cryprqd, then: sudo cryprqd --cleanup")
        })
    }

    async fn want(&mut self, slots: Vec<PeerSlot>, want: Want) -> Result<(), ErrorBody> {
        for slot in slots {
            self.set_wanted(slot, want).await;
            if let Some(peer) = self.peers.get_mut(&slot) {
                peer.wish = Some(want).filter(|want| (*want == Want::Up) != peer.config.up);
            }
        }
        self.save_wishes().map_err(|error| {
            ErrorBody::new(ErrorCode::Internal, format!("done, but it will not outlive a restart: {error}"))
        })
    }

    async fn tell(&mut self, peer: Option<&str>, input: impl Fn() -> Input) -> Result<(), ErrorBody> {
        for slot in self.named(peer)? {
            self.feed(slot, input()).await;
        }
        Ok(())
    }

    /// The peers that a caller names: by name, PeerId, or the beginning of one PeerId; all of them without a name.
    pub(super) fn named(&self, name: Option<&str>) -> Result<Vec<PeerSlot>, ErrorBody> {
        let Some(name) = name else { return Ok(self.peers.keys().copied().collect()) };
        let by_name = self.peers.iter().find(|(_, peer)| peer.config.name == name);
        if let Some((&slot, _)) = by_name {
            return Ok(vec![slot]);
        }
        let ids = self.peers.iter().filter(|(_, peer)| peer_id::format(peer.config.key).starts_with(name));
        let found: Vec<_> = ids.map(|(slot, _)| *slot).collect();
        if found.len() == 1 && !name.is_empty() {
            return Ok(found);
        }
        let known: Vec<_> = self.peers.values().map(|peer| peer.config.name.as_str()).collect();
        let what = if found.is_empty() { "no peer is" } else { "more than one peer is" };
        let error = ErrorBody::new(ErrorCode::UnknownPeer, format!("{what} called '{}'", name.escape_debug()));
        Err(error.hint(format!("the peers are: {}", known.join(", "))))
    }
}
