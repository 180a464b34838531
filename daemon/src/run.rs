//! From a configuration to a running daemon, and out again.

use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cryprq_ipc_proto::apple;
use cryprq_ipc_proto::launchd::CONTROL_SOCKET_NAME;
use cryprq_ipc_proto::message::Request;
use cryprq_ipc_proto::paths::{CONTROL_SOCKET, TUN_SOCKET};
use net::inbound::Inbound;
use net::plane::{Device, Plane, PlaneParts};
use net::quic::{Receive, on_own_threads};
use net::swarm::{NetConfig, NetEvent};
use node::drops::DropCounters;
use node::pairing::overlay;
use node::tunnel::TunnelLimits;
use os::clock::boottime;
use os::memory::{IfUnlocked, Locked, LockedStore};
use os::network::{Changes, Network};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::config::{CarrierRule, Config, Ingress, MemoryRule};
use crate::ipc::{Authority, Call, Caller, extension, serve};
use crate::logging::LogLevel;
use crate::service;
use crate::state_dir::{self, StateDir};
use crate::supervisor::{Ending, Environment, OwnAddresses, Parts, Snapshot, Supervisor, Surroundings};
use crate::system::{Step, System};

/// Places for secrets to begin with: the identity, and per peer a PSK (twice) and two chain keys while one is replaced.
const SECRETS_BESIDE_PEERS: usize = 64;
const SECRETS_PER_PEER: usize = 6;
const CALLS: usize = 64;
/// Extensions whose sockets wait to be looked at.
const EXTENSIONS: usize = 8;

/// What is done before the first thread, while the process still has every right that it was given.
pub struct Prepared {
    config: Config,
    config_file: PathBuf,
    state: StateDir,
    socket: Listening,
    /// Where inner packets come from an extension.
    tun_socket: Option<Listening>,
    group: Option<u32>,
    step: Step,
}

impl Prepared {
    /// Calls `step` around each change of the system.
    #[must_use]
    pub fn watched_by(mut self, step: Step) -> Self {
        self.step = step;
        self
    }
}

/// A socket's file goes with the listener, unless the service manager made both.
struct Listening {
    listener: StdListener,
    made: Option<PathBuf>,
}

impl Listening {
    fn at(path: PathBuf, mode: u32, group: Option<u32>) -> anyhow::Result<Self> {
        let listener = os::sockets::listen(&path, mode, group)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, made: Some(path) })
    }

    /// The socket that the service manager calls `name`.
    fn activated(name: &str) -> anyhow::Result<Option<Self>> {
        let Some(listener) = os::activation::activated(name)? else { return Ok(None) };
        listener.set_nonblocking(true)?;
        Ok(Some(Self { listener, made: None }))
    }

    /// A listener for the runtime.
    fn listener(&self) -> std::io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens the state folder and the control socket, or takes the one that the service manager made.
