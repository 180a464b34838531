//! A relay that does what it likes: it speaks the relay's protocols over TCP, and lies in them as it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream::{Behaviour, Control, IncomingStreams};
use prost::Message;
use tokio::sync::mpsc;

use super::Host;
use super::circuit::{Tamper, splice};

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
const STOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/stop");
const IDENTIFY: StreamProtocol = StreamProtocol::new("/ipfs/id/1.0.0");
const IDENTIFY_PUSH: StreamProtocol = StreamProtocol::new("/ipfs/id/push/1.0.0");
const CONNECT: i32 = 1;
const STATUS: i32 = 2;
const STOP_CONNECT: i32 = 0;
const OK: i32 = 100;
const RESERVATION_REFUSED: i32 = 200;
const NO_RESERVATION: i32 = 204;
/// What a busy host takes to read an answer.
const READ: Duration = Duration::from_millis(300);
/// Longer than any test.
const IDLE: Duration = Duration::from_secs(3600);

/// How a relay behaves. By default it is honest.
#[derive(Clone, Debug)]
pub struct Lies {
    /// When it says that a place ends, in seconds since 1970; in an hour without.
    pub expire: Option<u64>,
    /// Where it says that a place is; where it is without any.
    pub places: Vec<Multiaddr>,
    /// What follows a place that it granted.
    pub after_grant: AfterGrant,
    /// What becomes of who asks for a circuit.
    pub circuit: Circuit,
    /// What becomes of a circuit's bytes.
    pub tamper: Tamper,
}

impl Default for Lies {
    fn default() -> Self {
        Self {
            expire: None,
            places: Vec::new(),
            after_grant: AfterGrant::Keep,
            circuit: Circuit::Join,
            tamper: Tamper::Nothing,
        }
    }
}

/// What follows a place that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterGrant {
    /// It is kept.
    Keep,
    /// The connection is closed.
    HangUp,
    /// Whoever had a place gets no other.
    RefuseRenewal,
}

/// What becomes of who asks for a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It gets one.
    Join,
    /// It gets one to this host, whomever it asked for.
    JoinTo(PeerId),
    /// It gets one, and the other end is told that this host asked.
    InTheNameOf(PeerId),
    /// It is told that it has one, and nobody is at the other end.
    Swallow,
    /// It is told that the other has no place here.
    Refuse,
}

/// What was asked of a relay so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Places.
    pub places: usize,
    /// Circuits.
    pub circuits: usize,
}

/// A relay on a host of its own. Dropped, it ends.
pub struct LyingRelay {
    /// Its multiaddr, with its PeerId.
    pub address: String,
    state: State,
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

type State = Arc<Mutex<Book>>;

#[derive(Default)]
struct Book {
    lies: Lies,
    asked: Asked,
    /// How often each asked for a place.
    places: HashMap<PeerId, usize>,
}

enum Order {
    HangUp(PeerId),
    /// So many requests for a circuit to this host, each in the name of somebody who never was.
    Flood(PeerId, usize),
    /// Tells this host that it was seen at these addresses.
    Sightings(PeerId, Vec<Multiaddr>),
    End,
}

/// A message of either protocol of relays.
#[derive(Clone, Message)]
struct RelayMessage {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    peer: Option<Peer>,
    #[prost(message, optional, tag = "3")]
    reservation: Option<Reservation>,
    #[prost(int32, optional, tag = "5")]
    status: Option<i32>,
}

#[derive(Clone, Message)]
struct StopMessage {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    peer: Option<Peer>,
    #[prost(int32, optional, tag = "4")]
    status: Option<i32>,
}

#[derive(Clone, Message)]
struct Peer {
    #[prost(bytes = "vec", required, tag = "1")]
    id: Vec<u8>,
}

#[derive(Clone, Message)]
struct Reservation {
    #[prost(uint64, required, tag = "1")]
    expire: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addresses: Vec<Vec<u8>>,
}

#[derive(Clone, Message)]
struct Identify {
    #[prost(bytes = "vec", optional, tag = "1")]
    public_key: Option<Vec<u8>>,
    #[prost(string, repeated, tag = "3")]
    protocols: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    observed: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    version: Option<String>,
}

impl LyingRelay {
    /// Starts one on a host with the address `ip`, on TCP port 41820.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(host: &Host, ip: &str) -> anyhow::Result<Self> {
        let key = Keypair::generate_ed25519();
        let listen: Multiaddr = format!("/ip4/{ip}/tcp/41820").parse()?;
        let address = format!("{listen}/p2p/{}", key.public().to_peer_id());
        let state = State::default();
        let (orders, queue) = mpsc::unbounded_channel();
        let relay =
            Relay { key: key.clone(), address: address.parse()?, state: Arc::clone(&state), orders: orders.clone() };
        let (started, outcome) = std::sync::mpsc::channel();
        let thread = host.spawn(move || {
            let run = async {
                let swarm = swarm(key, listen).await;
                let _ = started.send(swarm.as_ref().map(drop).map_err(|error| format!("{error:#}")));
                if let Ok(swarm) = swarm {
                    relay.run(swarm, queue).await;
                }
            };
            if let Ok(runtime) = super::host::runtime() {
                runtime.block_on(run);
            }
        });
        outcome.recv().context("the relay did not start")?.map_err(anyhow::Error::msg)?;
        Ok(Self { address, state, orders, thread: Some(thread) })
    }

