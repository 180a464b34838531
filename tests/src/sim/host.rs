//! A host: what the daemon is to its core, without threads, sockets and devices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use node::crypto::Identity;
use node::drops::DropCounters;
use node::epoch::{EpochId, Sealer};
use node::handshake::{Capabilities, PaddingMode, Params};
use node::receiver::Receiver;
use node::router::{PeerSlot, Router};
use node::secret::{SecretKey32, SecretStore};
use node::state::PeerState;
use node::time::Time;
use node::tunnel::{
    ChainRule, ConnectionId, IndexSpace, Tunnel, TunnelConfig, TunnelEvent, TunnelLimits, TunnelStatus, Want,
};

use super::addressing::{allowed, v4, v6};
use super::dice::Dice;
use super::link::LinkShape;
use super::seeded::{OpenStore, SeededRandom, SimKem, Tape};
use super::{ms, secs};

/// How frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// On a substream, whose transport proves the peer.
    Stream,
    /// As datagrams.
    Udp,
}

/// What one host is configured with.
#[derive(Clone, Debug)]
pub struct HostSetup {
    /// The time after which keys are rotated.
    pub rotation_seconds: u16,
    /// The tunnel MTU.
    pub mtu: u16,
    /// How it pads.
    pub padding: PaddingMode,
    /// Whether its processor has AES.
    pub aes: bool,
    /// Whether it insists on chains.
    pub require_chain: ChainRule,
    /// The PSK that it has for each of its peers at first.
    pub psk: Option<[u8; 32]>,
}

impl Default for HostSetup {
    fn default() -> Self {
        Self {
            rotation_seconds: 300,
            mtu: 1420,
            padding: PaddingMode::Multiple16,
            aes: false,
            require_chain: ChainRule::Optional,
            psk: None,
        }
    }
}

impl HostSetup {
    /// What it announces.
    pub fn params(&self) -> Params {
        Params {
            mtu: self.mtu,
            rotation_seconds: self.rotation_seconds,
            padding: self.padding,
            capabilities: Capabilities { aes_hardware: self.aes, partial_checksums: false },
        }
    }
}

/// What a simulated network is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything that is drawn is drawn from it.
    pub seed: u64,
    /// The hosts; each is the peer of all others.
    pub hosts: Vec<HostSetup>,
    /// Times and numbers of all tunnels.
    pub limits: TunnelLimits,
    /// How frames travel.
    pub via: Via,
    /// Every link, in both directions.
    pub link: LinkShape,
    /// The time on the way of a handshake message.
    pub stream_delay: Duration,
    /// The most that is added to it; streams are not ordered among each other.
    pub stream_jitter: Duration,
    /// The most by which a timer is late.
    pub lateness: Duration,
    /// The most by which a report of the packet loops is late.
    pub report_delay: Duration,
    /// The part of handshake messages that something happens to.
    pub message_faults: f64,
    /// The part of handshake streams that cannot be opened.
    pub stream_failures: f64,
    /// The part of packets whose source is not the sender's.
    pub spoofing: f64,
    /// Another store of secrets than the one that thieves can read.
    pub store: Option<fn() -> Arc<dyn SecretStore>>,
}

impl Setup {
    /// Two hosts on a perfect link, with the times of the protocol.
    pub fn pair(seed: u64) -> Self {
        Self {
            seed,
            hosts: vec![HostSetup::default(); 2],
            limits: TunnelLimits::default(),
            via: Via::Udp,
            link: LinkShape::perfect(ms(10)),
            stream_delay: ms(10),
            stream_jitter: Duration::ZERO,
            lateness: Duration::ZERO,
            report_delay: Duration::ZERO,
            message_faults: 0.0,
            stream_failures: 0.0,
            spoofing: 0.0,
            store: None,
        }
    }

    /// Limits of the peer's parameters that allow short rotations, and buckets that allow many.
    pub fn with_rotation(mut self, seconds: u16) -> Self {
        self.limits.params.rotation_seconds = 1..=3600;
        self.hosts.iter_mut().for_each(|host| host.rotation_seconds = seconds);
        self
    }

    /// The rotation time that two hosts agree on.
    pub fn rotation(&self, a: usize, b: usize) -> Duration {
        secs(self.hosts[a].rotation_seconds.min(self.hosts[b].rotation_seconds).into())
    }

    /// How long a key of two hosts may be used.
    pub fn hard_limit(&self, a: usize, b: usize) -> Duration {
        self.rotation(a, b) + self.rotation(a, b) / 2
    }
}

/// A host.
pub struct Host {
    /// What it is configured with.
    pub setup: HostSetup,
    /// Its identity, which survives restarts.
    pub identity: Arc<Identity>,
    /// The identity's seed, for thieves.
    pub seed: [u8; 32],
    /// Where its secrets are kept, unless the setup has another store.
    pub store: OpenStore,
    pub(super) secrets: Arc<dyn SecretStore>,
    /// The PSKs that it has by now.
    pub(super) psks: BTreeMap<usize, [u8; 32]>,
    /// Its drops.
    pub drops: DropCounters,
    pub(super) receiver: Receiver,
    pub(super) router: Router,
    pub(super) indices: Arc<IndexSpace>,
    pub(super) peers: BTreeMap<usize, Peer>,
    pub(super) asleep_until: Option<Time>,
    /// How often it was restarted.
    pub(super) incarnation: u32,
    /// Its clock at the origin of the network's.
    pub(super) origin: Duration,
}

