//! Hosts with a transport each, ours or the stock one.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::{Endpoint as Role, Transport as _};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, quic};
use net::quic::{Config, Ends, Limits, ResetKeys, Transport, on_own_threads};
use node::drops::DropCounters;
use os::udp::UdpOptions;
use tokio::sync::{mpsc, oneshot};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const LOCALHOST: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
pub(crate) const LOCALHOST_6: &str = "/ip6/::1/udp/0/quic-v1";

pub(crate) type Met = (PeerId, StreamMuxerBox);

/// Limits that no test reaches by accident.
pub(crate) const WIDE: Limits = Limits { unproven: 1000, open: 1000, burst: 1000, every: Duration::from_millis(1) };

pub(crate) fn dialler() -> DialOpts {
    DialOpts { role: Role::Dialer, port_use: PortUse::Reuse }
}

pub(crate) fn waiter() -> DialOpts {
    DialOpts { role: Role::Listener, port_use: PortUse::Reuse }
}

/// A connection that came in, and where from.
pub(crate) struct Incoming {
    pub(crate) from: SocketAddr,
    pub(crate) result: io::Result<Met>,
}

enum Command {
    Dial(Multiaddr, DialOpts, oneshot::Sender<io::Result<Met>>),
    Listen(Multiaddr, oneshot::Sender<ListenerId>),
    Remove(ListenerId),
}

/// A transport that a task drives.
pub(crate) struct Host {
    pub(crate) peer: PeerId,
    pub(crate) drops: Arc<DropCounters>,
    commands: mpsc::UnboundedSender<Command>,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    addresses: mpsc::UnboundedReceiver<Multiaddr>,
    closed: mpsc::UnboundedReceiver<ListenerId>,
}

pub(crate) fn identity(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

impl Host {
    pub(crate) fn new(seed: u8) -> Self {
        Self::with(seed, WIDE)
    }

    pub(crate) fn with(seed: u8, limits: Limits) -> Self {
        Self::with_udp(seed, limits, UdpOptions::default())
    }

    pub(crate) fn with_udp(seed: u8, limits: Limits, udp: UdpOptions) -> Self {
        let drops = Arc::new(DropCounters::default());
        let config = Config {
            identity: identity(seed),
            reset_keys: ResetKeys::derive(&[seed; 32]),
            udp,
            limits,
            receive: on_own_threads(Arc::clone(&drops)),
            drops: Arc::clone(&drops),
            clock: os::clock::boottime,
            ends: Ends::default(),
        };
        let transport = Transport::new(config).unwrap();
        let transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
        Self::drive(seed, transport.boxed(), drops)
    }

    /// A host with the stock transport.
    pub(crate) fn stock(seed: u8) -> Self {
        let transport = quic::tokio::Transport::new(quic::Config::new(&identity(seed)));
        let transport = transport.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
        Self::drive(seed, transport.boxed(), Arc::default())
    }

    fn drive(seed: u8, mut transport: Boxed<Met>, drops: Arc<DropCounters>) -> Self {
        let (commands, mut queue) = mpsc::unbounded_channel();
        let (incoming_sender, incoming) = mpsc::unbounded_channel();
        let (address_sender, addresses) = mpsc::unbounded_channel();
        let (closed_sender, closed) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    command = queue.recv() => match command {
                        Some(command) => obey(&mut transport, command),
                        None => return,
                    },
                    event = transport.select_next_some() => match event {
                        TransportEvent::Incoming { upgrade, send_back_addr, .. } => {
                            let sender = incoming_sender.clone();
                            let from = socket(&send_back_addr);
                            tokio::spawn(async move { sender.send(Incoming { from, result: upgrade.await }) });
                        }
                        TransportEvent::NewAddress { listen_addr, .. } => _ = address_sender.send(listen_addr),
                        TransportEvent::ListenerClosed { listener_id, .. } => _ = closed_sender.send(listener_id),
                        TransportEvent::AddressExpired { .. } => {}
                        TransportEvent::ListenerError { error, .. } => panic!("{error}"),
                    },
                }
            }
        });
        let peer = identity(seed).public().to_peer_id();
        Self { peer, drops, commands, incoming, addresses, closed }
    }

    /// Listens; the address says who is there.
    pub(crate) async fn listen(&mut self, address: &str) -> Multiaddr {
        self.listen_as(address).await.1
    }

    pub(crate) async fn listen_as(&mut self, address: &str) -> (ListenerId, Multiaddr) {
        let (reply, id) = oneshot::channel();
        assert!(self.commands.send(Command::Listen(address.parse().unwrap(), reply)).is_ok());
        let id = id.await.unwrap();
        let address = in_time("an address", self.addresses.recv()).await.unwrap();
        (id, address.with(Protocol::P2p(self.peer)))
    }

    pub(crate) async fn stop_listening(&mut self, id: ListenerId) {
        assert!(self.commands.send(Command::Remove(id)).is_ok());
        assert_eq!(in_time("the end of the listener", self.closed.recv()).await, Some(id));
    }

    pub(crate) async fn dial(&self, address: &Multiaddr) -> io::Result<Met> {
        self.dial_as(address, dialler()).await
    }

    pub(crate) async fn dial_as(&self, address: &Multiaddr, options: DialOpts) -> io::Result<Met> {
        self.start_dial(address, options).await.unwrap_or_else(|_| panic!("the host runs"))
    }

    /// Dials; what comes of it comes out of the channel.
    pub(crate) fn start_dial(&self, address: &Multiaddr, options: DialOpts) -> oneshot::Receiver<io::Result<Met>> {
        let (reply, result) = oneshot::channel();
        assert!(self.commands.send(Command::Dial(address.clone(), options, reply)).is_ok());
        result
    }

    pub(crate) async fn incoming(&mut self) -> Incoming {
        in_time("a connection", self.incoming.recv()).await.unwrap()
    }

    /// The next connection that comes in.
    pub(crate) async fn accept(&mut self) -> Met {
        self.incoming().await.result.unwrap()
    }

    pub(crate) fn nobody_came(&mut self) -> bool {
        self.incoming.try_recv().is_err()
    }
}