    /// Has it behave otherwise from now on.
    pub fn lie(&self, lies: Lies) {
        lock(&self.state).lies = lies;
    }

    /// What was asked of it so far.
    pub fn asked(&self) -> Asked {
        lock(&self.state).asked
    }

    /// How often a host asked for a place.
    ///
    /// # Errors
    /// When that is no PeerId.
    pub fn asked_by(&self, host: &str) -> anyhow::Result<usize> {
        let host = host.parse()?;
        Ok(lock(&self.state).places.get(&host).copied().unwrap_or_default())
    }

    /// Asks a host that has a place here for so many circuits, each in the name of somebody who never was.
    ///
    /// # Errors
    /// When the relay ended.
    pub fn flood(&self, host: &str, circuits: usize) -> anyhow::Result<()> {
        self.orders.send(Order::Flood(host.parse()?, circuits)).ok().context("the relay ended")
    }

    /// Tells a host that it was seen at each of these addresses.
    ///
    /// # Errors
    /// When the relay ended.
    pub fn claim_to_see(&self, host: &str, at: Vec<Multiaddr>) -> anyhow::Result<()> {
        self.orders.send(Order::Sightings(host.parse()?, at)).ok().context("the relay ended")
    }
}

impl Drop for LyingRelay {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &State) -> std::sync::MutexGuard<'_, Book> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn swarm(key: Keypair, listen: Multiaddr) -> anyhow::Result<Swarm<Behaviour>> {
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Behaviour::new())?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    swarm.listen_on(listen)?;
    loop {
        if let SwarmEvent::NewListenAddr { .. } = swarm.select_next_some().await {
            return Ok(swarm);
        }
    }
}

/// The relay as its tasks see it.
#[derive(Clone)]
struct Relay {
    key: Keypair,
    address: Multiaddr,
    state: State,
    orders: mpsc::UnboundedSender<Order>,
}

impl Relay {
    async fn run(self, mut swarm: Swarm<Behaviour>, mut queue: mpsc::UnboundedReceiver<Order>) {
        let mut control = swarm.behaviour().new_control();
        let (Ok(hops), Ok(identifies)) = (control.accept(HOP), control.accept(IDENTIFY)) else { return };
        tokio::spawn(self.clone().serve(hops, control.clone()));
        tokio::spawn(self.clone().identify(identifies));
        loop {
            tokio::select! {
                _ = swarm.select_next_some() => {}
                order = queue.recv() => match order {
                    Some(Order::HangUp(peer)) => _ = swarm.disconnect_peer_id(peer),
                    Some(Order::Flood(peer, circuits)) => _ = tokio::spawn(flood(control.clone(), peer, circuits)),
                    Some(Order::Sightings(peer, at)) => _ = tokio::spawn(self.clone().push(control.clone(), peer, at)),
                    Some(Order::End) | None => return,
                }
            }
        }
    }

    async fn serve(self, mut hops: IncomingStreams, control: Control) {
        while let Some((peer, stream)) = hops.next().await {
            let (relay, control) = (self.clone(), control.clone());
            // What fails is the end of that stream.
            tokio::spawn(async move { relay.answer(peer, stream, control).await.ok() });
        }
    }

