//! A control task without a TUN device and without a network: what callers ask for and what becomes of it.

mod health;
mod pairing;
mod peers;
mod reload;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::json::read_request;
use cryprq_ipc_proto::message::Reply;
use net::inbound::Inbound;
use net::plane::{Device, PlaneParts};
use net::quic::on_own_threads;
use net::swarm::{Discovery, NetConfig, Serve, Tcp};
use node::drops::DropCounters;
use node::secret::{HeapStore, SecretKey32, SecretSlot, StoreError, StoredSecret};
use os::udp::UdpOptions;

use super::calls::Answer;
use super::*;
use crate::config::Ingress;
use crate::{logging, state_dir};

/// Two other hosts.
const A: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
const B: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

/// A store that knows how many secrets it holds, and may have room for no more.
#[derive(Default)]
struct Counting {
    held: Arc<AtomicUsize>,
    full: Arc<AtomicBool>,
}

struct Counted(StoredSecret, Arc<AtomicUsize>);

impl SecretStore for Counting {
    fn keep(&self, secret: SecretKey32) -> Result<StoredSecret, StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError("the test's store is full".into()));
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        Ok(StoredSecret::new(Box::new(Counted(HeapStore.keep(secret)?, Arc::clone(&self.held)))))
    }
}

impl SecretSlot for Counted {
    fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Daemon {
    supervisor: Supervisor,
    secrets: Arc<AtomicUsize>,
    store_full: Arc<AtomicBool>,
    _events: mpsc::Receiver<NetEvent>,
}

/// A daemon on this state folder, as after a restart when the folder is not new.
async fn daemon(folder: &Path, config: &str) -> anyhow::Result<Daemon> {
    daemon_with(folder, config, Oddities::default()).await
}

/// What can be wrong with the host of a daemon.
struct Oddities {
    locked: Arc<AtomicBool>,
    group: Option<u32>,
}

impl Default for Oddities {
    fn default() -> Self {
        Self { locked: Arc::new(AtomicBool::new(true)), group: Some(0) }
    }
}

async fn daemon_with(folder: &Path, config: &str, host: Oddities) -> anyhow::Result<Daemon> {
    let mut config = Config::parse(config)?;
    config.ingress = Ingress::None;
    let state = StateDir::open(folder)?;
    let store = Counting::default();
    let (secrets, store_full) = (Arc::clone(&store.held), Arc::clone(&store.full));
    let seed = state.identity_seed()?;
    let identity = Arc::new(state_dir::identity(&seed, &store)?);
    let drops = Arc::new(DropCounters::default());
    let inbound = Arc::new(Inbound::new(Arc::clone(&drops)).unwrap());
    let (net, events) = net::swarm::start(NetConfig {
        identity_seed: seed,
        listen: Vec::new(),
        port: 0,
        udp: UdpOptions::default(),
        tcp: Tcp::Off,
        relays: vec![],
        serve: Serve::Nobody,
        discovery: Discovery::Off,
        advertise: vec![],
        inner: Vec::new(),
        inbound: Arc::clone(&inbound),
        receive: on_own_threads(Arc::clone(&drops)),
        drops: Arc::clone(&drops),
        clock: boottime,
    })?;
    let plane = Plane::start(PlaneParts { device: Device::none(), inbound, drops, clock: boottime })?;
    let own = OwnAddresses::new(&config, identity.public(), state.own_ipv4()?);
    let parts = Parts {
        authority: Authority::new(config.access.clone(), config.group.clone()),
        config,
        config_file: folder.with_file_name("cryprq.toml"),
        limits: TunnelLimits::default(),
        identity,
        store: Arc::new(store),
        state,
        net,
        plane,
        surroundings: Surroundings::default(),
        environment: None,
        own,
        locked: Box::new(move || if host.locked.load(Ordering::Relaxed) { Locked::Yes } else { Locked::No }),
        group: host.group,
        log: logging::start("warn"),
        extensions: None,
        step: Arc::new(|| {}),
    };
    Ok(Daemon { supervisor: Supervisor::start(parts).await?, secrets, store_full, _events: events })
}

impl Daemon {
    async fn ask(&mut self, request: &str) -> Result<Reply, ErrorBody> {
        let request = read_request(request.as_bytes()).unwrap().request;
        match self.supervisor.answer(&request).await? {
            Answer::Now(reply) => Ok(reply),
            Answer::Later(_) => panic!("the answer comes later"),
        }
    }

    async fn refusal(&mut self, request: &str) -> ErrorBody {
        match self.ask(request).await {
            Err(error) => error,
            Ok(reply) => panic!("{request} was not refused: {reply:?}"),
        }
    }

    async fn done(&mut self, request: &str) {
        assert_eq!(self.ask(request).await, Ok(Reply::Done {}), "{request}");
    }

    /// Names of all peers, and whether each is wanted.
    fn peers(&self) -> Vec<(&str, bool)> {
        self.supervisor.peers.values().map(|peer| (peer.config.name.as_str(), peer.want == Want::Up)).collect()
    }

    /// The codes of what is wrong.
    fn health(&self) -> Vec<String> {
        self.supervisor.status().health.into_iter().map(|item| item.code).collect()
    }
}