fn obey(transport: &mut Boxed<Met>, command: Command) {
    match command {
        Command::Listen(address, reply) => {
            let id = ListenerId::next();
            transport.listen_on(id, address).unwrap();
            let _ = reply.send(id);
        }
        Command::Remove(id) => assert!(transport.remove_listener(id)),
        Command::Dial(address, options, reply) => match transport.dial(address, options) {
            Ok(dial) => _ = tokio::spawn(async move { reply.send(dial.await) }),
            Err(TransportError::Other(error)) => _ = reply.send(Err(error)),
            Err(TransportError::MultiaddrNotSupported(_)) => _ = reply.send(Err(io::ErrorKind::Unsupported.into())),
        },
    }
}

/// Two connected hosts' ends of the connection: who dialled comes first.
pub(crate) async fn meet(a: &Host, b: &mut Host, address: &Multiaddr) -> (StreamMuxerBox, StreamMuxerBox) {
    let (dialled, (who, accepted)) = tokio::join!(a.dial(address), b.accept());
    let (peer, dialled) = dialled.unwrap();
    assert_eq!((peer, who), (b.peer, a.peer));
    (dialled, accepted)
}

pub(crate) async fn open(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    in_time("a stream of ours", poll_fn(|cx| muxer.poll_outbound_unpin(cx))).await
}

pub(crate) async fn accept(muxer: &mut StreamMuxerBox) -> io::Result<SubstreamBox> {
    in_time("a stream of theirs", poll_fn(|cx| muxer.poll_inbound_unpin(cx))).await
}

/// Sends something on a stream of one end's and receives it at the other.
pub(crate) async fn exchange(a: &mut StreamMuxerBox, b: &mut StreamMuxerBox) {
    let mut stream = open(a).await.unwrap();
    // Several packets, so that they make runs.
    let message = [7; 10_000];
    stream.write_all(&message).await.unwrap();
    stream.close().await.unwrap();
    let mut bytes = Vec::new();
    in_time("the bytes", accept(b).await.unwrap().read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, message);
}

/// Waits for something that must happen.
pub(crate) async fn in_time<T>(what: &str, happening: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, happening).await.unwrap_or_else(|_| panic!("{what} did not come in time"))
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    in_time(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Where a multiaddr leads.
pub(crate) fn socket(address: &Multiaddr) -> SocketAddr {
    let mut socket = SocketAddr::from(([0, 0, 0, 0], 0));
    for part in address {
        if let Protocol::Ip4(ip) = part {
            socket.set_ip(ip.into());
        } else if let Protocol::Ip6(ip) = part {
            socket.set_ip(ip.into());
        } else if let Protocol::Udp(port) = part {
            socket.set_port(port);
        }
    }
    socket
}

/// The multiaddr of a socket, and of whom is expected there.
pub(crate) fn multiaddr(socket: SocketAddr, peer: Option<PeerId>) -> Multiaddr {
    let address = Multiaddr::from(socket.ip()).with(Protocol::Udp(socket.port())).with(Protocol::QuicV1);
    match peer {
        Some(peer) => address.with(Protocol::P2p(peer)),
        None => address,
    }
}