    async fn answer(self, from: PeerId, mut stream: Stream, control: Control) -> anyhow::Result<()> {
        let request: RelayMessage = read(&mut stream).await?;
        if request.kind == CONNECT {
            let to = PeerId::from_bytes(&request.peer.context("nobody is asked for")?.id)?;
            return self.connect(from, to, stream, control).await;
        }
        let (is_first, lies) = {
            let mut state = lock(&self.state);
            state.asked.places += 1;
            let times = state.places.entry(from).or_default();
            *times += 1;
            (*times == 1, state.lies.clone())
        };
        if lies.after_grant == AfterGrant::RefuseRenewal && !is_first {
            write(&mut stream, &status(RESERVATION_REFUSED)).await?;
            return Ok(stream.close().await?);
        }
        let places = if lies.places.is_empty() { vec![self.address.clone()] } else { lies.places };
        let in_an_hour = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() + 3600;
        let expire = lies.expire.unwrap_or(in_an_hour);
        let addresses = places.iter().map(Multiaddr::to_vec).collect();
        let granted = RelayMessage { reservation: Some(Reservation { expire, addresses }), ..status(OK) };
        write(&mut stream, &granted).await?;
        stream.close().await?;
        if lies.after_grant == AfterGrant::HangUp {
            // A connection that is closed takes with it what the other end has not read.
            tokio::time::sleep(READ).await;
            let _ = self.orders.send(Order::HangUp(from));
        }
        Ok(())
    }

    async fn connect(self, from: PeerId, to: PeerId, mut stream: Stream, control: Control) -> anyhow::Result<()> {
        let lies = {
            let mut state = lock(&self.state);
            state.asked.circuits += 1;
            state.lies.clone()
        };
        let (to, name) = match lies.circuit {
            Circuit::Join => (to, from),
            Circuit::JoinTo(other) => (other, from),
            Circuit::InTheNameOf(other) => (to, other),
            Circuit::Refuse => return write(&mut stream, &status(NO_RESERVATION)).await,
            Circuit::Swallow => {
                write(&mut stream, &status(OK)).await?;
                futures::io::copy(&mut stream, &mut futures::io::sink()).await?;
                return Ok(());
            }
        };
        let far = stop(control, to, name).await;
        let Ok(far) = far else { return write(&mut stream, &status(NO_RESERVATION)).await };
        write(&mut stream, &status(OK)).await?;
        // Whatever it was told when it began, a circuit is treated as the relay behaves now.
        let state = Arc::clone(&self.state);
        splice(stream, far, move || lock(&state).lies.tamper).await
    }

    async fn identify(self, mut identifies: IncomingStreams) {
        while let Some((_, mut stream)) = identifies.next().await {
            let _ = write(&mut stream, &self.identity(&self.address)).await;
            let _ = stream.close().await;
        }
    }

    async fn push(self, mut control: Control, to: PeerId, at: Vec<Multiaddr>) {
        for address in at {
            let Ok(mut stream) = control.open_stream(to, IDENTIFY_PUSH).await else { return };
            let _ = write(&mut stream, &self.identity(&address)).await;
            let _ = stream.close().await;
        }
    }

    fn identity(&self, observed: &Multiaddr) -> Identify {
        Identify {
            public_key: Some(self.key.public().encode_protobuf()),
            protocols: vec![HOP.to_string()],
            observed: Some(observed.to_vec()),
            version: Some("/cryprq/1".into()),
        }
    }
}

fn status(status: i32) -> RelayMessage {
    RelayMessage { kind: STATUS, status: Some(status), ..RelayMessage::default() }
}

/// Asks a host for a circuit in the name of another.
async fn stop(mut control: Control, to: PeerId, name: PeerId) -> anyhow::Result<Stream> {
    let mut stream = control.open_stream(to, STOP).await?;
    let peer = Some(Peer { id: name.to_bytes() });
    write(&mut stream, &StopMessage { kind: STOP_CONNECT, peer, status: None }).await?;
    let answer: StopMessage = read(&mut stream).await?;
    anyhow::ensure!(answer.status == Some(OK), "refused");
    Ok(stream)
}

/// Half of them go on as a handshake would, with noise that is none; the others end at once.
async fn flood(control: Control, to: PeerId, circuits: usize) {
    let mut held = std::collections::VecDeque::new();
    for number in 0..circuits {
        let Ok(mut stream) = stop(control.clone(), to, PeerId::random()).await else { continue };
        if number % 2 == 0 {
            let _ = stream.write_all(&[0x5a; 2000]).await;
            held.push_back(stream);
        }
        if held.len() > 200 {
            held.pop_front();
        }
    }
}

async fn write(stream: &mut Stream, message: &impl Message) -> anyhow::Result<()> {
    stream.write_all(&message.encode_length_delimited_to_vec()).await?;
    Ok(stream.flush().await?)
}

async fn read<M: Message + Default>(stream: &mut Stream) -> anyhow::Result<M> {
    let mut length = Vec::new();
    while length.last().is_none_or(|byte| byte & 0x80 != 0) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        length.extend(byte);
        anyhow::ensure!(length.len() < 4, "a message is too long");
    }
    let mut message = vec![0; prost::decode_length_delimiter(&*length)?];
    stream.read_exact(&mut message).await?;
    Ok(M::decode(&*message)?)
}
