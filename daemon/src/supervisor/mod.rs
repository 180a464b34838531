//! The control task: it owns every tunnel and all control state, and drives them by what the network, the packet
//! loops, local callers and the clock bring.

mod calls;
mod interface;
mod peer;
mod status;

pub use interface::{Interface, undo};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use net::plane::{Plane, Reports};
use net::swarm::{Net, NetEvent};
use node::crypto::{AwsLcKem, Identity};
use node::handshake::{Capabilities, Params};
use node::peer_key::PeerKey;
use node::router::{PeerSlot, Router};
use node::secret::{SecretKey32, SecretStore};
use node::tunnel::{IndexSpace, Input, Tunnel, TunnelConfig, TunnelLimits, Want};
use os::clock::boottime;
use os::random::SystemRandom;
use tokio::sync::mpsc;

use crate::config::{Config, PeerConfig};
use crate::ipc::Call;
use crate::logging::LogLevel;
use crate::state_dir::StateDir;
use peer::Peer;

/// The longest time between two looks at the clock: tokio's timers stand still while the machine sleeps, keys do not.
const LOOK: Duration = Duration::from_secs(5);

/// What the supervisor is made of.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// Times and numbers of all tunnels.
    pub limits: TunnelLimits,
    /// Our identity.
    pub identity: Arc<Identity>,
    /// Where secrets are kept.
    pub store: Arc<dyn SecretStore>,
    /// The state folder.
    pub state: StateDir,
    /// The swarm.
    pub net: Net,
    /// The packet loops.
    pub plane: Plane,
    /// The TUN interface, if there is one.
    pub interface: Option<Interface>,
    /// Our inner addresses.
    pub own: OwnAddresses,
    /// The log.
    pub log: LogLevel,
}

/// Our inner addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddresses {
    /// From our key.
    pub ipv6: Ipv6Addr,
    /// From our key or the configuration.
    pub ipv4: Option<Ipv4Addr>,
}

impl OwnAddresses {
    /// Both, as far as there are.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.ipv6.into()), self.ipv4.map(Into::into)].into_iter().flatten()
    }
}

/// The control task's state.
pub struct Supervisor {
    config: Config,
    identity: Arc<Identity>,
    state: StateDir,
    net: Net,
    plane: Plane,
    interface: Option<Interface>,
    own: OwnAddresses,
    log: LogLevel,
    peers: BTreeMap<PeerSlot, Peer>,
    slots: BTreeMap<PeerKey, PeerSlot>,
    listening: Vec<String>,
    health: BTreeMap<&'static str, cryprq_ipc_proto::message::HealthItem>,
    since: jiff::Timestamp,
}

