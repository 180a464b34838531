//! The control task: it owns every tunnel and all control state, and drives them by what the network, the packet
//! loops, local callers and the clock bring.

mod addresses;
mod calls;
mod candidates;
mod devices;
mod exit;
mod extension;
mod gateway;
mod health;
mod heap;
mod interface;
mod listening;
mod netcheck;
mod obstacles;
mod pairing;
mod paths;
mod peer;
mod peers;
mod pings;
mod rates;
mod reached;
mod relays;
mod reload;
mod revision;
mod routing;
mod settings;
mod status;
mod surroundings;
mod wall_clock;

pub use interface::{Interface, NoInterface};
pub use peers::Origin;
pub use settings::{Scene, tunnel_settings};
pub use surroundings::{Environment, Snapshot, Surroundings};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use net::Multiaddr;
use net::plane::{Plane, Reports};
use net::swarm::{Net, NetEvent};
use node::crypto::Identity;
use node::deadlines::Deadlines;
use node::pairing::{default_ipv4, inner_ipv6};
use node::path::Input as PathInput;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::secret::SecretStore;
use node::time::Time;
use node::tunnel::{IndexSpace, Input, TunnelLimits, Want};
use os::clock::boottime;
use os::memory::Locked;
use os::network::{Changes, Network};
use tokio::sync::mpsc;

use crate::config::{Config, OwnIpv4};
use crate::ipc::extension::Extensions;
use crate::ipc::{Authority, Call};
use crate::logging::LogLevel;
use crate::service::Watchdog;
use crate::state_dir::{StateDir, StateError};
use crate::system::{Step, System};
use exit::Exit;
use gateway::Gateway;
use health::{Fault, Health, News};
use pairing::Pairing;
use peer::Peer;
use pings::Pings;
use reached::Reached;
use wall_clock::WallClock;

/// The longest time between two looks at the clock: tokio's timers stand still while the machine sleeps, keys do not.
const LOOK: Duration = Duration::from_secs(5);
/// The longest time that the daemon takes leave for, before it takes its interface away.
const FAREWELL: Duration = Duration::from_millis(800);
/// The part of it that closing connections may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// What the supervisor is made of.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// Where it is read from.
    pub config_file: PathBuf,
    /// Who may do what; reloading changes it.
    pub authority: Authority,
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
    /// The packet loops, without a device as yet.
    pub plane: Plane,
    /// What the host is connected to, as it was seen before the interface was made.
    pub surroundings: Surroundings,
    /// The way to learn what becomes of it.
    pub environment: Option<Environment>,
    /// Our inner addresses.
    pub own: OwnAddresses,
    /// Whether every page that holds secrets is locked into memory.
    pub locked: Box<dyn Fn() -> Locked + Send + Sync>,
    /// The group of the control socket, if it exists.
    pub group: Option<u32>,
    /// The log.
    pub log: LogLevel,
    /// The door of the extension, where inner packets come from one.
    pub extensions: Option<Extensions>,
    /// Called around each change of the system.
    pub step: Step,
}

/// Whether another daemon is to be expected after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A service manager ends it, and may start it again.
    ToBegin,
    /// A person ends it.
    ForGood,
}

/// Our inner addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddresses {
    /// From our key.
    pub ipv6: Ipv6Addr,
    /// From the configuration, or granted by another host, or from our key.
    pub ipv4: Option<Ipv4Addr>,
}

impl OwnAddresses {
    /// The addresses of a host to which another granted `granted`.
    pub fn new(config: &Config, key: PeerKey, granted: Option<Ipv4Addr>) -> Self {
        let ipv4 = match config.address {
            OwnIpv4::Derived => granted.or_else(|| default_ipv4(key, config.ipv4)),
            OwnIpv4::Fixed(address) => Some(address),
            OwnIpv4::None => None,
        };
        Self { ipv6: inner_ipv6(key), ipv4 }
    }

    /// Both, as far as there are.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.ipv6.into()), self.ipv4.map(Into::into)].into_iter().flatten()
    }
}

/// The control task's state.
pub struct Supervisor {
    config: Config,
    config_file: PathBuf,
    authority: Authority,
    limits: TunnelLimits,
    identity: Arc<Identity>,
    store: Arc<dyn SecretStore>,
    indices: Arc<IndexSpace>,
    state: StateDir,
    net: Net,
    plane: Plane,
    system: System,
    interface: Option<Interface>,
    exit: Exit,
    gateway: Gateway,
    surroundings: Surroundings,
    network: Option<Network>,
    changes: Option<Changes>,
    own: OwnAddresses,
    locked: Box<dyn Fn() -> Locked + Send + Sync>,
    log: LogLevel,
    extensions: Option<Extensions>,
    /// What the extension's interface is like, while one is attached.
    in_force: Option<TunnelSettings>,
    peers: BTreeMap<PeerSlot, Peer>,
    slots: BTreeMap<PeerKey, PeerSlot>,
    /// When time alone changes something for a peer.
    deadlines: Deadlines<PeerSlot>,
    /// No slot is used twice: what comes late for a peer that is gone is not taken for another's.
    next_slot: u32,
    pairing: Pairing,
    listening: BTreeSet<Multiaddr>,
    /// Configured addresses that cannot be listened on now.
    deaf: BTreeSet<Multiaddr>,
    /// Relays that keep a place for us.
    reserved: BTreeSet<Multiaddr>,
    /// Outer addresses where others tried to reach us, and whether they could.
    checked: BTreeMap<Multiaddr, bool>,
    health: Health,
    wall_clock: WallClock,
    pings: Pings,
    reached: Reached,
    looked_at: Time,
    heap: heap::Heap,
    watchdog: Option<Watchdog>,
    since: jiff::Timestamp,
}