///
/// # Errors
/// What is missing and what mends it.
pub fn prepare(config: Config, config_file: &Path, runtime_dir: &Path) -> anyhow::Result<Prepared> {
    let state = StateDir::open(&config.state_dir)?;
    if !runtime_dir.exists() {
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o755)
            .create(runtime_dir)
            .with_context(|| format!("cannot make {}", runtime_dir.display()))?;
        // The umask is tight; the folder is for everybody to enter, the socket in it is not.
        std::fs::set_permissions(runtime_dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let group = os::users::group_id(&config.group)?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    let socket = match Listening::activated(CONTROL_SOCKET_NAME)? {
        Some(socket) => socket,
        None => Listening::at(runtime_dir.join(CONTROL_SOCKET), mode, group)?,
    };
    let tun_socket = match config.ingress {
        Ingress::Extension => Some(Listening::at(runtime_dir.join(TUN_SOCKET), 0o600, None)?),
        Ingress::Tun | Ingress::None => None,
    };
    let step: Step = Arc::new(|| {});
    Ok(Prepared { config, config_file: config_file.to_owned(), state, socket, tun_socket, group, step })
}

/// Runs until SIGTERM or SIGINT. `limits` are the protocol's in a daemon; tests lower them.
///
/// # Errors
/// Why the daemon could not start.
pub async fn run(prepared: Prepared, limits: TunnelLimits, log: LogLevel) -> anyhow::Result<()> {
    let Prepared { config, config_file, state, socket, tun_socket, group, step } = prepared;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hangup = signal(SignalKind::hangup())?;
    System::new(state.journal()?, Arc::clone(&step))
        .undo_all()
        .await
        .context("cannot undo what an earlier run left")?;
    let environment = environment();
    let store = secret_store(&config)?;
    let locked = {
        let store = Arc::clone(&store);
        Box::new(move || store.locked())
    };
    let seed = state.identity_seed()?;
    let identity = Arc::new(state_dir::identity(&seed, &*store)?);
    let own = OwnAddresses::new(&config, identity.public(), state.own_ipv4()?);
    let surroundings = match &environment {
        // A kernel that does not tell is complained of by whatever needs to know more.
        Some(around) => Snapshot::take(&around.network)
            .await
            .map_or_else(|_| Surroundings::default(), |seen| Surroundings::of(&seen, &config.interface, &own)),
        None => Surroundings::default(),
    };
    surroundings.check_range(config.ipv4).map_err(|error| anyhow::anyhow!("{error}: choose another range"))?;

    let drops = Arc::new(DropCounters::default());
    let inbound = Arc::new(Inbound::new(Arc::clone(&drops)).context("cannot receive frames")?);
    let (net, events) = net::swarm::start(NetConfig {
        identity_seed: seed,
        listen: config.listen.clone(),
        port: config.port,
        udp: config.linux.udp_options(),
        tcp: config.tcp,
        relays: config.relays.clone(),
        serve: config.serve,
        discovery: config.discovery,
        advertise: config.advertise.clone(),
        inner: vec![overlay().into(), config.ipv4.into()],
        inbound: Arc::clone(&inbound),
        receive: match config.carrier {
            CarrierRule::Auto => read_by(&inbound),
            CarrierRule::Stream => on_own_threads(Arc::clone(&drops)),
        },
        drops: Arc::clone(&drops),
        clock: boottime,
    })?;
    let (door, extensions) = tun_socket.is_some().then(|| extension::door(Arc::clone(&drops))).unzip();
    let device = if extensions.is_some() { extension::absent() } else { Device::none() };
    let plane = Plane::start(PlaneParts { device, inbound, drops, clock: boottime })?;
    let authority = Authority::new(config.access.clone(), config.group.clone());
    let parts = Parts {
        config,
        config_file,
        authority: authority.clone(),
        limits,
        identity,
        store,
        state,
        net,
        plane,
        surroundings,
        environment,
        own,
        locked,
        group,
        log,
        extensions,
        step,
    };
    let supervisor = Supervisor::start(parts).await?;

    let (calls, call_queue) = mpsc::channel(CALLS);
    let hangups = tokio::spawn(reload_on(hangup, calls.clone()));
    let server = tokio::spawn(serve(socket.listener()?, authority, calls));
    let mut _mach_service = None;
    if let Some((tun_socket, door)) = tun_socket.as_ref().zip(door) {
        _mach_service = take_from_xpc(door.clone());
        // It ends with the control task.
        tokio::spawn(extension::serve_extensions(tun_socket.listener()?, door));
    }
    tracing::info!("ready");
    service::ready();
    let stop = async {
        let ending = tokio::select! {
            _ = terminate.recv() => Ending::ToBegin,
            _ = interrupt.recv() => Ending::ForGood,
        };
        service::stopping();
        ending
    };
    work(supervisor, events, call_queue, stop).await;
    server.abort();
    hangups.abort();
    Ok(())
}

/// Lets the extension hand over its socket where the system has a way to know that it is the one.
fn take_from_xpc(door: extension::Door) -> Option<os::xpc::Door> {
    let (handed, sockets) = mpsc::channel(EXTENSIONS);
    let take = move |socket| drop(handed.try_send(socket));
    match os::xpc::listen(apple::MACH_SERVICE, apple::TUNNEL_REQUIREMENT, apple::XPC_SOCKET, take) {
        Ok(listening) => {
            tokio::spawn(extension::serve_handed_over(sockets, door));
            Some(listening)
        }
        Err(os::xpc::XpcError::Unsupported) => None,
        Err(error) => {
            tracing::warn!(%error, "no extension can attach by XPC");
            None
        }
    }
}

/// Has the packet loop read every UDP socket.
fn read_by(inbound: &Arc<Inbound>) -> Receive {
    let inbound = Arc::clone(inbound);
    Box::new(move |reader| {
        inbound.attach(reader);
        Ok(())
    })
}

async fn work(
    supervisor: Supervisor,
    events: mpsc::Receiver<NetEvent>,
    calls: mpsc::Receiver<Call>,
    stop: impl Future<Output = Ending>,
) {
    supervisor.run(events, calls, stop).await;
    tracing::info!("stopped");
}

/// SIGHUP asks for the same as `cryprq config reload`; the log and a health item say what became of it.
async fn reload_on(mut hangup: Signal, calls: mpsc::Sender<Call>) {
    while hangup.recv().await.is_some() {
        let (reply, answered) = oneshot::channel();
        let call = Call { request: Request::Reload {}, caller: Caller { credentials: None }, reply };
        if calls.send(call).await.is_err() {
            return;
        }
        let _ = answered.await;
    }
}

/// The way to learn about the host's network, where the daemon is the one to ask.
fn environment() -> Option<Environment> {
    let opened = Network::open().and_then(|network| Ok(Environment { network, changes: Changes::listen()? }));
    opened.inspect_err(|error| tracing::debug!(%error, "the network is not watched")).ok()
}

fn secret_store(config: &Config) -> anyhow::Result<Arc<LockedStore>> {
    let if_unlocked = match config.memory {
        MemoryRule::Warn => IfUnlocked::Use,
        MemoryRule::Refuse => IfUnlocked::Refuse,
    };
    let secrets = SECRETS_BESIDE_PEERS + SECRETS_PER_PEER * config.peers.len();
    let store = LockedStore::new(secrets, if_unlocked).context("memory.strict demands it: raise RLIMIT_MEMLOCK")?;
    if store.locked() == Locked::No {
        tracing::warn!("secrets cannot be locked into memory: raise RLIMIT_MEMLOCK");
    }
    Ok(Arc::new(store))
}

/// Undoes what an earlier run left, without starting anything.
///
/// # Errors
/// What could not be undone.
pub async fn cleanup(config: &Config) -> anyhow::Result<()> {
    let state = StateDir::open(&config.state_dir)?;
    System::new(state.journal()?, Arc::new(|| {})).undo_all().await
}