impl Supervisor {
    /// Enters all peers and begins to connect those that are wanted.
    ///
    /// # Errors
    /// When the peers contradict each other or the system refuses a route.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        let Parts { mut config, limits, identity, store, state, net, plane, interface, own, log } = parts;
        let down = state.down()?;
        let peers = std::mem::take(&mut config.peers);
        let mut supervisor = Self {
            config,
            identity,
            state,
            net,
            plane,
            interface,
            own,
            log,
            peers: BTreeMap::new(),
            slots: BTreeMap::new(),
            listening: Vec::new(),
            health: BTreeMap::new(),
            since: jiff::Timestamp::now(),
        };
        let indices = Arc::new(IndexSpace::default());
        for (number, peer) in (0..).zip(peers) {
            anyhow::ensure!(
                peer.key != supervisor.identity.public(),
                "peer {} is this host itself: remove it",
                peer.name
            );
            let want = if peer.up && !down.contains(&peer.name) { Want::Up } else { Want::Down };
            supervisor.add_peer(PeerSlot(number), peer, want, &limits, &store, &indices).await?;
        }
        supervisor.set_router().await?;
        Ok(supervisor)
    }

    async fn add_peer(
        &mut self,
        slot: PeerSlot,
        config: PeerConfig,
        want: Want,
        limits: &TunnelLimits,
        store: &Arc<dyn SecretStore>,
        indices: &Arc<IndexSpace>,
    ) -> anyhow::Result<()> {
        let psk = config.psk.as_ref().map(|psk| store.keep(SecretKey32::new(**psk))).transpose()?;
        let tunnel = TunnelConfig {
            identity: Arc::clone(&self.identity),
            remote: config.key,
            psk,
            require_chain: config.require_chain,
            params: Params {
                mtu: self.config.mtu,
                rotation_seconds: self.config.rotation_seconds,
                padding: self.config.padding,
                // A TUN device without vnet_hdr takes no partial checksums.
                capabilities: Capabilities { aes_hardware: has_aes(), partial_checksums: false },
            },
            tlvs: Vec::new(),
            limits: limits.clone(),
            kem: Arc::new(AwsLcKem),
            store: Arc::clone(store),
            indices: Arc::clone(indices),
        };
        let carrier = self.net.allow(config.key, slot).await;
        let stats = self.plane.add_peer(slot, carrier);
        let tunnel = Tunnel::new(tunnel, Box::new(SystemRandom), boottime());
        self.slots.insert(config.key, slot);
        self.peers.insert(slot, Peer::new(config, tunnel, stats, want));
        self.set_wanted(slot, want).await;
        Ok(())
    }

    /// Wants a tunnel or does not, and dials or hangs up accordingly.
    async fn set_wanted(&mut self, slot: PeerSlot, want: Want) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        peer.want = want;
        let (key, addresses) = (peer.config.key, peer.config.addresses.clone());
        self.feed(slot, Input::Wanted(want)).await;
        match want {
            Want::Up => self.net.dial(key, addresses).await,
            Want::Down => self.net.hang_up(key).await,
        }
    }

    /// Builds the router's snapshot anew and routes every prefix to the interface.
    async fn set_router(&mut self) -> anyhow::Result<()> {
        let direct = match &self.interface {
            Some(interface) => interface.direct_networks().await?,
            None => Vec::new(),
        };
        let mut router = Router::new(self.own.all(), self.config.listen.iter().copied(), direct);
        for (slot, peer) in &self.peers {
            router.add_peer(*slot, &peer.config.allowed_ips)?;
            if let Some(interface) = &self.interface {
                for prefix in &peer.config.allowed_ips {
                    interface.add_route(*prefix).await?;
                }
            }
        }
        self.plane.set_router(Arc::new(router));
        Ok(())
    }

    /// Runs until `stop` completes.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<NetEvent>,
        mut calls: mpsc::Receiver<Call>,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        let reports = Arc::clone(self.plane.reports());
        let mut busy = false;
        loop {
            let pause = self.pause(busy);
            tokio::select! {
                () = &mut stop => break,
                event = events.recv() => match event {
                    Some(event) => self.on_net(event).await,
                    None => break,
                },
                Some(call) = calls.recv() => {
                    let answer = self.answer(&call).await;
                    // Who asked may have left.
                    let _ = call.reply.send(answer);
                }
                () = reports.ready() => {}
                () = tokio::time::sleep(pause) => {}
            }
            busy = self.drain(&reports).await;
            self.expire().await;
        }
        self.stop().await;
    }

    fn pause(&self, busy: bool) -> Duration {
        let now = boottime();
        let deadline = self.peers.values().filter_map(|peer| peer.tunnel.deadline()).min();
        let longest = if busy { Reports::PAUSE } else { LOOK };
        deadline.map_or(longest, |deadline| deadline.saturating_since(now).min(longest))
    }

    /// Takes what the loops reported; whether there was anything.
    async fn drain(&mut self, reports: &Reports) -> bool {
        let drained = reports.drain();
        let any = !drained.is_empty();
        for (slot, report) in drained {
            self.feed(slot, Input::Report(report)).await;
        }
        any
    }

    async fn expire(&mut self) {
        let now = boottime();
        let due = self.peers.iter().filter(|(_, peer)| peer.tunnel.deadline().is_some_and(|deadline| deadline <= now));
        let due: Vec<_> = due.map(|(slot, _)| *slot).collect();
        for slot in due {
            self.feed(slot, Input::Timeout).await;
        }
    }

    async fn stop(mut self) {
        let slots: Vec<_> = self.peers.keys().copied().collect();
        for slot in slots {
            self.feed(slot, Input::EraseAll).await;
        }
        drop(self.plane);
        if let Some(interface) = self.interface {
            interface.close().await;
        }
    }
}

/// Whether the processor has AES and carry-less multiplication in hardware.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