impl Supervisor {
    /// Enters all peers and begins to connect those that are wanted.
    ///
    /// # Errors
    /// When the peers contradict each other, or a file of the state folder cannot be used.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        let Parts { mut config, limits, identity, store, state, net, plane, .. } = parts;
        let (network, changes) = parts.environment.map(|around| (around.network, around.changes)).unzip();
        let configured = std::mem::take(&mut config.peers).into_iter().map(|peer| (peer, Origin::Config));
        let kept = state.peers()?.into_iter().map(|peer| (peer, Origin::State));
        let mut health = Health::default();
        let wishes = state.wishes().or_else(|error| usable(&mut health, "wishes.toml", error))?;
        let addresses = state.addresses().or_else(|error| usable(&mut health, "addresses.toml", error))?;
        let exit = state.exit_wish().or_else(|error| usable(&mut health, "wishes.toml", error))?;
        let system = System::new(state.journal()?, parts.step);
        let pairing = Pairing::new(identity.public(), state.tickets(identity.public())?);
        let mut supervisor = Self {
            config,
            config_file: parts.config_file,
            authority: parts.authority,
            limits,
            identity,
            store,
            indices: Arc::default(),
            state,
            net,
            plane,
            system,
            interface: None,
            exit: Exit::wish(exit),
            gateway: Gateway::default(),
            surroundings: parts.surroundings,
            network,
            changes,
            own: parts.own,
            locked: parts.locked,
            log: parts.log,
            extensions: parts.extensions,
            in_force: None,
            peers: BTreeMap::new(),
            slots: BTreeMap::new(),
            deadlines: Deadlines::default(),
            next_slot: 0,
            pairing,
            listening: BTreeSet::new(),
            deaf: BTreeSet::new(),
            reserved: BTreeSet::new(),
            checked: BTreeMap::new(),
            health,
            wall_clock: WallClock::default(),
            pings: Pings::default(),
            reached: Reached::new(addresses),
            looked_at: boottime(),
            heap: heap::Heap::new(boottime()),
            watchdog: Watchdog::start(boottime()),
            since: jiff::Timestamp::now(),
        };
        if parts.group.is_none() {
            let group = &supervisor.config.group;
            let text = format!("the group {group} does not exist: only root can use the control socket");
            let hint = format!("groupadd --system {group}, then restart cryprqd");
            supervisor.health.note(Fault::GroupMissing, "", text, &hint);
        }
        supervisor.judge_surroundings();
        supervisor.open_interface().await;
        if supervisor.extensions.is_some() {
            supervisor.miss_extension();
        }
        supervisor.look();
        for (peer, origin) in configured.chain(kept) {
            supervisor.check_peer(&peer, None).map_err(|error| {
                anyhow::anyhow!("{}{}", error.message, error.hint.map(|hint| format!(": {hint}")).unwrap_or_default())
            })?;
            let wish = wishes.get(&peer.key).copied();
            supervisor.enter(peer, origin, wish).await?;
        }
        supervisor.renew_router().await;
        let slots: Vec<_> = supervisor.peers.iter().map(|(slot, peer)| (*slot, peer.wanted())).collect();
        for (slot, want) in slots {
            supervisor.set_wanted(slot, want).await;
        }
        supervisor.announce_forwarding().await;
        supervisor.heal_pairings().await;
        Ok(supervisor)
    }

    /// Wants a tunnel or does not, and dials or hangs up accordingly.
    async fn set_wanted(&mut self, slot: PeerSlot, want: Want) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        peer.want = want;
        self.feed(slot, Input::Wanted(want)).await;
        let Some(peer) = self.peers.get(&slot) else { return };
        match want {
            Want::Up => self.dial(peer).await,
            Want::Down => self.net.hang_up(peer.config.key).await,
        }
    }

    /// Runs until `stop` completes.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<NetEvent>,
        mut calls: mpsc::Receiver<Call>,
        stop: impl Future<Output = Ending>,
    ) {
        tokio::pin!(stop);
        let reports = Arc::clone(self.plane.reports());
        let mut changes = self.changes.take();
        let mut busy = false;
        let ending = loop {
            let pause = self.pause(busy);
            tokio::select! {
                ending = &mut stop => break ending,
                event = events.recv() => match event {
                    Some(event) => self.on_net(event).await,
                    None => break Ending::ToBegin,
                },
                Some(call) = calls.recv() => self.on_call(call).await,
                event = extension::next(&mut self.extensions) => self.on_extension(event),
                change = next(&mut changes) => match change {
                    Some(()) => self.look_around().await,
                    None => changes = None,
                },
                () = reports.ready() => {}
                () = tokio::time::sleep(pause) => {}
            }
            busy = self.drain(&reports).await;
            self.follow_exit_if_stale().await;
            self.announce_forwarding().await;
            self.expire().await;
        };
        // Whatever time that takes: the host's routes, resolvers and packet filter are worth it.
        self.restore().await;
        if tokio::time::timeout(FAREWELL, self.take_leave(ending)).await.is_err() {
            tracing::warn!("not everybody was told in time that the daemon stops");
        }
        drop(self.plane);
        if let Some(interface) = self.interface {
            interface.close(&mut self.system).await;
        }
    }

    fn pause(&self, busy: bool) -> Duration {
        let now = boottime();
        let others = [
            self.deadlines.first(),
            self.pings.deadline(),
            self.pairing.deadline(),
            self.watchdog.as_ref().map(Watchdog::deadline),
        ];
        let deadline = others.into_iter().flatten().min();
        let longest = if busy { Reports::PAUSE } else { LOOK };
        deadline.map_or(longest, |deadline| deadline.saturating_since(now).min(longest))
    }

    /// Takes what the loops reported; whether there was anything.
    async fn drain(&mut self, reports: &Reports) -> bool {
        let drained = reports.drain();
        let any = !drained.is_empty();
        for (slot, news) in drained {
            if let Some(peer) = self.peers.get_mut(&slot) {
                peer.sample(boottime());
            }
            self.on_plane(slot, news).await;
        }
        any
    }

    /// Looks at what nobody tells: each [`LOOK`], and at the start.
    fn look(&mut self) {
        self.looked_at = boottime();
        self.heap.look(self.looked_at);
        match self.wall_clock.look(self.looked_at, jiff::Timestamp::now()) {
            None => self.health.clear(Fault::ClockJumped, ""),
            Some(seconds) => {
                let text = format!("the wall clock was set by {seconds} s");
                let hint = "tunnels do not depend on it; tickets and times in the log do";
                if self.health.note(Fault::ClockJumped, "", text, hint) == News::New {
                    tracing::warn!(seconds, "the wall clock was set");
                }
            }
        }
        if (self.locked)() == Locked::No {
            let text = "secrets may be written to swap: they cannot be locked into memory".to_owned();
            self.health.note(Fault::SecretsNotLocked, "", text, "raise RLIMIT_MEMLOCK, or switch swap off");
        } else {
            self.health.clear(Fault::SecretsNotLocked, "");
        }
        self.judge_reach();
        self.judge_devices();
        // Failures are told by a health item.
        let _ = self.save_addresses();
        if self.health.has(Fault::StateNotSaved) {
            // What a caller asked for was refused then; the wishes show whether the disk takes anything again.
            let _ = self.save_wishes();
        }
    }

    async fn expire(&mut self) {
        let now = boottime();
        let due: Vec<_> = self.deadlines.due(now).collect();
        for slot in due {
            self.feed(slot, Input::Timeout).await;
            self.feed_paths(slot, PathInput::Timeout).await;
        }
        self.expire_pairing().await;
        self.pings.expire(now);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(now);
        }
        if now.saturating_since(self.looked_at) >= LOOK {
            self.look();
            if self.health.has(Fault::NoTun) {
                self.open_interface().await;
            }
            self.look_at_uplinks().await;
            self.exit.look_again();
        }
    }

    async fn take_leave(&mut self, ending: Ending) {
        let _ = self.save_addresses();
        if ending == Ending::ForGood {
            self.dismiss_extension(StopReason::DaemonStopping).await;
        }
        let slots: Vec<_> = self.peers.keys().copied().collect();
        for slot in slots {
            self.feed(slot, Input::EraseAll).await;
        }
        // Without a word the peers would find out by silence.
        let _ = tokio::time::timeout(GOODBYE, self.net.farewell()).await;
    }
}

/// The default in the place of a file that is damaged and can be done without.
fn usable<T: Default>(health: &mut Health, file: &str, error: StateError) -> Result<T, StateError> {
    let StateError::Damaged { .. } = error else { return Err(error) };
    tracing::warn!(file, "a damaged file is not used");
    health.note(Fault::StateDamaged, file, error.to_string(), "it is replaced when there is something to write");
    Ok(T::default())
}

async fn next(changes: &mut Option<Changes>) -> Option<()> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