/// A host's dealings with one peer.
pub struct Peer {
    pub(super) tunnel: Tunnel,
    pub(super) tape: Tape,
    pub(super) sealer: Option<Arc<Sealer>>,
    /// The newest epoch that it ever had a sealer of.
    pub(super) newest: Option<EpochId>,
    /// The epoch that the tunnel called confirmed last.
    pub(super) confirmed: Option<EpochId>,
    pub(super) want: Want,
    pub(super) next_incoming: u64,
    pub(super) connections: Vec<ConnectionId>,
    pub(super) dialling: bool,
    /// When its timer is set to.
    pub(super) timer: Option<Time>,
    /// The receive keys that are installed, and their epochs.
    pub(super) installed: BTreeMap<u32, EpochId>,
    /// Everything that the tunnel said, with the time.
    pub events: Vec<(Time, TunnelEvent)>,
    /// When it started handshakes.
    pub started: Vec<Time>,
}

impl Host {
    pub(super) fn new(number: usize, setup: &Setup, dice: &mut Dice) -> Self {
        let seed: [u8; 32] = dice.bytes();
        let store = OpenStore::default();
        let kept = node::secret::HeapStore.keep(SecretKey32::new(seed)).expect("the heap has room");
        let identity = Arc::new(Identity::from_seed(kept).expect("a random seed makes a good identity"));
        let hosts = setup.hosts.len();
        let mut router = Router::new([IpAddr::from(v4(number)), v6(number).into()], [], []);
        for peer in (0..hosts).filter(|&peer| peer != number) {
            router.add_peer(slot(peer), &allowed(peer)).expect("no two hosts have the same prefix");
        }
        let psk = setup.hosts[number].psk;
        let secrets = setup.store.map_or_else(|| Arc::new(store.clone()) as Arc<dyn SecretStore>, |make| make());
        Self {
            secrets,
            psks: (0..hosts).filter_map(|peer| psk.map(|psk| (peer, psk))).collect(),
            setup: setup.hosts[number].clone(),
            identity,
            seed,
            store,
            drops: DropCounters::default(),
            receiver: Receiver::default(),
            router,
            indices: Arc::default(),
            peers: BTreeMap::new(),
            asleep_until: None,
            incarnation: 0,
            // Far from zero, so that it can be set back.
            origin: dice.between(secs(100_000_000), secs(200_000_000)),
        }
    }

    /// The host's own clock: it shares its pace with the others, but not its origin.
    pub fn clock(&self, now: Time) -> Time {
        now + self.origin
    }

    /// The PSK that it has for a peer.
    pub fn psk(&self, peer: usize) -> Option<[u8; 32]> {
        self.psks.get(&peer).copied()
    }

    /// Its dealings with a peer.
    ///
    /// # Panics
    /// When the network has no such host.
    pub fn peer(&self, peer: usize) -> &Peer {
        &self.peers[&peer]
    }

    pub(super) fn peer_mut(&mut self, peer: usize) -> &mut Peer {
        self.peers.get_mut(&peer).expect("every host is the peer of every other")
    }
}

/// The slot of a peer in its host's tables.
pub fn slot(peer: usize) -> PeerSlot {
    PeerSlot(u32::try_from(peer).unwrap_or(u32::MAX))
}

impl Peer {
    /// A fresh tunnel, as after a start of the host.
    pub(super) fn new(hosts: &[Host], [at, peer]: [usize; 2], setup: &Setup, now: Time) -> Self {
        let host = &hosts[at];
        let own = &host.setup;
        let seed = setup.seed ^ (u64::from(host.incarnation) << 32 | (at as u64) << 16 | (peer as u64) << 8);
        let tape = Tape::default();
        let keep = |psk| host.secrets.keep(SecretKey32::new(psk)).expect("the store has room");
        let config = TunnelConfig {
            identity: Arc::clone(&host.identity),
            remote: hosts[peer].identity.public(),
            psk: host.psks.get(&peer).copied().map(keep),
            require_chain: own.require_chain,
            params: own.params(),
            tlvs: Vec::new(),
            limits: setup.limits.clone(),
            kem: Arc::new(SimKem::new(!seed, Arc::clone(&tape))),
            store: Arc::clone(&host.secrets),
            indices: Arc::clone(&host.indices),
        };
        Self {
            tunnel: Tunnel::new(config, Box::new(SeededRandom::new(seed, Arc::clone(&tape))), host.clock(now)),
            tape,
            sealer: None,
            newest: None,
            confirmed: None,
            want: Want::Down,
            next_incoming: 1,
            connections: Vec::new(),
            dialling: false,
            timer: None,
            installed: BTreeMap::new(),
            events: Vec::new(),
            started: Vec::new(),
        }
    }

    /// The tunnel's status.
    pub fn status(&self, now: Time) -> TunnelStatus {
        self.tunnel.status(now)
    }

    /// The tunnel's state.
    pub fn state(&self, now: Time) -> PeerState {
        self.status(now).state
    }

    /// How often a new epoch carried what is sent.
    pub fn rotations(&self) -> usize {
        self.events.iter().filter(|(_, event)| matches!(event, TunnelEvent::Rotated { .. })).count()
    }
}
